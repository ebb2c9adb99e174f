// VFIO_DEVICE_ATTACH_IOMMUFD_PT and VFIO_DEVICE_DETACH_IOMMUFD_PT (drivers/vfio/device_cdev.c).
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_attach_flags, vfio_device_detach_flags } from '../../../uapi/vfio-constants.js';
import { vfio_device_attach_iommufd_pt, vfio_device_detach_iommufd_pt } from '../../../uapi/vfio-structs.js';
import type { Binding } from './binding.js';
import type { UserBuffer } from './driver.js';

const ATTACH = vfio_device_attach_iommufd_pt;
const DETACH = vfio_device_detach_iommufd_pt;

/** Both structs: fields that must be there, and a PASID behind them if a flag says so. */
interface Shape {
  readonly fixed: number;
  readonly size: number;
  readonly pasidFlag: number;
}
const ATTACH_SHAPE: Shape = {
  fixed: ATTACH.end('pt_id'),
  size: ATTACH.end('pasid'),
  pasidFlag: vfio_device_attach_flags.values.VFIO_DEVICE_ATTACH_PASID,
};
const DETACH_SHAPE: Shape = {
  fixed: DETACH.end('flags'),
  size: DETACH.end('pasid'),
  pasidFlag: vfio_device_detach_flags.values.VFIO_DEVICE_DETACH_PASID,
};

interface Argument {
  readonly view: DataView;
  readonly withPasid: boolean;
}

/** `binding.attachPasid` is there where the driver knows PASIDs; before Linux 6.15 the core does not. */
function copyIn(argument: UserBuffer, shape: Shape, binding: Binding): Argument | number {
  const bytes = new Uint8Array(shape.size);
  const view = new DataView(bytes.buffer);
  if (!argument.copyIn(0, bytes.subarray(0, shape.fixed))) return -ERRNO.EFAULT;
  const size = view.getUint32(ATTACH.at.argsz, true);
  const flags = view.getUint32(ATTACH.at.flags, true);
  if (size < shape.fixed) return -ERRNO.EINVAL;
  const known = binding.context.kernel.has('6.15') ? shape.pasidFlag : 0;
  if ((flags & ~known) !== 0) return -ERRNO.EINVAL;
  const withPasid = flags !== 0;
  if (!withPasid) return { view, withPasid };
  if (binding.attachPasid === undefined) return -ERRNO.EOPNOTSUPP;
  if (size < shape.size) return -ERRNO.EINVAL;
  return argument.copyIn(shape.fixed, bytes.subarray(shape.fixed)) ? { view, withPasid } : -ERRNO.EFAULT;
}

export function attach(binding: Binding, argument: UserBuffer): number {
  const call = copyIn(argument, ATTACH_SHAPE, binding);
  if (typeof call === 'number') return call;
  const { view, withPasid } = call;
  const ptId = view.getUint32(ATTACH.at.pt_id, true);
  const answer = withPasid ? binding.attachPasid?.(view.getUint32(ATTACH.at.pasid, true), ptId) : binding.attach(ptId);
  if (answer === undefined || answer < 0) return answer ?? -ERRNO.EOPNOTSUPP;
  view.setUint32(ATTACH.at.pt_id, answer, true);
  // The field was read from there: it can be written.
  argument.copyOut(ATTACH.at.pt_id, new Uint8Array(view.buffer, ATTACH.at.pt_id, 4));
  return 0;
}

export function detach(binding: Binding, argument: UserBuffer): number {
  const call = copyIn(argument, DETACH_SHAPE, binding);
  if (typeof call === 'number') return call;
  if (call.withPasid) binding.detachPasid?.(call.view.getUint32(DETACH.at.pasid, true));
  else binding.detach();
  return 0;
}
