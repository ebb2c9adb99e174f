// A guest's memory for tests of what reads tables in it: a part of the machine's, scattered, behind a stage 2 of its own. It
// fails a test at once when anything else of the machine is loaded, and counts loads.
import assert from 'node:assert/strict';
import type { Regime } from '../../lib/emulated/hardware/armv8/regime.js';
import { TableMemory } from '../../lib/emulated/hardware/table-memory.js';
import type { Translation } from '../../lib/emulated/kernel/driver.js';
import type { Backing } from '../../lib/emulated/memory/backing.js';
import type { Frames } from '../../lib/emulated/memory/frames.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';
import type { TableStore } from '../rig/armv8-tables.js';

const PAGE = 4096;
/** Behind all memory. */
const NOWHERE = 2 ** 37;

/** Nothing is loaded but the guest's memory, or what is not there. */
class WatchedPhysical extends PhysicalMemory {
  guest: Backing | undefined;

  override find(frame: number): Frames | undefined {
    const owner = super.find(frame);
    assert(this.guest === undefined || owner === this.guest || owner === undefined, `${frame} is somebody else's`);
    return owner;
  }
}

/** Counts what is asked for. */
class CountedTables extends TableMemory {
  loads = 0;

  override loadFrom(page: number, offset: number): number {
    this.loads++;
    assert(offset % 8 === 0 && offset < PAGE, `offset ${offset}`);
    return super.loadFrom(page, offset);
  }
}

export class GuestMemory implements TableStore, Translation {
  /** How often stage 2 was asked. */
  asked = 0;
  /** The page of stage 2 that may only be written. */
  unreadable = -1;
  /** The page of stage 2 that leads to where no memory is. */
  abandoned = -1;
  readonly tables: CountedTables;
  readonly #backing: Backing;
  #next: number;

  constructor(
    readonly base: number,
    readonly size: number,
  ) {
    const physical = new WatchedPhysical({ size: size + 2 * PAGE, scatter: true });
    physical.allocate(PAGE);
    const backing = physical.allocate(size);
    physical.allocate(PAGE);
    assert(backing !== undefined);
    this.#backing = backing;
    physical.guest = backing;
    this.tables = new CountedTables(physical);
    this.tables.stage2 = this;
    this.#next = base;
  }

  translate(page: number, offset: number, write: boolean): number {
    this.asked++;
    assert(Number.isSafeInteger(page) && page >= 0 && page < 2 ** 40, `page ${page}`);
    assert(Number.isInteger(offset) && offset >= 0 && offset < PAGE, `offset ${offset}`);
    assert.equal(write, false);
    if (page === this.abandoned) return NOWHERE + offset;
    const index = page - this.base / PAGE;
    if (index < 0 || index >= this.size / PAGE || page === this.unreadable) return -1;
    return this.#backing.frame(index) * PAGE + offset;
  }

  frame(page: number, write: boolean): number {
    return Math.floor(this.translate(page, 0, write) / PAGE);
  }

  /** Words that tables were asked for; set to 0 to count anew. */
  get loads(): number {
    return this.tables.loads;
  }
  set loads(count: number) {
    this.tables.loads = count;
  }

  /** Stage 2 changes. */
  change(change: Partial<Pick<GuestMemory, 'unreadable' | 'abandoned'>>): void {
    Object.assign(this, change);
    this.tables.forget();
  }

  /** A program's windows to the memory go; the bytes stay. */
  detachWindows(): void {
    this.#backing.window(this, 0, PAGE);
    this.#backing.detachWindows(this);
  }

  allocate(bytes: number): number {
    const at = Math.ceil(this.#next / bytes) * bytes;
    this.#next = at + bytes;
    assert(this.#next <= this.base + this.size, 'the guest has no more memory');
    return at;
  }
  put(ipa: number, low: number, high: number): void {
    const word = new DataView(new ArrayBuffer(8));
    word.setUint32(0, low, true);
    word.setUint32(4, high, true);
    this.#backing.write(ipa - this.base, new Uint8Array(word.buffer));
  }
  putWord(ipa: number, word: bigint): void {
    this.put(ipa, Number(BigInt.asUintN(32, word)), Number(BigInt.asUintN(64, word) >> 32n));
  }
  /** The word at an address; undefined where stage 2 refuses. */
  word(ipa: bigint): bigint | undefined {
    const offset = Number(ipa) - this.base;
    if (offset < 0 || offset >= this.size) return undefined;
    const bytes = new Uint8Array(8);
    this.#backing.read(offset, bytes);
    return new DataView(bytes.buffer).getBigUint64(0, true);
  }
}

/** A regime that has nothing unusual, but for what is given. */
export function regime(options: Partial<Regime>): Regime {
  return {
    granule: 12,
    inputBits: 48,
    table: 0,
    outputBits: 48,
    accessFlagFaults: true,
    hierarchical: true,
    topByteIgnored: false,
    ...options,
  };
}
