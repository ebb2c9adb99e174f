// What a device says of itself, and calls that there are none of.
import {
  VFIO_DEVICE_GET_GFX_DMABUF,
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_DEVICE_QUERY_GFX_PLANE,
  VFIO_DEVICE_RESET,
  vfio_device_info,
  vfio_irq_info,
  vfio_pci_hot_reset_info,
  vfio_region_info,
} from '../../../../lib/uapi/index.js';
import { U32_MAX, type VfioSession } from '../session.js';
import type { WeightedStep } from './step.js';

/** Fields that the kernel is to fill in hold something already, some of the time. */
function stale(s: VfioSession): number {
  return s.random.percent(70) ? 0 : U32_MAX;
}

function deviceInfo(s: VfioSession): void {
  const file = s.file();
  if (file === undefined) return;
  const values = { flags: stale(s), cap_offset: stale(s), pad: stale(s) };
  s.machine.ioctl(file, VFIO_DEVICE_GET_INFO, { values, argsz: s.argsz(vfio_device_info.size), behind: s.behind() });
}

function regionInfo(s: VfioSession): void {
  const file = s.file();
  if (file === undefined) return;
  const values = { index: s.index(0, 10), flags: stale(s), cap_offset: stale(s) };
  const argsz = s.argsz(vfio_region_info.size);
  s.machine.ioctl(file, VFIO_DEVICE_GET_REGION_INFO, { values, argsz, behind: s.behind() });
}

function irqInfo(s: VfioSession): void {
  const file = s.file();
  if (file === undefined) return;
  const values = { index: s.index(0, 6), flags: stale(s), count: stale(s) };
  s.machine.ioctl(file, VFIO_DEVICE_GET_IRQ_INFO, { values, argsz: s.argsz(vfio_irq_info.size) });
}

function hotResetInfo(s: VfioSession): void {
  const file = s.file();
  if (file === undefined) return;
  const room = s.random.pick([0, 1, 2, 2, 3]);
  const argsz = s.argsz(vfio_pci_hot_reset_info.size + 8 * room);
  // Segment, bus and function: the pair lies elsewhere on every machine.
  const hidden = [16, 24, 32];
  const tail = new Uint8Array(8 * room);
  s.machine.ioctl(file, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, { values: { flags: stale(s) }, tail, argsz, hidden });
}

function hotReset(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const fds = random.percent(75) ? [] : random.pick([[-1], [random.pick(s.contexts) ?? 0], [file], [file, -1]]);
  const count = random.percent(85) ? fds.length : random.pick([0, 1, 2, 3, 1000, U32_MAX]);
  const values = { flags: random.percent(90) ? 0 : 1, count };
  s.machine.ioctl(file, VFIO_DEVICE_PCI_HOT_RESET, { values, tail: fds, argsz: s.argsz(12 + 4 * fds.length) });
}

/** Without a reason one is never reset alone: that takes a second. */
function reset(s: VfioSession): void {
  const file = s.file();
  if (file !== undefined) s.machine.ioctlValue(file, 'VFIO_DEVICE_RESET', VFIO_DEVICE_RESET.request, 0);
}

function graphics(s: VfioSession): void {
  const file = s.file();
  if (file === undefined) return;
  if (s.random.percent(50))
    s.machine.ioctl(file, VFIO_DEVICE_QUERY_GFX_PLANE, { values: { flags: s.random.below(8) } });
  else s.machine.ioctl(file, VFIO_DEVICE_GET_GFX_DMABUF, { values: { dmabuf_id: s.random.below(3) }, argsz: 0 });
}

const POINTING = [
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_REGION_INFO,
  VFIO_DEVICE_GET_IRQ_INFO,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
];

/** Calls with a pointer to nothing, and calls that there are none of. */
function oddCall(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const op = random.pick(POINTING);
  if (op !== undefined && random.percent(60))
    s.machine.ioctlValue(file, op.name, op.request, random.pick([0, 1, 4095]));
  else {
    const request = 0x3b64 + random.pick([0, 1, 2, 3, 4, 5, 6, 18, 22, 23, 40, 60]);
    s.machine.ioctlValue(file, `ioctl 0x${request.toString(16)}`, request, 0);
  }
}

export const descriptionSteps: readonly WeightedStep[] = [
  [3, deviceInfo],
  [5, regionInfo],
  [4, irqInfo],
  [3, hotResetInfo],
  [1, reset],
  [1, graphics],
  [2, oddCall],
];
export const hotResetSteps: readonly WeightedStep[] = [[1, hotReset]];
