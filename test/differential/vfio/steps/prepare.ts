// What every device is brought to once it is bound, so that a sequence needs no other one before it: firmware, and whoever
// had the device last, leave something else on every machine.
import { VFIO_DEVICE_GET_INFO, vfio_pci_region_index } from '../../../../lib/uapi/index.js';
import { type DeviceFile, isSerial, REGION_SPAN, type VfioSession } from '../session.js';

const { VFIO_PCI_CONFIG_REGION_INDEX: CONFIG } = vfio_pci_region_index.values;

export function word(value: number | bigint, width: 1 | 2 | 4 | 8): Uint8Array {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt.asUintN(64, BigInt(value)), true);
  return new Uint8Array(view.buffer, 0, width);
}

export function prepare(s: VfioSession, file: DeviceFile): void {
  s.machine.quietly(() => (isSerial(file) ? prepareSerial(s, file) : prepareEdu(s, file)));
}

type Write = readonly [region: number, offset: number, value: number | bigint, width: 1 | 2 | 4 | 8];

function writeAll(s: VfioSession, file: DeviceFile, writes: readonly Write[]): void {
  for (const [region, offset, value, width] of writes)
    s.machine.pwrite(file, '', region * REGION_SPAN + offset, word(value, width));
}

/** Its command register has memory on, its interrupt is off, and its registers and what it has no use for are 0. */
function prepareEdu(s: VfioSession, file: DeviceFile): void {
  writeAll(s, file, [
    [CONFIG, 0x04, 0x0002, 2],
    [CONFIG, 0x0c, 0, 2],
    [CONFIG, 0x10, 0xfe00_0000, 4],
    [CONFIG, 0x30, 0, 4],
    [CONFIG, 0x3c, 0, 1],
    [CONFIG, 0x44, 0, 4],
    [CONFIG, 0x48, 0, 4],
    [CONFIG, 0x4c, 0, 2],
    ...Array.from({ length: 0x2c }, (_, i): Write => [CONFIG, 0x50 + 4 * i, 0, 4]),
    [0, 0x64, 0xffff_ffff, 4],
    [0, 0x04, 0xffff_ffff, 4],
    [0, 0x20, 0, 4],
    [0, 0x08, 0, 4],
    [0, 0x80, 0, 8],
    [0, 0x88, 0, 8],
    [0, 0x90, 0, 8],
  ]);
}

/** Both ports: no interrupts, an empty FIFO that held zeros, no divisor; and what VFIO_DEVICE_GET_INFO is asked first for. */
function prepareSerial(s: VfioSession, file: DeviceFile): void {
  s.machine.ioctl(file, VFIO_DEVICE_GET_INFO, {});
  for (const port of [0, 1]) {
    writeAll(s, file, [
      [port, 3, 0x80, 1],
      [port, 3, 0, 1],
      [port, 1, 0, 1],
      [port, 4, 0, 1],
      [port, 7, 0, 1],
      [port, 2, 7, 1],
      ...Array.from({ length: 16 }, (): Write => [port, 0, 0, 1]),
      [port, 2, 7, 1],
    ]);
  }
  writeAll(s, file, [
    [CONFIG, 0x10, 0, 4],
    [CONFIG, 0x14, 0, 4],
    [CONFIG, 0x3c, 0, 1],
  ]);
}
