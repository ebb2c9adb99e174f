// What a machine's cases asked and were answered, written to test/transcripts.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  type CaseTranscript,
  casesText,
  committed,
  committedGroups,
  fileOf,
  fold,
  groupOf,
  type Lane,
} from '../rig/transcripts.js';
import { checkout } from './checkout.js';
import { type CaseResult, idOf } from './compare.js';

/** A title's reason for not being run, without the brackets around it. */
const REASON = / \[(.*)\]$/;
const NO_PROMISE = 'what is answered depends on the hardware, or on where memory lies';

function transcriptOf({ title, outcome, calls = [], compareCalls }: CaseResult): CaseTranscript | undefined {
  if (outcome === 'failed') return undefined;
  if (outcome === 'skipped') return { lines: [], without: REASON.exec(title)?.[1] ?? 'it is skipped' };
  return compareCalls === false ? { lines: [], without: NO_PROMISE } : { lines: fold(calls) };
}

/**
 * Takes a machine's results into the files of its cases. `whole`: they are of all cases there are, so that what is not among
 * them goes.
 */
export function record(lane: Lane, results: readonly CaseResult[], whole: boolean): void {
  const groups = new Map<string, Map<string, CaseTranscript>>();
  const casesOf = (group: string) => {
    const cases = groups.get(group) ?? new Map(whole ? [] : committed(lane, group));
    groups.set(group, cases);
    return cases;
  };
  for (const result of results) {
    const id = idOf(result.title);
    const fresh = transcriptOf(result);
    if (fresh === undefined) console.log(`not recorded, since it failed: ${id}`);
    const transcript = fresh ?? committed(lane, groupOf(id)).get(id);
    if (transcript !== undefined) casesOf(groupOf(id)).set(id, transcript);
  }
  const stale = whole ? committedGroups(lane).filter((group) => !groups.has(group)) : [];
  for (const group of stale) rmSync(path.join(checkout, fileOf(lane, group)));
  for (const [group, cases] of groups) {
    const file = path.join(checkout, fileOf(lane, group));
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, casesText(cases));
  }
  console.log(`recorded: ${results.length} cases in ${groups.size} files of ${path.dirname(fileOf(lane, ''))}`);
}
