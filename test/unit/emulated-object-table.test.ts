// Ids of the emulated kernel's objects: the lowest free one, what takes one and what gives it back, and closing.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { IommufdObject, ObjectTable } from '../../lib/emulated/kernel/object-table.js';

/** An object that refers to others, until it is destroyed. */
class Thing extends IommufdObject {
  readonly kind: string = 'thing';
  constructor(
    readonly parents: readonly Thing[] = [],
    readonly destroyed: number[] = [],
  ) {
    super();
    for (const parent of parents) parent.users++;
  }
  destroy(): void {
    this.destroyed.push(this.id);
    for (const parent of this.parents) parent.users--;
  }
}
class Other extends Thing {
  override readonly kind = 'other';
}

function publish<T extends IommufdObject>(table: ObjectTable, object: T): T {
  table.reserve(object);
  table.publish(object);
  return object;
}

describe('ids of the emulated kernel', () => {
  it('are the lowest free ones from 1 on, however they come and go', () => {
    const step = fc.tuple(fc.constantFrom('publish', 'abort', 'remove', 'tombstone'), fc.nat());
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const table = new ObjectTable();
        const live = new Map<number, Thing>();
        const tombs = new Set<number>();
        for (const [what, which] of steps) {
          const object = [...live.values()][which % Math.max(1, live.size)];
          if (object === undefined || what === 'publish' || what === 'abort') {
            let lowest = 1;
            while (live.has(lowest) || tombs.has(lowest)) lowest++;
            const made = new Thing();
            table.reserve(made);
            assert.equal(made.id, lowest);
            assert.equal(table.find(lowest), undefined, 'not before it is published');
            if (what === 'abort') table.abort(made);
            else {
              table.publish(made);
              live.set(lowest, made);
            }
          } else {
            assert.equal(table.remove(object, { tombstone: what === 'tombstone' }), true);
            live.delete(object.id);
            if (what === 'tombstone') tombs.add(object.id);
          }
          assert.deepEqual(
            table.all(),
            [...live.values()].sort((a, b) => a.id - b.id),
          );
        }
        assert.equal(table.isEmpty, live.size === 0 && tombs.size === 0);
      }),
    );
  });

  it('are found as what they are only', () => {
    const table = new ObjectTable();
    const [thing, other] = [publish(table, new Thing()), publish(table, new Other())];
    assert.equal(table.get(thing.id, Thing), thing);
    assert.equal(table.get(thing.id, Other), undefined);
    assert.equal(table.get(other.id, Other), other);
    for (const id of [0, 3, -1, 2 ** 32 - 1, Number.NaN]) {
      assert.equal(table.find(id), undefined);
      assert.equal(table.get(id, Thing), undefined);
    }
  });

  it('stay while others refer to them', () => {
    const table = new ObjectTable();
    const parent = publish(table, new Thing());
    const child = publish(table, new Thing([parent]));
    assert.equal(table.remove(parent), false);
    assert.equal(table.find(parent.id), parent);
    assert.equal(table.remove(child), true);
    assert.equal(table.remove(parent), true);
    assert.equal(table.isEmpty, true);
    assert.equal(table.remove(parent), false, 'once is enough');
  });

  it('are not published twice', () => {
    const table = new ObjectTable();
    const thing = publish(table, new Thing());
    assert.throws(() => table.publish(thing), /not reserved/);
  });

  it('close leaves first, by id, round after round', () => {
    const table = new ObjectTable();
    const order: number[] = [];
    const make = (...parents: Thing[]): Thing => publish(table, new Thing(parents, order));
    const ioas = make();
    const device = make();
    const hwpt = make(ioas, device);
    make(hwpt);
    make();
    table.destroyAll();
    // Those that only the table referred to; the page table that let go of them comes in the next round.
    assert.deepEqual(order, [4, 5, 3, 1, 2]);
    assert.equal(table.isEmpty, true);
  });

  it('close in one round what the round itself made free behind it', () => {
    const table = new ObjectTable();
    const order: number[] = [];
    const first = new Thing([], order);
    const second = new Thing([], order);
    table.reserve(first);
    table.reserve(second);
    table.publish(second);
    // A child with a lower id than its parent: the id was free again.
    table.abort(first);
    publish(table, new Thing([second], order));
    table.destroyAll();
    assert.deepEqual(order, [1, 2]);
  });

  it('do not close in a circle for ever', () => {
    const table = new ObjectTable();
    const thing = publish(table, new Thing());
    thing.users++;
    assert.throws(() => table.destroyAll(), /refer to each other: thing/);
  });

  it('a tombstone does not hinder closing', () => {
    const table = new ObjectTable();
    const thing = publish(table, new Thing());
    table.remove(thing, { tombstone: true });
    assert.equal(publish(table, new Thing()).id, 2);
    table.destroyAll();
    assert.equal(table.isEmpty, false);
    assert.deepEqual(table.all(), []);
  });
});
