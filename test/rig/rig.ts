// What the conformance suite runs on: a host with mock devices, and what it can do. Which one is decided once per
// process by IOMMUFD_RIG; the suite does not know.

import { loadNative } from '../../lib/host/native.js';
import { openHost } from '../../lib/index.js';
import { type Host, hostSeam, type Seam } from '../../lib/unsafe.js';

/** Things that not every rig can do. */
export type Capability =
  /** The process may be without CAP_IPC_LOCK: limits on pinned memory can be tested. */
  | 'unprivileged'
  /** A device without an IOMMU is there (VFIO noiommu mode). */
  | 'noiommu-device'
  /** Huge pages are reserved. */
  | 'huge-pages';

export interface Rig {
  readonly name: string;
  readonly host: Host;
  readonly seam: Seam;
  /** Why the rig cannot do this; undefined if it can. */
  lacks(capability: Capability): string | undefined;
  /** The PCI address of a device without an IOMMU, where there is one. */
  noiommuDevice(): string | undefined;
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
        case 'unprivileged':
          return 'the suite runs as root, for whom pinned memory is not limited';
        case 'noiommu-device':
          return noiommuDevice(seam) === undefined ? 'no device without an IOMMU is bound to vfio-pci' : undefined;
        case 'huge-pages':
          return seam.readText('/proc/sys/vm/nr_hugepages') === '0\n' ? 'no huge pages are reserved' : undefined;
      }
    },
    noiommuDevice: () => noiommuDevice(seam),
    census: () => ({ fds: native.ownedFds(), regions: native.liveRegions() }),
  };
}

let shared: Rig | undefined;

/** This process's rig. */
export function rig(): Rig {
  if (shared !== undefined) return shared;
  const name = process.env.IOMMUFD_RIG;
  if (name !== 'kernel') throw new Error(`IOMMUFD_RIG must be kernel, not ${name}: see CONTRIBUTING.md`);
  shared = kernelRig();
  return shared;
}
