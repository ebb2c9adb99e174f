// The emulated SMMUv3's TLB beside a model of it, as plain as can be: whatever a guest maps, unmaps, reads and invalidates, in
// whatever order, it gets what the model says, stale translations included.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { CERROR } from '../../lib/emulated/hardware/smmuv3/command-queue.js';
import type { Stream } from '../../lib/emulated/hardware/smmuv3/stream.js';
import type { Armv8Tables } from '../rig/armv8-tables.js';
import { COMMANDS, PAGE, Smmuv3Guest, steWords } from './emulated-smmuv3-guest.js';

/** Pages of a block. */
const BLOCK = 512;
/** Addresses in use are two blocks from here on: the first is for blocks and pages, the second for pages, some of them global. */
const FIRST = 0x200;
const COUNT = 2 * BLOCK;
const OFFSET = 5;
const TARGETS = 16;

interface Leaf {
  readonly asid: number;
  readonly first: number;
  readonly pages: number;
  /** The guest's physical page. */
  readonly out: number;
  readonly writable: boolean;
  readonly global: boolean;
}
const covers = (page: number) => (leaf: Leaf) => leaf.first <= page && page < leaf.first + leaf.pages;
const touches = (first: number, last: number) => (leaf: Leaf) => leaf.first <= last && first < leaf.first + leaf.pages;
const isOf = (asid: number) => (leaf: Leaf) => leaf.global || leaf.asid === asid;

class Model {
  mapped: Leaf[] = [];
  kept: Leaf[] = [];

  find(asid: number, page: number): Leaf | undefined {
    const known = this.kept.find((leaf) => covers(page)(leaf) && isOf(asid)(leaf));
    if (known !== undefined) return known;
    const found = this.mapped.find((leaf) => covers(page)(leaf) && leaf.asid === asid);
    if (found !== undefined) this.kept.push(found);
    return found;
  }
  forget(which: (leaf: Leaf) => boolean): void {
    this.kept = this.kept.filter((leaf) => !which(leaf));
  }
}

/** A guest with two address spaces, and the model of what it sees. */
class ModelledGuest {
  readonly #guest = new Smmuv3Guest(COUNT + 256);
  readonly #tables: readonly [Armv8Tables, Armv8Tables] = [this.#guest.tables(), this.#guest.tables()];
  readonly #stream: Stream;
  readonly #targets = this.#guest.allocate(TARGETS * PAGE);
  readonly #block = this.#guest.allocate(BLOCK * PAGE);
  readonly #model = new Model();
  /** Whether the first block of addresses is mapped as one, by ASID. To change that takes an invalidation in between. */
  readonly #asBlock: (boolean | undefined)[] = [];

  constructor() {
    const contexts = this.#guest.page();
    this.#tables.forEach(({ root }, asid) => {
      this.#guest.context({ lower: { table: root }, asid }, contexts + 64 * asid);
    });
    this.#stream = this.#guest.stream(steWords(contexts, { substreamBits: 1, withoutSubstream: 2 }));
  }

  map(asid: number, index: number, target: number, asBlock: boolean, writable: boolean): void {
    const inFirst = index < BLOCK;
    if (inFirst) this.#asBlock[asid] ??= asBlock;
    if (inFirst && this.#asBlock[asid] !== asBlock) return;
    const isBlock = inFirst && asBlock;
    const first = FIRST + (isBlock ? 0 : index);
    const pages = isBlock ? BLOCK : 1;
    const out = (isBlock ? this.#block : this.#targets + target * PAGE) / PAGE;
    // Global translations have addresses of their own: another one for an ASID would be a conflict.
    const global = !inFirst && index % 7 === 0;
    const mapped = this.#model.mapped.some((leaf) => leaf.asid === asid && covers(first)(leaf));
    if (mapped) return;
    this.#tables[asid]?.map(BigInt(first * PAGE), out * PAGE, pages * PAGE, { writable, global });
    this.#model.mapped.push({ asid, first, pages, out, writable, global });
  }
  unmap(which: number): void {
    const [leaf] = this.#model.mapped.splice(which, 1);
    if (leaf !== undefined) this.#tables[leaf.asid]?.unmap(BigInt(leaf.first * PAGE), leaf.pages * PAGE);
  }

  /** Reads or writes where something is, or was. */
  access(asid: number, which: number, write: boolean): void {
    const leaves = [...this.#model.kept, ...this.#model.mapped];
    const { first, pages } = leaves[which % Math.max(1, leaves.length)] ?? { first: FIRST, pages: 1 };
    const page = first + (which % pages);
    const leaf = this.#model.find(asid, page);
    const refused = leaf === undefined || (write && !leaf.writable);
    const expected = refused ? -1 : this.#guest.frame((leaf.out + page - leaf.first) * PAGE) + OFFSET;
    assert.equal(this.#stream.translate(page, OFFSET, write, asid), expected, `page ${page} of ASID ${asid}`);
  }

  nhVa(asid: number, index: number): void {
    this.#execute(COMMANDS.nhVa(BigInt((FIRST + index) * PAGE), asid));
    this.#model.forget((leaf) => covers(FIRST + index)(leaf) && isOf(asid)(leaf));
  }
  nhVaa(index: number): void {
    this.#execute(COMMANDS.nhVaa(BigInt((FIRST + index) * PAGE)));
    this.#model.forget(covers(FIRST + index));
  }
  range(asid: number, index: number, num: number, scale: number): void {
    const first = FIRST + index;
    this.#execute(COMMANDS.range(BigInt(first * PAGE), 1, num, scale, asid, 3));
    const isIn = touches(first, first + (num + 1) * 2 ** scale - 1);
    this.#model.forget((leaf) => isIn(leaf) && isOf(asid)(leaf));
  }
  nhAsid(asid: number): void {
    this.#execute(COMMANDS.nhAsid(asid));
    this.#model.forget((leaf) => !leaf.global && leaf.asid === asid);
  }
  nhAll(): void {
    this.#execute(COMMANDS.nhAll());
    this.#model.forget(() => true);
  }
  #execute(command: [number, number, number, number]): void {
    assert.equal(this.#guest.smmu.execute(...command), CERROR.none);
  }
}

type Action = (guest: ModelledGuest) => void;
const asid = fc.nat(1);
const index = fc.nat(COUNT - 1);
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.tuple(asid, index, fc.nat(TARGETS - 1), fc.boolean(), fc.boolean()).map(
      (mapping): Action =>
        (guest) =>
          guest.map(...mapping),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.nat(20).map(
      (which): Action =>
        (guest) =>
          guest.unmap(which),
    ),
  },
  {
    weight: 10,
    arbitrary: fc.tuple(asid, fc.nat(1000), fc.boolean()).map(
      (access): Action =>
        (guest) =>
          guest.access(...access),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.tuple(asid, index).map(
      (at): Action =>
        (guest) =>
          guest.nhVa(...at),
    ),
  },
  {
    weight: 1,
    arbitrary: index.map(
      (at): Action =>
        (guest) =>
          guest.nhVaa(at),
    ),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(asid, index, fc.nat(31), fc.nat(6)).map(
      (range): Action =>
        (guest) =>
          guest.range(...range),
    ),
  },
  {
    weight: 1,
    arbitrary: asid.map(
      (one): Action =>
        (guest) =>
          guest.nhAsid(one),
    ),
  },
  { weight: 1, arbitrary: fc.constant<Action>((guest) => guest.nhAll()) },
);

describe('emulated SMMUv3: its TLB', () => {
  it('keeps and forgets as a model of it', function () {
    this.timeout(120_000);
    fc.assert(
      fc.property(fc.array(action, { minLength: 10, maxLength: 80 }), (actions) => {
        const guest = new ModelledGuest();
        for (const act of actions) act(guest);
      }),
      { numRuns: 150 },
    );
  });
});
