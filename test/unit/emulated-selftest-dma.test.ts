// DMA of the emulated mock devices, from their own side, and what their page tables note of it.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { deviceSpec } from '../../lib/emulated/device-options.js';
import { DirtyPages } from '../../lib/emulated/hardware/dirty-pages.js';
import { GRANULE } from '../../lib/emulated/hardware/selftest/dirty-tracker.js';
import { MockDevice } from '../../lib/emulated/hardware/selftest/mock-device.js';
import { Machine } from '../../lib/emulated/machine.js';
import { Host } from '../../lib/host-object.js';
import type { DmaMemory, HwptPaging } from '../../lib/index.js';

const ADDRESS = '0000:01:00.0';
const PAGE = 4096;
const LARGE = 2 << 20;
/** The first IOVA the mock takes: a multiple of 16 MiB. */
const IOVA = 1n << 24n;
const EFAULT = -14;

function makeMachine(scatter: boolean): Machine {
  return new Machine({
    name: 'selftest',
    devices: [deviceSpec({ address: ADDRESS })],
    memorySize: 256 * 2 ** 20,
    scatter,
    hugePageSizes: [],
    openFiles: 64,
    rights: { ipcLock: true, sysResource: true, sysRawio: true, lockedPages: 0 },
    dialect: 'linux',
  });
}

/** What undoes a stage. */
const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

/** A device that is bound, with an address space to be attached to, and its own side. */
function stage(options: { scatter?: boolean; hugePages?: boolean } = {}) {
  const machine = makeMachine(options.scatter ?? false);
  const host = new Host(machine.seam);
  const memory = (size: number): DmaMemory => {
    const ram = host.allocateMemory(size);
    undo.push(() => ram.free());
    return ram;
  };
  const iommufd = host.openIommufd();
  const nic = host.openDevice(ADDRESS);
  undo.push(
    () => iommufd.close(),
    () => nic.close(),
  );
  const device = nic.bind(iommufd);
  const ioas = iommufd.allocIoas();
  ioas.hugePages = options.hugePages ?? true;
  const mock = machine.endpointAt(ADDRESS);
  assert(mock instanceof MockDevice);
  return { machine, memory, device, ioas, mock };
}

/** As `stage`, attached to a page table that tracks, with memory mapped. */
function tracked(options: { size?: number; scatter?: boolean; hugePages?: boolean } = {}) {
  const base = stage(options);
  const ram = base.memory(options.size ?? LARGE);
  base.ioas.map(ram, { iova: IOVA });
  const hwpt = base.ioas.allocHwpt(base.device, { dirtyTracking: true });
  base.device.attach(hwpt);
  hwpt.setDirtyTracking(true);
  return { ...base, ram, hwpt };
}

/** Written stretches as [first page from IOVA, pages]; they are forgotten. */
function dirty(hwpt: HwptPaging, length = LARGE): [number, number][] {
  const bitmap = hwpt.dirtyBitmap({ iova: IOVA, length });
  const ranges = [...bitmap.read().ranges()];
  bitmap.free();
  return ranges.map((range) => [Number(range.iova - IOVA) / PAGE, Number(range.length) / PAGE]);
}

function pattern(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);
}

/** The physical pages of memory. */
function frames(machine: Machine, ram: DmaMemory): number[] {
  const placement = machine.process.memory.find(Number(ram.address));
  assert(placement?.backing !== undefined);
  const { backing } = placement;
  return Array.from({ length: Number(ram.size) / PAGE }, (_, page) => backing.frame(page));
}

describe('DMA of an emulated device', () => {
  for (const scatter of [false, true]) {
    it(`moves bytes both ways, ${scatter ? 'where no two pages lie together' : 'across pages'}`, () => {
      const { machine, memory, device, ioas, mock } = stage({ scatter });
      const ram = memory(4 * PAGE);
      ioas.map(ram, { iova: IOVA });
      device.attach(ioas);
      const places = frames(machine, ram);
      assert.equal(
        places.some((frame, i) => frame + 1 === places[i + 1]),
        !scatter,
      );
      const out = pattern(2 * PAGE + 100, 1);
      assert.equal(mock.dmaWrite(IOVA + 50n, out), 0);
      assert.deepEqual(ram.read(50, out.length), out);
      ram.write(PAGE - 1, Uint8Array.of(1, 2));
      const back = new Uint8Array(2);
      assert.equal(mock.dmaRead(IOVA + BigInt(PAGE - 1), back), 0);
      assert.deepEqual([...back], [1, 2]);
    });
  }

  it('reaches nothing before it is attached, and nothing after', () => {
    const { memory, device, ioas, mock } = stage();
    ioas.map(memory(PAGE), { iova: IOVA });
    assert.equal(mock.dmaRead(IOVA, new Uint8Array(1)), EFAULT);
    device.attach(ioas);
    assert.equal(mock.dmaRead(IOVA, new Uint8Array(1)), 0);
    device.detach();
    assert.equal(mock.dmaRead(IOVA, new Uint8Array(1)), EFAULT);
  });

  it('is refused where nothing is mapped, up to the last byte of what is', () => {
    const { memory, device, ioas, mock } = stage();
    const ram = memory(PAGE);
    ioas.map(ram, { iova: IOVA });
    device.attach(ioas);
    for (const iova of [0n, IOVA - 1n, IOVA + BigInt(PAGE), 2n ** 38n, 2n ** 53n, 2n ** 64n - 1n]) {
      assert.equal(mock.dmaWrite(iova, Uint8Array.of(1)), EFAULT);
      assert.equal(mock.dmaRead(iova, new Uint8Array(1)), EFAULT);
    }
    assert.equal(mock.dmaWrite(IOVA + BigInt(PAGE - 2), Uint8Array.of(8, 9, 10)), EFAULT);
    assert.deepEqual([...ram.read(PAGE - 2, 2)], [8, 9]);
    ioas.unmapAll();
    assert.equal(mock.dmaRead(IOVA, new Uint8Array(1)), EFAULT);
  });

  it('may do what the mapping allows, and no more', () => {
    const { memory, device, ioas, mock } = stage();
    const [readOnly, writeOnly] = [memory(PAGE), memory(PAGE)];
    ioas.map(readOnly, { iova: IOVA, writable: false });
    ioas.map(writeOnly, { iova: IOVA + BigInt(PAGE), readable: false });
    device.attach(ioas);
    const byte = Uint8Array.of(1);
    assert.deepEqual([mock.dmaRead(IOVA, byte), mock.dmaWrite(IOVA, byte)], [0, EFAULT]);
    assert.equal(mock.dmaWrite(IOVA + BigInt(PAGE), Uint8Array.of(2)), 0);
    assert.equal(mock.dmaRead(IOVA + BigInt(PAGE), byte), EFAULT);
    assert.deepEqual([readOnly.read(0, 1)[0], writeOnly.read(0, 1)[0]], [0, 2]);
  });

  it('reaches pinned memory after it was freed, until it is unmapped', () => {
    const { machine, memory, device, ioas, mock } = stage();
    const before = machine.physical.used;
    const ram = memory(PAGE);
    ram.write(0, Uint8Array.of(42));
    ioas.map(ram, { iova: IOVA });
    device.attach(ioas);
    ram.free();
    const byte = new Uint8Array(1);
    assert.equal(mock.dmaRead(IOVA, byte), 0);
    assert.equal(byte[0], 42);
    assert.equal(mock.dmaWrite(IOVA, Uint8Array.of(43)), 0);
    assert.equal(machine.physical.used, before + PAGE);
    ioas.unmap(IOVA, PAGE);
    assert.equal(mock.dmaRead(IOVA, byte), EFAULT);
    assert.equal(machine.physical.used, before);
  });

  it('marks the pages that it writes, where that is tracked, and none that it reads', () => {
    const { hwpt, mock } = tracked({ hugePages: false });
    assert.equal(mock.dmaWrite(IOVA + 0x2fffn, Uint8Array.of(1, 2)), 0);
    assert.equal(mock.dmaWrite(IOVA + 0x5_0000n, pattern(3 * PAGE)), 0);
    assert.equal(mock.dmaRead(IOVA + 0x8000n, new Uint8Array(PAGE)), 0);
    assert.deepEqual(dirty(hwpt), [
      [2, 2],
      [80, 3],
    ]);
    assert.deepEqual(dirty(hwpt), []);
    hwpt.setDirtyTracking(false);
    mock.dmaWrite(IOVA, Uint8Array.of(1));
    assert.deepEqual(dirty(hwpt), []);
  });

  it('marks nothing where it was refused', () => {
    const { hwpt, ioas, memory, mock } = tracked({ hugePages: false, size: PAGE });
    ioas.map(memory(PAGE), { iova: IOVA + BigInt(PAGE), writable: false });
    assert.equal(mock.dmaWrite(IOVA + BigInt(PAGE), Uint8Array.of(1)), EFAULT);
    assert.deepEqual(dirty(hwpt, 2 * PAGE), []);
  });

  it('marks as much as an entry of the page table maps', () => {
    const whole = tracked();
    whole.mock.dmaWrite(IOVA + 0x5000n, Uint8Array.of(1));
    assert.deepEqual(dirty(whole.hwpt), [[0, LARGE / PAGE]]);
    assert.deepEqual(dirty(whole.hwpt), []);
    const apart = tracked({ scatter: true });
    apart.mock.dmaWrite(IOVA + 0x5000n, Uint8Array.of(1));
    assert.deepEqual(dirty(apart.hwpt), [[5, 1]]);
  });

  it('marks no entry across two mappings, however their memory lies', () => {
    const { memory, device, ioas, mock } = stage();
    const ram = memory(LARGE);
    const half = LARGE / 2;
    ioas.map(ram, { iova: IOVA, length: half });
    ioas.map(ram, { iova: IOVA + BigInt(half), offset: half, length: half });
    const hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
    device.attach(hwpt);
    hwpt.setDirtyTracking(true);
    mock.dmaWrite(IOVA + BigInt(half), Uint8Array.of(1));
    assert.deepEqual(dirty(hwpt), [[half / PAGE, half / PAGE]]);
  });

  it('leaves no marks on IOVAs that were mapped anew', () => {
    const { hwpt, ioas, ram, mock } = tracked({ hugePages: false });
    mock.dmaWrite(IOVA, pattern(LARGE));
    ioas.unmapAll();
    ioas.map(ram, { iova: IOVA });
    assert.deepEqual(dirty(hwpt), []);
  });
});

describe('the pages that were written', () => {
  /** Around the ends of a chunk, and far from it. */
  const page = fc.oneof(fc.nat(100), fc.integer({ min: 32_700, max: 32_900 }), fc.nat({ max: 200_000 }));
  const range = fc.tuple(page, fc.nat(40_000)).map(([first, more]) => [first, first + more] as const);

  it('are those that were added and not removed', () => {
    const steps = fc.array(fc.tuple(fc.boolean(), range), { maxLength: 12 });
    fc.assert(
      fc.property(steps, range, (changes, [from, to]) => {
        const pages = new DirtyPages();
        const expected = new Set<number>();
        for (const [adds, [first, last]] of changes) {
          if (adds) pages.add(first, last);
          else pages.remove(first, last);
          for (let i = first; i <= last; i++) {
            if (adds) expected.add(i);
            else expected.delete(i);
          }
        }
        const found: number[] = [];
        for (let i = pages.next(from, to); i >= 0; i = pages.next(i + 1, to)) found.push(i);
        assert.deepEqual(
          found,
          [...expected].filter((i) => from <= i && i <= to).sort((a, b) => a - b),
        );
      }),
      { numRuns: 60 },
    );
  });

  it('may lie anywhere in 64 bits of IOVAs', () => {
    const pages = new DirtyPages();
    const far = 2 ** 53 / GRANULE - 1;
    pages.add(far, far);
    assert.equal(pages.next(0, far), far);
    assert.equal(pages.next(0, far - 1), -1);
    pages.remove(0, far);
    assert.equal(pages.empty, true);
  });
});
