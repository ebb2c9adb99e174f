// One object of every kind on an emulated host, to be handed over and adopted, where both sides are this process.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createEmulatedHost, type EmulatedHost, mock } from '../../lib/emulated-host.js';
import type { AdoptedIommufd, CallTrace, HandoverState } from '../../lib/index.js';

export const NIC = '0000:01:00.0';
export const IOVA = 0x4000_0000n;
export const SIZE = 0x10000;

export function machine() {
  const host = createEmulatedHost({
    machine: 'selftest',
    devices: [{ address: NIC }, { address: '0000:02:00.0', pasid: true }],
  });
  const iommufd = host.openIommufd();
  const nic = host.openDevice(NIC);
  return { host, iommufd, nic, device: nic.bind(iommufd), ram: host.allocateMemory(SIZE) };
}
export type Machine = ReturnType<typeof machine>;

/** One object of every kind, attached, mapped and with an event that waits. */
export function whole() {
  const base = machine();
  const { iommufd, device, ram, host } = base;
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: IOVA });
  const parent = ioas.allocHwpt(device, { nestParent: true, dirtyTracking: true });
  const viommu = parent.allocViommu(device, mock.viommu(7));
  const vdevice = viommu.allocVdevice(device, { virtId: 0x99n });
  const veventq = viommu.allocVeventq({ depth: 4, ...mock.veventq() });
  const queue = viommu.allocHwQueue({ index: 0, iova: IOVA, length: 0x1000, ...mock.hwQueue() });
  const faultQueue = iommufd.allocFaultQueue();
  const nested = viommu.allocNestedHwpt(device, { ...mock.nested(), faultQueue });
  device.attach(nested);
  host.device(NIC).raiseEvent();
  return { ...base, ioas, parent, viommu, vdevice, veventq, queue, faultQueue, nested };
}

/** What is alive of an adoption, ended at the end. */
export function end({ iommufd, memories }: AdoptedIommufd, host: EmulatedHost, before: unknown): void {
  iommufd.close();
  for (const memory of memories) memory.free();
  assert.deepEqual(host.inspect(), before, 'something was left behind');
}

/** As another process gets it. */
export function sent(state: HandoverState): HandoverState {
  return JSON.parse(JSON.stringify(state));
}

/** The names of the calls that the kernel got during work. */
export function callsOf(work: () => void): string[] {
  const names: string[] = [];
  const listen = (message: unknown) => names.push((message as CallTrace).syscall);
  subscribe('iommufd:call', listen);
  try {
    work();
  } finally {
    unsubscribe('iommufd:call', listen);
  }
  return names;
}

/** The state with one value changed, by its way: 'objects.0.id'. */
export function changed(state: HandoverState, way: string, value: unknown): HandoverState {
  const copy: HandoverState = sent(state);
  const names = way.split('.');
  const last = names.pop() ?? '';
  const place = names.reduce((at: object, name) => Reflect.get(at, name), copy);
  Reflect.set(place, last, value);
  return copy;
}
