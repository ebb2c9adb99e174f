// Two lanes' results side by side, case by case: outcome, and every answer of the kernel with the fields it left.
import { readFileSync } from 'node:fs';

export interface CaseResult {
  readonly title: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  readonly message?: string;
  readonly calls?: readonly string[];
  /** Whether lanes are compared by its calls. */
  readonly compareCalls?: boolean;
  /** What its kernel is too old for. */
  readonly lacking?: { readonly what: string; readonly since: string };
}

export interface Comparison {
  readonly compared: number;
  /** Cases that one of the two cannot run, with the reason. */
  readonly oneSided: readonly string[];
  /** How many cases both kernels are too old for, by the same call. */
  readonly lacking: number;
  /** What differs, a few lines each. */
  readonly differences: readonly string[];
}

/** A case's stable id: what comes before the colon of its title. */
export function idOf(title: string): string {
  return title.slice(0, title.indexOf(':'));
}

export function parseResults(text: string): CaseResult[] {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.map((line) => JSON.parse(line) as CaseResult);
}

export function readResults(file: string): Map<string, CaseResult> {
  return new Map(parseResults(readFileSync(file, 'utf8')).map((result) => [idOf(result.title), result]));
}

function firstDifference(one: readonly string[], other: readonly string[]): number | undefined {
  for (let i = 0; i < Math.max(one.length, other.length); i++) if (one[i] !== other[i]) return i;
  return undefined;
}

/** How two runs of the same case differ; undefined where they agree. */
function difference(names: readonly [string, string], one: CaseResult, other: CaseResult): string | undefined {
  if (one.outcome !== other.outcome || one.message !== other.message) {
    const told = (result: CaseResult) => [result.outcome, result.message ?? ''].join(' ').trimEnd();
    return `  ${names[0]}: ${told(one)}\n  ${names[1]}: ${told(other)}`;
  }
  const [left, right] = [one.calls ?? [], other.calls ?? []];
  const at = firstDifference(left, right);
  if (at === undefined) return undefined;
  const same = at === 0 ? [] : [`  after: ${left[at - 1]}`];
  return [...same, `  ${names[0]}: ${left[at] ?? '(nothing)'}`, `  ${names[1]}: ${right[at] ?? '(nothing)'}`].join(
    '\n',
  );
}

/**
 * Cases that met something their kernel is too old for: '' where both met the same, what differs where they did not, and
 * undefined where neither met any, or one could not be run.
 */
function lackDifference(names: readonly [string, string], one: CaseResult, other: CaseResult): string | undefined {
  if (one.lacking === undefined && other.lacking === undefined) return undefined;
  // What one cannot run for another reason is not compared.
  if ([one, other].some(({ lacking, outcome }) => lacking === undefined && outcome === 'skipped')) return undefined;
  const told = ({ lacking, outcome }: CaseResult) => (lacking ? `lacks ${lacking.what} (${lacking.since})` : outcome);
  return told(one) === told(other) ? '' : `  ${names[0]}: ${told(one)}\n  ${names[1]}: ${told(other)}`;
}

/** Compares what two lanes answered. */
export function compare(
  names: readonly [string, string],
  left: ReadonlyMap<string, CaseResult>,
  right: ReadonlyMap<string, CaseResult>,
): Comparison {
  const differences: string[] = [];
  const oneSided: string[] = [];
  let compared = 0;
  let lacking = 0;
  for (const [id, one] of left) {
    const other = right.get(id);
    if (other === undefined) {
      differences.push(`${id}\n  ${names[1]} did not run it`);
      continue;
    }
    const lacks = lackDifference(names, one, other);
    if (lacks !== undefined) {
      if (lacks === '') lacking++;
      else differences.push(`${id}\n${lacks}`);
      continue;
    }
    const skipped = [one, other].find(({ outcome }) => outcome === 'skipped');
    if (skipped !== undefined) {
      oneSided.push(skipped.title);
      continue;
    }
    compared++;
    const told = difference(names, one, other);
    if (told !== undefined) differences.push(`${id}\n${told}`);
  }
  for (const id of right.keys()) if (!left.has(id)) differences.push(`${id}\n  ${names[0]} did not run it`);
  return { compared, lacking, oneSided, differences };
}

/** Says what a comparison found; answers whether nothing differs. */
export function report({ compared, lacking, oneSided, differences }: Comparison): boolean {
  for (const title of oneSided) console.log(`not comparable: ${title}`);
  for (const told of differences) console.log(`DIFFERENT ${told}`);
  console.log(`${compared} cases compared: ${differences.length} differ, ${oneSided.length} run on one side only`);
  if (lacking > 0) console.log(`${lacking} cases are pending on both, each since the kernel lacks the same`);
  return compared > 0 && differences.length === 0;
}
