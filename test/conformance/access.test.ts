// An access, as a driver in the kernel has one (mdevs): reading, writing and pinning what an IOAS maps.
import assert from 'node:assert/strict';
import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import type { Ioas } from '../../lib/index.js';
import { MOCK_APERTURE } from '../rig/mock.js';
import { ask, checkMap, checkPins, idOf, NOWHERE, type Target } from '../rig/mock-checks.js';
import { type Bench, conformance, NO_ID, PAGE, refused } from '../rig/suite.js';

const IOVA = MOCK_APERTURE.start;
const { MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES: PINS } = mock.mock_flags_access_create.values;
const { MOCK_FLAGS_ACCESS_WRITE: PIN_WRITE } = mock.mock_flags_access.values;
const { MOCK_ACCESS_RW_WRITE: WRITE, MOCK_ACCESS_RW_SLOW_PATH: SLOW } = mock.mock_access_rw.values;

/** What a driver has that emulates a device: the way into an IOAS without DMA. */
class Access {
  readonly #t: Bench;
  readonly #fd: number;

  constructor(t: Bench, ioas: Target, flags = 0) {
    const { code, out } = ask(t, 'IOMMU_TEST_OP_CREATE_ACCESS', mock.test_create_access, { id: idOf(ioas), flags });
    assert.equal(code, 'ok');
    this.#t = t;
    this.#fd = out.out_access_fd;
    t.rig.seam.own(this.#fd);
    t.later(() => this.close());
  }

  /** Reads `data.length` bytes into data, or writes them. */
  rw(iova: bigint, data: Uint8Array, flags: number): string {
    const input = { id: this.#fd, iova, length: BigInt(data.length), flags };
    return ask(this.#t, 'IOMMU_TEST_OP_ACCESS_RW', mock.test_access_rw, input, { uptr: data }).code;
  }

  /** Pins pages; `address`, if given, must be where they lie. */
  pin(iova: bigint, length: bigint, flags = 0, address = 0n): { code: string; pages: number } {
    const input = { id: this.#fd, iova, length, flags, uptr: address };
    const { code, out } = ask(this.#t, 'IOMMU_TEST_OP_ACCESS_PAGES', mock.test_access_pages, input);
    return { code, pages: out.out_access_pages_id };
  }

  unpin(access_pages_id: number): string {
    const input = { id: this.#fd, access_pages_id };
    return ask(this.#t, 'IOMMU_TEST_OP_DESTROY_ACCESS_PAGES', mock.test_destroy_access_pages, input).code;
  }

  replaceIoas(ioas_id: number): string {
    const input = { id: this.#fd, ioas_id };
    return ask(this.#t, 'IOMMU_TEST_OP_ACCESS_REPLACE_IOAS', mock.test_access_replace_ioas, input).code;
  }

  #open = true;
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    assert.equal(this.#t.rig.seam.close(this.#fd), 0);
  }
}

/** Bytes that differ from place to place. */
function pattern(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed) & 0xff);
}

function start(t: Bench, backing: 'memfd' | 'anonymous' = 'memfd') {
  const ioas = t.iommufd.allocIoas();
  const ram = t.memory(0x10000, { backing });
  ioas.map(ram, { iova: IOVA });
  return { ioas, ram };
}

function read(t: Bench, ioas: Ioas, iova: bigint, length: number, flags = 0): Uint8Array {
  const data = new Uint8Array(length);
  const access = new Access(t, ioas);
  assert.equal(access.rw(iova, data, flags), 'ok');
  access.close();
  return data;
}

conformance('access', (test) => {
  for (const backing of ['memfd', 'anonymous'] as const) {
    for (const [way, flags] of [
      ['fast', 0],
      ['slow', SLOW],
    ] as const) {
      test(`rw-${backing}-${way}`, `moves bytes both ways, aligned or not (${backing} memory, ${way} path)`, (t) => {
        const { ioas, ram } = start(t, backing);
        const access = new Access(t, ioas);
        for (const [offset, length] of [
          [0, 4096],
          [1, 1],
          [4095, 2],
          [123, 9000],
          [0, 0x10000],
        ] as const) {
          const at = IOVA + BigInt(offset);
          const out = pattern(length, offset);
          ram.window().fill(0xee);
          assert.equal(access.rw(at, out, WRITE | flags), 'ok');
          assert.deepEqual(ram.read(offset, length), out);
          assert(ram.read(0, offset).every((byte) => byte === 0xee));
          assert(ram.read(offset + length, ram.size - offset - length).every((byte) => byte === 0xee));
          const back = new Uint8Array(length);
          assert.equal(access.rw(at, back, flags), 'ok');
          assert.deepEqual(back, out);
        }
      });
    }
  }
  test('rw-across', 'moves bytes across mappings that lie side by side', (t) => {
    const ioas = t.iommufd.allocIoas();
    const [one, two] = [t.memory(4096), t.memory(8192, { backing: 'anonymous' })];
    ioas.map(one, { iova: IOVA });
    ioas.map(two, { iova: IOVA + PAGE });
    const data = pattern(6000, 3);
    assert.equal(new Access(t, ioas).rw(IOVA + 1000n, data, WRITE), 'ok');
    assert.deepEqual(one.read(1000, 3096), data.subarray(0, 3096));
    assert.deepEqual(two.read(0, 2904), data.subarray(3096));
  });
  test('rw-offset', 'finds a mapping that starts inside its memory', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ram.write(0, pattern(ram.size, 1));
    ioas.map(ram, { iova: IOVA + 512n, offset: 8192 + 512, length: 4096 });
    assert.deepEqual(read(t, ioas, IOVA + 515n, 4000), ram.read(8192 + 515, 4000));
  });
  test('rw-same-page-table', 'sees what devices see, with a page table or without', (t) => {
    const { ioas, ram } = start(t);
    ram.write(0, pattern(ram.size, 9));
    const { device } = t.mockDevice();
    const hwpt = ioas.allocHwpt(device);
    assert.equal(checkMap(t, hwpt, IOVA, ram.address, BigInt(ram.size)), 'ok');
    assert.deepEqual(read(t, ioas, IOVA + 77n, 5000, SLOW), ram.read(77, 5000));
  });
  test('rw-read-only', 'does not write where devices may only read', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA, writable: false });
    const access = new Access(t, ioas);
    for (const flags of [WRITE, WRITE | SLOW]) assert.equal(access.rw(IOVA, pattern(64, 1), flags), 'EPERM');
    assert.deepEqual(ram.read(0, 64), new Uint8Array(64));
    assert.equal(access.rw(IOVA, new Uint8Array(64), 0), 'ok');
  });
  test('rw-write-only', 'does not read where devices may only write', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA, readable: false });
    const access = new Access(t, ioas);
    const data = pattern(64, 1);
    assert.equal(access.rw(IOVA, data, 0), 'EPERM');
    assert.deepEqual(data, pattern(64, 1));
    assert.equal(access.rw(IOVA, data, WRITE), 'ok');
  });
  test('rw-unmapped', 'refuses a range that is not mapped, or not from end to end', (t) => {
    const { ioas, ram } = start(t);
    const access = new Access(t, ioas);
    for (const iova of [0n, IOVA - 1n, IOVA + BigInt(ram.size) - 1n, IOVA + BigInt(ram.size)]) {
      assert.equal(access.rw(iova, new Uint8Array(2), 0), 'ENOENT');
    }
    ioas.unmapAll();
    assert.equal(access.rw(IOVA, new Uint8Array(2), 0), 'ENOENT');
  });
  test('rw-range', 'refuses an empty range, one that overflows, and unknown flags', (t) => {
    const { ioas } = start(t);
    const access = new Access(t, ioas);
    assert.equal(access.rw(IOVA, new Uint8Array(), 0), 'EINVAL');
    assert.equal(access.rw(0xffff_ffff_ffff_ffffn, new Uint8Array(2), 0), 'EOVERFLOW');
    assert.equal(access.rw(IOVA, new Uint8Array(2), 1 << 1), 'EOPNOTSUPP');
  });
  test('rw-nothing-there', 'refuses a mapping of an address with nothing there', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.unsafeMapAddress(NOWHERE, { iova: IOVA, length: PAGE });
    const access = new Access(t, ioas);
    for (const flags of [0, WRITE, SLOW, SLOW | WRITE])
      assert.equal(access.rw(IOVA, new Uint8Array(8), flags), 'EFAULT');
  });
  test('holds-ioas', 'holds its IOAS until it is closed', (t) => {
    const { ioas } = start(t);
    const access = new Access(t, ioas);
    refused('EBUSY', () => ioas.destroy());
    access.close();
    ioas.destroy();
  });
  test('create', 'refuses unknown flags, and what is no IOAS', (t) => {
    const { ioas } = start(t);
    const create = (id: number, flags: number) =>
      ask(t, 'IOMMU_TEST_OP_CREATE_ACCESS', mock.test_create_access, { id, flags }).code;
    assert.equal(create(ioas.id, 2), 'EOPNOTSUPP');
    assert.equal(create(NO_ID, 0), 'ENOENT');
    assert.equal(create(t.iommufd.allocFaultQueue().id, 0), 'ENOENT');
    ioas.destroy();
  });
  test('pin', 'pins pages, and gives them back', (t) => {
    const { ioas, ram } = start(t);
    const access = new Access(t, ioas, PINS);
    const { code, pages } = access.pin(IOVA + PAGE, 2n * PAGE, PIN_WRITE, ram.address + PAGE);
    assert.equal(code, 'ok');
    assert.equal(checkPins(t, ram.address + PAGE, 2n * PAGE, 1), 'ok');
    assert.equal(checkPins(t, ram.address, PAGE, 0), 'ok');
    assert.equal(access.unpin(pages), 'ok');
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 0), 'ok');
    assert.equal(access.unpin(pages), 'ENOENT');
  });
  test('pin-with-page-table', 'pins once together with a page table, and longer than that', (t) => {
    const { ioas, ram } = start(t);
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    const access = new Access(t, ioas, PINS);
    const { pages } = access.pin(IOVA, PAGE, 0, ram.address);
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 1), 'ok');
    hwpt.destroy();
    assert.equal(checkPins(t, ram.address, PAGE, 1), 'ok');
    assert.equal(checkPins(t, ram.address + PAGE, PAGE, 0), 'ok');
    assert.equal(access.unpin(pages), 'ok');
    assert.equal(checkPins(t, ram.address, PAGE, 0), 'ok');
  });
  test('pin-wrong-pages', 'pins what is mapped, not what the caller thinks', (t) => {
    const { ioas, ram } = start(t);
    ram.window().fill(1);
    const access = new Access(t, ioas, PINS);
    assert.equal(access.pin(IOVA, PAGE, 0, ram.address + PAGE).code, 'EBADE');
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 0), 'ok');
  });
  test('pin-closed', 'gives pages back when it is closed', (t) => {
    const { ioas, ram } = start(t);
    const access = new Access(t, ioas, PINS);
    assert.equal(access.pin(IOVA, 16n * PAGE).code, 'ok');
    assert.equal(checkPins(t, ram.address, 16n * PAGE, 1), 'ok');
    access.close();
    assert.equal(checkPins(t, ram.address, 16n * PAGE, 0), 'ok');
  });
  test('pin-unmap', 'is asked to let pages go that are unmapped, and does', (t) => {
    const { ioas, ram } = start(t);
    const access = new Access(t, ioas, PINS);
    const { pages } = access.pin(IOVA, PAGE);
    assert.equal(access.pin(IOVA + 4n * PAGE, 2n * PAGE).code, 'ok');
    assert.equal(ioas.unmap(IOVA, ram.size), BigInt(ram.size));
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 0), 'ok');
    assert.equal(access.unpin(pages), 'ENOENT');
    assert.equal(access.pin(IOVA, PAGE).code, 'ENOENT');
  });
  test('pin-unmap-other', 'keeps pages of other mappings', (t) => {
    const { ioas, ram } = start(t);
    const other = t.memory();
    ioas.map(other, { iova: IOVA + 0x10_0000n });
    const access = new Access(t, ioas, PINS);
    const { pages } = access.pin(IOVA, PAGE);
    ioas.unmap(IOVA + 0x10_0000n, other.size);
    assert.equal(checkPins(t, ram.address, PAGE, 1), 'ok');
    assert.equal(access.unpin(pages), 'ok');
  });
  test('pin-read-only', 'does not pin for writing where devices may only read', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA, writable: false });
    const access = new Access(t, ioas, PINS);
    assert.equal(access.pin(IOVA, PAGE, PIN_WRITE).code, 'EPERM');
    assert.equal(access.pin(IOVA, PAGE).code, 'ok');
  });
  test('pin-range', 'refuses an empty range, one that overflows, and one with a hole', (t) => {
    const { ioas, ram } = start(t);
    const access = new Access(t, ioas, PINS);
    assert.equal(access.pin(IOVA, 0n).code, 'EINVAL');
    assert.equal(access.pin(0xffff_ffff_ffff_f000n, 2n * PAGE).code, 'EOVERFLOW');
    assert.equal(access.pin(IOVA + 15n * PAGE, 2n * PAGE).code, 'ENOENT');
    assert.equal(checkPins(t, ram.address, BigInt(ram.size), 0), 'ok');
  });
  test('pin-not-for-that', 'pins nothing through an access that was not made for it', (t) => {
    const { ioas } = start(t);
    assert.equal(new Access(t, ioas).pin(IOVA, PAGE).code, 'EOPNOTSUPP');
  });
  test('pin-alignment', 'makes the IOAS page-aligned while it lives', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    const access = new Access(t, ioas, PINS);
    assert.equal(ioas.iovaRanges().alignment, PAGE);
    refused('EINVAL', () => ioas.map(ram, { iova: IOVA + 512n, length: 512 }));
    access.close();
    assert.equal(ioas.iovaRanges().alignment, 1n);
    ioas.map(ram, { iova: IOVA + 512n, length: 512 });
  });
  test('replace', 'moves to another IOAS, letting all pages of the first go', (t) => {
    const { ioas, ram } = start(t);
    const other = start(t);
    ram.window().fill(1);
    other.ram.window().fill(2);
    const access = new Access(t, ioas, PINS);
    access.pin(IOVA, PAGE);
    assert.equal(access.replaceIoas(other.ioas.id), 'ok');
    assert.equal(checkPins(t, ram.address, PAGE, 0), 'ok');
    const data = new Uint8Array(4);
    assert.equal(access.rw(IOVA, data, 0), 'ok');
    assert.deepEqual([...data], [2, 2, 2, 2]);
    ioas.destroy();
    assert.equal(t.destroyId(other.ioas.id), 'EBUSY');
  });
  test('replace-refused', 'stays where it is when the other is no IOAS', (t) => {
    const { ioas, ram } = start(t);
    ram.window().fill(1);
    const access = new Access(t, ioas, PINS);
    assert.equal(access.pin(IOVA, PAGE).code, 'ok');
    assert.equal(access.replaceIoas(NO_ID), 'ENOENT');
    assert.equal(access.replaceIoas(t.iommufd.allocFaultQueue().id), 'ENOENT');
    assert.equal(checkPins(t, ram.address, PAGE, 1), 'ok');
    assert.equal(t.destroyId(ioas.id), 'EBUSY');
  });
  test('replace-misaligned', 'does not move to an IOAS whose mappings its pages do not fit', (t) => {
    const { ioas } = start(t);
    const other = t.iommufd.allocIoas();
    other.map(t.memory(), { iova: IOVA + 512n, length: 512 });
    const access = new Access(t, ioas, PINS);
    assert.equal(access.replaceIoas(other.id), 'EADDRINUSE');
    assert.equal(access.pin(IOVA, PAGE).code, 'ok');
  });
});
