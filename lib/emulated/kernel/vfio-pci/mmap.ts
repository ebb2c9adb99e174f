// BARs mapped into a process (vfio_pci_core_mmap). A reset takes the pages away, and the next access brings them back; while
// memory decoding is off, or low power was allowed, an access is what SIGBUS is to a program in C: an error here.
import { ERRNO } from '../../../uapi/errno.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import type { MmioMapping } from '../file.js';
import type { PciBar, PciFunction } from './function.js';
import type { OpenFunction } from './open-function.js';
import { barOf, splitPosition } from './regions.js';
import { BAR0 } from './registers.js';

type Width = 1 | 2 | 4;
const NOTHING = { 1: 0xff, 2: 0xffff, 4: 0xffff_ffff } as const;

/** The address of a memory BAR, as the host's firmware placed it. */
function addressOf(fn: PciFunction, { index, kind }: PciBar): number {
  const low = (fn.readConfig(BAR0 + index * 4, 4) & ~0xf) >>> 0;
  return kind === 'memory64' ? fn.readConfig(BAR0 + index * 4 + 4, 4) * 2 ** 32 + low : low;
}

/** Whether a BAR has its pages for itself: it fills them, or starts one that no other BAR lies in. */
export function isMappable({ hardware }: OpenFunction, bar: PciBar): boolean {
  if (bar.kind === 'io') return false;
  if (bar.size >= PAGE_SIZE) return true;
  const address = addressOf(hardware.fn, bar);
  if (address % PAGE_SIZE !== 0) return false;
  return hardware.fn.bus.functions.every((fn) =>
    fn.bars.every((other) => {
      if (other.kind === 'io' || (fn === hardware.fn && other.index === bar.index)) return true;
      const at = addressOf(fn, other);
      return at + other.size <= address || at >= address + PAGE_SIZE;
    }),
  );
}

export function mapRegion(open: OpenFunction, position: number, length: number): MmioMapping | number {
  const { index, offset } = splitPosition(position);
  const bar = barOf(open, index);
  if (bar === undefined || !isMappable(open, bar)) return -ERRNO.EINVAL;
  if (offset + length > Math.ceil(bar.size / PAGE_SIZE) * PAGE_SIZE) return -ERRNO.EINVAL;
  return new BarMapping(open, bar, offset);
}

class BarMapping implements MmioMapping {
  readonly #open: OpenFunction;
  readonly #bar: PciBar;
  readonly #start: number;

  constructor(open: OpenFunction, bar: PciBar, start: number) {
    this.#open = open;
    this.#bar = bar;
    this.#start = start;
  }

  /** The offset in the BAR; -1 behind its end, in the rest of its page, where nothing answers. */
  #at(offset: number): number {
    if (this.#open.power.engaged || !this.#open.config.memoryEnabled) {
      const message = `EIO: BAR ${this.#bar.index} of ${this.#open.hardware.fn.address} does not answer`;
      throw Object.assign(new Error(message), { code: 'EIO' });
    }
    const at = this.#start + offset;
    return at < this.#bar.size ? at : -1;
  }

  read(offset: number, width: Width): number {
    const at = this.#at(offset);
    return at < 0 ? NOTHING[width] : this.#open.hardware.fn.readBar(this.#bar.index, at, width);
  }
  read64(offset: number): bigint {
    const at = this.#at(offset);
    return at < 0 ? 0xffff_ffff_ffff_ffffn : this.#open.hardware.fn.readBar64(this.#bar.index, at);
  }
  write(offset: number, width: Width, value: number): void {
    const at = this.#at(offset);
    if (at >= 0) this.#open.hardware.fn.writeBar(this.#bar.index, at, width, value);
  }
  write64(offset: number, value: bigint): void {
    const at = this.#at(offset);
    if (at >= 0) this.#open.hardware.fn.writeBar64(this.#bar.index, at, value);
  }
  close(): void {}
}
