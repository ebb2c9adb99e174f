// The TLB of emulated IOMMUs against a list of leaves, and the fast path in front of it.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { MicroTlb } from '../../lib/emulated/hardware/micro-tlb.js';
import { PERMIT, Tlb } from '../../lib/emulated/hardware/tlb.js';

interface Leaf {
  readonly tag: number;
  readonly page: number;
  readonly log2Pages: number;
  readonly outPage: number;
  readonly permissions: number;
}

/** Leaves in a list: what a TLB should know, in the plainest way. */
class Model {
  leaves: Leaf[] = [];

  around(tag: number, page: number): Leaf[] {
    return this.leaves
      .filter((leaf) => leaf.tag === tag && leaf.page <= page && page < leaf.page + 2 ** leaf.log2Pages)
      .sort((a, b) => a.log2Pages - b.log2Pages);
  }
  insert(added: Leaf): void {
    this.leaves = this.leaves.filter(
      ({ tag, page, log2Pages }) => tag !== added.tag || page !== added.page || log2Pages !== added.log2Pages,
    );
    this.leaves.push(added);
  }
  removeRange(tag: number, first: number, last: number): void {
    this.leaves = this.leaves.filter(
      (leaf) => leaf.tag !== tag || leaf.page > last || leaf.page + 2 ** leaf.log2Pages <= first,
    );
  }
  removeTag(tag: number): void {
    this.leaves = this.leaves.filter((leaf) => leaf.tag !== tag);
  }
}

/** Where the pages of a test lie: at both ends of 64 bits of addresses, and around 2^31 and 2^32 pages. */
const BASES = [0, 2 ** 31 - 4096, 2 ** 32 - 4096, 2 ** 43, 2 ** 52 - 8192] as const;
const SIZES = [0, 2, 4, 9, 11] as const;
/** Tags that share a chain with others, and tags that do not. */
const TAGS = [1, 2, 3, 1025, 2049, 2 ** 30] as const;

const tag = fc.constantFrom(...TAGS);
const page = fc.tuple(fc.constantFrom(...BASES), fc.nat(8191)).map(([base, at]) => base + at);
const inserted = fc
  .record({
    tag,
    page,
    log2Pages: fc.constantFrom(...SIZES),
    outPage: fc.nat(2 ** 28),
    permissions: fc.integer({ min: 0, max: 3 }),
  })
  .map((leaf) => {
    const pages = 2 ** leaf.log2Pages;
    return { ...leaf, page: leaf.page - (leaf.page % pages), outPage: leaf.outPage * pages };
  });
type Step =
  | { readonly kind: 'insert'; readonly leaf: Leaf }
  | { readonly kind: 'page'; readonly tag: number; readonly page: number }
  | { readonly kind: 'range'; readonly tag: number; readonly page: number; readonly pages: number }
  | { readonly kind: 'tag'; readonly tag: number }
  | { readonly kind: 'clear' };
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: inserted.map((leaf) => ({ kind: 'insert' as const, leaf })) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('page' as const), tag, page }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('range' as const), tag, page, pages: fc.integer({ min: 1, max: 3000 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('tag' as const), tag }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'clear' as const }) },
);

function carryOut(what: Step, tlb: Tlb, model: Model): void {
  if (what.kind === 'insert') {
    const { leaf } = what;
    tlb.insert(leaf.tag, leaf.page, leaf.log2Pages, leaf.outPage, leaf.permissions);
    model.insert(leaf);
  } else if (what.kind === 'page') {
    tlb.removePage(what.tag, what.page);
    model.removeRange(what.tag, what.page, what.page);
  } else if (what.kind === 'range') {
    const last = Math.min(2 ** 52 - 1, what.page + what.pages - 1);
    tlb.removeRange(what.tag, what.page, last);
    model.removeRange(what.tag, what.page, last);
  } else if (what.kind === 'tag') {
    tlb.removeTag(what.tag);
    model.removeTag(what.tag);
  } else {
    tlb.clear();
    model.leaves = [];
  }
}

function assertFinds(tlb: Tlb, model: Model, tag: number, page: number): void {
  const [leaf] = model.around(tag, page);
  assert.equal(tlb.find(tag, page), leaf !== undefined, `tag ${tag}, page ${page}`);
  if (leaf === undefined) return;
  assert.deepEqual(
    [tlb.outPage, tlb.permissions, tlb.log2Pages],
    [leaf.outPage + page - leaf.page, leaf.permissions, leaf.log2Pages],
  );
}

/** What a TLB lists, in an order of its own. */
function listed(tlb: Tlb): string[] {
  return [...tlb.entries()]
    .map(({ tag, page, pages, outPage, permissions }) => `${tag} ${page} ${pages} ${outPage} ${permissions}`)
    .sort();
}

describe('the TLB of an emulated IOMMU', () => {
  it('knows what was inserted and not invalidated since, and nothing else', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), fc.array(fc.tuple(tag, page)), (steps, places) => {
        const tlb = new Tlb();
        const model = new Model();
        for (const what of steps) {
          carryOut(what, tlb, model);
          if (what.kind === 'clear') continue;
          const at = what.kind === 'insert' ? what.leaf : what;
          const near = 'page' in at ? at.page : 0;
          for (const around of [near, near + 1, near + 15, near + 511]) assertFinds(tlb, model, at.tag, around);
        }
        for (const [tag, page] of places) assertFinds(tlb, model, tag, page);
        for (const { tag, page, log2Pages } of model.leaves) {
          assertFinds(tlb, model, tag, page);
          assertFinds(tlb, model, tag, page + 2 ** log2Pages - 1);
        }
        assert.deepEqual(
          listed(tlb),
          model.leaves
            .map((leaf) => `${leaf.tag} ${leaf.page} ${2 ** leaf.log2Pages} ${leaf.outPage} ${leaf.permissions}`)
            .sort(),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('keeps leaves that overlap, answers by the smallest, and forgets all of them at one invalidation', () => {
    const tlb = new Tlb();
    tlb.insert(1, 512, 9, 0x1000, PERMIT.read);
    tlb.insert(1, 515, 0, 0x77, PERMIT.write);
    assert.equal(tlb.find(1, 515), true);
    assert.deepEqual([tlb.outPage, tlb.permissions, tlb.log2Pages], [0x77, PERMIT.write, 0]);
    assert.equal(tlb.find(1, 516), true);
    assert.deepEqual([tlb.outPage, tlb.permissions, tlb.log2Pages], [0x1004, PERMIT.read, 9]);
    tlb.removePage(1, 515);
    assert.equal(tlb.find(1, 515), false);
    assert.equal(tlb.find(1, 1023), false);
  });

  it('forgets by a range what has its first page or its last one, and not what lies beside it', () => {
    for (const pages of [1, 8, 100]) {
      for (const [first, isForgotten] of [
        [1024 - 512 - pages, false],
        [1024 - 512 - pages + 1, true],
        [1023, true],
        [1024, false],
      ] as const) {
        const tlb = new Tlb();
        tlb.insert(1, 512, 9, 0, PERMIT.read);
        tlb.removeRange(1, first, first + pages - 1);
        assert.equal(tlb.find(1, 600), !isForgotten, `${pages} pages from ${first} on`);
      }
    }
  });

  it('tells all 52 bits of page numbers apart, and tags', () => {
    const tlb = new Tlb();
    tlb.insert(7, 5, 0, 9, PERMIT.read);
    tlb.insert(7, 2 ** 21, 9, 9, PERMIT.read);
    for (let i = 1; i < 2 ** 16; i++) {
      assert.equal(tlb.find(7, 5 + i * 2 ** 32), false);
      assert.equal(tlb.find(7, 5 + i * 2 ** 10), i === 2 ** 11);
      assert.equal(tlb.find(7 + i, 5), false);
    }
  });

  it('changes a leaf that is inserted again', () => {
    const tlb = new Tlb();
    tlb.insert(1, 5, 0, 100, PERMIT.read);
    tlb.insert(1, 5, 0, 200, PERMIT.read | PERMIT.write);
    assert.equal(tlb.find(1, 5), true);
    assert.deepEqual([tlb.outPage, tlb.permissions], [200, 3]);
    assert.equal([...tlb.entries()].length, 1);
  });

  it('has room for 4096 leaves, forgets the same ones each time beyond that, and never answers by a wrong one', () => {
    const [tlb, twin] = [new Tlb(), new Tlb()];
    const count = 30_000;
    const pageOf = (i: number) => (i * 7919) % 2 ** 20;
    for (let i = 0; i < count; i++) {
      tlb.insert(1 + (i % 3), pageOf(i), 0, i, PERMIT.read);
      twin.insert(1 + (i % 3), pageOf(i), 0, i, PERMIT.read);
    }
    let found = 0;
    for (let i = 0; i < count; i++) {
      const knows = tlb.find(1 + (i % 3), pageOf(i));
      assert.equal(twin.find(1 + (i % 3), pageOf(i)), knows);
      if (knows) assert.equal(tlb.outPage, i);
      else assert(i < count - 4096, 'one of the last was forgotten');
      if (knows) found++;
    }
    assert.equal(found, [...tlb.entries()].length);
    tlb.removeTag(1);
    tlb.removeTag(2);
    tlb.removeRange(3, 0, 2 ** 52 - 1);
    assert.deepEqual([...tlb.entries()], []);
    for (let i = 0; i < 4096; i++) tlb.insert(9, i, 0, i, PERMIT.read);
    for (let i = 0; i < 4096; i++) assert.equal(tlb.find(9, i), true);
  });
});

describe('the fast path in front of a TLB', () => {
  it('answers for one kind of access, one tag and one page', () => {
    const micro = new MicroTlb();
    const frame = 2 ** 33 + 4096;
    micro.insert(3, 70, frame, PERMIT.read);
    assert.equal(micro.find(3, 70, false), frame);
    for (const [tag, page, write] of [
      [3, 70, true],
      [3, 71, false],
      [3, 70 + 1024, false],
      [4, 70, false],
      [-3, 70, false],
    ] as const) {
      assert.equal(micro.find(tag, page, write), -1, `${tag} ${page} ${write}`);
    }
    micro.insert(3, 70, frame, PERMIT.write);
    assert.deepEqual([micro.find(3, 70, false), micro.find(3, 70, true)], [frame, frame]);
  });

  it('never answers what was not inserted since it was told to forget', () => {
    const tag = fc.constantFrom(-1, 1, 2, 1025);
    const page = fc.constantFrom(0, 1, 2, 1024, 1025, 2 ** 31, 2 ** 32 + 1, 2 ** 51, 2 ** 52 - 1);
    const step = fc.oneof(
      { weight: 5, arbitrary: fc.tuple(tag, page, fc.nat(2 ** 30), fc.integer({ min: 0, max: 3 })) },
      { weight: 1, arbitrary: fc.constant(undefined) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(fc.tuple(tag, page, fc.boolean())), (steps, asked) => {
        const micro = new MicroTlb();
        const known = new Map<string, number>();
        for (const what of steps) {
          if (what === undefined) {
            micro.forget();
            known.clear();
            continue;
          }
          const [tag, page, frame, permissions] = what;
          micro.insert(tag, page, frame * 4096, permissions);
          for (const write of [false, true]) {
            if ((permissions & (write ? PERMIT.write : PERMIT.read)) === 0) continue;
            known.set(`${tag} ${page} ${write}`, frame * 4096);
            assert.equal(micro.find(tag, page, write), frame * 4096);
          }
        }
        for (const [tag, page, write] of asked) {
          const answer = micro.find(tag, page, write);
          if (answer !== -1) assert.equal(answer, known.get(`${tag} ${page} ${write}`));
        }
      }),
      { numRuns: 300 },
    );
  });
});
