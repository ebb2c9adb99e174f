// What the conformance suite runs on: a host with mock devices, and what it can do. Which one is decided once per
// process by IOMMUFD_RIG (the emulated host if it is not set); the suite does not know.

import { createEmulatedHost, type EmulatedHost, type EmulatedHostOptions } from '../../lib/emulated-host.js';
import { loadNative } from '../../lib/host/native.js';
import { setDefaultHost } from '../../lib/host-object.js';
import { openHost } from '../../lib/index.js';
import type { Line } from '../../lib/recording/transcript.js';
import { isOlder } from '../../lib/uapi/releases.js';
import { type Host, hostSeam, type Seam } from '../../lib/unsafe.js';

/** Things that not every rig can do. */
export type Capability =
  /** A device without an IOMMU is there (VFIO noiommu mode). */
  | 'noiommu-device'
  /** A kernel from before Linux 6.13: this one, or an emulated one that a case makes for itself. */
  | 'older-kernel'
  /** The mock has more than one format of page tables, and driver data tells which. */
  | 'mock-formats'
  /** Huge pages are reserved. */
  | 'huge-pages'
  /** Files of the host are files of this process: Node can open them too. */
  | 'own-files'
  /** The host is a program: it can be looked into, and told to fail. */
  | 'emulated';

export interface Rig {
  readonly name: string;
  readonly host: Host;
  readonly seam: Seam;
  /** Why the rig cannot do this; undefined if it can. */
  lacks(capability: Capability): string | undefined;
  /** The PCI address of a device without an IOMMU, where there is one. */
  noiommuDevice(): string | undefined;
  /** The emulated host behind it, where there is one. */
  readonly emulated?: EmulatedHost;
  /** Where `host` is recorded: the one that is. */
  readonly bare?: Host;
  /** Where a case is recorded: tells something that no call tells. */
  readonly note?: (line: Line) => void;
  /** What must be the same after a test as before: fds and regions in use. */
  census(): Readonly<Record<string, number>>;
}

/** The PCI device behind the first node that VFIO names as one without an IOMMU. */
function noiommuDevice(seam: Seam): string | undefined {
  const names = seam.list('/sys/class/vfio-dev');
  const name = typeof names === 'number' ? undefined : names.find((one) => one.startsWith('noiommu-'));
  const device = name === undefined ? -1 : seam.readLink(`/sys/class/vfio-dev/${name}/device`);
  return typeof device === 'string' ? device.split('/').at(-1) : undefined;
}

function lacksNoiommuDevice(seam: Seam): string | undefined {
  if (noiommuDevice(seam) !== undefined) return undefined;
  // Before that they have no nodes (vfio/vfio.h).
  if (isOlder(seam.release, '7.3')) return 'VFIO gives nodes to devices without an IOMMU since Linux 7.3';
  return 'no device without an IOMMU is bound to vfio-pci';
}

/** The mock cannot be asked: what it does with driver data is its private interface. */
function lacksFormats({ release }: Seam): string | undefined {
  return isOlder(release, '6.13') ? 'the mock of this kernel has one format of page tables' : undefined;
}

/** The real kernel: needs CONFIG_IOMMUFD_TEST. */
function kernelRig(): Rig {
  const host = openHost({ kind: 'kernel' });
  const seam = hostSeam(host);
  const native = loadNative();
  return {
    name: 'kernel',
    host,
    seam,
    lacks: (capability) => {
      switch (capability) {
        case 'noiommu-device':
          return lacksNoiommuDevice(seam);
        case 'mock-formats':
          return lacksFormats(seam);
        case 'older-kernel':
          return isOlder(seam.release, '6.13') ? undefined : 'this kernel has all of it';
        case 'huge-pages':
          return seam.readText('/proc/sys/vm/nr_hugepages') === '0\n' ? 'no huge pages are reserved' : undefined;
        case 'emulated':
          return 'a real kernel cannot be looked into, nor told to fail';
        case 'own-files':
          return undefined;
      }
    },
    noiommuDevice: () => noiommuDevice(seam),
    census: () => ({ fds: native.ownedFds(), regions: native.liveRegions() }),
  };
}

export type Linux = NonNullable<EmulatedHostOptions['linux']>;

/** Which Linux the emulated host is: IOMMUFD_LINUX, the newest if that is not set. */
export function emulatedLinux(): Linux {
  const { IOMMUFD_LINUX: name = '7.3' } = process.env;
  if (name === '7.3' || name === '6.12') return name;
  throw new Error(`IOMMUFD_LINUX must be 7.3 or 6.12, not ${name}`);
}

/** A new emulated host, with the kernel's mock as its machine. */
export function mockHost(): EmulatedHost {
  return createEmulatedHost({
    machine: 'selftest',
    linux: emulatedLinux(),
    devices: [{ address: '0000:00:05.0', iommu: false, model: 'edu' }],
    memory: { hugePageSizes: [2 << 20] },
  });
}

function mockRig(): Rig {
  const emulated = mockHost();
  // What `Iommufd.open` without a host finds.
  setDefaultHost(() => emulated);
  return emulatedRig(emulated);
}

/** A rig on an emulated host. */
export function emulatedRig(emulated: EmulatedHost): Rig {
  const seam = hostSeam(emulated);
  return {
    name: 'emulated',
    host: emulated,
    seam,
    emulated,
    lacks: (capability) => {
      switch (capability) {
        case 'own-files':
          return 'files of the emulated host are known inside of it only';
        case 'noiommu-device':
          return lacksNoiommuDevice(seam);
        case 'mock-formats':
          return lacksFormats(seam);
        default:
          return undefined;
      }
    },
    noiommuDevice: () => noiommuDevice(seam),
    census: () => {
      const { openFiles, regions, memory } = emulated.inspect();
      return { fds: openFiles, regions, memory };
    },
  };
}

let shared: Rig | undefined;

/** Which host this process's suites run on. */
export function rigName(): 'kernel' | 'emulated' {
  const name = process.env.IOMMUFD_RIG ?? 'emulated';
  if (name === 'kernel' || name === 'emulated') return name;
  throw new Error(`IOMMUFD_RIG must be kernel or emulated, not ${name}: see CONTRIBUTING.md`);
}

/** This process's rig. */
export function rig(): Rig {
  shared ??= rigName() === 'kernel' ? kernelRig() : mockRig();
  return shared;
}
