// A guest behind an SMMUv3, for tests of the hardware alone: memory, a stage 2 that is a table of pages, and the structures
// that the guest writes into its memory (SMMUv3 manual, IHI 0070, 5).
import assert from 'node:assert/strict';
import { Smmu } from '../../lib/emulated/hardware/smmuv3/smmu.js';
import type { Stream } from '../../lib/emulated/hardware/smmuv3/stream.js';
import type { Translation } from '../../lib/emulated/kernel/driver.js';
import type { Backing } from '../../lib/emulated/memory/backing.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';
import { Armv8Tables, type Granule, type TableStore } from '../rig/armv8-tables.js';

export const PAGE = 4096;
/** Where the guest's memory lies for it. */
export const RAM = 0x4000_0000;
export const STREAM = 0x0108;
export const VMID = 5;
export const ASID = 7;

/** Stage 2: pages of the guest's physical addresses. */
export class FakeStage2 implements Translation {
  readonly frames = new Map<number, { frame: number; writable: boolean; readable: boolean }>();
  /** How often it was asked. */
  asked = 0;

  translate(page: number, offset: number, write: boolean): number {
    this.asked++;
    const found = this.frames.get(page);
    if (found === undefined || !(write ? found.writable : found.readable)) return -1;
    return found.frame * PAGE + offset;
  }
  frame(page: number, write: boolean): number {
    return Math.floor(this.translate(page, 0, write) / PAGE);
  }
}
/** The tables of a half of addresses; without them it is switched off. */
interface HalfFields {
  readonly table: number;
  readonly granule?: Granule;
  readonly inputBits?: number;
}

/** Fields of a context descriptor; what is left out is as Linux would have it, with 4 KiB pages and 39-bit addresses. */
export interface ContextFields {
  readonly valid?: boolean;
  readonly asid?: number;
  readonly lower?: HalfFields | undefined;
  readonly upper?: HalfFields | undefined;
  /** IPS: 40 bits if left out. */
  readonly ips?: number;
  readonly stalls?: boolean;
  readonly records?: boolean;
  readonly aborts?: boolean;
  readonly topByteIgnored?: number;
  /** Bits of the first word that are set, and others that are not, whatever the rest says. */
  readonly set?: bigint;
  readonly clear?: bigint;
}

const LOWER_GRANULE = { 12: 0n, 16: 1n, 14: 2n } as const;
const UPPER_GRANULE = { 14: 1n, 12: 2n, 16: 3n } as const;

function bit(set: boolean, at: number): bigint {
  return set ? 1n << BigInt(at) : 0n;
}

/** A context descriptor's first three words of 64 bits. */
export function contextWords(fields: ContextFields): [bigint, bigint, bigint] {
  const { lower, upper, asid = ASID, ips = 2 } = fields;
  const half = (from: HalfFields | undefined, granules: { readonly [granule in Granule]: bigint }) =>
    from === undefined ? 1n << 14n : BigInt(64 - (from.inputBits ?? 39)) | (granules[from.granule ?? 12] << 6n);
  const word =
    half(lower, LOWER_GRANULE) |
    (half(upper, UPPER_GRANULE) << 16n) |
    bit(fields.valid ?? true, 31) |
    (BigInt(ips) << 32n) |
    (BigInt(fields.topByteIgnored ?? 0) << 38n) |
    bit(true, 41) |
    bit(fields.stalls ?? false, 44) |
    bit(fields.records ?? true, 45) |
    bit(fields.aborts ?? true, 46) |
    (BigInt(asid) << 48n);
  return [(word | (fields.set ?? 0n)) & ~(fields.clear ?? 0n), BigInt(lower?.table ?? 0), BigInt(upper?.table ?? 0)];
}

export interface SteFields {
  /** S1Fmt: 0 one level, 1 and 2 two levels, with 64 or 1024 descriptors in a second-level table. */
  readonly format?: number;
  /** S1CDMax */
  readonly substreamBits?: number;
  /** S1DSS */
  readonly withoutSubstream?: number;
  readonly stallDisabled?: boolean;
  /** EATS */
  readonly ats?: number;
}

/** The first two words of a stream table entry, as the driver installs it: both stages. */
export function steWords(contextPointer: number, fields: SteFields = {}): Uint32Array {
  const { format = 0, substreamBits = 0, withoutSubstream = 0, stallDisabled = false, ats = 0 } = fields;
  const word0 = 1n | (7n << 1n) | (BigInt(format) << 4n) | BigInt(contextPointer) | (BigInt(substreamBits) << 59n);
  const word1 = BigInt(withoutSubstream) | bit(stallDisabled, 27) | (BigInt(ats) << 28n);
  return new Uint32Array(BigUint64Array.of(word0, word1).buffer);
}

export class Smmuv3Guest implements TableStore {
  readonly physical = new PhysicalMemory({ size: 64 * 2 ** 20, scatter: true });
  readonly smmu = new Smmu(this.physical);
  readonly map = new FakeStage2();
  readonly stage2 = { vmid: VMID, translation: this.map };
  readonly ram: Backing;
  /** Records, as hexadecimal bytes. */
  readonly events: string[] = [];
  #next = RAM;

  constructor(pages = 512) {
    const ram = this.physical.allocate(pages * PAGE);
    assert(ram !== undefined);
    this.ram = ram;
    for (let i = 0; i < pages; i++) {
      this.map.frames.set(RAM / PAGE + i, { frame: ram.frame(i), writable: true, readable: true });
    }
    this.smmu.onEvent = (record) => this.events.push(hex(record));
  }

  /** Memory of the guest's, by its physical address. */
  allocate(bytes: number): number {
    this.#next = Math.ceil(this.#next / bytes) * bytes;
    const at = this.#next;
    this.#next += bytes;
    return at;
  }
  page(): number {
    return this.allocate(PAGE);
  }

  put(ipa: number, low: number, high: number): void {
    const word = new Uint8Array(Uint32Array.of(low, high).buffer);
    assert(this.physical.write(this.frame(ipa), word));
  }
  put64(ipa: number, value: bigint): void {
    this.put(ipa, Number(value & 0xffff_ffffn), Number(value >> 32n));
  }
  /** Where a guest's physical address lies physically, whatever may be done there. */
  frame(ipa: number): number {
    const found = this.map.frames.get(Math.floor(ipa / PAGE));
    assert(found !== undefined);
    return found.frame * PAGE + (ipa % PAGE);
  }

  /** Writes a context descriptor; answers where. */
  context(fields: ContextFields, at = this.allocate(64)): number {
    contextWords(fields).forEach((word, index) => {
      this.put64(at + 8 * index, word);
    });
    return at;
  }
  tables(granule: Granule = 12, inputBits = 39): Armv8Tables {
    return new Armv8Tables(this, { granule, inputBits });
  }

  stream(ste?: Uint32Array, id = STREAM): Stream {
    const stream = this.smmu.addStream(id);
    if (ste !== undefined) stream.install({ kind: 'nested', stage2: this.stage2, ste });
    return stream;
  }
  /** A stream without substreams, one address space, and its tables. */
  simple(fields: Omit<ContextFields, 'lower' | 'upper'> = {}, ste: SteFields = {}) {
    const tables = this.tables();
    const context = this.context({ ...fields, lower: { table: tables.root } });
    return { tables, context, stream: this.stream(steWords(context, ste)) };
  }
}

export function hex(words: Uint32Array): string {
  return Buffer.from(words.buffer, words.byteOffset, words.byteLength).toString('hex');
}

/** An event record of 8 words of 32 bits, as `events` tell it. */
export function record(...words: number[]): string {
  const all = new Uint32Array(8);
  all.set(words);
  return hex(all);
}

/** A command of two words of 64 bits, as `execute` takes it. */
export function command(first: bigint, second = 0n): [number, number, number, number] {
  const word = (value: bigint) => Number(value & 0xffff_ffffn);
  return [word(first), word(first >> 32n), word(second), word(second >> 32n)];
}

const ids = (asid: number, vmid: number) => (BigInt(asid) << 48n) | (BigInt(vmid) << 32n);
const OF_STREAM = BigInt(STREAM) << 32n;
export const COMMANDS = {
  nhAll: (vmid = VMID) => command(0x10n | ids(0, vmid)),
  nhAsid: (asid = ASID, vmid = VMID) => command(0x11n | ids(asid, vmid)),
  nhVa: (va: bigint, asid = ASID, vmid = VMID) => command(0x12n | ids(asid, vmid), va),
  nhVaa: (va: bigint, vmid = VMID) => command(0x13n | ids(0, vmid), va),
  /** `granule`: TG, 1 to 3 */
  range: (va: bigint, granule: number, num: number, scale: number, asid = ASID, level = 0) =>
    command(
      0x12n | ids(asid, VMID) | (BigInt(num) << 12n) | (BigInt(scale) << 20n),
      va | (BigInt(granule) << 10n) | (BigInt(level) << 8n),
    ),
  nsnhAll: () => command(0x30n),
  cfgiCd: (substream = 0) => command(0x05n | (BigInt(substream) << 12n) | OF_STREAM),
  cfgiCdAll: () => command(0x06n | OF_STREAM),
  atcInv: (va: bigint, size: number, substream?: number) =>
    command(
      0x40n | OF_STREAM | (substream === undefined ? 0n : (1n << 11n) | (BigInt(substream) << 12n)),
      va | BigInt(size),
    ),
  sync: () => command(0x46n),
  resume: (stag: number, retry: boolean) => command(0x44n | OF_STREAM | bit(retry, 12), BigInt(stag)),
} as const;
