// The guest's own driver of an SMMUv3 with a command queue of a Tegra241 CMDQV: it writes page tables, a context descriptor and
// commands into the guest's memory, and registers of page 0. It makes no calls: all it touches is memory and registers that
// the VMM gave it (SMMUv3 manual (IHI 0070), 4, 5.2 and 5.4; Arm DDI 0487, D8.3; Linux's tegra241-cmdqv.c).
import type { DmaMemory, MmioRegion } from '../../lib/index.js';

const PAGE = 4096;

/** Where things lie in the guest's memory, in bytes from its start. */
const QUEUE = 0;
const CONTEXT = PAGE;
const TABLES = [2 * PAGE, 3 * PAGE, 4 * PAGE] as const;
const FIRST_PAGE = 16 * PAGE;

/** Bytes of memory that such a guest needs. */
export const RAM_SIZE = 1 << 20;
export const ASID = 5;
/** The first address that the guest's tables are about: 2 MiB of them. */
export const VA = 0x10_0000_0000n;

const VALID = 1n;
const TABLE = 3n;
/** A page: accessed, inner shareable, for unprivileged accesses, nG. */
const LEAF = TABLE | (1n << 6n) | (3n << 8n) | (1n << 10n) | (1n << 11n);
const READ_ONLY = 1n << 7n;

/** Context descriptor: T0SZ 25, cacheable tables, no TTB1, valid, 40-bit output, AArch64, faults are recorded. */
const CONTEXT_WORD =
  25n | (1n << 8n) | (1n << 10n) | (3n << 12n) | (1n << 30n) | (1n << 31n) | (2n << 32n) | (1n << 41n) | (7n << 45n);
/** Stream table entry: stage 1 translates. Its second word: tables are cacheable, and the device may keep translations. */
const STAGE1 = 5n << 1n;
const CACHEABLE = (1n << 2n) | (1n << 4n) | (3n << 6n);
const ATS = 1n << 28n;

/** The guest's page tables: 39 bits of addresses, pages of 4 KiB, three levels. */
export class GuestTables {
  readonly #ram: DmaMemory;
  readonly #base: bigint;

  /** @param base where the memory lies for the guest */
  constructor(ram: DmaMemory, base: bigint) {
    this.#ram = ram;
    this.#base = base;
    const [first, second, third] = TABLES;
    this.#put(CONTEXT, CONTEXT_WORD | (BigInt(ASID) << 48n));
    this.#put(CONTEXT + 8, this.#address(first));
    this.#put(CONTEXT + 24, 0xffn);
    this.#put(first + Number(VA >> 30n) * 8, this.#address(second) | TABLE);
    this.#put(second + Number((VA >> 21n) & 0x1ffn) * 8, this.#address(third) | TABLE);
  }

  /** The guest's stream table entry for its device, of which a VMM hands on two words. */
  ste({ ats = false } = {}): readonly [bigint, bigint] {
    return [VALID | STAGE1 | this.#address(CONTEXT), ats ? CACHEABLE | ATS : CACHEABLE];
  }

  /** Maps the page `index` from VA on to page `to` of the guest's memory; undefined for nothing. */
  map(index: number, to: number | undefined, access: 'read-write' | 'read' = 'read-write'): void {
    const leaf = to === undefined ? 0n : this.#address(this.offset(to)) | LEAF | (access === 'read' ? READ_ONLY : 0n);
    this.#put(TABLES[2] + index * 8, leaf);
  }

  /** Where the guest's page `page` lies in its memory. */
  offset(page: number): number {
    return FIRST_PAGE + page * PAGE;
  }

  #address(offset: number): bigint {
    return this.#base + BigInt(offset);
  }
  #put(offset: number, value: bigint): void {
    const word = new Uint8Array(8);
    new DataView(word.buffer).setBigUint64(0, value, true);
    this.#ram.write(offset, word);
  }
}

/** A command: 16 bytes, told as two words of 64 bits. */
export type Command = readonly [bigint, bigint];

const OPCODE = { forgetAsid: 0x11n, forgetAddress: 0x12n, forgetAtc: 0x40n, sync: 0x46n } as const;

/** CMD_SYNC: everything before it is done. */
export const SYNC: Command = [OPCODE.sync, 0n];
/** CMD_TLBI_NH_ASID: nothing is kept of the guest's address space. */
export const FORGET_ASID: Command = [OPCODE.forgetAsid | (BigInt(ASID) << 48n), 0n];
/** CMD_CFGI_ALL: one that a guest's queue does not take. */
export const NOT_FOR_GUESTS: Command = [0x04n, 0n];
/** CMD_TLBI_NH_VA: nothing is kept of the page at an address. */
export function forgetPage(va: bigint): Command {
  return [OPCODE.forgetAddress | (BigInt(ASID) << 48n), va | 1n];
}
/** CMD_ATC_INV: a device keeps nothing, by the id that the guest knows it by. */
export function forgetInDevice(stream: number): Command {
  return [OPCODE.forgetAtc | (BigInt(stream) << 32n), 52n];
}

const COMMAND_SIZE = 16;
/** A queue's registers in page 0, and the bytes from one queue's to the next one's. */
const SLOT = 128;
const CONS = 0x00;
const PROD = 0x04;
const CONFIG = 0x08;
const STATUS = 0x0c;
const GERROR = 0x10;
const GERRORN = 0x14;
const ERROR_SHIFT = 24;
const INDEX_MASK = 0xf_ffff;

/** How long hardware may take, in turns of the event loop. */
const PATIENCE = 100_000;

async function until(isSo: () => boolean): Promise<void> {
  for (let turn = 0; turn < PATIENCE && !isSo(); turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** A command queue of the guest's, as its driver drives it. */
export class GuestQueue {
  readonly #ram: DmaMemory;
  readonly #page0: MmioRegion;
  readonly #slot: number;
  readonly #offset: number;
  readonly #length: number;
  #prod = 0;

  /**
   * @param index which queue of the interface
   * @param length commands
   */
  constructor(ram: DmaMemory, page0: MmioRegion, index = 0, length = 64) {
    this.#ram = ram;
    this.#page0 = page0;
    this.#slot = index * SLOT;
    this.#length = length;
    this.#offset = QUEUE + index * length * COMMAND_SIZE;
  }

  /** Where it lies in the guest's memory, and its bytes: what the VMM tells the kernel. */
  get place(): { readonly offset: bigint; readonly length: bigint } {
    return { offset: BigInt(this.#offset), length: BigInt(this.#length * COMMAND_SIZE) };
  }

  /** Turns it on; answers whether it runs already. */
  enable(): boolean {
    this.#set(CONFIG, 1);
    return this.running;
  }
  disable(): void {
    this.#set(CONFIG, 0);
  }
  get running(): boolean {
    return this.#get(STATUS) === 1;
  }
  /** Turns it on, and waits until it runs; false where nothing comes of it. */
  async start(): Promise<boolean> {
    this.enable();
    await until(() => this.running || this.failed);
    return this.running;
  }

  /** Writes commands behind those that are there, and rings the doorbell once: PROD. */
  submit(...commands: readonly Command[]): void {
    for (const command of commands) {
      this.#put(this.#prod, command);
      this.#prod = (this.#prod + 1) % (2 * this.#length);
    }
    this.#set(PROD, this.#prod);
  }
  /** Whether the hardware has executed all of them: CONS has come as far as PROD. */
  get done(): boolean {
    return (this.#get(CONS) & INDEX_MASK) === this.#prod;
  }
  /** Waits until they are executed; false where the queue stopped at an error, or nothing comes of it. */
  async completed(): Promise<boolean> {
    await until(() => this.done || this.failed);
    return this.done;
  }

  /** Whether it stands still for an error. */
  get failed(): boolean {
    return this.#get(GERROR) !== this.#get(GERRORN);
  }
  /** Where it stands, and why: 1 illegal, 2 could not be fetched, 3 a device did not answer. */
  get stoppedAt(): { readonly index: number; readonly reason: number } {
    const cons = this.#get(CONS);
    return { index: cons % this.#length, reason: (cons >>> ERROR_SHIFT) & 0x7f };
  }
  /** Puts CMD_SYNC in the place of the command it stands at, as Linux does. */
  skip(): void {
    this.#put(this.#get(CONS) & INDEX_MASK, SYNC);
  }
  /** The error is seen: the queue goes on. */
  acknowledge(): void {
    this.#set(GERRORN, this.#get(GERROR));
  }

  #put(index: number, command: Command): void {
    const words = BigUint64Array.from(command);
    this.#ram.write(this.#offset + (index % this.#length) * COMMAND_SIZE, new Uint8Array(words.buffer));
  }
  #get(register: number): number {
    return this.#page0.read32(this.#slot + register);
  }
  #set(register: number, value: number): void {
    this.#page0.write32(this.#slot + register, value);
  }
}
