// Calls that only together reach what they are about: page requests that are answered, dirty pages that are found, PASIDs
// that move and fail to, events that overflow.
import * as mock from '../../../lib/emulated/hardware/selftest/uapi.js';
import {
  IOMMU_FAULT_QUEUE_ALLOC,
  IOMMU_HWPT_ALLOC,
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_UNMAP,
  iommu_hwpt_page_response,
  iommu_hwpt_pgfault,
  iommufd_hwpt_alloc_flags,
  iommufd_ioas_map_flags,
} from '../../../lib/uapi/index.js';
import { APERTURE, PAGE, type Session, type Thing } from '../session.js';
import type { Weighted } from './step.js';

const { IOMMU_HWPT_FAULT_ID_VALID: FAULT, IOMMU_HWPT_ALLOC_PASID: PASID } = iommufd_hwpt_alloc_flags.values;

const { IOMMU_IOAS_MAP_FIXED_IOVA: FIXED, ...RIGHTS } = iommufd_ioas_map_flags.values;
const RW = RIGHTS.IOMMU_IOAS_MAP_READABLE | RIGHTS.IOMMU_IOAS_MAP_WRITEABLE;

/** An attachment and the device that it stands for. */
function attached(s: Session): { attachment: number; device: number } | undefined {
  const thing = s.thing('attachment');
  return thing?.device === undefined ? undefined : { attachment: thing.id, device: thing.device };
}

function attach(s: Session, attachment: number, pt_id: number, pasid = 0): number {
  if (pasid === 0) {
    const op = 'IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE';
    return s.machine.test(s.fd, op, mock.test_mock_domain_replace, { id: attachment, pt_id }).result;
  }
  const replaces = s.pasids.get(attachment)?.has(pasid) === true;
  const op = replaces ? 'IOMMU_TEST_OP_PASID_REPLACE' : 'IOMMU_TEST_OP_PASID_ATTACH';
  const { result } = s.machine.test(s.fd, op, mock.test_pasid_attach, { id: attachment, pasid, pt_id });
  if (result === 0) s.pasids.get(attachment)?.add(pasid);
  return result;
}

function detach(s: Session, attachment: number, pasid: number): void {
  s.machine.test(s.fd, 'IOMMU_TEST_OP_PASID_DETACH', mock.test_pasid_detach, { id: attachment, pasid });
  s.pasids.get(attachment)?.delete(pasid);
}

/** A page table, in an address space or under a vIOMMU, and maybe with a fault queue. */
function table(s: Session, device: number, flags: number, fault_id = 0): Thing | undefined {
  const over = s.random.percent(30) ? s.thing('viommu') : undefined;
  const pt_id = over?.id ?? s.thing('ioas')?.id;
  if (pt_id === undefined) return undefined;
  const data =
    over === undefined ? {} : { data_type: mock.iommu_test_numbers.values.IOMMU_HWPT_DATA_SELFTEST, data_len: 8 };
  const data_uptr = over === undefined ? 0n : s.buffer(new Uint8Array(8));
  const input = { flags, dev_id: device, pt_id, fault_id, data_uptr, ...data };
  const { result, out } = s.machine.ioctl(s.fd, IOMMU_HWPT_ALLOC, input);
  if (result < 0) return undefined;
  const kind = over === undefined ? 'paging' : 'nested';
  const smallPages = s.things.get(pt_id)?.smallPages === true;
  const thing = { id: out.out_hwpt_id, kind, pasid: (flags & PASID) !== 0, ioas: pt_id, smallPages } as const;
  s.add(thing);
  return thing;
}

function faultQueue(s: Session): { id: number; fd: number } | undefined {
  const { result, out } = s.machine.ioctl(s.fd, IOMMU_FAULT_QUEUE_ALLOC, {});
  if (result < 0) return undefined;
  s.addEvents(out.out_fault_id, out.out_fault_fd, 'fault');
  return { id: out.out_fault_id, fd: out.out_fault_fd };
}

function request(s: Session, device: number, pasid: number): void {
  const { random } = s;
  s.machine.test(s.fd, 'IOMMU_TEST_OP_TRIGGER_IOPF', mock.test_trigger_iopf, {
    dev_id: device,
    pasid,
    grpid: random.below(3),
    perm: random.below(16),
    addr: s.iova(),
  });
}

function answer(s: Session, fd: number, cookies: readonly number[]): void {
  const { size } = iommu_hwpt_page_response;
  const bytes = new Uint8Array(cookies.length * size);
  const view = new DataView(bytes.buffer);
  for (const [i, cookie] of cookies.entries()) {
    iommu_hwpt_page_response.encode(view, i * size, { cookie, code: s.random.percent(95) ? s.random.below(2) : 3 });
  }
  s.machine.write(fd, bytes);
}

/** Page requests: raised, read, answered, and given up as what they are about goes. */
function pageRequests(s: Session): void {
  const { random, machine } = s;
  const one = attached(s);
  const queue = faultQueue(s);
  if (one === undefined || queue === undefined) return;
  const pasid = random.percent(35) ? random.pick([1, 2, 1024]) : 0;
  const hwpt = table(s, one.device, FAULT | (random.percent(60) ? PASID : 0), queue.id);
  if (hwpt === undefined) return;
  if (attach(s, one.attachment, hwpt.id) === 0 && pasid !== 0) attach(s, one.attachment, hwpt.id, pasid);
  for (let round = 0; round <= random.below(6); round++) {
    random.weighted<() => void>([
      [10, () => request(s, one.device, random.pick([0, 0, pasid, 1, 7]))],
      [6, () => machine.read(queue.fd, iommu_hwpt_pgfault.size * (1 + random.below(3)))],
      [3, () => answer(s, queue.fd, random.percent(70) ? [random.below(4)] : [1, 2, random.below(5)])],
      [1, () => attach(s, one.attachment, s.id('ioas', 'paging'))],
      [1, () => attach(s, one.attachment, s.id('ioas', 'paging'), pasid)],
      [1, () => s.destroy(random.pick([hwpt.id, queue.id, one.attachment]))],
    ])();
    request(s, one.device, pasid);
  }
}

/** PASIDs that move between page tables; of 1024, every second move fails and must leave things as they were. */
function movingPasid(s: Session): void {
  const { random, machine } = s;
  const one = attached(s);
  if (one === undefined) return;
  const tables = [table(s, one.device, PASID), table(s, one.device, PASID)].flatMap((made) => made ?? []);
  const target = (): number => random.pick(tables)?.id ?? s.id('paging', 'nested', 'ioas');
  if (random.percent(90)) attach(s, one.attachment, target());
  const pasid = random.percent(60) ? 1024 : random.pick([1, 2]);
  for (let round = 0; round <= 2 + random.below(5); round++) {
    random.weighted<() => void>([
      [12, () => attach(s, one.attachment, random.percent(90) ? target() : s.id('ioas', 'nested'), pasid)],
      [2, () => attach(s, one.attachment, random.percent(60) ? target() : s.id('ioas', 'nested'))],
      [2, () => detach(s, one.attachment, pasid)],
      [1, () => detach(s, one.attachment, 0)],
      [2, () => s.destroy(target())],
    ])();
    const input = { id: one.attachment, pasid, hwpt_id: random.percent(70) ? target() : 0 };
    machine.test(s.fd, 'IOMMU_TEST_OP_PASID_CHECK_HWPT', mock.test_pasid_check, input);
  }
}

/** Events, of which a short queue loses some. */
function events(s: Session): void {
  const { random, machine } = s;
  const one = attached(s);
  const file = random.pick(s.eventFiles.filter(({ kind }) => kind === 'veventq'));
  if (one === undefined) return;
  for (let round = 0; round <= random.below(7); round++) {
    const dev_id = one.device;
    machine.test(s.fd, 'IOMMU_TEST_OP_TRIGGER_VEVENT', mock.test_trigger_vevent, { dev_id });
    if (file !== undefined && random.percent(40)) machine.read(file.fd, random.pick([8, 12, 12, 19, 20, 24, 100]));
  }
}

/** Pages that are written and found, through a page table that tracks that. */
function dirtyPages(s: Session): void {
  const { random, machine } = s;
  const tracks = ({ tracksDirty, smallPages }: Thing): boolean =>
    tracksDirty === true && (smallPages === true || machine.isContiguous);
  const hwpt = random.pick(s.all('paging').filter(tracks));
  const mapping = s.mapping(hwpt?.ioas);
  if (hwpt === undefined || mapping === undefined || mapping.length % 2048n !== 0n) return;
  const page_size = random.pick([PAGE, PAGE, 2048n, 8192n]);
  const start = mapping.iova - (mapping.iova % page_size);
  const pages = Number((mapping.length + page_size - 1n) / page_size);
  if (pages > 4096) return;
  const mark = (): void => {
    const bits = new Uint8Array(Math.ceil(pages / 8) + 8);
    for (let i = 0; i <= random.below(4); i++) {
      const bit = random.below(pages);
      bits[bit >> 3] = (bits[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
    const range = { id: hwpt.id, iova: start, length: BigInt(pages) * page_size, page_size };
    machine.test(s.fd, 'IOMMU_TEST_OP_DIRTY', mock.test_dirty, { ...range, uptr: s.buffer(bits) });
  };
  const find = (): void => {
    const first = random.percent(60) ? 0 : random.below(pages);
    const count = random.percent(60) ? pages - first : 1 + random.below(pages - first);
    const unit = random.percent(75) ? page_size : random.pick([2048n, PAGE, 8192n, 0x1_0000n]);
    machine.ioctl(s.fd, IOMMU_HWPT_GET_DIRTY_BITMAP, {
      hwpt_id: hwpt.id,
      flags: random.percent(50) ? 1 : 0,
      iova: start + BigInt(first) * page_size,
      length: BigInt(count) * page_size,
      page_size: unit,
      // Not always at the start of a word or a page.
      data: s.buffer(new Uint8Array(0x2000)) + BigInt(random.percent(70) ? 0 : random.pick([1, 8, 4090])),
    });
  };
  for (let round = 0; round <= random.below(4); round++) {
    mark();
    if (random.percent(80)) find();
    if (random.percent(30)) find();
  }
}

/** More mappings than an index holds in one piece, made and taken away in different orders. */
function manyMappings(s: Session): void {
  const { random, machine } = s;
  const ioas_id = s.id('ioas');
  const spread = random.pick([1, 1, 2, 16]);
  const iova = (): bigint => APERTURE.start + PAGE * BigInt(spread * random.below(160));
  for (let round = 0; round < 40 + random.below(100); round++) {
    const length = PAGE * BigInt(1 + (random.percent(15) ? random.below(4) : 0));
    if (random.percent(80)) {
      const flags = random.percent(85) ? RW | FIXED : RW;
      const user_va = machine.memory.address + PAGE * BigInt(random.below(16));
      const { result, out } = machine.ioctl(s.fd, IOMMU_IOAS_MAP, { flags, ioas_id, user_va, length, iova: iova() });
      if (result === 0) s.addMapping({ ioas: ioas_id, iova: out.iova, length, from: 'nowhere', offset: 0 });
    } else {
      const range = { iova: iova(), length: random.percent(70) ? length : PAGE * BigInt(random.below(40)) };
      const { result } = machine.ioctl(s.fd, IOMMU_IOAS_UNMAP, { ioas_id, ...range });
      if (result === 0) s.forgetMappings(ioas_id, range.iova, range.length);
    }
  }
}

export const stories: readonly Weighted[] = [
  [2, manyMappings, 'ioas'],
  [8, pageRequests, 'attachment'],
  [8, movingPasid, 'attachment'],
  [6, events, 'events'],
  [14, dirtyPages, 'paging'],
];
