// The table of what is mapped where.
import assert from 'node:assert/strict';
import { U64_MAX } from '../../lib/host/arguments.js';
import type { MemoryHold } from '../../lib/host/memory.js';
import { compact, Mapping, MappingTable } from '../../lib/objects/mappings.js';
import { generator } from './stage.js';

const K = 0x1000n;
const FAR = 2n ** 53n;

/** A mapping as a caller has it: 64-bit values are bigint. */
function mapping(iova: bigint, length: bigint, hold?: MemoryHold): Mapping {
  return new Mapping(compact(iova), compact(length), hold);
}

function remove(table: MappingTable, iova: bigint, length: bigint): void {
  table.remove(compact(iova), compact(length));
}

class Hold implements MemoryHold {
  releases = 0;
  release(): void {
    this.releases++;
  }
  share(): MemoryHold {
    return this;
  }
}

/** A table of [first page, pages] mappings, with the hold of each. */
function tableOf(...ranges: [iova: bigint, length: bigint][]): { table: MappingTable; holds: Hold[] } {
  const table = new MappingTable();
  const holds = ranges.map(([iova, length]) => {
    const hold = new Hold();
    table.add(mapping(iova, length, hold));
    return hold;
  });
  return { table, holds };
}

const released = (holds: readonly Hold[]): number[] => holds.map((hold) => hold.releases);

describe('mappings', () => {
  it('joins neighbours into runs, and cuts them to the range asked for', () => {
    const { table } = tableOf([4n * K, K], [0n, 2n * K], [2n * K, K], [8n * K, 4n * K]);
    assert.deepEqual(table.runs(K, 9n * K), [
      { iova: K, length: 2n * K },
      { iova: 4n * K, length: K },
      { iova: 8n * K, length: 2n * K },
    ]);
    assert.deepEqual(table.runs(3n * K, K), []);
    assert.deepEqual(table.runs(0n, U64_MAX).length, 3);
  });

  it('finds what touches a range, in order', () => {
    const { table } = tableOf([10n * K, K], [0n, 2n * K], [5n * K, 2n * K]);
    assert.deepEqual(
      table.within(K, 5n * K).map(({ iova }) => iova),
      [0n, 5n * K],
    );
    assert.deepEqual(table.within(2n * K, 3n * K), []);
  });

  it('forgets exactly the mapping that was named', () => {
    const { table, holds } = tableOf([0n, K], [K, K]);
    remove(table, 0n, K);
    assert.deepEqual([table.size, ...released(holds)], [1, 1, 0]);
  });

  it('forgets what lies whole inside a range, and nothing that sticks out', () => {
    const { table, holds } = tableOf([0n, 2n * K], [2n * K, K], [3n * K, K], [4n * K, 2n * K]);
    remove(table, K, 4n * K);
    assert.deepEqual(released(holds), [0, 1, 1, 0]);
    assert.equal(table.size, 2);
  });

  it('takes an exact start with another length for a range', () => {
    const { table, holds } = tableOf([0n, K], [K, K]);
    remove(table, 0n, 2n * K);
    assert.deepEqual([table.size, ...released(holds)], [0, 1, 1]);
  });

  it('forgets everything, each hold once', () => {
    const { table, holds } = tableOf([0n, K], [FAR, K], [U64_MAX - K + 1n, K]);
    remove(table, 0n, U64_MAX);
    table.releaseAll();
    assert.deepEqual([table.size, ...released(holds)], [0, 1, 1, 1]);
  });

  it('keeps the memory of what a failed unmapping may have left, until something else lies in its place', () => {
    const { table, holds } = tableOf([0n, 2n * K], [2n * K, K], [4n * K, K]);
    table.doubt(0n, 3n * K);
    assert.deepEqual(released(holds), [0, 0, 0]);
    table.add(mapping(K, K));
    assert.deepEqual([table.size, ...released(holds)], [3, 1, 0, 0]);
    table.add(mapping(2n * K, K));
    assert.deepEqual([table.size, ...released(holds)], [3, 1, 1, 0]);
  });

  it('does not join what may be a hole with its neighbours', () => {
    const { table } = tableOf([0n, K], [K, K], [2n * K, K], [3n * K, K]);
    table.doubt(K, K);
    assert.deepEqual(
      table.runs(0n, 4n * K).map(({ length }) => length / K),
      [1n, 1n, 2n],
    );
    remove(table, K, K);
    assert.deepEqual(
      table.runs(0n, 4n * K).map(({ length }) => length / K),
      [1n, 2n],
    );
  });

  it('holds nothing that is added after its end', () => {
    const { table, holds } = tableOf([0n, K]);
    table.close();
    const late = new Hold();
    table.add(mapping(0n, K, late));
    assert.deepEqual([table.size, ...released([...holds, late])], [0, 1, 1]);
  });

  it('tells IOVAs apart that are the same as doubles', () => {
    assert.notEqual(compact(FAR), compact(FAR + 1n));
    assert.equal(compact(FAR - 1n), 2 ** 53 - 1);
    assert.equal(BigInt(compact(U64_MAX)), U64_MAX);
    const { table, holds } = tableOf([FAR, 1n], [FAR + 1n, 1n], [FAR - 1n, 1n]);
    assert.equal(table.size, 3);
    remove(table, FAR + 1n, 1n);
    assert.deepEqual(released(holds), [0, 1, 0]);
    assert.deepEqual(table.runs(FAR - 1n, 4n), [{ iova: FAR - 1n, length: 2n }]);
  });

  it('reaches the last IOVA of all', () => {
    const last = U64_MAX - K + 1n;
    const { table, holds } = tableOf([last, K]);
    assert.deepEqual(table.runs(last - K, 2n * K), [{ iova: last, length: K }]);
    remove(table, last, K);
    assert.deepEqual(released(holds), [1]);
  });

  it('changes its generation with every change', () => {
    const { table } = tableOf();
    const seen = new Set([table.generation]);
    table.add(mapping(0n, K));
    seen.add(table.generation);
    remove(table, 0n, K);
    seen.add(table.generation);
    table.releaseAll();
    seen.add(table.generation);
    assert.equal(seen.size, 4);
  });

  it('loses none of those that stay while thousands come and go', () => {
    const stay = Array.from({ length: 50 }, (_, i): [bigint, bigint] => [BigInt(i) * 100n * K, K]);
    const { table, holds } = tableOf(...stay);
    for (let i = 1; i <= 5000; i++) {
      const iova = FAR + BigInt(i % 700) * K;
      const hold = new Hold();
      table.add(mapping(iova, K, hold));
      assert.equal(table.runs(iova, K).length, 1);
      remove(table, iova, K);
      assert.equal(hold.releases, 1);
    }
    assert.equal(table.size, 50);
    assert(holds.every(({ releases }) => releases === 0));
    assert.deepEqual(
      table.within(0n, U64_MAX).map(({ iova }) => iova),
      stay.map(([iova]) => iova),
    );
  });

  it('agrees with a page-by-page account, whatever is mapped and unmapped', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = generator(seed);
      const base = random(2) === 0 ? 0n : FAR - 20n * K;
      const table = new MappingTable();
      const mapped = new Map<number, number>();
      for (let step = 0; step < 60; step++) {
        const from = random(40);
        const pages = 1 + random(8);
        const taken = [...mapped].some(([start, count]) => start < from + pages && from < start + count);
        if (!taken) {
          table.add(mapping(base + BigInt(from) * K, BigInt(pages) * K));
          mapped.set(from, pages);
        } else {
          for (const [start, count] of [...mapped]) {
            if (start >= from && start + count <= from + pages) mapped.delete(start);
          }
          remove(table, base + BigInt(from) * K, BigInt(pages) * K);
        }
        const pagesThere = [...mapped].flatMap(([start, count]) => Array.from({ length: count }, (_, i) => start + i));
        const pagesTold = table
          .runs(base, 64n * K)
          .flatMap(({ iova, length }) =>
            Array.from({ length: Number(length / K) }, (_, i) => Number((iova - base) / K) + i),
          );
        assert.deepEqual(
          pagesTold,
          pagesThere.sort((a, b) => a - b),
          `seed ${seed}, step ${step}`,
        );
      }
    }
  });
});
