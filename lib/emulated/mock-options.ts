// What the objects of the mock IOMMU take: kinds that Linux's public headers do not name, and their driver data.
import { toU32 } from '../host/arguments.js';
import type { Fields, Input, Layout } from '../uapi/layout.js';
import {
  iommu_hwpt_selftest,
  iommu_test_numbers,
  iommu_viommu_event_selftest,
  iommu_viommu_selftest,
} from './hardware/selftest/uapi.js';

const NUMBERS = iommu_test_numbers.values;

function encode<F extends Fields>(layout: Layout<F>, input: Input<F>): Uint8Array {
  const bytes = new Uint8Array(layout.size);
  layout.encode(new DataView(bytes.buffer), 0, input);
  return bytes;
}

/**
 * Options for objects of the mock IOMMU, the one of the machine `selftest`: give them to the factories, beside options of your
 * own. Other machines take names instead, as real IOMMUs do: `{ type: 'arm-smmuv3' }`.
 */
export const mock = {
  /** `hwpt.allocViommu(device, mock.viommu())`. The first register of its MMIO page reads as `firstRegister` (32 bits). */
  viommu: (firstRegister = 0) => ({
    type: NUMBERS.IOMMU_VIOMMU_TYPE_SELFTEST,
    data: encode(iommu_viommu_selftest, { in_data: toU32(firstRegister, 'firstRegister') }),
    mmapPair: {
      offsetAt: iommu_viommu_selftest.at.out_mmap_offset,
      lengthAt: iommu_viommu_selftest.at.out_mmap_length,
    },
  }),
  /** `viommu.allocVeventq({ depth: 64, ...mock.veventq() })`. An event holds the device's virtual id (32 bits, little end first). */
  veventq: () => ({ type: NUMBERS.IOMMU_VEVENTQ_TYPE_SELFTEST, payloadSize: iommu_viommu_event_selftest.size }),
  /** `viommu.allocHwQueue({ index: 0, iova, length, ...mock.hwQueue() })`: there are queues 0 and 1. */
  hwQueue: () => ({ type: NUMBERS.IOMMU_HW_QUEUE_TYPE_SELFTEST }),
  /** `viommu.allocNestedHwpt(device, mock.nested())`, or the same on a nesting parent. DMA goes through the parent alone. */
  nested: () => ({
    data: {
      type: NUMBERS.IOMMU_HWPT_DATA_SELFTEST,
      // The part that Linux 6.12 knows too: it takes no more.
      bytes: encode(iommu_hwpt_selftest, { iotlb: NUMBERS.IOMMU_TEST_IOTLB_DEFAULT }).subarray(
        0,
        iommu_hwpt_selftest.end('iotlb'),
      ),
    },
  }),
} as const;
