// Accesses to registers as VFIO makes them: cut into the widest aligned pieces (vfio_pci_core_do_io_rw). The MSI-X table is the
// host's: it reads as ones, and writes to it are dropped.

import type { PciBar } from './function.js';
import type { PciHardware } from './hardware.js';
import { MSIX, MSIX_ENTRY_SIZE, MSIX_TABLE_BAR } from './registers.js';

/** A stretch of a BAR: from one offset up to, not including, another. */
export interface Stretch {
  readonly bar: number;
  readonly start: number;
  readonly end: number;
}

/** Where the MSI-X table lies. */
export function msixTable({ fn, msixAt }: PciHardware): Stretch | undefined {
  if (msixAt === 0) return undefined;
  const table = fn.readConfig(msixAt + MSIX.table, 4);
  const start = (table & ~MSIX_TABLE_BAR) >>> 0;
  return { bar: table & MSIX_TABLE_BAR, start, end: start + fn.vectors.msix * MSIX_ENTRY_SIZE };
}

type Width = 1 | 2 | 4 | 8;

/** The widest piece that starts at an offset. Ports are never wider than four bytes. */
function widthAt(offset: number, most: number, widest: Width): Width {
  if (widest === 8 && most >= 8 && offset % 8 === 0) return 8;
  if (most >= 4 && offset % 4 === 0) return 4;
  return most >= 2 && offset % 2 === 0 ? 2 : 1;
}

/**
 * Carries out an access piece by piece; the caller has checked that it lies in the BAR.
 * @param hole what is left out
 * @param allowed asked before every piece
 * @returns whether all of it was allowed
 */
export function accessBar(
  { fn }: PciHardware,
  bar: PciBar,
  access: { readonly offset: number; readonly data: Uint8Array; readonly write: boolean; readonly widest?: 4 },
  hole: Stretch | undefined,
  allowed: () => boolean,
): boolean {
  const { data, write } = access;
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const widest = bar.kind === 'io' ? 4 : (access.widest ?? 8);
  for (let done = 0; done < data.length; ) {
    const offset = access.offset + done;
    const left = data.length - done;
    if (hole !== undefined && offset >= hole.start && offset < hole.end) {
      const skipped = Math.min(left, hole.end - offset);
      if (!write) data.fill(0xff, done, done + skipped);
      done += skipped;
      continue;
    }
    const most = hole !== undefined && offset < hole.start ? Math.min(left, hole.start - offset) : left;
    const width = widthAt(offset, most, widest);
    if (!allowed()) return false;
    if (width === 8) {
      if (write) fn.writeBar64(bar.index, offset, view.getBigUint64(done, true));
      else view.setBigUint64(done, fn.readBar64(bar.index, offset), true);
    } else if (width === 4) {
      if (write) fn.writeBar(bar.index, offset, 4, view.getUint32(done, true));
      else view.setUint32(done, fn.readBar(bar.index, offset, 4), true);
    } else if (width === 2) {
      if (write) fn.writeBar(bar.index, offset, 2, view.getUint16(done, true));
      else view.setUint16(done, fn.readBar(bar.index, offset, 2), true);
    } else if (write) fn.writeBar(bar.index, offset, 1, view.getUint8(done));
    else view.setUint8(done, fn.readBar(bar.index, offset, 1));
    done += width;
  }
  return true;
}
