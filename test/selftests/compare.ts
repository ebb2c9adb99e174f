// Holds what a test program said on the emulated kernel against what it said on the real one, case for case.
import { IMPOSSIBLE, MENDED, NEED_FAULTS, NEED_HUGE_PAGES, reasonFor } from './exceptions.js';
import type { Case, Outcome } from './tap.js';

export interface Verdict {
  readonly name: string;
  readonly outcome: Outcome;
  /** Why it failed or was skipped. */
  readonly reason?: string;
}

export interface Circumstances {
  /** Whether the system gives huge pages to the program. */
  readonly hugePages: boolean;
  /** Whether the program can be shown a kernel that injects faults. */
  readonly faults: boolean;
}

/** What the emulated kernel is to make of a case. */
function expected({ name, outcome }: Case): Outcome | undefined {
  if (outcome !== 'failed') return outcome;
  return reasonFor(name, MENDED) === undefined ? undefined : 'passed';
}

function judge(real: Case, emulated: Case | undefined, circumstances: Circumstances): Verdict {
  const { name } = real;
  const excused = reasonFor(name, IMPOSSIBLE) ?? excuse(name, circumstances);
  if (excused !== undefined) return { name, outcome: 'skipped', reason: excused };
  const wanted = expected(real);
  if (wanted === undefined) return { name, outcome: 'failed', reason: `the real kernel fails it: ${told(real)}` };
  if (emulated === undefined) return { name, outcome: 'failed', reason: 'it was not run on the emulated kernel' };
  if (emulated.outcome === wanted)
    return { name, outcome: wanted, ...(wanted === 'skipped' && { reason: told(real) }) };
  const reason = `${emulated.outcome} on the emulated kernel, to be ${wanted}: ${told(emulated)}`;
  return { name, outcome: 'failed', reason };
}

function excuse(name: string, { hugePages, faults }: Circumstances): string | undefined {
  if (!hugePages && NEED_HUGE_PAGES.test(name)) return 'this system gives no huge pages';
  return !faults && NEED_FAULTS.test(name) ? 'a folder in the place of debugfs takes root' : undefined;
}
function told({ why }: Case): string {
  return why.join('; ');
}

/** A verdict for each case of either kernel. */
export function compare(real: readonly Case[], emulated: readonly Case[], circumstances: Circumstances): Verdict[] {
  const byName = new Map(emulated.map((one) => [one.name, one]));
  const names = new Set(real.map(({ name }) => name));
  const added = emulated.filter(({ name }) => !names.has(name));
  return [
    ...real.map((one) => judge(one, byName.get(one.name), circumstances)),
    ...added.map(({ name }) => ({ name, outcome: 'failed' as const, reason: 'it was not run on the real kernel' })),
  ];
}
