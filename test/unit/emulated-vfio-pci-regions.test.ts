// Regions of the emulated vfio-pci: what they are, how accesses are cut up, and mapped BARs.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { at, CONFIG, PciBench, peek, poke } from './fake-pci.js';

const [EIO, EINVAL] = [-5, -22];
const ALL_ONES = 0xff;

describe('regions of the emulated vfio-pci', () => {
  it('are BARs, configuration space, and nothing else', () => {
    const { driver } = new PciBench().open();
    const infos = Array.from({ length: 10 }, (_, i) => driver.regionInfo(i));
    const told = infos.map((info) => (typeof info === 'number' ? info : [info.flags, Number(info.size)]));
    assert.deepEqual(told, [
      [7, 0x4000],
      [0, 0],
      [7, 0x2000],
      [0, 0],
      [3, 0x100],
      [7, 0x800],
      [0, 0],
      [3, 4096],
      EINVAL,
      EINVAL,
    ]);
    const offsets = infos.slice(0, 8).map((info) => (typeof info === 'number' ? info : info.offset));
    assert.deepEqual(
      offsets,
      Array.from({ length: 8 }, (_, i) => BigInt(i) << 40n),
    );
  });

  it('say of the BAR with the MSI-X table that all of it can be mapped', () => {
    const { driver } = new PciBench().open();
    const info = driver.regionInfo(2);
    assert(typeof info === 'object');
    assert.deepEqual(info.capabilities, Uint8Array.of(3, 0, 1, 0, 0, 0, 0, 0));
    const other = driver.regionInfo(0);
    assert(typeof other === 'object' && other.capabilities === undefined);
  });

  it('cut accesses into the widest aligned pieces', () => {
    const { driver, fn } = new PciBench().open();
    assert.equal(driver.read(new Uint8Array(16), at(0, 0x11)), 16);
    assert.deepEqual(fn.accesses.splice(0), ['r1 0:11', 'r2 0:12', 'r4 0:14', 'r8 0:18', 'r1 0:20']);
    assert.equal(driver.write(new Uint8Array(8).fill(1), at(0, 8)), 8);
    assert.deepEqual(fn.accesses.splice(0), ['w8 0:8=101010101010101']);
    assert.equal(driver.read(new Uint8Array(8), at(4, 0)), 8);
    assert.deepEqual(fn.accesses.splice(0), ['r4 4:0', 'r4 4:4']);
    assert.equal(driver.read(new Uint8Array(0), at(0, 0)), 0);
  });

  it('end where the BAR does', () => {
    const { driver } = new PciBench().open();
    assert.equal(driver.read(new Uint8Array(16), at(5, 0x7f8)), 8);
    for (const position of [at(5, 0x800), at(1), at(3), at(6), at(8), at(9), at(4000)]) {
      assert.equal(driver.read(new Uint8Array(4), position), EINVAL);
      assert.equal(driver.write(new Uint8Array(4), position), EINVAL);
    }
  });

  it('keep the MSI-X table: ones are read, and writes are dropped', () => {
    const { driver, fn } = new PciBench().open();
    const bytes = new Uint8Array(0x90);
    assert.equal(driver.read(bytes, at(2, 0xff8)), 0x90);
    assert.deepEqual(fn.accesses.splice(0), ['r8 2:ff8', 'r8 2:1080']);
    assert(bytes.subarray(8, 0x88).every((byte) => byte === ALL_ONES));
    assert.equal(driver.write(new Uint8Array(16), at(2, 0x1000)), 16);
    assert.deepEqual(fn.accesses, []);
  });

  it('answer EIO while memory is off; ports do not care', () => {
    const { driver, fn } = new PciBench().open();
    poke(driver, CONFIG + 4, 2, 0);
    assert.equal(peek(driver, at(0), 4), EIO);
    assert.equal(poke(driver, at(0), 4, 1), EIO);
    assert.deepEqual(fn.accesses, []);
    assert.equal(peek(driver, at(4), 4), 0);
    poke(driver, CONFIG + 4, 2, 2);
    assert.equal(peek(driver, at(0), 4), 0);
  });

  it('are mapped by pages, as far as they go', () => {
    const { driver } = new PciBench().open();
    for (const [position, length] of [
      [at(0, 0x3000), 0x2000],
      [at(1), 0x1000],
      [at(4), 0x1000],
      [at(5), 0x2000],
      [at(6), 0x1000],
      [CONFIG, 0x1000],
      [at(9), 0x1000],
    ] as const) {
      assert.equal(driver.mmap(position, length), EINVAL);
    }
  });

  it('reach the device at once when they are mapped, and nothing behind their end', () => {
    const { driver, fn } = new PciBench().open();
    const mapping = driver.mmap(at(0, 0x1000), 0x2000);
    assert(typeof mapping === 'object');
    mapping.write(0x10, 4, 7);
    assert.equal(mapping.read(0x10, 4), 7);
    assert.equal(mapping.read64(8), 0x0807_0605_0403_0201n);
    mapping.write64(0, 5n);
    assert.deepEqual(fn.accesses, ['w4 0:1010=7', 'r4 0:1010', 'r8 0:1008', 'w8 0:1000=5']);
    const small = driver.mmap(at(5), 0x1000);
    assert(typeof small === 'object');
    small.write(0x800, 4, 1);
    small.write64(0x800, 1n);
    assert.equal(small.read(0x800, 2), 0xffff);
    assert.equal(small.read64(0xff8), 2n ** 64n - 1n);
    assert.equal(fn.accesses.length, 4);
  });

  it('throw EIO where a program in C gets SIGBUS, and come back with memory', () => {
    const { driver } = new PciBench().open();
    const mapping = driver.mmap(at(0), 0x1000);
    assert(typeof mapping === 'object');
    poke(driver, CONFIG + 4, 2, 0);
    for (const access of [
      () => mapping.read(0, 4),
      () => mapping.read64(0),
      () => mapping.write(0, 1, 0),
      () => mapping.write64(0, 0n),
    ]) {
      assert.throws(access, { code: 'EIO' });
    }
    poke(driver, CONFIG + 4, 2, 2);
    assert.equal(mapping.read(0, 4), 0);
  });

  it('take any access, by any program', () => {
    const region = fc.integer({ min: 0, max: 10 });
    const offset = fc.oneof(fc.integer({ min: 0, max: 0x4010 }), fc.integer({ min: 0, max: 0x110 }), fc.nat());
    const access = fc.record({ region, offset, bytes: fc.uint8Array({ maxLength: 64 }), write: fc.boolean() });
    fc.assert(
      fc.property(fc.array(access, { maxLength: 40 }), (accesses) => {
        const { driver } = new PciBench().open();
        for (const { region: index, offset: from, bytes, write } of accesses) {
          const done = write ? driver.write(bytes, at(index, from)) : driver.read(bytes, at(index, from));
          assert(done <= bytes.length && (done >= 0 || [EIO, EINVAL, -14].includes(done)), `${done}`);
        }
        driver.closeDevice();
      }),
    );
  });
});
