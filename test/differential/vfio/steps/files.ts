// Opening and closing devices, and what they are attached to.
import {
  IOMMU_DESTROY,
  IOMMU_HWPT_ALLOC,
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_UNMAP,
  iommufd_ioas_map_flags,
  VFIO_DEVICE_ATTACH_IOMMUFD_PT,
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
  VFIO_DEVICE_RESET,
  vfio_device_attach_iommufd_pt,
  vfio_device_bind_iommufd,
} from '../../../../lib/uapi/index.js';
import type { Handle } from '../machine.js';
import {
  type Context,
  type DeviceFile,
  type DeviceRole,
  isSerial,
  PAGE,
  U32_MAX,
  type VfioSession,
} from '../session.js';
import { prepare } from './prepare.js';
import type { WeightedStep } from './step.js';

const MAP_FLAGS = Object.values(iommufd_ioas_map_flags.values).reduce((all, flag) => all | flag, 0);
/** Where memory is mapped: within edu's 28 address bits, and what every IOMMU takes. */
export const IOVA = 0x400_0000n;

export function openIommufd(s: VfioSession): void {
  if (s.contexts.length > 2) return;
  s.contexts.push({ fd: s.machine.openIommufd(), name: s.name('iommufd'), ids: [] });
}

export function allocIoas(s: VfioSession): void {
  const context = s.random.pick(s.contexts);
  if (context === undefined) return;
  const { result, view } = s.machine.ioctl(context, IOMMU_IOAS_ALLOC, {});
  if (result === 0) context.ids.push({ id: view.getUint32(8, true), kind: 'ioas' });
}

function allocHwpt(s: VfioSession): void {
  const context = s.random.pick(s.contexts);
  if (context === undefined) return;
  const values = { dev_id: s.id(context, 'device'), pt_id: s.id(context, 'ioas') };
  const { result, view } = s.machine.ioctl(context, IOMMU_HWPT_ALLOC, { values });
  if (result === 0) context.ids.push({ id: view.getUint32(16, true), kind: 'hwpt' });
}

export function mapMemory(s: VfioSession): void {
  const context = s.random.pick(s.contexts);
  if (context === undefined) return;
  const { memory } = s;
  const values = {
    flags: MAP_FLAGS,
    ioas_id: s.id(context, 'ioas'),
    length: BigInt(memory.length),
    iova: IOVA + BigInt(s.random.below(4) * PAGE),
  };
  // An address is nothing to compare.
  s.machine.ioctl(context, IOMMU_IOAS_MAP, { values, address: { field: 'user_va', value: memory.address } });
}

function unmapMemory(s: VfioSession): void {
  const context = s.random.pick(s.contexts);
  if (context === undefined) return;
  const iova = IOVA + BigInt(s.random.below(4) * PAGE);
  const length = s.random.percent(70) ? BigInt(s.memory.length) : BigInt(PAGE);
  s.machine.ioctl(context, IOMMU_IOAS_UNMAP, { values: { ioas_id: s.id(context, 'ioas'), iova, length } });
}

function destroy(s: VfioSession): void {
  const context = s.random.pick(s.contexts);
  if (context === undefined) return;
  const id = s.id(context, 'ioas', 'hwpt');
  const { result } = s.machine.ioctl(context, IOMMU_DESTROY, { values: { id } });
  const at = context.ids.findIndex((one) => one.id === id);
  if (result === 0 && at >= 0) context.ids.splice(at, 1);
}

export function openDevice(s: VfioSession, role: DeviceRole | undefined = s.random.pick(s.roles)): void {
  if (role === undefined || s.files.length > 6) return;
  s.files.push({ fd: s.machine.open(role), name: s.name(role), role, bound: false });
}

/** Binds a file as a program would, and brings its device to a state that is known. */
export function bindPlainly(s: VfioSession, file: DeviceFile): void {
  const iommufd = s.random.pick(s.contexts);
  if (iommufd !== undefined) noteBinding(s, file, iommufd, {});
}

/** Attaches a device to the address space that memory is most likely mapped in. */
export function attachPlainly(s: VfioSession, file: DeviceFile): void {
  const ioas = s.contexts.flatMap(({ ids }) => ids).find(({ kind }) => kind === 'ioas');
  if (ioas !== undefined) s.machine.ioctl(file, VFIO_DEVICE_ATTACH_IOMMUFD_PT, { values: { pt_id: ioas.id } });
}

function noteBinding(
  s: VfioSession,
  file: DeviceFile,
  iommufd: Handle | number,
  more: { flags?: number; argsz?: number | undefined; behind?: number; token?: boolean },
): void {
  const { flags = 0, argsz, behind = 0, token = false } = more;
  const values = {
    flags,
    iommufd,
    ...(token ? { token_uuid_ptr: { pointed: new Uint8Array(16).fill(7) } } : {}),
  };
  const { result, view } = s.machine.ioctl(file, VFIO_DEVICE_BIND_IOMMUFD, { values, behind, argsz });
  if (result < 0) return;
  file.bound = true;
  const id = view.getUint32(vfio_device_bind_iommufd.at.out_devid, true);
  s.contexts.find((context) => context === iommufd)?.ids.push({ id, kind: 'device' });
  prepare(s, file);
}

function bind(s: VfioSession): void {
  const { random } = s;
  const file = random.pick(s.files.filter(({ bound }) => !bound)) ?? random.pick(s.files);
  if (file === undefined) return;
  const context = random.pick(s.contexts);
  const iommufd =
    random.percent(85) && context !== undefined ? context : random.pick([-1, 0x3fff_0000, file, s.event('io')]);
  const flags = random.percent(85) ? 0 : random.pick([1, 1, 2, 3, 0x8000_0000]);
  const argsz = s.argsz(vfio_device_bind_iommufd.size);
  noteBinding(s, file, iommufd, { flags, argsz, behind: s.behind(), token: random.percent(50) });
}

function contextOf(s: VfioSession): Context | undefined {
  return s.random.pick(s.contexts);
}

function attach(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  const context = contextOf(s);
  if (file === undefined || context === undefined) return;
  const withPasid = random.percent(12);
  const values = {
    flags: withPasid ? 1 : random.percent(95) ? 0 : random.pick([2, 3, 0x100]),
    pt_id: s.id(context, 'ioas', 'hwpt'),
    ...(withPasid ? { pasid: random.pick([0, 1, 2, U32_MAX]) } : {}),
  };
  const argsz = s.argsz(vfio_device_attach_iommufd_pt.size);
  const { result, view } = s.machine.ioctl(file, VFIO_DEVICE_ATTACH_IOMMUFD_PT, { values, argsz });
  if (result < 0) return;
  const id = view.getUint32(vfio_device_attach_iommufd_pt.at.pt_id, true);
  if (!context.ids.some((one) => one.id === id)) context.ids.push({ id, kind: 'hwpt' });
}

function detach(s: VfioSession): void {
  const { random } = s;
  const file = s.file();
  if (file === undefined) return;
  const flags = random.percent(85) ? 0 : random.pick([1, 2, 0x100]);
  const argsz = s.argsz(12);
  s.machine.ioctl(file, VFIO_DEVICE_DETACH_IOMMUFD_PT, {
    values: { flags, ...(flags === 1 ? { pasid: random.below(3) } : {}) },
    argsz,
  });
}

/**
 * A serial device is reset first: Linux's forgets its streams when it is closed, but not that it was at one, and then looks
 * for what is not there (samples/vfio-mdev/mtty.c).
 */
export function closeDevice(s: VfioSession, file: DeviceFile): void {
  if (isSerial(file) && file.bound) s.machine.ioctlValue(file, 'VFIO_DEVICE_RESET', VFIO_DEVICE_RESET.request, 0);
  s.files.splice(s.files.indexOf(file), 1);
  s.machine.close(file);
}

function close(s: VfioSession): void {
  const file = s.random.pick(s.files);
  if (file !== undefined) closeDevice(s, file);
}

function closeIommufd(s: VfioSession): void {
  const [context] = s.contexts.splice(s.random.below(s.contexts.length), 1);
  if (context !== undefined) s.machine.close(context);
}

export const fileSteps: readonly WeightedStep[] = [
  [1, openIommufd],
  [2, allocIoas],
  [2, allocHwpt],
  [2, mapMemory],
  [1, unmapMemory],
  [2, destroy],
  [3, openDevice],
  [6, bind],
  [6, attach],
  [3, detach],
  [2, close],
  [1, closeIommufd],
];
