// Accesses: what a driver does that has no IOMMU to go through; and how often memory is pinned.
import * as mock from '../../../lib/emulated/hardware/selftest/uapi.js';
import { type Access, type Mapping, PAGE, type Session } from '../session.js';
import type { Weighted } from './step.js';

const { MOCK_FLAGS_ACCESS_WRITE: WRITE, MOCK_FLAGS_ACCESS_SYZ: SYZ } = mock.mock_flags_access.values;
const { MOCK_ACCESS_RW_WRITE: RW_WRITE, MOCK_ACCESS_RW_SLOW_PATH: RW_SLOW } = mock.mock_access_rw.values;
/** Bytes that are read or written at once. */
const LONGEST = 0x8000n;

export function createAccess(s: Session): void {
  const flags = s.flags(s.random.percent(75) ? 1 : 0, [], 2);
  const ioas = s.id('ioas');
  const { result, out } = s.test('IOMMU_TEST_OP_CREATE_ACCESS', mock.test_create_access, { id: ioas, flags });
  if (result < 0) return;
  s.machine.seam.own(out.out_access_fd);
  s.accesses.push({ fd: out.out_access_fd, pins: (flags & 1) !== 0, ioas, pinned: 0 });
}

/** Mostly an access; sometimes a file that is none, or no file. */
function file(s: Session, access: Access | undefined): number {
  if (access !== undefined && s.random.percent(96)) return access.fd;
  return s.random.pick([s.machine.eventfd, s.fd, 0x7fff_fff0]);
}

function replaceIoas(s: Session): void {
  const access = s.random.pick(s.accesses);
  const input = { id: file(s, access), ioas_id: s.id('ioas') };
  const { result } = s.test('IOMMU_TEST_OP_ACCESS_REPLACE_IOAS', mock.test_access_replace_ioas, input);
  if (result === 0 && access !== undefined) access.ioas = input.ioas_id;
}

/** Mostly of what the access is attached to. */
function itsMapping(s: Session, access: Access | undefined): Mapping | undefined {
  return (s.random.percent(90) ? s.mapping(access?.ioas) : undefined) ?? s.mapping();
}

/** An IOVA as the mock's fuzzing mode takes it: the number of a mapping, and an offset in it. */
function nth(s: Session): bigint {
  return BigInt(s.random.below(3)) | (BigInt(s.random.pick([0, 0, 4096, 100])) << 32n);
}

function pinPages(s: Session): void {
  const { random } = s;
  const access = random.pick(s.accesses.filter(({ pins }) => pins || random.percent(10)));
  const mapping = itsMapping(s, access);
  const iova = s.mappedIova(mapping);
  const syz = random.percent(5);
  const into = Number(BigInt.asIntN(64, iova - (mapping?.iova ?? 0n)));
  const offset = (mapping?.offset ?? 0) + into;
  const region = mapping?.from === 'file' ? s.machine.file : s.machine.memory;
  const length = s.length(mapping?.length);
  // What lies behind the memory is not the same everywhere.
  const inside = offset >= 0 && BigInt(offset) + length <= BigInt(s.machine.size);
  const known = mapping !== undefined && mapping.from !== 'nowhere' && inside;
  const { result, out } = s.test('IOMMU_TEST_OP_ACCESS_PAGES', mock.test_access_pages, {
    id: file(s, access),
    flags: s.flags(random.percent(50) ? WRITE : 0, [], 2) | (syz ? SYZ : 0),
    iova: syz ? nth(s) : iova,
    length,
    uptr: known && random.percent(60) ? region.address + BigInt(offset) : random.percent(5) ? PAGE : 0n,
  });
  if (result === 0 && access !== undefined) access.pinned = out.out_access_pages_id + 1;
}

function unpinPages(s: Session): void {
  const access = s.random.pick(s.accesses);
  s.test('IOMMU_TEST_OP_DESTROY_ACCESS_PAGES', mock.test_destroy_access_pages, {
    id: file(s, access),
    access_pages_id: s.random.below((access?.pinned ?? 0) + 1),
  });
}

function readWrite(s: Session): void {
  const { random } = s;
  const access = random.pick(s.accesses);
  const mapping = itsMapping(s, access);
  const syz = random.percent(5);
  const wanted = random.percent(30) ? s.length(mapping?.length) : BigInt(1 + random.below(64));
  const length = wanted > LONGEST && wanted <= 16n << 20n ? LONGEST : wanted;
  const bytes = new Uint8Array(Number(length > LONGEST ? 0n : length)).fill(1 + random.below(255));
  const flags = random.pick([0, RW_WRITE, RW_WRITE, RW_SLOW, RW_WRITE | RW_SLOW]);
  s.test('IOMMU_TEST_OP_ACCESS_RW', mock.test_access_rw, {
    id: file(s, access),
    iova: syz ? nth(s) : s.mappedIova(mapping),
    length,
    uptr: random.percent(97) ? s.buffer(bytes) : PAGE,
    flags: s.flags(flags | (syz ? SYZ : 0), [], 2),
  });
}

function memoryLimit(s: Session): void {
  const limit = s.random.pick([0, 11, 12, 16, 4096, 65536]);
  s.test('IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT', mock.test_memory_limit, { limit });
}

/** How often each of some pages is pinned, which the mock tells by yes and no only. */
export function countPins(s: Session): void {
  const { random, machine } = s;
  const region = random.percent(50) ? machine.memory : machine.file;
  const first = random.percent(75) ? random.below(8) : random.below(s.machine.size / Number(PAGE));
  for (let refs = 0; refs < 6; refs++) {
    const uptr = region.address + PAGE * BigInt(first);
    const input = { length: PAGE, uptr, refs };
    if (machine.test(s.fd, 'IOMMU_TEST_OP_MD_CHECK_REFS', mock.test_check_refs, input).result === 0) break;
  }
}

function checkRefs(s: Session): void {
  const { offset, length } = s.slice();
  s.test('IOMMU_TEST_OP_MD_CHECK_REFS', mock.test_check_refs, {
    length: BigInt(length),
    uptr: s.random.percent(95) ? s.machine.memory.address + BigInt(offset) : PAGE,
    refs: s.random.below(3),
  });
}

export const accessSteps: readonly Weighted[] = [
  [5, createAccess],
  [4, replaceIoas, 'access'],
  [18, pinPages, 'access'],
  [7, unpinPages, 'access'],
  [16, readWrite, 'access'],
  [1, memoryLimit],
  [14, countPins, 'mapping'],
  [2, checkRefs],
];
