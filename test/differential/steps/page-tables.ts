// Page tables: made, nested, looked into, invalidated, their dirty pages.
import * as mock from '../../../lib/emulated/hardware/selftest/uapi.js';
import {
  IOMMU_HWPT_ALLOC,
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_HWPT_INVALIDATE,
  IOMMU_HWPT_SET_DIRTY_TRACKING,
  iommufd_hwpt_alloc_flags,
} from '../../../lib/uapi/index.js';
import { numbersOf } from '../random.js';
import { APERTURE, PAGE, type Session, type Thing, U32_MAX, U64_MAX } from '../session.js';
import type { Weighted } from './step.js';

const {
  IOMMU_HWPT_ALLOC_NEST_PARENT: NEST_PARENT,
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING: DIRTY,
  IOMMU_HWPT_FAULT_ID_VALID: FAULT,
  IOMMU_HWPT_ALLOC_PASID: PASID,
} = iommufd_hwpt_alloc_flags.values;
const NUMBERS = mock.iommu_test_numbers.values;

/** Driver data: mostly as the mock wants it, sometimes shorter or longer. */
export function driverData(s: Session, bytes: Uint8Array): { uptr: bigint; len: number } {
  const { random } = s;
  const len = random.weighted([
    [90, bytes.length],
    [4, bytes.length - 4],
    [3, bytes.length + 4],
    [1, 1],
    [2, 0],
  ]);
  // A struct that is longer than known must be 0 behind what is known.
  const room = new Uint8Array(Math.max(len, bytes.length));
  room.set(bytes);
  if (len > bytes.length && random.percent(50)) room[len - 1] = 1;
  return { uptr: random.percent(97) ? s.buffer(room) : 0n, len };
}

function hwptData(iotlb: number, pagetable_type: number): Uint8Array {
  const bytes = new Uint8Array(mock.iommu_hwpt_selftest.size);
  mock.iommu_hwpt_selftest.encode(new DataView(bytes.buffer), 0, { iotlb, pagetable_type });
  return bytes;
}

function allocPaging(s: Session): void {
  const { random } = s;
  const pt_id = s.id('ioas');
  const flags = s.flags(random.pick([0, DIRTY, NEST_PARENT, PASID, NEST_PARENT | PASID]), [DIRTY, FAULT, PASID], 2);
  const withData = random.percent(15);
  const type = random.weighted([
    [80, mock.mock_iommupt.values.MOCK_IOMMUPT_DEFAULT],
    [15, mock.mock_iommupt.values.MOCK_IOMMUPT_HUGE],
    [5, 2],
  ]);
  const data = withData ? driverData(s, hwptData(0, type)) : { uptr: 0n, len: 0 };
  const data_type = withData || random.percent(2) ? NUMBERS.IOMMU_HWPT_DATA_SELFTEST : random.percent(1) ? 1 : 0;
  const { result, out } = s.ioctl(IOMMU_HWPT_ALLOC, {
    flags,
    dev_id: s.id('device'),
    pt_id,
    __reserved: s.zero(),
    data_type,
    data_len: data.len,
    data_uptr: data.uptr,
    fault_id: s.id('fault'),
    __reserved2: s.zero(),
  });
  if (result < 0) return;
  addPaging(s, out.out_hwpt_id, pt_id, flags);
}

function addPaging(s: Session, id: number, ioas: number, flags: number): void {
  s.add({
    id,
    kind: 'paging',
    ioas,
    smallPages: s.things.get(ioas)?.smallPages === true,
    nestParent: (flags & NEST_PARENT) !== 0,
    tracksDirty: (flags & DIRTY) !== 0,
    pasid: (flags & PASID) !== 0,
  });
}

/** A page table that can be much, without anything unusual. */
export function plainPaging(s: Session, flags: number): void {
  const ioas = s.id('ioas');
  const { result, out } = s.machine.ioctl(s.fd, IOMMU_HWPT_ALLOC, { flags, dev_id: s.id('device'), pt_id: ioas });
  if (result === 0) addPaging(s, out.out_hwpt_id, ioas, flags);
}

/** What a nested page table can hang from. */
function parent(s: Session): number {
  const likely = [...s.all('viommu'), ...s.all('paging').filter(({ nestParent }) => nestParent === true)];
  return (s.random.percent(92) ? s.random.pick(likely)?.id : undefined) ?? s.id('viommu', 'paging', 'nested');
}

export function allocNested(s: Session): void {
  const data = driverData(s, hwptData(s.random.below(3), 0));
  const flags = s.flags(0, [FAULT, PASID], 3);
  const { result, out } = s.ioctl(IOMMU_HWPT_ALLOC, {
    flags,
    dev_id: s.id('device'),
    pt_id: parent(s),
    data_type: s.random.percent(95) ? NUMBERS.IOMMU_HWPT_DATA_SELFTEST : s.random.below(3),
    data_len: data.len,
    data_uptr: data.uptr,
    fault_id: s.id('fault'),
  });
  if (result === 0) s.add({ id: out.out_hwpt_id, kind: 'nested', pasid: (flags & PASID) !== 0 });
}

function entries(s: Session, count: number, encode: (view: DataView, at: number) => void, size: number): Uint8Array {
  const bytes = new Uint8Array(count * size);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) encode(view, i * size);
  // What is behind the fields that the mock knows must be 0.
  if (size > 12 && s.random.percent(30)) bytes[bytes.length - 1] = 1;
  return bytes;
}

function invalidate(s: Session): void {
  const { random } = s;
  const viommu = random.percent(50);
  const known = viommu ? mock.iommu_viommu_invalidate_selftest : mock.iommu_hwpt_invalidate_selftest;
  const type = viommu ? NUMBERS.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST : NUMBERS.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
  const size = random.percent(88) ? known.size : random.pick([4, 8, 12, 16, 24]);
  const count = random.pick([0, 1, 1, 1, 2, 3, 5]);
  const encode = (view: DataView, at: number): void => {
    const flags = random.pick([0, 0, 1, random.percent(90) ? 0 : 2]);
    const index = random.percent(92) ? random.below(4) : random.pick([4, U32_MAX]);
    const words = viommu ? [flags, random.percent(90) ? virtualId(s) : 0x77, index] : [flags, index];
    for (const [i, word] of words.entries()) if (4 * i + 4 <= size) view.setUint32(at + 4 * i, word, true);
  };
  const data_uptr = random.percent(96) ? s.buffer(entries(s, count, encode, size)) : 0n;
  s.ioctl(IOMMU_HWPT_INVALIDATE, {
    hwpt_id: viommu ? s.id('viommu') : s.id('nested'),
    data_uptr,
    data_type: random.percent(94) ? type : random.pick([0, NUMBERS.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST_INVALID]),
    entry_len: random.percent(97) ? size : random.pick([0, 4097, U32_MAX]),
    // Between 349,525 and 2^19 entries the mock asks its allocator for more than that gives without a warning.
    entry_num: random.percent(97) ? count : random.pick([(1 << 19) + 1, U32_MAX]),
    __reserved: s.zero(),
  });
}

/** How guests of a sequence know their devices. */
export function virtualId(s: Session): number {
  return s.random.weighted([
    [50, 1 + s.random.below(3)],
    [5, 0],
    [5, U32_MAX],
  ]);
}

export function setTracking(s: Session): void {
  s.ioctl(IOMMU_HWPT_SET_DIRTY_TRACKING, {
    flags: s.flags(s.random.percent(75) ? 1 : 0, [], 3),
    hwpt_id: s.random.percent(70) ? (trackable(s)?.id ?? 0) : s.id('paging'),
    __reserved: s.zero(),
  });
}

/** A page table whose entries are of one page each: others depend on what lies next to what physically. */
function trackable(s: Session): Thing | undefined {
  const small = s.all('paging').filter(({ smallPages }) => smallPages === true || s.machine.isContiguous);
  const tracking = small.filter(({ tracksDirty }) => tracksDirty === true);
  return s.random.pick(tracking.length > 0 && s.random.percent(90) ? tracking : small);
}

/** A range of IOVAs, mostly about a mapping, and how many bytes a bit stands for. */
function range(s: Session, ioas: number | undefined) {
  const { random } = s;
  const mapping = s.mapping(ioas);
  const page_size = random.weighted<bigint>([
    [75, PAGE],
    [10, 2048n],
    [5, 8192n],
    [3, 0x10_0000n],
    [2, 1n],
    [2, 0n],
    [2, 12288n],
    [1, 2n ** 63n],
  ]);
  const inside = page_size === 1n ? 0x1_0000n : 0x10_0000n;
  const [iova, length] = random.weighted<readonly [bigint, bigint]>([
    [60, mapping === undefined ? [APERTURE.start, PAGE] : [mapping.iova, mapping.length]],
    [20, [APERTURE.start, PAGE * 64n]],
    [20, [s.mappedIova(mapping) & ~(PAGE - 1n), PAGE * BigInt(1 + random.below(8))]],
    [10, [s.mappedIova(mapping), s.length()]],
    [10, [APERTURE.start, APERTURE.last + 1n - APERTURE.start]],
  ]);
  return { iova, length: length > inside && page_size < 2048n ? inside : length, page_size };
}

/** Bits that a number stands for: some words have some, the others none. Of 0 there is none. */
function bitmap(seed: number): Uint8Array {
  const words = new Uint32Array(0x800);
  const numbers = numbersOf(seed);
  if (seed !== 0) for (let i = 0; i < words.length; i++) words[i] = (numbers() & 1) === 0 ? 0 : numbers() & numbers();
  return new Uint8Array(words.buffer);
}

function markDirty(s: Session): void {
  const hwpt = trackable(s);
  const { iova, length, page_size } = range(s, hwpt?.ioas);
  // As many bits are looked at as there are pages: bounded, or more than the mock takes.
  if (page_size !== 0n && length / page_size > 0x1_0000n && length / page_size <= 2n ** 27n) return;
  const bytes = bitmap(s.random.u32());
  s.test('IOMMU_TEST_OP_DIRTY', mock.test_dirty, {
    id: hwpt?.id ?? s.id('ioas'),
    iova,
    length,
    page_size,
    uptr: s.random.percent(97) ? s.buffer(bytes) : 0n,
  });
}

/** Bytes enough for every bit, and for what the kernel may set behind them: up to the end of a page, or of the next one. */
function bitmapRoom(length: bigint, page_size: bigint): number {
  const bytes = page_size === 0n ? 0n : length / page_size / 8n;
  const most = 0x2_1000;
  return bytes > BigInt(most) ? most : Math.min(most, Number(bytes) + 0x3000);
}

function getDirty(s: Session): void {
  const hwpt = trackable(s);
  const { iova, length, page_size } = range(s, hwpt?.ioas);
  const data = s.random.percent(96) ? s.buffer(new Uint8Array(bitmapRoom(length, page_size))) : 0n;
  s.ioctl(IOMMU_HWPT_GET_DIRTY_BITMAP, {
    hwpt_id: hwpt?.id ?? s.id('nested', 'ioas'),
    flags: s.flags(s.random.percent(40) ? 1 : 0, [], 2),
    __reserved: s.zero(),
    iova,
    length,
    page_size,
    data,
  });
}

function checkMap(s: Session): void {
  const { random } = s;
  const hwpt = s.thing('paging');
  const mapping = s.mapping(hwpt?.ioas);
  const iova = s.mappedIova(mapping);
  const region = mapping?.from === 'file' ? s.machine.file : s.machine.memory;
  const into = Number(BigInt.asIntN(64, iova - (mapping?.iova ?? 0n)));
  // Addresses stay within the memory: what lies behind it is not the same everywhere.
  const offset = Math.max(
    0,
    Math.min(s.machine.size - 1, (mapping?.offset ?? 0) + (Math.abs(into) < s.machine.size ? into : 0)),
  );
  const length = Math.min(Number(mapping?.length ?? PAGE), s.machine.size - offset);
  const bytes = random.percent(70) ? length : random.pick([0, 2048, 4096, 1].filter((one) => one <= length));
  s.test('IOMMU_TEST_OP_MD_CHECK_MAP', mock.test_check_map, {
    id: hwpt?.id ?? s.id('nested'),
    iova,
    length: random.percent(98) ? BigInt(bytes ?? 0) : U64_MAX - PAGE + 1n,
    uptr: random.percent(96) ? region.address + BigInt(offset) : PAGE,
  });
}

function checkIotlb(s: Session): void {
  s.test('IOMMU_TEST_OP_MD_CHECK_IOTLB', mock.test_check_iotlb, {
    id: s.id('nested'),
    check_iotlb_id: s.random.percent(92) ? s.random.below(4) : s.random.pick([4, U32_MAX]),
    iotlb: s.random.below(3),
  });
}

export const pageTableSteps: readonly Weighted[] = [
  [16, allocPaging, 'device'],
  [12, allocNested, 'device'],
  [9, invalidate, 'nested'],
  [6, setTracking, 'paging'],
  [7, markDirty, 'paging'],
  [7, getDirty, 'paging'],
  [12, checkMap, 'paging'],
  [4, checkIotlb, 'nested'],
];
