// Words of a guest's tables: how they are fetched through stage 2, from whatever address a guest may have written.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FETCH, TableMemory } from '../../lib/emulated/hardware/table-memory.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';
import { GuestMemory } from './armv8-guest.js';
import { translationBy } from './translation-by.js';

const PAGE = 4096;
const BASE = 0x4000_0000;

describe('words of tables', () => {
  it('are those at their addresses, in every page', () => {
    const guest = new GuestMemory(BASE, 8 * PAGE);
    for (let offset = 0; offset < guest.size; offset += 8) guest.put(BASE + offset, offset, 0xffff_ffff - offset);
    const { tables } = guest;
    for (let offset = 0; offset < guest.size; offset += 8) {
      assert.equal(tables.load(BASE + offset), FETCH.done);
      assert.deepEqual([tables.low >>> 0, tables.high >>> 0], [offset, 0xffff_ffff - offset]);
    }
  });

  it('may lie anywhere in 52 bits', () => {
    for (const base of [0, 2 ** 31 - PAGE, 2 ** 32, 2 ** 48 - PAGE, 2 ** 52 - PAGE]) {
      const guest = new GuestMemory(base, PAGE);
      guest.put(base + PAGE - 8, 0x8000_0001, 0xf000_0002);
      assert.equal(guest.tables.load(base + PAGE - 8), FETCH.done, `at ${base}`);
      assert.deepEqual([guest.tables.low >>> 0, guest.tables.high >>> 0], [0x8000_0001, 0xf000_0002]);
    }
  });

  it('are not there where stage 2 has nothing, nothing to be read, or is none', () => {
    const guest = new GuestMemory(BASE, 2 * PAGE);
    const { tables } = guest;
    assert.equal(tables.load(BASE - 8), FETCH.stage2Fault);
    assert.equal(tables.load(BASE + guest.size), FETCH.stage2Fault);
    guest.change({ unreadable: BASE / PAGE });
    assert.equal(tables.load(BASE), FETCH.stage2Fault);
    assert.equal(tables.load(BASE + PAGE), FETCH.done);
    tables.stage2 = undefined;
    assert.equal(tables.load(BASE + PAGE), FETCH.stage2Fault);
  });

  it('end in an abort where stage 2 leads to no memory', () => {
    const physical = new PhysicalMemory({ size: PAGE, scatter: false });
    const tables = new TableMemory(physical);
    const frame = physical.allocate(PAGE)?.frame(0) ?? 0;
    tables.stage2 = translationBy((page) => (page === 0 ? frame : frame + 1));
    assert.equal(tables.load(0), FETCH.done);
    assert.equal(tables.load(PAGE), FETCH.abort);
  });

  it('are read anew, in pages that are found once', () => {
    const guest = new GuestMemory(BASE, 2 * PAGE);
    const { tables } = guest;
    for (const value of [1, 2, 3]) {
      guest.put(BASE, value, 0);
      assert.equal(tables.load(BASE), FETCH.done);
      assert.equal(tables.low, value);
    }
    assert.equal(guest.asked, 1);
    tables.load(BASE + PAGE);
    assert.equal(guest.asked, 2);
  });

  it('are read where they are, also after windows to them went', () => {
    const guest = new GuestMemory(BASE, PAGE);
    guest.put(BASE, 5, 6);
    assert.equal(guest.tables.load(BASE), FETCH.done);
    guest.detachWindows();
    guest.put(BASE, 7, 8);
    assert.equal(guest.tables.load(BASE), FETCH.done);
    assert.deepEqual([guest.tables.low, guest.tables.high], [7, 8]);
  });

  it('are of another stage 2 from the moment on that there is one', () => {
    const guest = new GuestMemory(BASE, PAGE);
    const { tables } = guest;
    assert.equal(tables.load(BASE), FETCH.done);
    tables.stage2 = translationBy(() => -1);
    assert.equal(tables.load(BASE), FETCH.stage2Fault);
    tables.stage2 = guest;
    assert.equal(tables.load(BASE), FETCH.done);
    tables.stage2 = undefined;
    assert.equal(tables.load(BASE), FETCH.stage2Fault);
  });

  it('are found where stage 2 has them since it was last forgotten', () => {
    const step = fc.record({
      kind: fc.constantFrom('map', 'unmap', 'load', 'load'),
      page: fc.nat(200),
      frame: fc.nat(3),
      word: fc.nat(511),
    });
    const physical = new PhysicalMemory({ size: 4 * PAGE, scatter: true });
    const backing = physical.allocate(4 * PAGE);
    assert(backing !== undefined);
    const bytes = backing.bytes(0, 4 * PAGE);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let at = 0; at < 4 * PAGE; at += 8) view.setUint32(at, at, true);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const map = new Map<number, number>();
        const tables = new TableMemory(physical);
        tables.stage2 = translationBy((page) => {
          const frame = map.get(page);
          return frame === undefined ? -1 : backing.frame(frame);
        });
        for (const { kind, page, frame, word } of steps) {
          if (kind === 'unmap' && map.delete(page)) tables.forget();
          // What was not mapped was not remembered either.
          if (kind === 'map' && !map.has(page)) map.set(page, frame);
          const found = tables.load(page * PAGE + word * 8);
          const expected = map.get(page);
          assert.equal(found, expected === undefined ? FETCH.stage2Fault : FETCH.done);
          if (expected !== undefined) assert.equal(tables.low, expected * PAGE + word * 8);
        }
      }),
    );
  });

  it('do not reach into the next page, whatever the address is', () => {
    const guest = new GuestMemory(BASE, PAGE);
    guest.put(BASE + PAGE - 8, 3, 4);
    assert.equal(guest.tables.load(BASE + PAGE - 3), FETCH.done);
    assert.deepEqual([guest.tables.low, guest.tables.high], [3, 4]);
  });

  it('are asked of nobody at addresses that there are not', () => {
    const guest = new GuestMemory(BASE, PAGE);
    for (const ipa of [
      -8,
      -(2 ** 40),
      2 ** 52,
      2 ** 60,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
    ]) {
      assert.equal(guest.tables.load(ipa), FETCH.stage2Fault, `${ipa}`);
    }
    assert.equal(guest.asked, 0);
  });

  it('are found or refused by any number, without harm', () => {
    const guest = new GuestMemory(BASE, 4 * PAGE);
    fc.assert(
      fc.property(fc.oneof(fc.bigInt(0n, 2n ** 64n - 1n), fc.bigInt(0n, 8n * BigInt(PAGE) - 1n)), (value) => {
        const word = value & ~7n;
        const ipa = Number(word < 2n ** 16n ? word + BigInt(BASE) : word);
        const isInside = ipa >= BASE && ipa < BASE + guest.size;
        assert.equal(guest.tables.load(ipa), isInside ? FETCH.done : FETCH.stage2Fault);
      }),
    );
  });
});
