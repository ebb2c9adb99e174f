// Which ioctls may make a file: for these the shim is asked for a socket first, since it has to be there when they run.
import { iommu_test_op } from '../emulated/hardware/selftest/uapi.js';
import type { Kernel } from '../emulated/kernel/kernel.js';
import type { AddressSpace } from '../emulated/memory/address-space.js';
import { IOMMU_FAULT_QUEUE_ALLOC, IOMMU_VEVENTQ_ALLOC } from '../uapi/iommufd-ioctls.js';
import { vfio_device_feature_flags, vfio_device_feature_index } from '../uapi/vfio-constants.js';
import { VFIO_DEVICE_FEATURE } from '../uapi/vfio-ioctls.js';

const FEATURES = vfio_device_feature_index.values;
const { VFIO_DEVICE_FEATURE_MASK: FEATURE_MASK } = vfio_device_feature_flags.values;

const ALWAYS: ReadonlySet<number> = new Set([IOMMU_FAULT_QUEUE_ALLOC.request, IOMMU_VEVENTQ_ALLOC.request]);
const TEST_OPERATIONS: ReadonlySet<number> = new Set([
  iommu_test_op.values.IOMMU_TEST_OP_CREATE_ACCESS,
  iommu_test_op.values.IOMMU_TEST_OP_DMABUF_GET,
]);
const DEVICE_FEATURES: ReadonlySet<number> = new Set([
  FEATURES.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
  FEATURES.VFIO_DEVICE_FEATURE_DMA_BUF,
]);

/** The second field of the struct, behind its size: an operation, or flags. */
function secondField(memory: AddressSpace, argument: number): number {
  const fields = new Uint32Array(2);
  return memory.read(argument, new Uint8Array(fields.buffer)) ? (fields[1] ?? 0) : 0;
}

export function mayMakeFile(kernel: Kernel, memory: AddressSpace, command: number, argument: number): boolean {
  if (ALWAYS.has(command)) return true;
  if (command === kernel.testCommand?.request) return TEST_OPERATIONS.has(secondField(memory, argument));
  const isFeature = command === VFIO_DEVICE_FEATURE.request;
  return isFeature && DEVICE_FEATURES.has(secondField(memory, argument) & FEATURE_MASK);
}
