// Memory of the emulated machine: by page, by physical address, and by address of the process.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { FIRST_ADDRESS, LocalAddressSpace, type Placement } from '../../lib/emulated/memory/address-space.js';
import type { Backing } from '../../lib/emulated/memory/backing.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';

const PAGE = 4096;
const GiB = 2 ** 30;

function allocate(physical: PhysicalMemory, pages: number): Backing {
  const backing = physical.allocate(pages * PAGE);
  assert(backing !== undefined);
  return backing;
}
function place(memory: LocalAddressSpace, backing: Backing): Placement {
  const placement = memory.map(backing, 0, backing.size);
  assert(placement !== undefined);
  return placement;
}
function pattern(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i >> 8) ^ (i * 7));
}

describe('pages of the emulated machine', () => {
  it('show windows that go to length 0 while the bytes stay', () => {
    const backing = allocate(new PhysicalMemory({ size: GiB, scatter: false }), 4);
    const viewer = {};
    const window = backing.window(viewer, PAGE, PAGE);
    window[3] = 9;
    backing.detachWindows(viewer);
    assert.equal(window.length, 0);
    assert.equal(backing.window(viewer, PAGE, PAGE)[3], 9);
  });

  it('keep the windows of one viewer while another still looks', () => {
    const backing = allocate(new PhysicalMemory({ size: GiB, scatter: false }), 1);
    const [one, other, blind] = [{}, {}, {}];
    const window = backing.window(one, 0, 8);
    backing.window(other, 0, 8);
    backing.detachWindows(blind);
    backing.detachWindows(other);
    assert.equal(window.length, 8);
    backing.detachWindows(one);
    assert.equal(window.length, 0);
    const again = backing.window(one, 0, 8);
    backing.window(other, 0, 8);
    backing.forgetViewer(one);
    assert.equal(again.length, 8);
  });

  it('lie in pieces of 4 GiB: windows within one, copies across', () => {
    const physical = new PhysicalMemory({ size: 6 * GiB, scatter: false });
    const backing = physical.allocate(5 * GiB);
    assert(backing !== undefined);
    const edge = 4 * GiB;
    const bytes = pattern(3 * PAGE);
    backing.write(edge - PAGE - 5, bytes);
    const back = new Uint8Array(bytes.length);
    backing.read(edge - PAGE - 5, back);
    assert.deepEqual(back, bytes);
    assert.deepEqual(backing.window({}, edge, 8), bytes.subarray(PAGE + 5, PAGE + 13));
    assert.throws(() => backing.window({}, edge - 4, 8), RangeError);
    assert.equal(backing.window({}, 5 * GiB, 0).length, 0);
    assert.throws(() => backing.bytes(-1, 1), RangeError);
    assert.throws(() => backing.bytes(8 * GiB, 1), RangeError);
    backing.drop();
    assert.equal(physical.used, 0);
  });

  it('stay while they are pinned, and go with the last pin', () => {
    const physical = new PhysicalMemory({ size: GiB, scatter: false });
    const backing = allocate(physical, 8);
    backing.pin(0, 8);
    backing.pin(2, 3);
    backing.drop();
    assert.equal(physical.used, 8 * PAGE);
    assert.deepEqual(
      [0, 2, 4, 5].map((page) => backing.pinsOf(page)),
      [1, 2, 2, 1],
    );
    backing.unpin(0, 4);
    backing.unpin(2, 1);
    backing.unpin(3, 5);
    assert.equal(physical.used, 8 * PAGE);
    backing.unpin(4, 1);
    assert.equal(physical.used, 0);
    assert.throws(() => allocate(physical, 1).unpin(0, 1), /nothing of this memory is pinned/);
  });
});

describe('physical memory of the emulated machine', () => {
  for (const scatter of [false, true]) {
    it(`is one page a frame${scatter ? ', none beside its neighbour' : ''}`, () => {
      fc.assert(
        fc.property(fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 6 }), (sizes) => {
          const physical = new PhysicalMemory({ size: GiB, scatter });
          const backings = sizes.map((pages) => allocate(physical, pages));
          const frames = new Set<number>();
          for (const [i, backing] of backings.entries()) {
            for (let page = 0; page < backing.pages; page++) {
              const frame = backing.frame(page);
              assert.equal(backing.pageOf(frame), page);
              assert.equal(physical.find(frame), backing);
              frames.add(frame);
              if (scatter && page > 0) assert.notEqual(frame, backing.frame(page - 1) + 1);
            }
            backing.write(
              0,
              pattern(backing.size).map((byte) => byte + i),
            );
          }
          assert.equal(
            frames.size,
            sizes.reduce((sum, pages) => sum + pages, 0),
          );
          for (const [i, backing] of backings.entries()) {
            const page = backing.pages - 1;
            const found = new Uint8Array(100);
            assert.equal(physical.read(backing.frame(page) * PAGE + 30, found), true);
            const whole = pattern(backing.size).map((byte) => byte + i);
            assert.deepEqual(found, whole.subarray(page * PAGE + 30, page * PAGE + 130));
          }
        }),
        { numRuns: 30 },
      );
    });
  }

  it('is written across frames, and up to where there is none', () => {
    const physical = new PhysicalMemory({ size: GiB, scatter: false });
    const backing = allocate(physical, 2);
    const at = backing.base * PAGE;
    assert.equal(physical.write(at + PAGE - 2, Uint8Array.of(1, 2, 3, 4)), true);
    assert.deepEqual([...backing.bytes(PAGE - 2, 4)], [1, 2, 3, 4]);
    assert.equal(physical.write(at + 2 * PAGE - 2, Uint8Array.of(5, 6, 7)), false);
    assert.deepEqual([...backing.bytes(2 * PAGE - 2, 2)], [5, 6]);
    backing.drop();
    assert.equal(physical.read(at, new Uint8Array(1)), false);
    assert.equal(physical.read(0, new Uint8Array(1)), false);
  });

  for (const scatter of [false, true]) {
    it(`is loaded by words of 64 bits${scatter ? ', where it is scattered too' : ''}`, () => {
      const physical = new PhysicalMemory({ size: GiB, scatter });
      const backings = [3, 1, 4].map((pages) => allocate(physical, pages));
      for (const backing of backings) backing.write(0, pattern(backing.size));
      const place = fc.tuple(fc.nat(backings.length - 1), fc.nat(3), fc.nat(PAGE / 8 - 1));
      fc.assert(
        fc.property(fc.array(place, { minLength: 1, maxLength: 20 }), (places) => {
          for (const [which, page, word] of places) {
            const backing = backings[which];
            assert(backing !== undefined);
            if (page >= backing.pages) continue;
            const at = backing.frame(page) * PAGE + word * 8;
            const bytes = new Uint8Array(8);
            assert.equal(physical.read(at, bytes), true);
            assert.equal(physical.load64(at), true);
            const view = new DataView(bytes.buffer);
            assert.deepEqual([physical.low, physical.high], [view.getUint32(0, true), view.getUint32(4, true)]);
            const words = backing.words(page);
            assert.equal(words.length, PAGE / 4);
            assert.deepEqual([words[2 * word], words[2 * word + 1]], [view.getInt32(0, true), view.getInt32(4, true)]);
          }
        }),
      );
      const last = backings.at(-1);
      assert.equal(physical.load64((last?.end ?? 0) * PAGE), false);
      last?.drop();
      assert.equal(physical.load64((last?.base ?? 0) * PAGE), false);
      for (const address of [0, 8, -8, 2 ** 51, Number.NaN, Number.POSITIVE_INFINITY]) {
        assert.equal(physical.load64(address), false);
      }
    });
  }

  it('is loaded by words beyond 4 GiB, and after its windows went', () => {
    const physical = new PhysicalMemory({ size: 6 * GiB, scatter: false });
    const backing = physical.allocate(5 * GiB);
    assert(backing !== undefined);
    const edge = 4 * GiB;
    backing.write(edge - 8, Uint8Array.of(1, 2, 3, 4, 0xff, 0xff, 0xff, 0xff, 9));
    const viewer = {};
    backing.window(viewer, 0, 8);
    for (const round of [1, 2]) {
      assert.equal(physical.load64(backing.base * PAGE + edge - 8), true);
      assert.deepEqual([physical.low, physical.high], [0x0403_0201, 0xffff_ffff], `round ${round}`);
      assert.equal(physical.load64(backing.base * PAGE + edge), true);
      assert.deepEqual([physical.low, physical.high], [9, 0]);
      const words = backing.words(edge / PAGE);
      assert.deepEqual([words.length, words[0]], [PAGE / 4, 9]);
      backing.detachWindows(viewer);
      assert.equal(words.length, round === 1 ? 0 : PAGE / 4);
    }
  });

  it('has no registers among its words', () => {
    const physical = new PhysicalMemory({ size: GiB, scatter: false });
    const base = physical.addWindow({ pages: 1, read: () => assert.fail('was read'), write: () => {} });
    assert.equal(physical.load64(base * PAGE), false);
  });

  for (const scatter of [false, true]) {
    it(`is copied page by page as byte by byte${scatter ? ', where it is scattered too' : ''}`, () => {
      const physical = new PhysicalMemory({ size: GiB, scatter });
      // Less than WebAssembly has at a time: what lies behind the one must not be what follows it physically.
      const backings = [3, 1, 5, 2].map((pages) => allocate(physical, pages));
      const frames = backings.flatMap((backing) => Array.from({ length: backing.pages }, (_, i) => backing.frame(i)));
      const step = fc.tuple(fc.boolean(), fc.nat(frames.length - 1), fc.nat(255), fc.nat(PAGE));
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 30 }), (steps) => {
          const model = new Map(frames.map((frame) => [frame, new Uint8Array(PAGE)]));
          for (const frame of frames) assert(physical.write(frame * PAGE, new Uint8Array(PAGE)));
          for (const [write, which, seed, place] of steps) {
            const frame = frames[which] ?? 0;
            if (write) {
              const bytes = pattern(PAGE).map((byte) => byte ^ seed);
              assert.equal(physical.writePage(frame * PAGE, bytes), true);
              model.set(frame, bytes);
            }
            const into = new Uint8Array(3 * PAGE).fill(seed);
            assert.equal(physical.readPage(frame * PAGE, into, place), true);
            const expected = new Uint8Array(3 * PAGE).fill(seed);
            expected.set(model.get(frame) ?? [], place);
            assert.equal(Buffer.compare(into, expected), 0);
          }
          for (const [frame, bytes] of model) {
            const held = new Uint8Array(PAGE);
            physical.read(frame * PAGE, held);
            assert.equal(Buffer.compare(held, bytes), 0);
          }
        }),
        { numRuns: 40 },
      );
      const [one] = backings;
      one?.drop();
      assert.equal(physical.readPage((one?.base ?? 0) * PAGE, new Uint8Array(PAGE), 0), false);
      assert.equal(physical.writePage((one?.base ?? 0) * PAGE, new Uint8Array(PAGE)), false);
    });
  }

  it('is written and read across pages in one go', () => {
    for (const scatter of [false, true]) {
      const physical = new PhysicalMemory({ size: GiB, scatter });
      const backings = [allocate(physical, 3), allocate(physical, 2)];
      const [one, other] = backings;
      assert.equal(one?.end, other?.base);
      const at = (one?.base ?? 0) * PAGE + 50;
      const bytes = pattern(4 * PAGE);
      assert.equal(physical.write(at, bytes), true);
      const back = new Uint8Array(bytes.length);
      assert.equal(physical.read(at, back), true);
      assert.deepEqual(back, bytes);
      for (const backing of backings) {
        for (let page = 0; page < backing.pages; page++) {
          const start = backing.frame(page) * PAGE - at;
          const found = backing.bytes(page * PAGE, PAGE);
          if (start >= 0 && start + PAGE <= bytes.length) assert.deepEqual(found, bytes.subarray(start, start + PAGE));
        }
      }
    }
  });

  it('is as much as there is, and comes back', () => {
    const physical = new PhysicalMemory({ size: 4 * PAGE, scatter: false });
    const backings = [allocate(physical, 1), allocate(physical, 2), allocate(physical, 1)];
    assert.equal(physical.allocate(PAGE), undefined);
    backings[1]?.drop();
    const fresh = allocate(physical, 2);
    assert.notEqual(fresh.base, backings[1]?.base, 'frames are never used again');
    assert.equal(physical.find(backings[2]?.base ?? 0), backings[2]);
    assert.equal(physical.find(backings[1]?.base ?? 0), undefined);
  });

  it('is in one piece for huge pages, even where it is scattered', () => {
    const physical = new PhysicalMemory({ size: GiB, scatter: true });
    const huge = physical.allocate(4 * 2 ** 20, 2 ** 21);
    assert(huge !== undefined);
    assert.equal(huge.base % 512, 0);
    assert.equal(huge.frame(1), huge.frame(0) + 1);
  });
});

describe('addresses of the emulated process', () => {
  it('are never given twice, and there is nothing between two pieces of memory', () => {
    const physical = new PhysicalMemory({ size: GiB, scatter: false });
    const memory = new LocalAddressSpace();
    const step = fc.tuple(fc.boolean(), fc.integer({ min: 1, max: 600 }), fc.nat());
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const live: Placement[] = [];
        let highest = FIRST_ADDRESS;
        for (const [maps, pages, which] of steps) {
          const old = live[which % Math.max(1, live.length)];
          if (maps || old === undefined) {
            const backing = allocate(physical, pages);
            const placement = place(memory, backing);
            backing.drop();
            assert(placement.start >= highest);
            if (pages >= 512) assert.equal(placement.start % 2 ** 21, 0);
            assert.equal(memory.find(placement.start - 1), undefined);
            highest = placement.start + placement.length;
            live.push(placement);
          } else {
            live.splice(live.indexOf(old), 1);
            memory.unmap(old);
            assert.equal(memory.find(old.start), undefined);
            assert.throws(() => memory.unmap(old), /not mapped/);
          }
          for (const placement of live) {
            assert.equal(memory.find(placement.start), placement);
            assert.equal(memory.find(placement.start + placement.length - 1), placement);
            assert.equal(memory.find(placement.start + placement.length), undefined);
          }
        }
        for (const placement of live) memory.unmap(placement);
        assert.equal(physical.used, 0);
      }),
      { numRuns: 40 },
    );
  });

  it('are read and written up to where nothing lies, and not at all in registers', () => {
    const physical = new PhysicalMemory({ size: GiB, scatter: false });
    const memory = new LocalAddressSpace();
    const { start } = place(memory, allocate(physical, 1));
    assert.equal(memory.write(start + PAGE - 2, Uint8Array.of(1, 2)), true);
    assert.equal(memory.write(start + PAGE - 1, Uint8Array.of(3, 4)), false);
    const back = new Uint8Array(2);
    assert.equal(memory.read(start + PAGE - 2, back), true);
    assert.deepEqual([...back], [1, 3]);
    for (const address of [0, -1, 4096, FIRST_ADDRESS, start - 1, 2 ** 53, 2 ** 64, Number.NaN]) {
      assert.equal(memory.read(address, back), false);
      assert.equal(memory.find(address), undefined);
    }
    const registers = memory.map(undefined, 0, PAGE);
    assert.equal(memory.read(registers?.start ?? 0, back), false);
    assert.equal(memory.write(registers?.start ?? 0, back), false);
  });

  it('run out', () => {
    const memory = new LocalAddressSpace();
    assert.notEqual(memory.map(undefined, 0, 2 ** 51), undefined);
    assert.equal(memory.map(undefined, 0, 2 ** 52), undefined);
    assert.notEqual(memory.map(undefined, 0, PAGE), undefined);
  });
});
