// What pinned pages are charged to: those of a user, whichever of the user's programs maps them, and those of one program.

interface Account {
  pages: number;
}

class Charged {
  /** The program's own (RLIMIT_MODE 1). */
  mm = 0;
  readonly #account: Account;

  constructor(account: Account) {
    this.#account = account;
  }
  /** All of the user's (RLIMIT_MODE 0). */
  get user(): number {
    return this.#account.pages;
  }
  set user(pages: number) {
    this.#account.pages = pages;
  }
}

export class UserCharges {
  readonly #accounts = new Map<number, Account>();

  /** For a program that a user started. */
  of(user: number): Charged {
    const account = this.#accounts.get(user) ?? { pages: 0 };
    this.#accounts.set(user, account);
    return new Charged(account);
  }
}
