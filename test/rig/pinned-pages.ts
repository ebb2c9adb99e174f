// How often pages of memory are pinned, as the mock counts.
import assert from 'node:assert/strict';
import type { DmaMemory } from '../../lib/index.js';
import { checkPins } from './mock-checks.js';
import { type Bench, PAGE } from './suite.js';

/** Page by page, from 0 to `most` times. */
export function pinnedPages(t: Bench, memory: DmaMemory, most: number): number[] {
  const timesOf = (page: number): number => {
    const address = memory.address + BigInt(page) * PAGE;
    for (let refs = 0; refs <= most; refs++) if (checkPins(t, address, PAGE, refs) === 'ok') return refs;
    return assert.fail(`page ${page} is pinned more than ${most} times`);
  };
  return Array.from({ length: Number(BigInt(memory.size) / PAGE) }, (_, page) => timesOf(page));
}
