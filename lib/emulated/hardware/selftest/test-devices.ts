// Test operations that make mock devices and attach them (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { Command } from '../../kernel/command.js';
import { bindDevice, type IommufdDevice } from '../../kernel/device.js';
import { NO_PASID } from '../../kernel/iommu-group.js';
import { IommufdObject } from '../../kernel/object-table.js';
import type { SelftestMachine } from './machine.js';
import { HUGE_IOVA, type MockDevice } from './mock-device.js';
import {
  iommu_test_cmd,
  iommu_test_op,
  mock_flags_device,
  mockPasidSince,
  test_mock_domain_flags,
  test_mock_domain_replace,
} from './uapi.js';

const { IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS: WITH_FLAGS } = iommu_test_op.values;
const FLAGS = mock_flags_device.values;
const AT = test_mock_domain_flags.at;

/** Stands for a mock device and its attachment; destroying it takes both away. */
export class SelftestObject extends IommufdObject {
  readonly kind = 'selftest';
  device: IommufdDevice | undefined;
  mock: MockDevice | undefined;
  readonly #machine: SelftestMachine;

  constructor(machine: SelftestMachine) {
    super();
    this.#machine = machine;
  }

  destroy(): void {
    this.device?.detach(NO_PASID);
    this.device?.unbind();
    if (this.mock !== undefined) this.#machine.unplug(this.mock);
  }
}

function makeMock(machine: SelftestMachine, flags: number): MockDevice | number {
  const known = machine.kernel.has(mockPasidSince) ? FLAGS.MOCK_FLAGS_DEVICE_PASID : HUGE_IOVA;
  if ((flags & ~(FLAGS.MOCK_FLAGS_DEVICE_NO_DIRTY | known)) !== 0) return -ERRNO.EINVAL;
  return machine.kernel.allocates() ? machine.plug(flags) : -ERRNO.ENOMEM;
}

/** MOCK_DOMAIN and MOCK_DOMAIN_FLAGS: a new device, bound and attached. */
export function makeDevice(command: Command, machine: SelftestMachine): number {
  const { context } = command;
  if (!machine.kernel.allocates()) return -ERRNO.ENOMEM;
  const object = new SelftestObject(machine);
  context.objects.reserve(object);
  command.made = object;
  const flags = command.get(AT.op) === WITH_FLAGS ? command.get(AT.dev_flags) : 0;
  const mock = makeMock(machine, flags);
  if (typeof mock === 'number') return mock;
  object.mock = mock;
  const device = bindDevice(context, mock);
  if (typeof device === 'number') return device;
  object.device = device;
  const pageTable = device.attach(NO_PASID, command.get(AT.id));
  if (pageTable < 0) return pageTable;
  command.set(AT.out_hwpt_id, pageTable);
  command.set(AT.out_stdev_id, object.id);
  command.set(AT.out_idev_id, device.id);
  return command.respond(iommu_test_cmd.size);
}

/** The mock device that an id stands for. */
export function selftestObject(command: Command): SelftestObject | undefined {
  return command.context.objects.get(command.get(iommu_test_cmd.at.id), SelftestObject);
}

/** MOCK_DOMAIN_REPLACE: attaches the device to something else. */
export function replaceDomain(command: Command): number {
  const AT_ID = test_mock_domain_replace.at.pt_id;
  const device = selftestObject(command)?.device;
  if (device === undefined) return -ERRNO.ENOENT;
  const pageTable = device.replace(NO_PASID, command.get(AT_ID));
  if (pageTable < 0) return pageTable;
  command.set(AT_ID, pageTable);
  return command.respond(iommu_test_cmd.size);
}
