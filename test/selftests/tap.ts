// What the kernel's test programs print: TAP, one line a case (tools/testing/selftests/kselftest_harness.h).
export type Outcome = 'passed' | 'failed' | 'skipped';

export interface Case {
  readonly name: string;
  readonly outcome: Outcome;
  /** What was printed before its line: why it failed. */
  readonly why: readonly string[];
}

/** What is printed between two cases' lines, without what is printed for all. */
const NEWS = /^(?!TAP |1\.\.|# Starting |#\s+(RUN|OK) )./;
const LINE = /^(ok|not ok) \d+ (.*?)( # SKIP.*)?$/;

function outcomeOf(word: string | undefined, skipped: boolean): Outcome {
  if (skipped) return 'skipped';
  return word === 'ok' ? 'passed' : 'failed';
}

/** The cases, in order; throws where fewer were run than the plan says. */
export function parseTap(text: string): Case[] {
  const cases: Case[] = [];
  let why: string[] = [];
  for (const line of text.split('\n')) {
    const found = LINE.exec(line);
    if (found === null) {
      if (NEWS.test(line)) why.push(line.replace(/^#\s+/, ''));
      continue;
    }
    cases.push({ name: found[2] ?? '', outcome: outcomeOf(found[1], found[3] !== undefined), why });
    why = [];
  }
  if (text.trim() === '') throw new Error('the program printed no plan');
  const plan = Number(/^1\.\.(\d+)$/m.exec(text)?.[1] ?? 0);
  if (cases.length !== plan) throw new Error(`the program was to run ${plan} cases, and ran ${cases.length}`);
  return cases;
}
