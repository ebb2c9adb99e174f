// IOASes: what is mapped where, and which IOVAs may be used.
import { test_add_reserved } from '../../../lib/emulated/hardware/selftest/uapi.js';
import {
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_ALLOW_IOVAS,
  IOMMU_IOAS_CHANGE_PROCESS,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_IOVA_RANGES,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_NOIOMMU_GET_PA,
  IOMMU_IOAS_UNMAP,
  IOMMU_OPTION,
  iommu_iova_range,
  iommufd_ioas_map_flags,
  iommufd_option,
} from '../../../lib/uapi/index.js';
import { PAGE, type Session, U32_MAX, U64_MAX } from '../session.js';
import type { Weighted } from './step.js';

const {
  IOMMU_IOAS_MAP_FIXED_IOVA: FIXED,
  IOMMU_IOAS_MAP_READABLE: READABLE,
  IOMMU_IOAS_MAP_WRITEABLE: WRITEABLE,
} = iommufd_ioas_map_flags.values;
/** For fuzzing: the source is told as the number of a mapping and an offset in it. */
const SYZ = 1 << 16;

/** An IOAS; mostly one that maps page by page, since otherwise what lies next to what physically is seen in dirty bits. */
export function allocIoas(s: Session): void {
  const { result, out } = s.ioctl(IOMMU_IOAS_ALLOC, { flags: s.zero() });
  if (result < 0) return;
  const smallPages = s.random.percent(65);
  s.add({ id: out.out_ioas_id, kind: 'ioas', smallPages });
  if (!smallPages) return;
  const option_id = iommufd_option.values.IOMMU_OPTION_HUGE_PAGES;
  s.machine.ioctl(s.fd, IOMMU_OPTION, { option_id, op: 0, object_id: out.out_ioas_id, val64: 0n });
}

function mapFlags(s: Session): number {
  const fixed = s.random.percent(80) ? FIXED : 0;
  const prot = s.random.weighted([
    [75, READABLE | WRITEABLE],
    [12, READABLE],
    [10, WRITEABLE],
    [3, 0],
  ]);
  return s.flags(fixed | prot, [], 2);
}

/** An address and what lies there. */
export function place(s: Session): { address: bigint; length: bigint; from: 'memory' | 'nowhere'; offset: number } {
  const { random, machine } = s;
  const { offset, length } = s.slice();
  const address = machine.memory.address + BigInt(offset);
  return random.weighted<() => ReturnType<typeof place>>([
    [92, () => ({ address, length: BigInt(length), from: 'memory', offset })],
    // Nothing is ever mapped so low, nor where no address of a process can be.
    [3, () => ({ address: random.pick([0n, PAGE, 2048n]), length: BigInt(length), from: 'nowhere', offset: 0 })],
    [2, () => ({ address: 2n ** 47n, length: random.pick([2n ** 44n, 0x4000_0000n]), from: 'nowhere', offset: 0 })],
    [2, () => ({ address, length: 0n, from: 'nowhere', offset: 0 })],
    [2, () => lastPages(s)],
    [1, () => ({ address: random.pick([U64_MAX, 2n ** 63n]), length: PAGE, from: 'nowhere', offset: 0 })],
    [
      1,
      () => ({
        address: 2n ** 47n,
        length: random.pick([U64_MAX, U64_MAX - 1n, 2n ** 63n]),
        from: 'nowhere',
        offset: 0,
      }),
    ],
  ])();
}

/** Memory that ends, with a page of nothing behind it or without. */
function lastPages({ random, machine }: Session): ReturnType<typeof place> {
  const count = 1 + random.below(4);
  const length = PAGE * BigInt(count + (random.percent(70) ? 1 : 0));
  return { address: machine.lastPages(count), length, from: 'nowhere', offset: 0 };
}

export function map(s: Session): void {
  const { address, length, from, offset } = place(s);
  const ioas_id = s.id('ioas');
  const { result, out } = s.ioctl(IOMMU_IOAS_MAP, {
    flags: mapFlags(s),
    ioas_id,
    __reserved: s.zero(),
    user_va: address,
    length,
    iova: s.iova(),
  });
  if (result === 0) s.addMapping({ ioas: ioas_id, iova: out.iova, length, from, offset });
}

function mapFile(s: Session): void {
  const { random, machine } = s;
  const { offset, length } = s.slice();
  const [start, bytes, from] = random.weighted<readonly [bigint, bigint, 'file' | 'nowhere']>([
    [93, [BigInt(offset), BigInt(length), 'file']],
    [3, [BigInt(offset), BigInt(s.machine.size), 'nowhere']],
    [2, [BigInt(s.machine.size) + PAGE * BigInt(random.below(3)), PAGE, 'nowhere']],
    [1, [U64_MAX, BigInt(length), 'nowhere']],
    [1, [BigInt(offset), random.pick([0n, U64_MAX, U64_MAX - 1n, 2n ** 63n]), 'nowhere']],
  ]);
  const fd = random.percent(95) ? machine.file.fd : random.pick([machine.eventfd, s.fd, -1]);
  const ioas_id = s.id('ioas');
  const input = { flags: mapFlags(s), ioas_id, fd, start, length: bytes, iova: s.iova() };
  const { result, out } = s.ioctl(IOMMU_IOAS_MAP_FILE, input);
  const known = fd === machine.file.fd ? from : 'nowhere';
  if (result === 0) s.addMapping({ ioas: ioas_id, iova: out.iova, length: bytes, from: known, offset });
}

function copy(s: Session): void {
  const source = s.mapping();
  const src_ioas_id = source !== undefined && s.random.percent(90) ? source.ioas : s.id('ioas');
  const dst_ioas_id = s.id('ioas');
  const src_iova = s.mappedIova(source);
  const length = s.length(source?.length);
  const flags = mapFlags(s);
  const where = { length, dst_iova: s.iova(), src_ioas_id, dst_ioas_id };
  const syz = s.random.percent(4);
  const nth = BigInt(s.random.below(3)) | (BigInt(s.random.below(2) * 4096) << 32n);
  const input = syz ? { flags: flags | SYZ, ...where, src_iova: nth } : { flags, ...where, src_iova };
  const { result, out } = s.ioctl(IOMMU_IOAS_COPY, input);
  if (result < 0) return;
  const from = source === undefined || src_ioas_id !== source.ioas || syz ? 'nowhere' : source.from;
  const offset = (source?.offset ?? 0) + Number(src_iova - (source?.iova ?? 0n));
  s.addMapping({ ioas: dst_ioas_id, iova: out.dst_iova, length, from, offset });
}

function unmap(s: Session): void {
  const mapping = s.mapping();
  const ioas_id = mapping !== undefined && s.random.percent(92) ? mapping.ioas : s.id('ioas');
  const all = s.random.percent(8);
  const iova = all ? 0n : s.mappedIova(mapping);
  const length = all ? U64_MAX : s.length(mapping?.length);
  const { result } = s.ioctl(IOMMU_IOAS_UNMAP, { ioas_id, iova, length });
  if (result === 0) s.forgetMappings(ioas_id, iova, length);
}

/** An array of ranges, mostly in order and apart. */
function ranges(s: Session, count: number): Uint8Array {
  const bytes = new Uint8Array(count * iommu_iova_range.size);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    const start = s.random.percent(80) ? s.iova() & ~(PAGE - 1n) : s.iova();
    const last = s.random.weighted<bigint>([
      [85, start + PAGE * BigInt(1 + s.random.below(16)) - 1n],
      [5, start],
      [5, start - 1n],
      [5, U64_MAX],
    ]);
    iommu_iova_range.encode(view, i * iommu_iova_range.size, { start, last: BigInt.asUintN(64, last) });
  }
  return bytes;
}

function allowIovas(s: Session): void {
  const count = s.random.weighted([
    [30, 0],
    [40, 1],
    [30, 2 + s.random.below(3)],
  ]);
  const bytes = ranges(s, count);
  const allowed_iovas = s.random.percent(97) ? s.buffer(bytes) : 0n;
  s.ioctl(IOMMU_IOAS_ALLOW_IOVAS, { ioas_id: s.id('ioas'), num_iovas: count, __reserved: s.zero(), allowed_iovas });
}

function iovaRanges(s: Session): void {
  const room = s.random.pick([0, 1, 2, 8, 8, 8]);
  const allowed_iovas = s.buffer(new Uint8Array(room * iommu_iova_range.size));
  s.ioctl(IOMMU_IOAS_IOVA_RANGES, { ioas_id: s.id('ioas'), num_iovas: room, __reserved: s.zero(), allowed_iovas });
}

function addReserved(s: Session): void {
  s.test('IOMMU_TEST_OP_ADD_RESERVED', test_add_reserved, {
    id: s.id('ioas'),
    start: s.iova(),
    length: s.length(),
  });
}

function option(s: Session): void {
  const { IOMMU_OPTION_HUGE_PAGES: HUGE, IOMMU_OPTION_RLIMIT_MODE: RLIMIT } = iommufd_option.values;
  const option_id = s.random.weighted([
    [60, HUGE],
    [36, RLIMIT],
    [4, 2 + s.random.below(3)],
  ]);
  const object_id = option_id === RLIMIT && s.random.percent(90) ? 0 : s.id('ioas');
  const op = s.random.pick([0, 1, 1, s.random.below(3)]);
  const val64 = s.random.pick([0n, 1n, 2n, U64_MAX]);
  // Whether an address space maps page by page is known to this program, and must stay so.
  if (option_id === HUGE && op === 0 && val64 === 1n && s.things.get(object_id)?.smallPages === true) return;
  s.ioctl(IOMMU_OPTION, { option_id, op, __reserved: s.zero(), object_id, val64 });
}

function changeProcess(s: Session): void {
  s.ioctl(IOMMU_IOAS_CHANGE_PROCESS, { __reserved: s.zero() });
}

/** Within one page: what lies behind it physically is not the same everywhere. */
function physicalAddress(s: Session): void {
  const mapping = s.mapping();
  s.ioctl(IOMMU_IOAS_NOIOMMU_GET_PA, {
    flags: s.zero(),
    ioas_id: mapping?.ioas ?? s.id('ioas'),
    __reserved: s.zero(),
    iova: s.mappedIova(mapping),
    length: s.random.pick([0n, 1n, 4096n]),
  });
}

export const addressSpaceSteps: readonly Weighted[] = [
  [6, allocIoas],
  [34, map],
  [14, mapFile],
  [20, copy, 'mapping'],
  [24, unmap, 'mapping'],
  [5, allowIovas],
  [8, iovaRanges],
  [3, addReserved],
  [4, option],
  [2, changeProcess],
  [1, physicalAddress, 'mapping'],
];

/** Options of the whole file, which can be set while there is nothing in it. */
export function rlimitMode(s: Session): void {
  const option_id = iommufd_option.values.IOMMU_OPTION_RLIMIT_MODE;
  s.ioctl(IOMMU_OPTION, { option_id, op: 0, object_id: 0, val64: s.random.pick([0n, 1n, 1n, 2n, BigInt(U32_MAX)]) });
}
