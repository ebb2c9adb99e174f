// A guest behind an SMMUv3, whose device is QEMU's edu: its memory, its page tables, its context descriptor and its stream
// table entry.
import assert from 'node:assert/strict';
import type { HwptNested, HwptPaging, Ioas, Vdevice, Vevent, Veventq, VfioDevice, Viommu } from '../../lib/index.js';
import { Edu, pattern } from './edu.js';
import { type Command, commandWords } from './smmuv3-commands.js';
import { assertEvent, type ExpectedEvent } from './smmuv3-events.js';
import { GuestRam } from './smmuv3-ram.js';
import { DESCRIPTOR, type Granule, GuestTables, USUAL_LEAF } from './smmuv3-tables.js';
import {
  CONFIG,
  CONTEXT_SIZE,
  type ContextFields,
  contextWords,
  STREAM,
  type SteFields,
  steWords,
} from './smmuv3-words.js';
import type { VfioBench } from './vfio.js';

/** The first address that the guest usually maps: more than 16 bits, so that several levels of tables matter. */
export const VA = 0x400_0000n;
/** Where the guest's memory usually lies for it. */
export const IPA = 0xc00_0000n;

/** Bytes of what is moved; of an access that is refused: one that is not split, and so makes one event. */
export const LENGTH = 256;
const WORD = 4;
/** Where the device keeps what it reads in such an access: what it writes is from the start of its buffer. */
export const READ_AT = 0x800;

const TG0: Readonly<Record<Granule, number>> = { 12: 0, 14: 2, 16: 1 };
/** How long an event may take from the hardware's queue. */
const EVENT_MS = 30_000;

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

export interface GuestOptions {
  readonly granule?: Granule;
  /** Bits of its addresses. */
  readonly bits?: number;
  readonly ipa?: bigint;
  /**
   * Whether its memory is one huge page: for granules above 4 KiB it must be, since QEMU (10.0) looks for all of a table behind
   * the page of stage 2 that it begins in. Those granules have it if this is left out.
   */
  readonly huge?: boolean;
  /** How many of its events may wait. */
  readonly depth?: number;
  readonly virtId?: bigint;
  /** What its context descriptor has that is not usual. */
  readonly context?: Partial<ContextFields>;
}

/** A parent page table over memory of a guest's. */
export function nestingParent(t: VfioBench, nic: VfioDevice, { ipa = IPA, huge = false }: GuestOptions = {}) {
  const ram = new GuestRam(t.memory(GuestRam.size, huge ? { hugePageSize: GuestRam.size } : {}), ipa);
  const ioas = t.iommufd.allocIoas();
  ioas.map(ram.memory, { iova: ipa });
  return { ram, ioas, parent: ioas.allocHwpt(nic.device, { nestParent: true }) };
}

export class Smmuv3Guest {
  readonly nic: VfioDevice;
  readonly ioas: Ioas;
  readonly parent: HwptPaging;
  readonly viommu: Viommu;
  readonly vdevice: Vdevice;
  readonly events: Veventq;
  readonly ram: GuestRam;
  readonly tables: GuestTables;
  /** Where its context descriptor is, for itself. */
  readonly context: bigint;
  readonly virtId: bigint;
  readonly #usual: Partial<ContextFields>;
  #edu: Edu | undefined;
  #told = 0;

  /** With memory, a vIOMMU that knows the device, and empty page tables; attached to nothing. */
  constructor(t: VfioBench, options: GuestOptions = {}) {
    const { granule = 12, bits = 39, depth = 16, virtId = BigInt(STREAM) } = options;
    this.nic = t.bound('edu');
    const { ram, ioas, parent } = nestingParent(t, this.nic, { huge: granule > 12, ...options });
    const { device } = this.nic;
    this.ram = ram;
    this.ioas = ioas;
    this.parent = parent;
    this.viommu = parent.allocViommu(device, { type: 'arm-smmuv3' });
    this.vdevice = this.viommu.allocVdevice(device, { virtId });
    this.events = this.viommu.allocVeventq({ depth });
    this.virtId = virtId;
    this.tables = new GuestTables(ram, { granule, bits });
    this.context = ram.take(CONTEXT_SIZE);
    this.#usual = { t0sz: 64 - bits, tg0: TG0[granule], ttb0: this.tables.root, ...options.context };
    this.describe();
  }

  /** The device, at its registers. */
  get edu(): Edu {
    this.#edu ??= new Edu(this.nic);
    return this.#edu;
  }
  /** Bytes of a page. */
  get pageSize(): number {
    return 1 << this.tables.granule;
  }

  /** Writes its context descriptor anew, with these fields other than they were at first. */
  describe(fields: Partial<ContextFields> = {}, at = this.context): void {
    contextWords({ ...this.#usual, ...fields }).forEach((word, i) => {
      this.ram.store(at + BigInt(i * 8), word);
    });
  }

  /** Its stream table entry: translated, unless it says otherwise. */
  ste(fields: Partial<SteFields> = {}): readonly [bigint, bigint] {
    const config = fields.config ?? CONFIG.translate;
    const caching = { innerCache: 1, outerCache: 1, shareability: 3 };
    return steWords(config === CONFIG.translate ? { contexts: this.context, ...caching, config, ...fields } : fields);
  }
  nested(fields: Partial<SteFields> = {}): HwptNested {
    return this.viommu.allocNestedHwpt(this.nic.device, { ste: this.ste(fields) });
  }
  /** Has its device's accesses go by its stream table entry. */
  attach(fields: Partial<SteFields> = {}): this {
    this.nic.attach(this.nested(fields));
    return this;
  }

  /** Gives commands, all of which must be done. */
  invalidate(...commands: readonly Command[]): void {
    assert.deepEqual(this.give(...commands), [commands.length, 'ok']);
  }
  /** Gives commands: how many are done, and what the next is refused with, 'ok' where none is. */
  give(...commands: readonly Command[]): readonly [completed: number, code: string] {
    const { completed, refusal } = this.viommu.tryInvalidate({ smmuv3: commandWords(...commands) });
    return [completed, refusal?.code ?? 'ok'];
  }

  /** The address of one of the pages that it usually maps. */
  va(page: number, offset = 0): bigint {
    return VA + BigInt(page * this.pageSize + offset);
  }
  /** Where a page of its data is, for itself. */
  page(index: number): bigint {
    return this.ram.data(index, this.pageSize);
  }
  /** Maps one of the pages on to one of its pages of data. */
  map(page: number, to: number, access: 'read-write' | 'read' = 'read-write'): void {
    const attributes = USUAL_LEAF | (access === 'read' ? DESCRIPTOR.readOnly : 0n);
    this.tables.map(this.va(page), this.page(to), attributes);
  }
  unmap(page: number): void {
    this.tables.unmap(this.va(page));
  }

  /** What lies in a page of its data. */
  read(index: number, length = LENGTH): Uint8Array {
    return this.ram.read(this.page(index), length);
  }
  write(index: number, bytes: Uint8Array): void {
    this.ram.write(this.page(index), bytes);
  }

  /** Asserts that what the device writes there comes to a page of its data. */
  async reaches(iova: bigint, index: number, seed = 1): Promise<void> {
    await this.arrives(iova, this.page(index), seed);
  }
  /** The same of an address of its own. */
  async arrives(iova: bigint, at: bigint, seed = 1): Promise<void> {
    this.ram.write(at, pattern(LENGTH, seed));
    await this.edu.load(iova, LENGTH);
    this.ram.write(at, new Uint8Array(LENGTH));
    await this.edu.store(iova, LENGTH);
    const arrived = this.ram.read(at, LENGTH);
    assert.equal(hex(arrived), hex(pattern(LENGTH, seed)), `through 0x${iova.toString(16)}`);
  }

  /** Lets the device access an address in a way that is not split. */
  access(iova: bigint, access: 'read' | 'write'): Promise<void> {
    return access === 'read' ? this.edu.load(iova, WORD, READ_AT) : this.edu.store(iova, WORD);
  }
  /** Asserts that an access is refused, and which event tells of it. */
  async faults(event: ExpectedEvent['event'], iova: bigint, access: 'read' | 'write' = 'write'): Promise<void> {
    await this.access(iova, access);
    await this.told({ event, iova, access });
  }
  /** Asserts what the next event is, in all of its bits. */
  async told(expected: Omit<ExpectedEvent, 'streamId'>): Promise<void> {
    const streamId = Number(BigInt.asUintN(32, this.virtId));
    assertEvent(await this.next(), this.#told++, { streamId, ...expected });
  }
  /** The next event, which may need a moment to come from the hardware's queue. */
  async next(): Promise<Vevent | undefined> {
    for await (const event of this.events.read({ signal: AbortSignal.timeout(EVENT_MS) })) return event;
    return undefined;
  }
  /** Asserts that nothing has been told but what was asked for: another fault is made, and its event is the next. */
  async quiet(): Promise<void> {
    const [empty, context] = [new GuestTables(this.ram), this.ram.take(CONTEXT_SIZE)];
    contextWords({ t0sz: 64 - empty.bits, ttb0: empty.root, asid: 0x7ff }).forEach((word, i) => {
      this.ram.store(context + BigInt(i * 8), word);
    });
    this.attach({ contexts: context });
    await this.faults('translation', VA);
  }

  /** Asserts that the device's access neither comes to a page nor is told. */
  async refusesSilently(iova: bigint, index: number): Promise<void> {
    this.write(index, pattern(LENGTH, 3));
    await this.access(iova, 'write');
    await this.access(iova, 'read');
    assert.equal(hex(this.read(index)), hex(pattern(LENGTH, 3)));
  }
}
