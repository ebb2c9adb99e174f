// What the SMMUv3 suite runs on: a host whose IOMMU is one, with QEMU's edu device behind it.
import { EduDevice } from '../../lib/emulated/hardware/devices/edu.js';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { findDevice, giveBack, requestBack } from './kernel-devices.js';
import { emulatedRig, rig, rigName } from './rig.js';
import { type Registers, registersOf } from './smmuv3-features.js';
import { GuestRam } from './smmuv3-ram.js';
import type { VfioRig } from './vfio-rig.js';

/** Where QEMU's machine has it too. */
const EDU = '0000:00:05.0';
/** It reaches all of its address space, as the one of the machine does. */
const ADDRESS_BITS = 64;

function onEmulatedHost(): VfioRig {
  const emulated = createEmulatedHost({
    machine: 'arm-smmuv3',
    // QEMU's SMMUv3 does not note which pages were written.
    devices: [{ address: EDU, model: new EduDevice(ADDRESS_BITS), dirtyTracking: false }],
    memory: { hugePageSizes: [GuestRam.size] },
  });
  const find: VfioRig['find'] = (role) => (role === 'edu' ? EDU : undefined);
  return {
    ...emulatedRig(emulated),
    find,
    requestBack: (role) => emulated.requestDevice(find(role) ?? ''),
    giveBack: async (role) => emulated.returnDevice(find(role) ?? ''),
  };
}

let shared: VfioRig | undefined;

/** This process's rig for an SMMUv3. */
export function smmuv3Rig(): VfioRig {
  shared ??= rigName() === 'kernel' ? { ...rig(), find: findDevice, requestBack, giveBack } : onEmulatedHost();
  return shared;
}

let registers: Registers | undefined;

/** The identification registers of the SMMUv3; undefined where there is no device behind one. */
export function smmuv3Registers(): Registers | undefined {
  const { host, find } = smmuv3Rig();
  const address = find('edu');
  if (registers !== undefined || address === undefined) return registers;
  using iommufd = host.openIommufd();
  using nic = host.openDevice(address);
  registers = registersOf(nic.bind(iommufd).hwInfo());
  return registers;
}
