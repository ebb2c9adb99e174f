// DMA through an IOMMU: which bytes arrive where, page by page, up to a page that is refused.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { dmaRead, dmaWrite, type Translator } from '../../lib/emulated/hardware/dma.js';
import type { Backing } from '../../lib/emulated/memory/backing.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';
import { ERRNO } from '../../lib/uapi/errno.js';

const PAGE = 4096;
const GiB = 2 ** 30;

/** Pages of IOVAs, and the physical addresses that they lead to. */
class Table implements Translator {
  readonly asked: [page: number, offset: number, write: boolean, pasid: number][] = [];
  constructor(readonly pages: ReadonlyMap<number, number>) {}

  translate(page: number, offset: number, write: boolean, pasid: number): number {
    this.asked.push([page, offset, write, pasid]);
    const address = this.pages.get(page);
    return address === undefined ? -1 : address + offset;
  }
}

function memory(pages: number, scatter = false): { physical: PhysicalMemory; backing: Backing } {
  const physical = new PhysicalMemory({ size: GiB, scatter });
  const backing = physical.allocate(pages * PAGE);
  assert(backing !== undefined);
  return { physical, backing };
}
function pattern(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (i >> 8) ^ (i * 7) ^ seed;
  return bytes;
}
/** IOVAs from a page on, to pages of memory. */
function tableOf(backing: Backing, first: number, pages: readonly (number | undefined)[]): Table {
  const entries = pages.flatMap((page, i): [number, number][] =>
    page === undefined ? [] : [[first + i, backing.frame(page) * PAGE]],
  );
  return new Table(new Map(entries));
}
/** Quicker than `deepEqual`, which looks at each byte by itself. */
function assertSameBytes(found: Uint8Array, expected: Uint8Array, what?: string): void {
  assert(Buffer.compare(found, expected) === 0, what ?? 'the bytes differ');
}
function at(page: number, offset = 0): bigint {
  return BigInt(page) * BigInt(PAGE) + BigInt(offset);
}

describe('DMA through an IOMMU', () => {
  for (const scatter of [false, true]) {
    it(`moves the bytes of the pages that it translates to${scatter ? ', scattered ones too' : ''}`, () => {
      const pages = 24;
      const access = fc.record({
        write: fc.boolean(),
        offset: fc.oneof(fc.constant(0), fc.nat(2 * PAGE)),
        length: fc.oneof(fc.constantFrom(0, 1, PAGE, 2 * PAGE, 9 * PAGE), fc.nat(12 * PAGE)),
        /** Where in its buffer the device has the data. */
        place: fc.constantFrom(0, 1, 100, PAGE, PAGE + 100),
      });
      const order = fc.array(fc.option(fc.nat(pages - 1), { nil: undefined, freq: 12 }), {
        minLength: 16,
        maxLength: 16,
      });
      fc.assert(
        fc.property(order, fc.array(access, { minLength: 1, maxLength: 6 }), (mapped, accesses) => {
          const { physical, backing } = memory(pages, scatter);
          /** What memory should hold. */
          const model = pattern(backing.size, 3);
          backing.write(0, model);
          const buffer = new Uint8Array(20 * PAGE);
          const first = 0x1000;
          for (const [i, { write, offset, length, place }] of accesses.entries()) {
            const table = tableOf(backing, first, mapped);
            const data = buffer.subarray(place, place + length);
            data.set(pattern(length, i));
            const expected = data.slice();
            let done = 0;
            while (done < length) {
              const page = mapped[Math.floor((offset + done) / PAGE)];
              if (page === undefined) break;
              const count = Math.min(PAGE - ((offset + done) % PAGE), length - done);
              const start = page * PAGE + ((offset + done) % PAGE);
              if (write) model.set(expected.subarray(done, done + count), start);
              else expected.set(model.subarray(start, start + count), done);
              done += count;
            }
            const answer = (write ? dmaWrite : dmaRead)(physical, table, at(first, offset), data, 0);
            assert.equal(answer, done === length ? 0 : -ERRNO.EFAULT);
            assertSameBytes(data, expected);
          }
          const held = new Uint8Array(backing.size);
          backing.read(0, held);
          assertSameBytes(held, model);
        }),
        { numRuns: 60 },
      );
    });
  }

  it('asks once for each page, as the access it is, and no more behind a page that is refused', () => {
    const { physical, backing } = memory(4);
    const table = tableOf(backing, 7, [0, 2, undefined, 1]);
    assert.equal(dmaRead(physical, table, at(7, 4000), new Uint8Array(96 + PAGE), 5), 0);
    assert.equal(dmaWrite(physical, table, at(8, 8), new Uint8Array(3 * PAGE), 0), -ERRNO.EFAULT);
    assert.deepEqual(table.asked, [
      [7, 4000, false, 5],
      [8, 0, false, 5],
      [8, 8, true, 0],
      [9, 0, true, 0],
    ]);
  });

  it('does nothing where there is nothing to move', () => {
    const { physical } = memory(1);
    const table = new Table(new Map());
    assert.equal(dmaRead(physical, table, 0n, new Uint8Array(0), 0), 0);
    assert.equal(dmaWrite(physical, table, 2n ** 64n - 1n, new Uint8Array(0), 0), 0);
    assert.deepEqual(table.asked, []);
  });

  it('reaches the last byte of 64 bits, and nothing beyond', () => {
    const { physical, backing } = memory(2);
    const last = 2 ** 52 - 1;
    const table = tableOf(backing, last, [1]);
    const bytes = pattern(16, 9);
    assert.equal(dmaWrite(physical, table, 2n ** 64n - 16n, bytes, 0), 0);
    assert.deepEqual(backing.bytes(2 * PAGE - 16, 16).slice(), bytes);
    assert.deepEqual(table.asked, [[last, PAGE - 16, true, 0]]);
    for (const iova of [2n ** 64n - 15n, 2n ** 64n, -1n]) {
      assert.equal(dmaWrite(physical, table, iova, bytes, 0), -ERRNO.EFAULT);
      assert.equal(dmaRead(physical, table, iova, bytes, 0), -ERRNO.EFAULT);
    }
    assert.equal(table.asked.length, 1);
  });

  it('is refused where the IOMMU leads to no memory, with what comes before done', () => {
    const { physical, backing } = memory(2);
    backing.write(0, pattern(2 * PAGE, 1));
    const beyond = backing.end * PAGE;
    for (const hole of [beyond, 0, 2 ** 51]) {
      const table = new Table(
        new Map([
          [0, backing.frame(1) * PAGE],
          [1, hole],
        ]),
      );
      const into = new Uint8Array(2 * PAGE);
      assert.equal(dmaRead(physical, table, 0n, into, 0), -ERRNO.EFAULT);
      assert.deepEqual(into.subarray(0, PAGE), backing.bytes(PAGE, PAGE));
      assert.deepEqual(into.subarray(PAGE), new Uint8Array(PAGE));
      assert.equal(dmaWrite(physical, table, 0n, pattern(2 * PAGE, 2), 0), -ERRNO.EFAULT);
      assert.deepEqual(backing.bytes(PAGE, PAGE).slice(), pattern(2 * PAGE, 2).subarray(0, PAGE));
    }
  });

  it('reaches registers that the IOMMU leads to', () => {
    const { physical, backing } = memory(1);
    const written: [offset: number, length: number][] = [];
    const base = physical.addWindow({
      pages: 2,
      read: (_, into) => into.fill(0xab),
      write: (offset, from) => written.push([offset, from.length]),
    });
    const table = new Table(
      new Map([
        [0, (base + 1) * PAGE],
        [1, backing.frame(0) * PAGE],
      ]),
    );
    const into = new Uint8Array(PAGE + 8);
    assert.equal(dmaRead(physical, table, 0n, into, 0), 0);
    assert.equal(into[PAGE - 1], 0xab);
    assert.equal(into[PAGE], 0);
    assert.equal(dmaWrite(physical, table, 0n, into, 0), 0);
    assert.equal(dmaWrite(physical, table, 8n, into.subarray(0, 4), 0), 0);
    assert.deepEqual(written, [
      [PAGE, PAGE],
      [PAGE + 8, 4],
    ]);
  });

  it('sees memory that went, and windows that went while the bytes stay', () => {
    const { physical, backing } = memory(8);
    const other = physical.allocate(PAGE);
    assert(other !== undefined);
    const viewer = {};
    const window = backing.window(viewer, 0, backing.size);
    const table = tableOf(backing, 0, [0, 1, 2, 3, 4, 5, 6, 7]);
    const bytes = pattern(8 * PAGE, 4);
    const back = new Uint8Array(8 * PAGE);
    const isWritten = () =>
      dmaWrite(physical, table, 0n, bytes, 0) === 0 && dmaRead(physical, table, 0n, back, 0) === 0;
    assert(isWritten());
    assert.deepEqual(window.slice(), bytes);
    backing.detachWindows(viewer);
    bytes.reverse();
    assert(isWritten());
    assert.deepEqual(back, bytes);
    backing.drop();
    back.fill(1);
    assert.equal(dmaWrite(physical, table, 0n, bytes, 0), -ERRNO.EFAULT);
    assert.equal(dmaRead(physical, table, 0n, back, 0), -ERRNO.EFAULT);
    assert.deepEqual(back, new Uint8Array(8 * PAGE).fill(1));
  });

  it('takes the bytes that a buffer holds at the time, wherever in it they are', () => {
    const { physical, backing } = memory(40);
    const table = tableOf(backing, 0, [...Array(40).keys()]);
    const buffer = new ArrayBuffer(48 * PAGE);
    for (const start of [0, PAGE, 8, 8 + PAGE, 0]) {
      for (const offset of [0, 24]) {
        const data = new Uint8Array(buffer, start, 32 * PAGE);
        data.set(pattern(data.length, start + offset));
        assert.equal(dmaWrite(physical, table, BigInt(offset), data, 0), 0);
        const held = new Uint8Array(data.length);
        backing.read(offset, held);
        assertSameBytes(held, data, `from ${start} to ${offset}`);
      }
    }
  });
});
