// How a VFIO device changes its page tables: ioctls on its own file.
import { type Outcome, refusal, tryCall, tryCallAsync } from '../objects/call.js';
import type { Attacher } from '../objects/device.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';

const { VFIO_DEVICE_ATTACH_IOMMUFD_PT: ATTACH, VFIO_DEVICE_DETACH_IOMMUFD_PT: DETACH } = uapi;
const { VFIO_DEVICE_ATTACH_PASID: ATTACH_PASID } = uapi.vfio_device_attach_flags.values;
const { VFIO_DEVICE_DETACH_PASID: DETACH_PASID } = uapi.vfio_device_detach_flags.values;

type AttachOutcome = Outcome<typeof uapi.vfio_device_attach_iommufd_pt.fields>;

export function vfioAttacher(core: DeviceCore): Attacher {
  const port = { seam: core.seam, fd: core.fd, check: () => core.checkOpen() };
  /** What was attached through here: the device itself (undefined), and PASIDs. */
  const attached = new Set<number | undefined>();
  const told = (pasid: number | undefined, input: object, { result, out }: AttachOutcome) => {
    if (result < 0) return refusal(core, ATTACH, result, input, core.name);
    attached.add(pasid);
    return out.pt_id;
  };
  const detach = (pasid: number | undefined) => {
    const input = pasid === undefined ? {} : { flags: DETACH_PASID, pasid };
    const { result } = tryCall(port, DETACH, input);
    if (result < 0) return refusal(core, DETACH, result, input, core.name);
    attached.delete(pasid);
    return undefined;
  };
  return {
    file: core,
    attach: (pageTable, pasid) => {
      const input = attachInput(pageTable, pasid);
      return told(pasid, input, tryCall(port, ATTACH, input));
    },
    attachAsync: async (pageTable, pasid) => {
      const input = attachInput(pageTable, pasid);
      return told(pasid, input, await tryCallAsync(port, ATTACH, input));
    },
    detach,
    // VFIO has no unbind: closing the fd is it. One that is not ours stays open, so what was attached here is undone.
    unbind: () => {
      if (!core.owned) for (const pasid of [...attached]) detach(pasid);
      core.close();
    },
  };
}

function attachInput(pageTable: number, pasid: number | undefined): { flags?: number; pt_id: number; pasid?: number } {
  return pasid === undefined ? { pt_id: pageTable } : { flags: ATTACH_PASID, pt_id: pageTable, pasid };
}
