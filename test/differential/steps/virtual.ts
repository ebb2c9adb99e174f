// vIOMMUs and what hangs from them; page requests and events.
import * as mock from '../../../lib/emulated/hardware/selftest/uapi.js';
import {
  IOMMU_FAULT_QUEUE_ALLOC,
  IOMMU_HW_QUEUE_ALLOC,
  IOMMU_VDEVICE_ALLOC,
  IOMMU_VEVENTQ_ALLOC,
  IOMMU_VIOMMU_ALLOC,
} from '../../../lib/uapi/index.js';
import { PAGE, type Session, U32_MAX, U64_MAX } from '../session.js';
import { driverData, virtualId } from './page-tables.js';
import type { Weighted } from './step.js';

const NUMBERS = mock.iommu_test_numbers.values;
const DATA = mock.iommu_viommu_selftest;

/** Mostly a nest parent. */
function parent(s: Session): number {
  const likely = s.all('paging').filter(({ nestParent }) => nestParent === true);
  return (s.random.percent(92) ? s.random.pick(likely)?.id : undefined) ?? s.id('paging', 'nested');
}

export function allocViommu(s: Session): void {
  const { random } = s;
  const bytes = new Uint8Array(DATA.size);
  DATA.encode(new DataView(bytes.buffer), 0, { in_data: random.below(100) });
  const data = random.percent(80) ? driverData(s, bytes) : { uptr: 0n, len: 0 };
  const hwpt_id = parent(s);
  const { result, out, buffers } = s.ioctl(IOMMU_VIOMMU_ALLOC, {
    flags: s.zero(),
    type: random.percent(95) ? NUMBERS.IOMMU_VIOMMU_TYPE_SELFTEST : random.below(3),
    dev_id: s.id('device'),
    hwpt_id,
    data_len: data.len,
    __reserved: s.zero(),
    data_uptr: data.uptr,
  });
  if (result < 0) return;
  const thing = { id: out.out_viommu_id, kind: 'viommu', ioas: s.things.get(hwpt_id)?.ioas ?? 0 } as const;
  const [answer] = buffers;
  if (answer === undefined || data.len < DATA.size || answer.length < DATA.size) {
    s.add(thing);
    return;
  }
  const { out_mmap_offset: offset, out_mmap_length: length } = DATA.decode(new DataView(answer.buffer), 0);
  s.add({ ...thing, mmap: { offset, length } });
}

export function allocVdevice(s: Session): void {
  const { result, out } = s.ioctl(IOMMU_VDEVICE_ALLOC, {
    viommu_id: s.id('viommu'),
    dev_id: s.id('device'),
    virt_id: s.random.percent(95) ? BigInt(virtualId(s)) : s.random.pick([U64_MAX, 2n ** 32n]),
  });
  if (result === 0) s.add({ id: out.out_vdevice_id, kind: 'vdevice' });
}

/** Within a page, unless it is the same everywhere which pages are neighbours physically. */
export function allocHwQueue(s: Session): void {
  const { random } = s;
  const viommu = s.thing('viommu');
  const mapping = s.mapping(viommu?.ioas) ?? s.mapping();
  const into = random.percent(70) ? 0n : BigInt(random.below(4096));
  const nesting_parent_iova = random.percent(3) ? into : (s.mappedIova(mapping) & ~(PAGE - 1n)) + into;
  const length = random.percent(92)
    ? 1n + BigInt(random.below(s.machine.isContiguous ? 0x8000 : Number(PAGE - into)))
    : random.pick([0n, U64_MAX, U64_MAX - into, U64_MAX - PAGE, 2n ** 63n]);
  const { result, out } = s.ioctl(IOMMU_HW_QUEUE_ALLOC, {
    flags: s.zero(),
    viommu_id: viommu !== undefined && random.percent(93) ? viommu.id : s.id('viommu'),
    type: random.percent(95) ? NUMBERS.IOMMU_HW_QUEUE_TYPE_SELFTEST : random.below(3),
    index: random.percent(93) ? random.below(2) : random.pick([2, U32_MAX]),
    nesting_parent_iova,
    length,
  });
  if (result === 0) s.add({ id: out.out_hw_queue_id, kind: 'hw-queue' });
}

export function allocVeventq(s: Session): void {
  const { random } = s;
  const { result, out } = s.ioctl(IOMMU_VEVENTQ_ALLOC, {
    flags: s.zero(),
    viommu_id: s.id('viommu'),
    type: random.percent(90) ? NUMBERS.IOMMU_VEVENTQ_TYPE_SELFTEST : random.below(3),
    veventq_depth: random.percent(92) ? 1 + random.below(3) : random.pick([0, 1 << 19, (1 << 19) + 1, U32_MAX]),
    __reserved: s.zero(),
  });
  if (result === 0) s.addEvents(out.out_veventq_id, out.out_veventq_fd, 'veventq');
}

export function allocFault(s: Session): void {
  const { result, out } = s.ioctl(IOMMU_FAULT_QUEUE_ALLOC, { flags: s.zero() });
  if (result === 0) s.addEvents(out.out_fault_id, out.out_fault_fd, 'fault');
}

function triggerFault(s: Session): void {
  s.test('IOMMU_TEST_OP_TRIGGER_IOPF', mock.test_trigger_iopf, {
    dev_id: s.id('device'),
    pasid: s.random.pick([0, 0, 0, 1, 2, 1024, U32_MAX]),
    grpid: s.random.below(4),
    perm: s.random.below(16),
    addr: s.iova(),
  });
}

export function triggerEvent(s: Session): void {
  s.test('IOMMU_TEST_OP_TRIGGER_VEVENT', mock.test_trigger_vevent, { dev_id: s.id('device') });
}

function checkCache(s: Session): void {
  s.test('IOMMU_TEST_OP_DEV_CHECK_CACHE', mock.test_check_dev_cache, {
    id: s.id('device'),
    check_dev_cache_id: s.random.percent(92) ? s.random.below(4) : s.random.pick([4, U32_MAX]),
    cache: s.random.pick([0, NUMBERS.IOMMU_TEST_DEV_CACHE_DEFAULT]),
  });
}

export const virtualSteps: readonly Weighted[] = [
  [10, allocViommu, 'device'],
  [10, allocVdevice, 'viommu'],
  [10, allocHwQueue, 'viommu'],
  [6, allocVeventq, 'viommu'],
  [4, allocFault],
  [10, triggerFault, 'device'],
  [9, triggerEvent, 'device'],
  [3, checkCache, 'device'],
];
