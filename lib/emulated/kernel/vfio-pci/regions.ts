// The regions of a PCI function: what they are, and reads and writes of them (vfio_pci_core.c, vfio_pci_rdwr.c). There is
// neither a ROM nor VGA, and no region of the device's own.
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_pci_region_index, vfio_region_info_cap, vfio_region_info_flags } from '../../../uapi/vfio-constants.js';
import { vfio_info_cap_header } from '../../../uapi/vfio-structs.js';
import type { RegionAnswer } from '../vfio/driver.js';
import { accessBar, msixTable } from './bars.js';
import type { PciBar } from './function.js';
import { isMappable } from './mmap.js';
import type { OpenFunction } from './open-function.js';

const INDEX = vfio_pci_region_index.values;
const FLAGS = vfio_region_info_flags.values;
const READ_WRITE = FLAGS.VFIO_REGION_INFO_FLAG_READ | FLAGS.VFIO_REGION_INFO_FLAG_WRITE;

/** The upper bits of a position in the file are the region, the others the offset in it. */
const REGION_SPAN = 2 ** 40;

export function splitPosition(position: number): { readonly index: number; readonly offset: number } {
  return { index: Math.floor(position / REGION_SPAN), offset: position % REGION_SPAN };
}
export function barOf({ hardware }: OpenFunction, index: number): PciBar | undefined {
  return hardware.fn.bars.find((bar) => bar.index === index);
}

export function regionInfo(open: OpenFunction, index: number): RegionAnswer | number {
  const offset = BigInt(index) * BigInt(REGION_SPAN);
  if (index === INDEX.VFIO_PCI_CONFIG_REGION_INDEX) {
    return { flags: READ_WRITE, size: BigInt(open.hardware.fn.configSize), offset };
  }
  if (index > INDEX.VFIO_PCI_ROM_REGION_INDEX) return -ERRNO.EINVAL;
  const bar = barOf(open, index);
  if (bar === undefined) return { flags: 0, size: 0n, offset };
  const size = BigInt(bar.size);
  if (!isMappable(open, bar)) return { flags: READ_WRITE, size, offset };
  const flags = READ_WRITE | FLAGS.VFIO_REGION_INFO_FLAG_MMAP;
  return msixTable(open.hardware)?.bar === index
    ? { flags, size, offset, capabilities: MSIX_MAPPABLE }
    : { flags, size, offset };
}

/** The pages of the MSI-X table can be mapped too. */
const MSIX_MAPPABLE = new Uint8Array(vfio_info_cap_header.size);
vfio_info_cap_header.encode(new DataView(MSIX_MAPPABLE.buffer), 0, {
  id: vfio_region_info_cap.values.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
  version: 1,
});

/** pread or pwrite of any region; bytes done, or -errno. */
export function accessRegion(open: OpenFunction, data: Uint8Array, position: number, write: boolean): number {
  const { index, offset } = splitPosition(position);
  if (index === INDEX.VFIO_PCI_CONFIG_REGION_INDEX) {
    return write ? open.config.write(data, offset) : open.config.read(data, offset);
  }
  const bar = barOf(open, index);
  if (bar === undefined || offset >= bar.size) return -ERRNO.EINVAL;
  const part = data.subarray(0, Math.min(data.length, bar.size - offset));
  const table = msixTable(open.hardware);
  const allowed = (): boolean => bar.kind === 'io' || open.config.memoryEnabled;
  const hole = table?.bar === index ? table : undefined;
  const done = accessBar(open.hardware, bar, { offset, data: part, write }, hole, allowed);
  return done ? part.length : -ERRNO.EIO;
}
