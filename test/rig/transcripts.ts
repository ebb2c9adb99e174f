// The suites' transcripts in test/transcripts: what every case asked of a real kernel, and what came back, a file a group of
// cases. Each run of a case, on whatever host, is held against its own.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { isOlder } from '../../lib/uapi/releases.js';
import type { Seam } from '../../lib/unsafe.js';
import { checkout } from '../vm/checkout.js';
import { digestOf } from './comparable.js';

/** Which suite a case is of, by the machine that it is recorded on. */
export const LANES = ['mock', 'vtd', 'smmuv3'] as const;
export type Lane = (typeof LANES)[number];

/** What the machine with the real kernel had to say of a case. */
export interface CaseTranscript {
  readonly lines: readonly string[];
  /** Why there are no lines: it cannot be run there, or its answers are no promise. */
  readonly without?: string;
}

export const FOLDER = 'test/transcripts';
const ENDING = '.jsonl';
const HEADER = '{"format":"iommufd-cases","version":1}';

/** Of long cases the first lines are kept, and then a digest for so many lines. */
const KEPT = 50;
const DIGESTED = 50;

export function fold(lines: readonly string[]): string[] {
  const folded = lines.slice(0, KEPT);
  for (let at = KEPT; at < lines.length; at += DIGESTED) {
    const part = lines.slice(at, at + DIGESTED);
    folded.push(JSON.stringify({ lines: part.length, sha256: digestOf(part.join('\n')) }));
  }
  return folded;
}

export function groupOf(id: string): string {
  return id.split('/')[0] ?? '';
}
export function fileOf(lane: Lane, group: string): string {
  return path.join(FOLDER, lane, `${group}${ENDING}`);
}

/** The cases of a file, by id. */
export function parseCases(text: string, name: string): Map<string, CaseTranscript> {
  const [header, ...lines] = text.split('\n').filter((line) => line !== '');
  if (header !== HEADER) throw new Error(`${name} does not begin with ${HEADER}`);
  const cases = new Map<string, CaseTranscript>();
  let current: string[] = [];
  for (const line of lines) {
    if (!line.startsWith('{"case":')) {
      current.push(line);
      continue;
    }
    const { case: id, without }: { case: string; without?: string } = JSON.parse(line);
    current = [];
    cases.set(id, { lines: current, ...(without === undefined ? {} : { without }) });
  }
  return cases;
}

/** Sorted by id, so that cases can be moved in their source without any difference here. */
export function casesText(cases: ReadonlyMap<string, CaseTranscript>): string {
  const sorted = [...cases].sort(([one], [other]) => (one < other ? -1 : 1));
  const texts = sorted.map(([id, { lines, without }]) => [JSON.stringify({ case: id, without }), ...lines].join('\n'));
  return `${[HEADER, ...texts].join('\n')}\n`;
}

const known = new Map<string, Map<string, CaseTranscript>>();

/** The cases of a group, as they are committed. */
export function committed(lane: Lane, group: string): Map<string, CaseTranscript> {
  const file = fileOf(lane, group);
  const found = known.get(file);
  if (found !== undefined) return found;
  const whole = path.join(checkout, file);
  const cases = existsSync(whole) ? parseCases(readFileSync(whole, 'utf8'), file) : new Map<string, CaseTranscript>();
  known.set(file, cases);
  return cases;
}

/** The groups of a lane that are committed. */
export function committedGroups(lane: Lane): string[] {
  const folder = path.join(checkout, FOLDER, lane);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith(ENDING))
    .map((name) => name.slice(0, -ENDING.length));
}

/** Whether a case's calls are known: not where the machine cannot run it, or where its answers are no promise. */
export function hasLines(lane: Lane, id: string): boolean {
  return (committed(lane, groupOf(id)).get(id)?.lines.length ?? 0) > 0;
}

function howToRecord(lane: Lane, id: string): string {
  return `to record it: npm run test:${lane === 'smmuv3' ? 'smmuv3' : 'kernel'} -- --record --grep ${id}:`;
}

/** What is wrong where a case has not been recorded: told by the machine that could. */
export function missingIn(lane: Lane, id: string): string | undefined {
  const group = groupOf(id);
  return committed(lane, group).has(id) ? undefined : `${fileOf(lane, group)} has no ${id}; ${howToRecord(lane, id)}`;
}

/** How a run of a case differs from what is committed; undefined where it does not, or nothing is to be compared. */
export function differenceTo(lane: Lane, id: string, lines: readonly string[]): string | undefined {
  const file = fileOf(lane, groupOf(id));
  const expected = committed(lane, groupOf(id)).get(id);
  if (expected === undefined || expected.without !== undefined) return undefined;
  const came = fold(lines);
  const at = came.findIndex((line, index) => line !== expected.lines[index]);
  const first = at >= 0 ? at : came.length;
  if (at < 0 && came.length === expected.lines.length) return undefined;
  const after = first === 0 ? [] : [`  after:    ${expected.lines[first - 1]}`];
  return [
    `${id} does not do, or is not answered, what ${file} has of a real kernel`,
    ...after,
    `  expected: ${expected.lines[first] ?? 'nothing more'}`,
    `  came:     ${came[first] ?? 'nothing more'}`,
    `  (${howToRecord(lane, id)})`,
  ].join('\n');
}

/** The Linux that they are of: what an older one answers is another matter. */
export const RECORDED = '7.3';

/** Whether cases are held against their transcripts: IOMMUFD_TRANSCRIPTS. */
export function areHeld({ release }: Pick<Seam, 'release'>): boolean {
  const mode = process.env.IOMMUFD_TRANSCRIPTS ?? 'compare';
  if (mode === 'compare' || mode === 'off') return mode === 'compare' && !isOlder(release, RECORDED);
  throw new Error(`IOMMUFD_TRANSCRIPTS must be compare or off, not ${mode}`);
}
