// How often pages of memory are pinned, as the mock counts.
import assert from 'node:assert/strict';
import { test_check_refs } from '../../lib/emulated/hardware/selftest/uapi.js';
import type { DmaMemory } from '../../lib/index.js';
import { tryTestCmd } from './mock.js';
import { type Bench, PAGE, portOf } from './suite.js';

/** Page by page, from 0 to `most` times. */
export function pinnedPages(t: Bench, memory: DmaMemory, most: number): number[] {
  const timesOf = (page: number): number => {
    const uptr = memory.address + BigInt(page) * PAGE;
    for (let refs = 0; refs <= most; refs++) {
      const input = { length: PAGE, uptr, refs };
      if (tryTestCmd(portOf(t), 'IOMMU_TEST_OP_MD_CHECK_REFS', test_check_refs, input).result === 0) return refs;
    }
    return assert.fail(`page ${page} is pinned more than ${most} times`);
  };
  return Array.from({ length: Number(BigInt(memory.size) / PAGE) }, (_, page) => timesOf(page));
}
