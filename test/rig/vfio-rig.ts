// What the VFIO suite runs on: a host with devices that vfio-pci (or a mediated driver) drives, found by what they are for.
import { createEmulatedHost, type EmulatedHost } from '../../lib/emulated-host.js';
import { findDevice, giveBack, requestBack } from './kernel-devices.js';
import { emulatedLinux, emulatedRig, type Linux, type Rig, rig, rigName } from './rig.js';

/** What a device is there for: cases ask for devices by it. */
export type Role =
  /** QEMU's edu device (1234:11e8) on the root bus, behind the IOMMU: INTx, MSI, no reset. */
  | 'edu'
  /** An NVMe device behind a root port: function-level reset, power management, MSI-X. */
  | 'nvme'
  /** Two functions of one slot behind a root port: one hot reset, and one IOMMU group, for both. */
  | 'pair0'
  | 'pair1'
  /** Mediated serial ports without an IOMMU (the kernel's mtty sample, with two ports each), which migrate. */
  | 'serial'
  | 'serial1'
  /** A device that migrates, logs its DMA, exports its memory, has MSI-X, INTx and function-level reset. */
  | 'test'
  /** A physical function with virtual ones enabled, and the first of these. */
  | 'sriov'
  | 'vf'
  /** Mediated displays: one whose picture is in a region (mdpy), and one that gives dma-bufs (mbochs). */
  | 'display'
  | 'display-dmabuf';

export interface VfioRig extends Rig {
  /** The PCI address of a device, or its UUID where it is a mediated one; undefined if there is none. */
  find(role: Role): string | undefined;
  /** The host asks for the device, as an administrator who unbinds it from its driver: resolves when it is gone. */
  requestBack(role: Role): Promise<void>;
  /** The device is there again, after `requestBack`. */
  giveBack(role: Role): Promise<void>;
}

/** Where the emulated machine has its devices: edu and the pair where QEMU has them. */
export const EMULATED: Readonly<Partial<Record<Role, string>>> = {
  edu: '0000:00:05.0',
  pair0: '0000:02:00.0',
  pair1: '0000:02:00.1',
  test: '0000:05:00.0',
  serial: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001',
  serial1: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002',
};

/** A new emulated host with them. */
export function vfioHost(linux: Linux = emulatedLinux()): EmulatedHost {
  const { edu = '', pair0 = '', pair1 = '', test = '', serial = '', serial1 = '' } = EMULATED;
  return createEmulatedHost({
    machine: 'selftest',
    linux,
    devices: [
      { address: edu, model: 'edu' },
      // Functions of one slot that cannot be told apart, as behind QEMU's root port.
      { address: pair0, model: 'edu', iommuGroup: 100 },
      { address: pair1, model: 'edu', iommuGroup: 100 },
      { address: test, model: 'test', pasid: true },
      { uuid: serial, model: 'serial', ports: 2 },
      { uuid: serial1, model: 'serial', ports: 2 },
    ],
  });
}

/** A machine of its own, with this Linux. */
export function emulatedVfioRig(linux: Linux): VfioRig {
  const emulated = vfioHost(linux);
  return {
    ...emulatedRig(emulated),
    find: (role) => EMULATED[role],
    requestBack: (role) => emulated.requestDevice(EMULATED[role] ?? ''),
    giveBack: async (role) => emulated.returnDevice(EMULATED[role] ?? ''),
  };
}

let shared: VfioRig | undefined;

/** This process's rig for VFIO. */
export function vfioRig(): VfioRig {
  shared ??=
    rigName() === 'kernel' ? { ...rig(), find: findDevice, requestBack, giveBack } : emulatedVfioRig(emulatedLinux());
  return shared;
}
