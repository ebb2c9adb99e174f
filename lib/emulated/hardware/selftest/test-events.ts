// Test operations that make a mock device raise events (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { Command } from '../../kernel/command.js';
import { IommufdDevice } from '../../kernel/device.js';
import { NO_PASID } from '../../kernel/iommu-group.js';
import type { SelftestMachine } from './machine.js';
import { MockDevice } from './mock-device.js';
import { test_trigger_iopf, test_trigger_vevent } from './uapi.js';

const IOPF = test_trigger_iopf.at;

/** TRIGGER_IOPF: a page request, the only one of its group. */
export function triggerIopf(command: Command): number {
  const device = command.context.objects.get(command.get(IOPF.dev_id), IommufdDevice);
  if (device === undefined) return -ERRNO.ENOENT;
  if (!(device.dev instanceof MockDevice)) return -ERRNO.EINVAL;
  const pasid = command.get(IOPF.pasid);
  device.dev.requestPage({
    address: command.get64(IOPF.addr),
    pasid,
    hasPasid: pasid !== NO_PASID,
    group: command.get(IOPF.grpid),
    perm: command.get(IOPF.perm),
    last: true,
  });
  return 0;
}

/** TRIGGER_VEVENT: an event of the vIOMMU that the device is behind. */
export function triggerVevent(command: Command, machine: SelftestMachine): number {
  const mock = machine.deviceById(command.context, command.get(test_trigger_vevent.at.dev_id));
  return mock === undefined ? -ERRNO.ENOENT : mock.raiseEvent();
}
