// One object of every class, made from each other as a VMM would.

import {
  iommu_hwpt_selftest,
  iommu_test_numbers,
  iommu_viommu_selftest,
} from '../../lib/emulated/hardware/selftest/uapi.js';
import { IOVA } from './address-space.js';
import type { Bench } from './suite.js';

const TYPES = iommu_test_numbers.values;

/** Everything there is, with memory mapped, a device attached and registers mapped. */
export function wholeGraph(t: Bench) {
  const { iommufd } = t;
  const { device } = t.mockDevice();
  const ram = t.memory(0x10000);
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: IOVA });
  const faultQueue = iommufd.allocFaultQueue();
  const parent = ioas.allocHwpt(device, { nestParent: true, dirtyTracking: true });
  const viommu = parent.allocViommu(device, {
    type: TYPES.IOMMU_VIOMMU_TYPE_SELFTEST,
    data: new Uint8Array(iommu_viommu_selftest.size),
    mmapPair: {
      offsetAt: iommu_viommu_selftest.at.out_mmap_offset,
      lengthAt: iommu_viommu_selftest.at.out_mmap_length,
    },
  });
  const vdevice = viommu.allocVdevice(device, { virtId: 0x99n });
  const veventq = viommu.allocVeventq({ depth: 4, type: TYPES.IOMMU_VEVENTQ_TYPE_SELFTEST, payloadSize: 4 });
  const queue = viommu.allocHwQueue({ type: TYPES.IOMMU_HW_QUEUE_TYPE_SELFTEST, index: 0, iova: IOVA, length: 0x1000 });
  const data = { type: TYPES.IOMMU_HWPT_DATA_SELFTEST, bytes: new Uint8Array(iommu_hwpt_selftest.size) };
  const nested = viommu.allocNestedHwpt(device, { data, faultQueue });
  device.attach(nested);
  const mmio = queue.mmap();
  const bitmap = parent.dirtyBitmap({ iova: IOVA, length: ram.size });
  t.later(() => bitmap.free());
  return { iommufd, device, ram, ioas, faultQueue, parent, viommu, vdevice, veventq, queue, nested, mmio, bitmap };
}

export type WholeGraph = ReturnType<typeof wholeGraph>;
