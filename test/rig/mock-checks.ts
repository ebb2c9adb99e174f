// The mock's own operations as cases want them: each answers 'ok' or the errno's name.

import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import type { Device, HwptPaging, Ioas } from '../../lib/index.js';
import type { Fields, Input, Layout, Values } from '../../lib/uapi/index.js';
import type { Attachments } from '../../lib/unsafe.js';
import { MOCK_PAGE_SIZE, tryTestCmd } from './mock.js';
import { type Answer, type Bench, codeOf, portOf } from './suite.js';

export const SELFTEST = mock.iommu_test_numbers.values;

/** An address that no process ever has anything at. */
export const NOWHERE = 0x1000n;

/** Something with an id, or an id. */
export type Target = number | { readonly id: number };

export function idOf(target: Target): number {
  return typeof target === 'number' ? target : target.id;
}

/** A sub-operation of IOMMU_TEST_CMD on the case's iommufd. */
export function ask<F extends Fields>(
  t: Bench,
  op: keyof typeof mock.iommu_test_op.values,
  layout: Layout<F>,
  input: Input<F>,
  attachments?: Attachments,
): Answer<F> {
  const { result, out } = tryTestCmd(portOf(t), op, layout, input, attachments);
  return { code: codeOf(result), out: out as Values<F> };
}

/** Whether the page table maps `length` bytes from `iova` on to the memory at `address`: EINVAL if not. */
export function checkMap(t: Bench, hwpt: Target, iova: bigint, address: bigint, length = 0x1000n): string {
  return ask(t, 'IOMMU_TEST_OP_MD_CHECK_MAP', mock.test_check_map, { id: idOf(hwpt), iova, length, uptr: address })
    .code;
}

/** Whether every page is pinned this often: EIO if not. */
export function checkPins(t: Bench, address: bigint, length: bigint, refs: number): string {
  return ask(t, 'IOMMU_TEST_OP_MD_CHECK_REFS', mock.test_check_refs, { length, uptr: address, refs }).code;
}

/** Whether an IOTLB entry of a nested page table has this value: EINVAL if not. */
export function checkIotlb(t: Bench, nested: Target, entry: number, value: number): string {
  const input = { id: idOf(nested), check_iotlb_id: entry, iotlb: value };
  return ask(t, 'IOMMU_TEST_OP_MD_CHECK_IOTLB', mock.test_check_iotlb, input).code;
}

/** The entries of a nested page table's IOTLB that still have this value. */
export function iotlbWith(t: Bench, nested: Target, value: number): number[] {
  return [0, 1, 2, 3].filter((entry) => checkIotlb(t, nested, entry, value) === 'ok');
}

/** The entries of a device's cache that have this value. */
export function cacheWith(t: Bench, device: Device, value: number): number[] {
  return [0, 1, 2, 3].filter((entry) => {
    const input = { id: device.id, check_dev_cache_id: entry, cache: value };
    return ask(t, 'IOMMU_TEST_OP_DEV_CHECK_CACHE', mock.test_check_dev_cache, input).code === 'ok';
  });
}

/**
 * Marks pages as written by a device: `pages` counts pages of 4096 bytes from `iova` on. Linux 6.12 marks the right ones where
 * they are counted in the mock's own pages alone.
 */
export function markDirty(t: Bench, hwpt: Target, iova: bigint, pages: readonly number[]): string {
  const pageSize = t.onLinux('6.12') ? MOCK_PAGE_SIZE : 4096;
  const parts = 4096 / pageSize;
  const bits = pages.flatMap((page) => Array.from({ length: parts }, (_, part) => page * parts + part));
  const count = Math.max(...bits) + 1;
  const bitmap = new Uint8Array(Math.ceil(count / 64) * 8);
  for (const bit of bits) bitmap[bit >>> 3] = (bitmap[bit >>> 3] ?? 0) | (1 << (bit & 7));
  const input = { id: idOf(hwpt), iova, length: BigInt(count * pageSize), page_size: BigInt(pageSize) };
  return ask(t, 'IOMMU_TEST_OP_DIRTY', mock.test_dirty, input, { uptr: bitmap }).code;
}

/** Driver data of a page table of the mock: its `iotlb` and `pagetable_type`. */
export function hwptData(iotlb: number = SELFTEST.IOMMU_TEST_IOTLB_DEFAULT, pagetableType = 0): Uint8Array {
  const bytes = new Uint8Array(mock.iommu_hwpt_selftest.size);
  const view = new DataView(bytes.buffer);
  mock.iommu_hwpt_selftest.encode(view, 0, { iotlb, pagetable_type: pagetableType });
  return bytes;
}

/** What `allocNestedHwpt` takes for the mock. */
export function nestedOptions(iotlb?: number): { data: { type: number; bytes: Uint8Array } } {
  // As much of it as every kernel knows.
  const bytes = hwptData(iotlb).subarray(0, mock.iommu_hwpt_selftest.end('iotlb'));
  return { data: { type: SELFTEST.IOMMU_HWPT_DATA_SELFTEST, bytes } };
}

/** An address space with a page table that can be a parent, and the device it is for. */
export function nestingParent(t: Bench): { device: Device; ioas: Ioas; parent: HwptPaging } {
  const { device } = t.mockDevice();
  const ioas = t.iommufd.allocIoas();
  return { device, ioas, parent: ioas.allocHwpt(device, { nestParent: true }) };
}
