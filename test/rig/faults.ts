// Devices that fault on demand, and the queue their page requests go to.
import assert from 'node:assert/strict';
import { test_trigger_iopf } from '../../lib/emulated/hardware/selftest/uapi.js';
import type { Device, FaultQueue, HwptNested, HwptPaging, Ioas, PageFaultGroup } from '../../lib/index.js';
import { lackingIn } from './lacking.js';
import { testCmd } from './mock.js';
import { nestedOptions } from './mock-checks.js';
import { type Bench, portOf } from './suite.js';

export interface Fault {
  readonly addr?: bigint;
  readonly pasid?: number;
  readonly grpid?: number;
  readonly perm?: number;
}

/** A device on a page table of its own, whose page requests go to a fault queue. */
export function makeFaulter(t: Bench) {
  const { device } = t.mockDevice();
  const queue = t.iommufd.allocFaultQueue();
  const ioas = t.iommufd.allocIoas();
  const hwpt = allocWithQueue(device, ioas, queue);
  device.attach(hwpt);
  return { device, queue, ioas, hwpt, fault: faulter(t, device.id) };
}

/** Before Linux 6.13 only nested page tables have fault queues: then one that nests straight from its parent. */
function allocWithQueue(device: Device, ioas: Ioas, faultQueue: FaultQueue): HwptPaging | HwptNested {
  try {
    return ioas.allocHwpt(device, { faultQueue });
  } catch (error) {
    if (lackingIn(error) === undefined) throw error;
    return ioas.allocHwpt(device, { nestParent: true }).allocNestedHwpt(device, { ...nestedOptions(), faultQueue });
  }
}

export function faulter(t: Bench, dev_id: number): (fault?: Fault) => void {
  return (fault = {}) => {
    testCmd(portOf(t), 'IOMMU_TEST_OP_TRIGGER_IOPF', test_trigger_iopf, { dev_id, ...fault });
  };
}

export function only(groups: readonly PageFaultGroup[]): PageFaultGroup {
  assert.equal(groups.length, 1);
  const [group] = groups;
  assert(group !== undefined);
  return group;
}
