// The operations of page tables, virtual IOMMUs, devices and event queues, each with what it needs.
import assert from 'node:assert/strict';
import { iommu_test_numbers } from '../../lib/emulated/hardware/selftest/uapi.js';
import type { Veventq } from '../../lib/index.js';
import { calm, type Operation, takes } from './memory-operation.js';
import { FREE, IOVA, QUEUES, SIZE, type Site, SMMUS, STREAM, VIOMMUS } from './memory-site.js';

const VTD = ['intel-vtd'] as const;
const MOCK = ['selftest'] as const;
/** The machines whose devices wait for pages. */
const FAULTING = [...VTD, ...MOCK];
const NUMBERS = iommu_test_numbers.values;

/** CMD_TLBI_NSNH_ALL (Arm IHI 0070, 4.4). */
const SMMU_REQUEST = { smmuv3: BigUint64Array.of(0x30n, 0n) };
const MOCK_REQUEST = {
  type: NUMBERS.IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
  entryLength: 12,
  entries: Uint8Array.of(1, 0, 0, 0, Number(STREAM), 0, 0, 0, 0, 0, 0, 0),
};
const MOCK_NESTED_REQUEST = {
  type: NUMBERS.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST,
  entryLength: 8,
  entries: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0),
};
const VTD_REQUEST = { vtd: [{ address: IOVA, pages: 1n }] };

/** A page table with the device on it that can tell what was written. */
function tracked(site: Site) {
  site.needs('dirty-tracking');
  const { device, ioas } = site;
  const hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
  device.attach(hwpt);
  return hwpt;
}

const HWPTS: readonly Operation[] = [
  calm('HwptPaging.setDirtyTracking', (site) => {
    const hwpt = tracked(site);
    return () => hwpt.setDirtyTracking(true);
  }),
  calm('HwptPaging.dirtyBitmap', (site) => {
    const hwpt = tracked(site);
    return () => hwpt.dirtyBitmap({ iova: IOVA, length: SIZE }).free();
  }),
  takes('DirtyBitmap.read', (site) => {
    const hwpt = tracked(site);
    hwpt.setDirtyTracking(true);
    site.place.write(site, hwpt, IOVA);
    const bitmap = hwpt.dirtyBitmap({ iova: IOVA, length: SIZE });
    // It has a place of its own from the first time on.
    bitmap.read();
    site.later(() => bitmap.free());
    return () => bitmap.read();
  }),
  takes('HwptPaging.allocViommu', (site) => () => site.viommu(), VIOMMUS),
  takes(
    'HwptPaging.allocNestedHwpt',
    (site) => {
      const { parent, device, nestedOptions } = site;
      return () => parent.allocNestedHwpt(device, nestedOptions);
    },
    [...VTD, ...MOCK],
  ),
  calm(
    'HwptNested.invalidate',
    (site) => {
      const nested = site.nested();
      site.device.attach(nested);
      return () => nested.invalidate(VTD_REQUEST);
    },
    VTD,
  ),
  calm(
    'HwptNested.tryInvalidate',
    (site) => {
      const nested = site.parent.allocNestedHwpt(site.device, site.nestedOptions);
      return () => {
        const { refusal } = nested.tryInvalidate(MOCK_NESTED_REQUEST);
        if (refusal !== undefined) throw refusal;
      };
    },
    MOCK,
  ),
];

const VIOMMU: readonly Operation[] = [
  takes(
    'Viommu.allocVdevice',
    (site) => {
      const viommu = site.viommu();
      return () => viommu.allocVdevice(site.device, { virtId: STREAM });
    },
    VIOMMUS,
  ),
  takes(
    'Viommu.allocVeventq',
    (site) => {
      const viommu = site.viommu();
      return () => site.veventq(viommu);
    },
    VIOMMUS,
  ),
  takes(
    'Viommu.allocHwQueue',
    (site) => {
      const viommu = site.furnished();
      return () => site.hwQueue(viommu);
    },
    QUEUES,
  ),
  takes(
    'Viommu.allocNestedHwpt',
    (site) => {
      const viommu = site.furnished();
      return () => viommu.allocNestedHwpt(site.device, site.nestedOptions);
    },
    VIOMMUS,
  ),
  takes(
    'Viommu.invalidate',
    (site) => {
      const viommu = site.furnished();
      return () => viommu.invalidate(SMMU_REQUEST);
    },
    SMMUS,
  ),
  takes(
    'Viommu.invalidate: the mock',
    (site) => {
      const viommu = site.furnished();
      return () => viommu.invalidate(MOCK_REQUEST);
    },
    MOCK,
  ),
  takes(
    'Viommu.tryInvalidate',
    (site) => {
      const viommu = site.furnished();
      return () => {
        const { refusal } = viommu.tryInvalidate(SMMU_REQUEST);
        if (refusal !== undefined) throw refusal;
      };
    },
    SMMUS,
  ),
  calm(
    'Viommu.mmap',
    (site) => {
      const viommu = site.viommu();
      return () => viommu.mmap();
    },
    QUEUES,
  ),
  calm(
    'HwQueue.mmap',
    (site) => {
      const queue = site.hwQueue(site.furnished());
      return () => queue.mmap();
    },
    MOCK,
  ),
];

const DEVICES: readonly Operation[] = [
  takes(
    'Device.hwInfo',
    ({ device }) =>
      () =>
        device.hwInfo(),
  ),
  takes(
    'Device.attach',
    ({ device, ioas }) =>
      () =>
        device.attach(ioas),
  ),
  takes(
    'Device.attach: a page table',
    ({ device, parent }) =>
      () =>
        device.attach(parent),
  ),
  takes('Device.attach: in place of another', ({ device, ioas, parent }) => {
    device.attach(parent);
    return () => device.attach(ioas);
  }),
  takes('Device.attach: nested', (site) => {
    const nested = site.nested();
    return () => site.device.attach(nested);
  }),
  takes('Device.attach: a PASID', (site) => {
    site.needs('pasids');
    const { device, ioas } = site;
    const table = ioas.allocHwpt(device, { pasid: true });
    device.attach(table);
    return () => device.attach(table, { pasid: 5 });
  }),
  takes('Device.tryAttach', ({ device, ioas }) => () => {
    const { refusal } = device.tryAttach(ioas);
    if (refusal !== undefined) throw refusal;
  }),
  takes(
    'Device.attachAsync',
    ({ device, ioas }) =>
      () =>
        device.attachAsync(ioas),
  ),
  calm('Device.detach', ({ device, ioas }) => {
    device.attach(ioas);
    return () => device.detach();
  }),
];

/** A device that waits for a page which is not there, and the queue that tells of it. */
function waiting(site: Site) {
  site.needs('page-requests');
  const queue = site.iommufd.allocFaultQueue();
  site.device.attach(site.ioas.allocHwpt(site.device, { faultQueue: queue }));
  const arrives = site.place.requestPage(site, FREE);
  return { queue, arrives };
}

/** An event queue that lost one: the kernel allocates to tell of it. */
function lossy(site: Site): Veventq {
  const viommu = site.furnished();
  const queue = site.veventq(viommu, 1);
  site.device.attach(viommu.allocNestedHwpt(site.device, site.nestedOptions));
  site.place.loseEvent(site);
  return queue;
}

/** What comes first, and then no more is read. */
async function firstOf(events: AsyncIterableIterator<unknown>): Promise<void> {
  try {
    assert.equal((await events.next()).done, false);
  } finally {
    await events.return?.();
  }
}

const EVENTS: readonly Operation[] = [
  takes(
    'FaultQueue.drain',
    (site) => {
      const { queue } = waiting(site);
      return () => assert.equal(queue.drain().length, 1);
    },
    FAULTING,
  ),
  calm(
    'FaultQueue.respond',
    (site) => {
      const { queue, arrives } = waiting(site);
      const [group] = queue.drain();
      return async () => {
        if (group !== undefined) queue.respond(group, 'invalid');
        await arrives;
      };
    },
    FAULTING,
  ),
  takes(
    'FaultQueue.read',
    (site) => {
      const { queue } = waiting(site);
      return () => firstOf(queue.read());
    },
    FAULTING,
  ),
  takes(
    'Veventq.read: what was lost',
    (site) => {
      const queue = lossy(site);
      return () => firstOf(queue.read());
    },
    MOCK,
  ),
  takes(
    'Veventq.drain: what was lost',
    (site) => {
      const queue = lossy(site);
      return () => assert.equal(queue.drain().at(-1)?.type, 'lost');
    },
    MOCK,
  ),
];

export const IOMMU_OPERATIONS: readonly Operation[] = [...HWPTS, ...VIOMMU, ...DEVICES, ...EVENTS];
