// What a case meets that its kernel is too old for: found by the library, from the refusal. The case is pending then, with
// what the kernel lacks as the reason, and what it did until then is undone as ever.
import { AssertionError } from 'node:assert';
import { UsageError } from '../../lib/index.js';
import { IommufdError, type Unsupported } from '../../lib/unsafe.js';

/** A case that is not for this kernel: what it does would meet a defect there that a machine may not survive. */
export class NotHere extends Error {
  override readonly name = 'NotHere';
}

/** The library was not asked, but a call past it, or an operation of the mock. */
export class Lacking extends Error {
  override readonly name = 'Lacking';
  constructor(readonly unsupported: Unsupported) {
    super(tellLacking(unsupported));
  }
}

/** What a case's failure says that its kernel lacks; undefined where it is a failure. */
export function lackingIn(failure: unknown): Unsupported | undefined {
  if (failure instanceof Lacking || failure instanceof IommufdError) return failure.unsupported;
  // A cause: what the library found out before it began.
  if (failure instanceof UsageError) return lackingIn(failure.cause);
  // Another refusal was expected.
  if (failure instanceof AssertionError) return failure.actual instanceof Error ? lackingIn(failure.actual) : undefined;
  return undefined;
}

/** Without the kernel's own name, so that lanes can be compared by it. */
export function tellLacking({ what, since }: Unsupported): string {
  return `this kernel is older than Linux ${since}, which brought ${what}`;
}
