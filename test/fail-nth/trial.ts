// One operation, over and over: each time another allocation of the kernel fails in it.
import assert from 'node:assert/strict';
import type { FailNth } from '../rig/fail-nth.js';
import { checkError, checkResult, told } from '../rig/fail-nth-outcome.js';
import type { Operation } from '../rig/memory-operation.js';
import type { Place } from '../rig/memory-place.js';
import { Site } from '../rig/memory-site.js';

/** Each failure is told, with what came of it. */
const TELLS = process.env.IOMMUFD_FAIL_NTH_TELL !== undefined;
/** No operation has as many allocations. */
const MOST = 5000;
/** All of these are tried, and from there on some: look-ups of all devices have hundreds. */
const FIRST = process.env.IOMMUFD_FAIL_NTH === 'all' ? MOST : 32;
const STRIDE = 17;
/** What goes wrong so often is not tried further. */
const MOST_WRONG = 6;

type Outcome = { readonly error: unknown } | { readonly value: unknown };

async function outcomeOf(work: () => unknown): Promise<Outcome> {
  try {
    return { value: await work() };
  } catch (error) {
    return { error };
  }
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));

export class Trial {
  /** How often the operation was refused. */
  refused = 0;
  /** What was answered where it worked all the same. */
  readonly worked: { readonly what: string; readonly value: unknown }[] = [];
  /** What went wrong. */
  readonly wrong: string[] = [];
  /** What the place holds without a site. */
  #empty: unknown;
  /** A site on which the operation can be done: it has not been, or it leaves things as they were. */
  #site: Site | undefined;
  #state: unknown;
  #work: () => unknown = () => undefined;

  constructor(
    readonly place: Place,
    readonly operation: Operation,
    readonly injection: FailNth,
  ) {
    this.#empty = place.inspect();
  }

  /** Makes the site; throws Lacks where the place cannot have one. */
  async prepare(): Promise<Site> {
    if (this.#site !== undefined) return this.#site;
    const site = new Site(this.place);
    this.#site = site;
    this.#work = await this.operation.prepare(site);
    this.#state = site.state();
    return site;
  }
  /** The site goes. */
  clear(): void {
    const site = this.#site;
    this.#site = undefined;
    site?.close();
  }

  /** Lets each allocation fail; what goes wrong is noted. */
  async run(): Promise<void> {
    for (let nth = 1; nth < MOST; nth += nth < FIRST ? 1 : STRIDE) {
      const worked = this.worked.length;
      let wasThere = await this.#once(nth);
      // It may have been an allocation that is not there every time, in place of the operation's own.
      if (this.worked.length > worked) wasThere = await this.#once(nth);
      if (!wasThere || this.wrong.length === MOST_WRONG) return;
    }
    this.wrong.push(`more than ${MOST} allocations`);
  }

  /** Lets allocation `nth` fail; answers whether there was one. */
  async #once(nth: number): Promise<boolean> {
    const site = await this.prepare();
    this.injection.start(nth);
    const outcome = await outcomeOf(this.#work);
    const failed = this.injection.stop();
    const what = failed === undefined ? 'no failure' : `allocation ${nth}, ${told(failed)}`;
    if (TELLS) console.log(`${what}: ${'error' in outcome ? messageOf(outcome.error) : 'worked'}`);
    try {
      if (failed === undefined) this.#checkLast(outcome);
      else if ('value' in outcome) this.#checkWorked(site, what, outcome.value);
      else {
        checkError(what, failed, outcome.error);
        this.#checkSame(site.state(), this.#state, what);
        this.refused++;
      }
    } catch (error) {
      this.#note(what, error);
    }
    return failed !== undefined;
  }

  #checkWorked(site: Site, what: string, value: unknown): void {
    this.worked.push({ what, value });
    if (this.operation.looks) this.#checkSame(site.state(), this.#state, what);
    else this.#checkCleared(what);
  }
  /** Without a failure it works, and what it answers is what it answered whatever failed. */
  #checkLast(outcome: Outcome): void {
    if ('error' in outcome) throw outcome.error;
    for (const { what, value } of this.worked) checkResult(what, value, outcome.value);
    this.#checkCleared('no failure');
  }
  #checkCleared(what: string): void {
    this.clear();
    this.#checkSame(this.place.inspect(), this.#empty, `${what}, when all was closed`);
  }
  #checkSame(now: unknown, before: unknown, what: string): void {
    try {
      assert.deepEqual(now, before);
    } catch (error) {
      throw new Error(`${what}: not as before: ${messageOf(error)}`);
    }
  }

  /** Notes what went wrong, and begins anew. */
  #note(what: string, error: unknown): void {
    this.wrong.push(messageOf(error));
    try {
      this.clear();
    } catch (closing) {
      this.wrong.push(`${what}: nor can it be closed: ${messageOf(closing)}`);
    }
    this.#empty = this.place.inspect();
  }
}
