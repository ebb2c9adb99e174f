// What a device is and can do.
import * as uapi from '../uapi/vfio.js';
import { capability, readInfo, senseless } from './capabilities.js';
import type { DeviceCore } from './core.js';

/** How a device is driven: 'pci' is vfio-pci and its relatives, and mediated devices that pass for PCI ones. */
export type DeviceKind = 'pci' | 'platform' | 'amba' | 'ccw' | 'ap' | 'fsl-mc' | 'cdx';

export interface DeviceInfo {
  /** Undefined where the kernel names a kind not known here. */
  readonly kind: DeviceKind | undefined;
  /**
   * Whether the driver says that `reset()` works: the device alone can be reset. Mediated devices may be reset without it
   * (Linux's mtty).
   */
  readonly canReset: boolean;
  /** The highest index of a region, plus 1; not all of them need be there. */
  readonly regionCount: number;
  /** The highest interrupt index, plus 1. */
  readonly interruptCount: number;
  /** Widths in bits (32, 64, 128) of the PCIe AtomicOps that the root port completes for the device (Linux 6.6). */
  readonly atomicOps: readonly number[];
  /** All flags as the kernel gave them (vfio_device_flags). */
  readonly flags: number;
}

const FLAGS = uapi.vfio_device_flags.values;
const ATOMIC = uapi.vfio_pci_atomic_comp.values;
const OP = uapi.VFIO_DEVICE_GET_INFO;

const KINDS: readonly (readonly [flag: number, kind: DeviceKind])[] = [
  [FLAGS.VFIO_DEVICE_FLAGS_PCI, 'pci'],
  [FLAGS.VFIO_DEVICE_FLAGS_PLATFORM, 'platform'],
  [FLAGS.VFIO_DEVICE_FLAGS_AMBA, 'amba'],
  [FLAGS.VFIO_DEVICE_FLAGS_CCW, 'ccw'],
  [FLAGS.VFIO_DEVICE_FLAGS_AP, 'ap'],
  [FLAGS.VFIO_DEVICE_FLAGS_FSL_MC, 'fsl-mc'],
  [FLAGS.VFIO_DEVICE_FLAGS_CDX, 'cdx'],
];
const ATOMIC_WIDTHS: readonly (readonly [flag: number, bits: number])[] = [
  [ATOMIC.VFIO_PCI_ATOMIC_COMP32, 32],
  [ATOMIC.VFIO_PCI_ATOMIC_COMP64, 64],
  [ATOMIC.VFIO_PCI_ATOMIC_COMP128, 128],
];
/** Devices have 9 regions and some of their own: whoever walks all of them is not to walk for ever. */
const MOST_INDEXES = 4096;

export function readDeviceInfo(core: DeviceCore): DeviceInfo {
  const { out, capabilities } = readInfo(
    core,
    OP,
    {},
    (flags) => (flags & FLAGS.VFIO_DEVICE_FLAGS_CAPS) !== 0,
    core.name,
  );
  const { flags, num_regions: regionCount, num_irqs: interruptCount } = out;
  if (regionCount > MOST_INDEXES) throw senseless(OP, `${core.name} has ${regionCount} regions`);
  if (interruptCount > MOST_INDEXES) throw senseless(OP, `${core.name} has ${interruptCount} interrupt indexes`);
  const id = uapi.vfio_device_info_cap.values.VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP;
  const atomic = capability(OP, capabilities, id, uapi.vfio_device_info_cap_pci_atomic_comp)?.fields.flags ?? 0;
  const atomicOps = ATOMIC_WIDTHS.filter(([flag]) => (atomic & flag) !== 0).map(([, bits]) => bits);
  return Object.freeze({
    kind: KINDS.find(([flag]) => (flags & flag) !== 0)?.[1],
    canReset: (flags & FLAGS.VFIO_DEVICE_FLAGS_RESET) !== 0,
    regionCount,
    interruptCount,
    atomicOps: Object.freeze(atomicOps),
    flags,
  });
}
