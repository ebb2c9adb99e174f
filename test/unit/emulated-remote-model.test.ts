// Random lives of a process's memory against a model of what Linux does with pages: mappings come, go, move and are thrown away
// while pages of them are pinned, the program and devices write, and every pin stays the page that it was.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { ForeignPages } from '../../lib/emulated/memory/foreign.js';
import type { RemoteAddressSpace } from '../../lib/emulated/remote/address-space.js';
import type { RemoteMemory } from '../../lib/emulated/remote/remote-memory.js';
import { MAP, type MappedProgram, PAGE, PROT } from '../rig/mapped-program.js';
import { dmaRead, dmaWrite, needsPrograms, remoteMemory, start, withoutRights } from '../rig/remote-stage.js';

const EFAULT = -14;
/** Pages that everything happens in, and pages of the file. */
const ROOM = 12;
const FILE = 6;
const RUNS = 25;

/** A page as Linux has it: what every byte of it is. */
interface Page {
  value: number;
}
interface Place {
  readonly page: Page;
  readonly writable: boolean;
  readonly shared: boolean;
}
interface Pin {
  readonly pages: ForeignPages;
  readonly write: boolean;
  readonly what: readonly Page[];
}

const at = fc.integer({ min: 0, max: ROOM - 1 });
const count = fc.integer({ min: 1, max: 4 });
const value = fc.integer({ min: 1, max: 255 });
const step = fc.oneof(
  fc.record({ does: fc.constant('map' as const), at, count, shared: fc.boolean(), writable: fc.boolean() }),
  fc.record({ does: fc.constant('unmap' as const), at, count }),
  fc.record({ does: fc.constant('discard' as const), at, count }),
  fc.record({ does: fc.constant('pin' as const), at, count, write: fc.boolean() }),
  fc.record({ does: fc.constant('pin' as const), at, count, write: fc.boolean() }),
  fc.record({ does: fc.constant('unpin' as const), which: fc.nat() }),
  fc.record({ does: fc.constant('write' as const), at, value }),
  fc.record({ does: fc.constant('dma' as const), which: fc.nat(), value }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

class Life {
  readonly #remote: RemoteMemory;
  readonly #program: MappedProgram;
  readonly #memory: RemoteAddressSpace;
  readonly #base: number;
  readonly #fd: number;
  readonly #places: (Place | undefined)[] = new Array(ROOM).fill(undefined);
  readonly #file: readonly Page[] = Array.from({ length: FILE }, () => ({ value: 0 }));
  readonly #pins: Pin[] = [];
  /** How often each thing was done that shows something. */
  readonly done = { taken: 0, pinned: 0, refused: 0 };

  constructor(remote: RemoteMemory, program: MappedProgram, memory: RemoteAddressSpace, base: number, fd: number) {
    this.#remote = remote;
    this.#program = program;
    this.#memory = memory;
    this.#base = base;
    this.#fd = fd;
  }

  async step(one: Step): Promise<void> {
    this.#memory.enter();
    if (one.does === 'map') await this.#map(one);
    else if (one.does === 'unmap') await this.#unmap(one.at, one.count);
    else if (one.does === 'discard') await this.#discard(one.at, one.count);
    else if (one.does === 'pin') this.#pin(one.at, one.count, one.write);
    else if (one.does === 'unpin') this.#unpin(one.which);
    else if (one.does === 'write') await this.#write(one.at, one.value);
    else this.#dma(one.which, one.value);
    this.#check();
  }

  #address(page: number): number {
    return this.#base + page * PAGE;
  }
  #end(first: number, length: number): number {
    return Math.min(ROOM, first + length);
  }
  /** What the shim tells before memory goes. */
  #tell(first: number, end: number): void {
    const pinned = this.#places.slice(first, end).some((place) => place !== undefined && this.#isPinned(place.page));
    if (pinned) this.done.taken++;
    if (this.#memory.watchesUnmap) this.#memory.aboutToUnmap(this.#address(first), (end - first) * PAGE);
  }
  #isPinned(page: Page): boolean {
    return this.#pins.some(({ what }) => what.includes(page));
  }

  async #map({ at: first, count: length, shared, writable }: Extract<Step, { does: 'map' }>): Promise<void> {
    const end = Math.min(this.#end(first, length), shared ? first + FILE : ROOM);
    this.#tell(first, end);
    const offset = first % (FILE - Math.min(FILE - 1, end - first - 1));
    await this.#program.map((end - first) * PAGE, {
      at: this.#address(first),
      protection: writable ? PROT.both : PROT.read,
      flags: MAP.fixed | (shared ? MAP.shared : MAP.private),
      fd: shared ? this.#fd : -1,
      offset: shared ? offset * PAGE : 0,
    });
    for (let i = first; i < end; i++) {
      const page = shared ? this.#file[offset + i - first] : { value: 0 };
      assert(page !== undefined);
      this.#places[i] = { page, writable, shared };
    }
  }
  async #unmap(first: number, length: number): Promise<void> {
    const end = this.#end(first, length);
    this.#tell(first, end);
    await this.#program.must('unmap', this.#address(first), (end - first) * PAGE);
    this.#places.fill(undefined, first, end);
  }
  async #discard(first: number, length: number): Promise<void> {
    const end = this.#end(first, length);
    if (this.#places.slice(first, end).includes(undefined)) return;
    this.#tell(first, end);
    await this.#program.must('discard', this.#address(first), (end - first) * PAGE);
    for (let i = first; i < end; i++) {
      const place = this.#places[i];
      if (place !== undefined && !place.shared) this.#places[i] = { ...place, page: { value: 0 } };
    }
  }

  #pin(first: number, length: number, write: boolean): void {
    const end = this.#end(first, length);
    const places = this.#places.slice(first, end);
    const isThere = places.every((place) => place !== undefined && (place.writable || !write));
    const pages = new ForeignPages(this.#memory.foreign, this.#address(first) / PAGE, write);
    assert.equal(pages.pin(0, end - first), isThere ? 0 : EFAULT);
    if (!isThere) {
      this.done.refused++;
      return;
    }
    this.done.pinned++;
    this.#pins.push({ pages, write, what: places.flatMap((place) => place?.page ?? []) });
  }
  #unpin(which: number): void {
    const [pin] = this.#pins.splice(which % Math.max(1, this.#pins.length), 1);
    pin?.pages.unpin(0, pin.what.length);
  }
  end(): void {
    while (this.#pins.length > 0) this.#unpin(0);
  }

  async #write(where: number, byte: number): Promise<void> {
    const place = this.#places[where];
    if (place?.writable !== true) return;
    await this.#program.fill(this.#address(where), PAGE, byte);
    place.page.value = byte;
  }
  #dma(which: number, byte: number): void {
    const pins = this.#pins.filter(({ write }) => write);
    const pin = pins[which % Math.max(1, pins.length)];
    if (pin === undefined) return;
    const index = which % pin.what.length;
    const page = pin.what[index];
    assert(page !== undefined);
    dmaWrite(this.#remote, pin.pages.frame(index), 0, new Uint8Array(PAGE).fill(byte));
    page.value = byte;
  }

  /** Every pin is its page, and what is pinned is the same page wherever it is found. */
  #check(): void {
    const numbers = new Map<Page, number>();
    for (const { pages, what } of this.#pins) {
      for (const [i, page] of what.entries()) {
        const frame = pages.frame(i);
        assert.equal(numbers.get(page) ?? frame, frame, 'a page has two numbers');
        numbers.set(page, frame);
        const bytes = dmaRead(this.#remote, frame, 0, PAGE);
        assert(
          bytes.every((byte) => byte === page.value),
          `${bytes[0]} where ${page.value} should be`,
        );
      }
    }
    assert.equal(new Set(numbers.values()).size, numbers.size, 'two pages have one number');
    this.#checkPlaces(numbers);
  }
  #checkPlaces(numbers: ReadonlyMap<Page, number>): void {
    for (const [i, place] of this.#places.entries()) {
      const found = this.#memory.foreign.pageAt(this.#address(i) / PAGE);
      assert.equal(found === undefined, place === undefined);
      if (place === undefined || found === undefined) continue;
      const frame = found.backing.frame(found.page);
      const held = this.#pins.filter(({ what }) => what.includes(place.page));
      assert.equal(
        found.backing.pinsOf(found.page),
        held.flatMap(({ what }) => what.filter((p) => p === place.page)).length,
      );
      if (held.length > 0) assert.equal(frame, numbers.get(place.page));
    }
  }
}

describe("lives of another process's memory", () => {
  needsPrograms();

  for (const rights of ['with', 'without'] as const) {
    it(`keep every pinned page the page that it is, ${rights} the right to open what is shared`, async () => {
      const { remote, program, memory } = await start(remoteMemory(rights === 'without'));
      const around = await program.map((ROOM + 2) * PAGE);
      const base = around + PAGE;
      const done = { taken: 0, pinned: 0, refused: 0 };
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 30, maxLength: 60 }), async (steps) => {
          // One more mapping of the file, for what nobody else maps has no page without rights.
          const fd = await program.must('memfd', FILE * PAGE);
          const keeper = await program.map(FILE * PAGE, { fd, flags: MAP.shared });
          const life = new Life(remote, program, memory, base, fd);
          try {
            await life.step({ does: 'map', at: 0, count: ROOM, shared: false, writable: true });
            await life.step({ does: 'map', at: 3, count: 4, shared: true, writable: true });
            for (const one of steps) {
              // What has rights in it is done at once.
              const work = () => life.step(one);
              await (rights === 'with' ? work() : withoutRights(work));
            }
          } finally {
            life.end();
          }
          for (const what of ['taken', 'pinned', 'refused'] as const) done[what] += life.done[what];
          await program.must('unmap', keeper, FILE * PAGE);
          await program.must('close', fd);
        }),
        { numRuns: RUNS },
      );
      assert.equal(memory.watchesUnmap, false);
      assert(done.taken > RUNS / 4 && done.pinned > RUNS && done.refused > 0, JSON.stringify(done));
    });
  }
});
