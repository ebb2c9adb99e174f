// What a session has made so far, as far as answers told, and the numbers that its next calls are likely to use.

import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import { type Fields, type Input, IOMMU_DESTROY, type Ioctl, type Layout } from '../../lib/uapi/index.js';
import type { Region } from '../../lib/unsafe.js';
import { corrupt } from './corruption.js';
import type { Answer, Machine, Sizing } from './machine.js';
import type { Random } from './random.js';

export const PAGE = 4096n;
export const U32_MAX = 0xffff_ffff;
export const U64_MAX = 2n ** 64n - 1n;
/** Where the mock's page tables start and end. */
export const APERTURE = { start: 0x100_0000n, last: 0x7fff_ffffn } as const;

export type Kind =
  | 'ioas'
  | 'paging'
  | 'nested'
  | 'viommu'
  | 'vdevice'
  | 'veventq'
  | 'fault'
  | 'hw-queue'
  | 'attachment'
  | 'device';

/** What a step may be about. */
export type About = Kind | 'mapping' | 'access' | 'events';

/** An object that a call made. */
export interface Thing {
  readonly id: number;
  readonly kind: Kind;
  /** Of an IOAS: it maps page by page. Of a page table: its IOAS does. */
  readonly smallPages?: boolean;
  /** Of a page table: whether nested ones may hang from it. */
  readonly nestParent?: boolean;
  /** Of a page table: whether it tracks dirty pages, and whether PASIDs can be attached to it. */
  readonly tracksDirty?: boolean;
  readonly pasid?: boolean;
  /** Of a page table: what it is filled from. Of a vIOMMU: what its nest parent is. */
  readonly ioas?: number;
  /** Of a vIOMMU: what can be mapped of it. */
  readonly mmap?: { readonly offset: bigint; readonly length: bigint };
  /** Of an attachment (what the mock calls a device): the device as iommufd knows it. */
  readonly device?: number;
}

export interface Mapping {
  readonly ioas: number;
  readonly iova: bigint;
  readonly length: bigint;
  /** Which memory, if any, from which byte on. */
  readonly from: 'memory' | 'file' | 'nowhere';
  readonly offset: number;
}

export interface Access {
  readonly fd: number;
  readonly pins: boolean;
  ioas: number;
  /** How often pages were pinned. */
  pinned: number;
}

export class Session {
  #fd: number;
  /** What the step makes its choices of. */
  random: Random;
  readonly things = new Map<number, Thing>();
  readonly accesses: Access[] = [];
  /** Files of event queues. */
  readonly eventFiles: { readonly fd: number; readonly kind: 'fault' | 'veventq' }[] = [];
  readonly windows: Region[] = [];
  /** The address space that VFIO's old calls work on. */
  compatIoas: number | undefined;
  readonly #mappings: Mapping[] = [];
  /** Nothing unusual is done now, and with the newest objects. */
  #calm = false;
  /** Which PASIDs of which attachment are attached. */
  readonly pasids = new Map<number, Set<number>>();

  constructor(
    readonly machine: Machine,
    random: Random,
  ) {
    this.random = random;
    this.#fd = machine.open();
  }
  get fd(): number {
    return this.#fd;
  }
  /** After its file was closed: a new one, with nothing in it. What is open of the old one stays so. */
  reopen(): void {
    this.#fd = this.machine.open();
    this.things.clear();
    this.pasids.clear();
    this.#mappings.splice(0);
    this.compatIoas = undefined;
    for (const access of this.accesses) access.ioas = 0;
  }

  /** Does what steps do, as a program would that knows what it wants. */
  calmly(steps: readonly ((session: Session) => void)[]): void {
    this.#calm = true;
    for (const step of steps) step(this);
    this.#calm = false;
  }

  get isCalm(): boolean {
    return this.#calm;
  }

  ioctl<F extends Fields>(op: Ioctl<F>, input: Input<F>, sizing = this.#sizing(op.layout.size)): Answer<F> {
    return this.machine.ioctl(this.fd, op, this.#corrupted(op.layout, input), sizing);
  }
  test<F extends Fields>(op: Parameters<Machine['test']>[1], layout: Ioctl<F>['layout'], input: Input<F>): Answer<F> {
    const sizing = this.#sizing(mock.iommu_test_cmd.size);
    return this.machine.test(this.fd, op, layout, this.#corrupted(layout, input), sizing);
  }

  /** Rarely with a field that makes no sense, or another one than the step meant. */
  #corrupted<F extends Fields>(layout: Layout<F>, input: Input<F>): Input<F> {
    return this.#calm || !this.random.percent(3) ? input : corrupt(this.random, layout, input);
  }

  /** Mostly the struct as it is; sometimes as an older or a newer program would have it. */
  #sizing(size: number): Sizing {
    if (this.#calm || !this.random.percent(4)) return {};
    const likely = [size - 4, 0, 4, size - 8, size - 1, size + 1, size + 8, size + 100, 4096, 4097, U32_MAX];
    const length = this.random.percent(80) ? this.random.pick(likely) : this.random.below(4200);
    return {
      size: Math.max(length ?? 0, 0),
      behind: (length ?? 0) > size && this.random.percent(50) && length !== U32_MAX ? 0 : 0xee,
    };
  }

  /** Bytes that the next call can point at; rarely only the first of them. */
  buffer(bytes: Uint8Array): bigint {
    const { random, machine } = this;
    if (this.#calm || !random.percent(4)) return machine.buffer(bytes);
    const { length } = bytes;
    const there = random.pick([0, 1, 4, length - 1, length >> 1, length, random.below(length + 1)]);
    return machine.bufferAtEdge(bytes.subarray(0, Math.max(there, 0)));
  }

  // What there is.

  add(thing: Thing): void {
    this.things.set(thing.id, thing);
  }
  /** An event queue, and the file that its events are read from. */
  addEvents(id: number, fd: number, kind: 'fault' | 'veventq'): void {
    this.machine.seam.own(fd);
    this.add({ id, kind });
    this.eventFiles.push({ fd, kind });
  }
  remove(id: number): void {
    this.things.delete(id);
    this.pasids.delete(id);
    this.#forget(({ ioas }) => ioas === id);
  }
  all(...kinds: readonly Kind[]): Thing[] {
    return [...this.things.values()].filter(({ kind }) => kinds.includes(kind));
  }
  thing(...kinds: readonly Kind[]): Thing | undefined {
    return this.random.pick(this.all(...kinds));
  }

  /** Mostly an object of these kinds; sometimes another, or none. */
  id(...kinds: readonly Kind[]): number {
    const { random } = this;
    const newest = this.#calm ? this.all(...kinds).at(-1) : undefined;
    if (newest !== undefined) return newest.id;
    if (random.percent(93)) {
      const thing = this.thing(...kinds);
      if (thing !== undefined) return thing.id;
    }
    const other = random.percent(60) ? random.pick([...this.things.keys()]) : undefined;
    return other ?? random.pick([0, 1, 2, 3, 5, 8, 13, 40, 0x7fff_ffff, U32_MAX]);
  }

  /** Whether there is anything that a step is about. */
  has(about?: About): boolean {
    if (about === undefined) return true;
    if (about === 'mapping') return this.#mappings.length > 0;
    if (about === 'access') return this.accesses.length > 0;
    if (about === 'events') return this.eventFiles.length > 0;
    return this.all(about).length > 0;
  }

  destroy(id: number): void {
    const attached = this.pasids.get(id);
    // The kernel warns about a device that goes with PASIDs attached: its driver, the mock here, must not do that.
    if (attached !== undefined && attached.size > 0) return;
    const { result } = this.machine.ioctl(this.fd, IOMMU_DESTROY, { id }, this.#sizing(IOMMU_DESTROY.layout.size));
    if (result < 0) return;
    const device = this.things.get(id)?.device;
    if (device !== undefined) this.remove(device);
    this.remove(id);
  }

  addMapping(mapping: Mapping): void {
    this.#mappings.push(mapping);
  }
  forgetMappings(ioas: number, iova: bigint, length: bigint): void {
    this.#forget((one) => one.ioas === ioas && one.iova >= iova && one.iova + one.length <= iova + length);
  }
  #forget(which: (mapping: Mapping) => boolean): void {
    const kept = this.#mappings.filter((mapping) => !which(mapping));
    this.#mappings.splice(0, this.#mappings.length, ...kept);
  }
  /** One of an IOAS, or of any. */
  mapping(ioas?: number): Mapping | undefined {
    const mine = ioas === undefined ? this.#mappings : this.#mappings.filter((mapping) => mapping.ioas === ioas);
    return this.random.pick(mine);
  }

  // Numbers.

  /** Some of these flags, and rarely one that nobody knows. */
  flags(likely: number, others: readonly number[], unknownPercent = 3): number {
    const { random } = this;
    let flags = likely;
    if (this.#calm) return flags;
    for (const flag of others) if (random.percent(25)) flags ^= flag;
    if (random.percent(unknownPercent)) flags ^= 1 << random.below(31);
    return flags >>> 0;
  }
  /** What must be 0, and mostly is. */
  zero(): number {
    return !this.#calm && this.random.percent(1) ? 1 << this.random.below(8) : 0;
  }

  /** Somewhere IOVAs mean something: where the mock can translate, at its edges, and rarely beyond. */
  iova(): bigint {
    const { random } = this;
    return random.weighted<() => bigint>([
      [55, () => APERTURE.start + PAGE * BigInt(random.below(48))],
      [15, () => APERTURE.start + (PAGE << BigInt(random.below(10))) * BigInt(random.below(4))],
      [8, () => APERTURE.start + 2048n * BigInt(random.below(96))],
      [4, () => APERTURE.start + BigInt(random.below(0x1_0000))],
      [5, () => APERTURE.last + 1n - PAGE * BigInt(random.below(8))],
      [4, () => APERTURE.start - PAGE * BigInt(random.below(8))],
      [4, () => PAGE * BigInt(random.below(4))],
      [3, () => random.pick([0x8000_0000n, 0x1_0000_0000n, 2n ** 51n, 2n ** 56n, 2n ** 56n - PAGE])],
      [4, () => random.pick([U64_MAX, U64_MAX - 1n, U64_MAX - PAGE, U64_MAX - PAGE + 1n, 2n ** 63n])],
    ])();
  }

  /** Near a mapping, if there is one. */
  mappedIova(mapping: Mapping | undefined): bigint {
    const { random } = this;
    if (mapping === undefined || random.percent(6)) return this.iova();
    const { iova, length } = mapping;
    const pages = Number(length / PAGE);
    return BigInt.asUintN(
      64,
      random.weighted<() => bigint>([
        [60, () => iova],
        [20, () => iova + PAGE * BigInt(random.below(Math.max(1, Math.min(pages, 1000))))],
        [6, () => iova + 2048n],
        [4, () => iova + BigInt(random.below(8192))],
        [4, () => iova + length],
        [3, () => iova + length - 1n],
        [3, () => iova - PAGE],
      ])(),
    );
  }

  /** Bytes, mostly whole pages; `whole` is likely. */
  length(whole?: bigint): bigint {
    const { random } = this;
    if (whole !== undefined && random.percent(60)) return whole;
    return random.weighted<() => bigint>([
      [70, () => PAGE * BigInt(1 + random.below(12))],
      [6, () => 2048n * BigInt(random.below(8))],
      [6, () => BigInt(random.below(9000))],
      [2, () => 0n],
      [3, () => PAGE * BigInt(random.below(64))],
      [2, () => random.pick([0x10_0000n, 0x4000_0000n, 0x7f00_0000n])],
      [2, () => random.pick([U64_MAX, U64_MAX - 1n, U64_MAX - PAGE + 1n, 2n ** 63n])],
    ])();
  }

  /** A stretch of memory: a byte to start at and how many, never beyond its end. */
  slice(): { offset: number; length: number } {
    const { random } = this;
    const page = Number(PAGE);
    if (this.machine.isContiguous && random.percent(50)) {
      // Whole entries of page tables, and what is close to them.
      const whole = page << random.below(9);
      const offset = Math.min(whole * random.below(4), this.machine.size - whole);
      const more = random.percent(80) ? 0 : random.pick([page, -page]);
      return { offset, length: Math.max(page, Math.min(whole + more, this.machine.size - offset)) };
    }
    const pages = this.machine.size / page;
    const first = random.percent(75) ? random.below(8) : random.below(pages);
    const shift = random.weighted<() => number>([
      [88, () => 0],
      [7, () => 2048],
      [5, () => random.below(page)],
    ])();
    const most = random.percent(85) ? Math.min(6, pages - first) : pages - first;
    const length = page * (1 + random.below(most)) - (random.percent(90) ? 0 : random.below(page));
    const offset = first * page + shift;
    return { offset, length: Math.max(1, Math.min(length, this.machine.size - offset)) };
  }
}
