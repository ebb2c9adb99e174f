// Test operations on the PASIDs of mock devices (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { Command } from '../../kernel/command.js';
import { HwptNested } from '../../kernel/hwpt-nested.js';
import { HwptPaging } from '../../kernel/hwpt-paging.js';
import { selftestObject } from './test-devices.js';
import { iommu_test_cmd, test_pasid_attach, test_pasid_check } from './uapi.js';

// PASID_REPLACE and PASID_DETACH have their fields in the same places.
const AT = test_pasid_attach.at;
const CHECK = test_pasid_check.at;

/** PASID_ATTACH. */
export function pasidAttach(command: Command): number {
  const device = selftestObject(command)?.device;
  if (device === undefined) return -ERRNO.ENOENT;
  return answer(command, device.attach(command.get(AT.pasid), command.get(AT.pt_id)));
}

/** PASID_REPLACE. */
export function pasidReplace(command: Command): number {
  const device = selftestObject(command)?.device;
  if (device === undefined) return -ERRNO.ENOENT;
  return answer(command, device.replace(command.get(AT.pasid), command.get(AT.pt_id)));
}

function answer(command: Command, pageTable: number): number {
  if (pageTable < 0) return pageTable;
  command.set(AT.pt_id, pageTable);
  return command.respond(iommu_test_cmd.size);
}

/** PASID_DETACH. */
export function pasidDetach(command: Command): number {
  const device = selftestObject(command)?.device;
  if (device === undefined) return -ERRNO.ENOENT;
  device.detach(command.get(AT.pasid));
  return 0;
}

/** PASID_CHECK_HWPT: whether a PASID is attached to this page table, or to none. */
export function pasidCheck(command: Command): number {
  const mock = selftestObject(command)?.mock;
  if (mock === undefined) return -ERRNO.ENOENT;
  const attached = mock.group.handleOf(command.get(CHECK.pasid))?.domain;
  const id = command.get(CHECK.hwpt_id);
  if (id === 0) return attached === undefined ? 0 : -ERRNO.EINVAL;
  const object = command.context.objects.find(id);
  if (object === undefined) return -ERRNO.ENOENT;
  if (!(object instanceof HwptPaging || object instanceof HwptNested)) return -ERRNO.EINVAL;
  return attached === object.domain ? 0 : -ERRNO.EINVAL;
}
