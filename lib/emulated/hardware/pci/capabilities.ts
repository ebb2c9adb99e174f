// Capabilities of a PCI function as its configuration space shows them (PCI Local Bus 3.0, PCI Express Base 5.0): bytes, and
// which of their bits a driver may write.

/** Ids of capabilities, and of the extended ones from 256 on. */
export const CAPABILITY = { power: 0x01, msi: 0x05, express: 0x10, msix: 0x11, advanced: 0x13 } as const;
export const EXTENDED = { errors: 0x0001, ats: 0x000f, pri: 0x0013, pasid: 0x001b } as const;

/** Where the two registers that the machine itself looks at lie within their capabilities. */
export const MESSAGE_CONTROL = 2;
export const MSI_ENABLE = 1;
export const MSIX_ENABLE = 0x8000;
export const MSIX_MASK_ALL = 0x4000;

export interface Capability {
  readonly id: number;
  /** Bytes, header included, of 32-bit words; the next pointer is filled in by who places it. */
  readonly bytes: Uint8Array;
  /** Bits that can be written. */
  readonly writable: Uint8Array;
  /** Bytes that are the capability's own, where it does not fill its last word. */
  readonly length?: number;
}

/** A field: offset, width in bytes, value, and the bits that can be written. */
type Field = readonly [offset: number, width: 2 | 4, value: number, writable: number];

function capability(id: number, length: number, fields: readonly Field[]): Capability {
  const bytes = new Uint8Array(length);
  const writable = new Uint8Array(length);
  for (const [offset, width, value, mask] of fields) {
    for (const [target, bits] of [
      [bytes, value],
      [writable, mask],
    ] as const) {
      for (let i = 0; i < width; i++) target[offset + i] = (bits >>> (8 * i)) & 0xff;
    }
  }
  return { id, bytes, writable };
}

/** Power management, version 3: D0 and D3hot; nothing is lost on the way back. */
export function powerManagement(): Capability {
  const NO_SOFT_RESET = 0x8;
  return capability(CAPABILITY.power, 8, [
    [2, 2, 0x0003, 0],
    [4, 2, NO_SOFT_RESET, 0x3],
  ]);
}

/** MSI with 64-bit addresses and no masks of single vectors. */
export function msi(vectors: number): Capability {
  const ADDRESS64 = 0x80;
  const bytes = capability(CAPABILITY.msi, 16, [
    [MESSAGE_CONTROL, 2, (Math.log2(vectors) << 1) | ADDRESS64, 0x70 | MSI_ENABLE],
    [4, 4, 0, 0xffff_fffc],
    [8, 4, 0, 0xffff_ffff],
    [12, 2, 0, 0xffff],
  ]);
  return { ...bytes, length: 14 };
}

/** MSI-X: the table at the start of a BAR, its pending bits at `pending`. */
export function msix(vectors: number, bar: number, pending: number): Capability {
  return capability(CAPABILITY.msix, 12, [
    [MESSAGE_CONTROL, 2, vectors - 1, MSIX_ENABLE | MSIX_MASK_ALL],
    [4, 4, bar, 0],
    [8, 4, pending + bar, 0],
  ]);
}

/** PCI Express, version 2, an endpoint on a link of one lane at 2.5 GT/s. */
export function express(resettable: boolean): Capability {
  const VERSION = 2;
  const ROLE_BASED_ERRORS = 0x8000;
  const FLR = 0x1000_0000;
  // What initiates FLR (bit 15) is not kept: it is carried out, and reads as 0.
  return capability(CAPABILITY.express, 60, [
    [2, 2, VERSION, 0],
    [4, 4, ROLE_BASED_ERRORS + (resettable ? FLR : 0), 0],
    [8, 2, 0x2810, 0x7fff],
    [12, 4, 0x11, 0],
    [16, 2, 0, 0x01c3],
    [18, 2, 0x11, 0],
    [40, 2, 0, 0x041f],
  ]);
}

/** What a conventional PCI function has in place of Express to be reset alone. */
export function advancedFeatures(): Capability {
  const LENGTH = 6;
  const TRANSACTIONS_PENDING_AND_FLR = 0x03;
  return capability(CAPABILITY.advanced, 8, [[2, 2, LENGTH | (TRANSACTIONS_PENDING_AND_FLR << 8), 0]]);
}

/** Error reporting: what tells a driver of Express about errors. */
export function errorReporting(): Capability {
  return capability(EXTENDED.errors, 0x48, [
    [0x08, 4, 0, 0x07ff_f010],
    [0x0c, 4, 0x0046_2030, 0x07ff_f010],
    [0x14, 4, 0xe000, 0xf1c1],
  ]);
}

/** Translations that the device keeps (ATS): invalidations are of whole pages, and 32 of them may wait. */
export function addressTranslation(): Capability {
  const PAGE_ALIGNED = 0x20;
  return capability(EXTENDED.ats, 8, [
    [4, 2, PAGE_ALIGNED, 0],
    [6, 2, 0, 0x801f],
  ]);
}

/** Page requests (PRI), as many at a time as there are group numbers; answers name the PASID, where there are any. */
export function pageRequests(hasPasids: boolean): Capability {
  const STOPPED = 0x100;
  const RESPONSES_NAME_PASID = 0x8000;
  return capability(EXTENDED.pri, 16, [
    [4, 2, 0, 0x1],
    [6, 2, STOPPED | (hasPasids ? RESPONSES_NAME_PASID : 0), 0],
    [8, 4, 0x200, 0],
    [12, 4, 0, 0xffff_ffff],
  ]);
}

/** PASIDs, so many bits of them. */
export function pasids(width: number): Capability {
  return capability(EXTENDED.pasid, 8, [
    [4, 2, width << 8, 0],
    [6, 2, 0, 0x1],
  ]);
}
