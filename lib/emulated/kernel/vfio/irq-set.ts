// The argument of VFIO_DEVICE_SET_IRQS, as all drivers of PCI devices check it (vfio_set_irqs_validate_and_prepare in
// drivers/vfio/vfio_main.c).
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_irq_set_flags } from '../../../uapi/vfio-constants.js';
import { vfio_irq_set } from '../../../uapi/vfio-structs.js';
import type { Kernel } from '../kernel.js';
import type { UserBuffer } from './driver.js';

const SET = vfio_irq_set;
const {
  VFIO_IRQ_SET_DATA_NONE: NONE,
  VFIO_IRQ_SET_DATA_BOOL: BOOL,
  VFIO_IRQ_SET_DATA_EVENTFD: EVENTFD,
  VFIO_IRQ_SET_DATA_TYPE_MASK: DATA,
  VFIO_IRQ_SET_ACTION_TYPE_MASK: ACTION,
} = vfio_irq_set_flags.values;
/** Bytes of data for each interrupt. */
const ELEMENT: ReadonlyMap<number, number> = new Map([
  [NONE, 0],
  [BOOL, 1],
  [EVENTFD, 4],
]);
const U32_MAX = 2 ** 32 - 1;

export interface IrqSet {
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** One of the DATA bits. */
  readonly data: number;
  /** Bits of ACTION, checked by who carries them out. */
  readonly action: number;
  /** As `data` says: nothing, a byte or an s32 an interrupt. */
  readonly bytes: Uint8Array;
}

/**
 * Copies the argument in.
 * @param indexes how many interrupt indexes the device has
 * @param countOf how many interrupts an index has
 */
export function readIrqSet(
  kernel: Kernel,
  argument: UserBuffer,
  indexes: number,
  countOf: (index: number) => number,
): IrqSet | number {
  const header = new Uint8Array(SET.end('count'));
  if (!argument.copyIn(0, header)) return -ERRNO.EFAULT;
  const view = new DataView(header.buffer);
  const size = view.getUint32(SET.at.argsz, true);
  const flags = view.getUint32(SET.at.flags, true);
  const index = view.getUint32(SET.at.index, true);
  const start = view.getUint32(SET.at.start, true);
  const count = view.getUint32(SET.at.count, true);
  if (size < header.length || index >= indexes || count >= U32_MAX - start) return -ERRNO.EINVAL;
  if ((flags & ~(DATA | ACTION)) !== 0) return -ERRNO.EINVAL;
  const most = countOf(index);
  if (start >= most || start + count > most) return -ERRNO.EINVAL;
  const element = ELEMENT.get(flags & DATA);
  if (element === undefined || size - header.length < count * element) return -ERRNO.EINVAL;
  const bytes = new Uint8Array(count * element);
  if (bytes.length > 0) {
    if (!kernel.allocates()) return -ERRNO.ENOMEM;
    if (!argument.copyIn(SET.at.data, bytes)) return -ERRNO.EFAULT;
  }
  return { index, start, count, data: flags & DATA, action: flags & ACTION, bytes };
}
