// Register accesses: widths, order of bytes, and what is refused.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { errno, findMapping, native, page } from './support.js';

const outOfRange = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
const reads = { 1: native.read8, 2: native.read16, 4: native.read32 } as const;
const writes = { 1: native.write8, 2: native.write16, 4: native.write32 } as const;

describe('addon: MMIO', () => {
  // A memfd stands in for the device: mapped shared, as registers are.
  let device: number;
  let region: number;
  let bytes: Uint8Array;

  beforeEach(() => {
    device = native.allocateMemory('memfd', 4 * page, 0);
    region = native.mapMmio(native.regionFd(device), page, 2 * page);
    bytes = new Uint8Array(native.window(device, page, 2 * page));
  });

  afterEach(() => {
    native.freeRegion(region);
    native.freeRegion(device);
  });

  it('maps the stretch of the file that was asked for, kept from children', () => {
    const mapping = findMapping(native.regionAddress(region));
    assert.equal(mapping?.permissions, 'rw-s');
    assert.ok(mapping?.flags.includes('dc'));
    bytes[5] = 99;
    assert.equal(native.read8(region, 5), 99);
    assert.equal(native.regionFd(region), -1);
  });

  it('maps nothing of an ordinary file beyond its end, nor of what has no pages', () => {
    assert.equal(native.mapMmio(native.regionFd(device), 3 * page, 2 * page), errno.EINVAL);
    assert.equal(native.mapMmio(native.regionFd(device), 5 * page, page), errno.EINVAL);
    assert.equal(native.mapMmio(-1, 0, page), errno.EBADF);
    const event = native.createEventfd(0);
    assert.equal(native.mapMmio(event, 0, page), -19);
    native.close(event);
  });

  it('survives an access to what has left memory space, and tells of it', () => {
    // A file that was made shorter behaves like a device whose memory was turned off: the access is a SIGBUS.
    const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-mmio-'));
    const file = path.join(folder, 'registers');
    writeFileSync(file, new Uint8Array(2 * page));
    const fd = native.open(file, 2);
    const registers = native.mapMmio(fd, 0, 2 * page);
    native.write32(registers, page + 8, 5);
    truncateSync(file, page);
    const gone = { code: 'EIO', message: /left memory space/ };
    for (const read of [native.read8, native.read16, native.read32, native.read64]) {
      assert.throws(() => read(registers, page + 8), gone);
    }
    for (const write of [native.write8, native.write16, native.write32]) {
      assert.throws(() => write(registers, page, 1), gone);
    }
    assert.throws(() => native.write64(registers, page, 1n), gone);
    assert.equal(native.read32(registers, 8), 0, 'the page before is still there');
    truncateSync(file, 2 * page);
    assert.equal(native.read32(registers, page + 8), 0, 'and so is this one again');
    native.freeRegion(registers);
    native.close(fd);
    rmSync(folder, { recursive: true });
  });

  it('survives it also where somebody else took the signal since, who hears of all others', () => {
    const code = `
      const { createRequire } = require('node:module');
      const fs = require('node:fs');
      const native = createRequire(process.argv[1])('bindings')('iommufd');
      const file = process.argv[2];
      fs.writeFileSync(file, new Uint8Array(${2 * page}));
      const registers = native.mapMmio(native.open(file, 2), 0, ${2 * page});
      fs.truncateSync(file, ${page});
      const access = () => {
        try { native.read32(registers, ${page}); } catch (error) { return error.code; }
      };
      const seen = [];
      const alive = setTimeout(() => {}, 10000);
      const heard = new Promise((resolve) => process.once('SIGBUS', resolve));
      native.catchBusErrors();
      seen.push(access());
      process.kill(process.pid, 'SIGBUS');
      heard.then(() => {
        native.catchBusErrors();
        seen.push(access());
        console.log(seen.join());
        clearTimeout(alive);
      });`;
    const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-mmio-'));
    const args = ['-e', code, fileURLToPath(import.meta.url), path.join(folder, 'registers')];
    const { stdout, stderr, signal } = spawnSync(process.execPath, args, { timeout: 10_000 });
    rmSync(folder, { recursive: true });
    assert.equal(String(stdout).trim(), 'EIO,EIO', `${signal} ${stderr}`);
  });

  it('leaves other bus errors as they were', () => {
    const code = `
      const { createRequire } = require('node:module');
      const native = createRequire(process.argv[1])('bindings')('iommufd');
      const memory = native.allocateMemory('memfd', ${page}, 0);
      native.mapMmio(native.regionFd(memory), 0, ${page});
      process.kill(process.pid, 'SIGBUS');
      setTimeout(() => {}, 10000);`;
    const { signal, stderr } = spawnSync(process.execPath, ['-e', code, fileURLToPath(import.meta.url)]);
    assert.equal(signal, 'SIGBUS', String(stderr));
  });

  for (const width of [1, 2, 4] as const) {
    it(`reads and writes ${8 * width} bits, little-endian, and touches nothing beside them`, () => {
      const largest = 2 ** (8 * width) - 1;
      bytes.fill(0xaa, 0, 32);
      writes[width](region, 8, 0);
      assert.deepEqual([...bytes.subarray(7, 8 + width + 1)], [0xaa, ...Array(width).fill(0), 0xaa]);
      writes[width](region, 8, largest);
      assert.equal(reads[width](region, 8), largest);
      bytes.set([1, 2, 3, 4], 16);
      assert.equal(reads[width](region, 16), 0x04030201 & largest);
      assert.throws(() => writes[width](region, 8, largest + 1), { ...outOfRange, message: /"value"/ });
      assert.throws(() => writes[width](region, 8, -1), outOfRange);
      assert.throws(() => writes[width](region, 8, 0.5), outOfRange);
      assert.equal(reads[width](region, 8), largest, 'what was refused was not written');
    });

    it(`refuses ${8 * width} bits beyond the end, or across a boundary of their own`, () => {
      const last = 2 * page - width;
      writes[width](region, last, 1);
      assert.equal(reads[width](region, last), 1);
      assert.throws(() => reads[width](region, last + width), { ...outOfRange, message: /"offset"/ });
      assert.throws(() => reads[width](region, -width), outOfRange);
      assert.throws(() => writes[width](region, 2 ** 40, 0), outOfRange);
      if (width > 1) {
        assert.throws(() => reads[width](region, 8 + width / 2), { ...outOfRange, message: /multiple of the width/ });
        assert.throws(() => writes[width](region, 8 + width / 2, 0), outOfRange);
      }
    });
  }

  it('reads and writes 64 bits as bigints', () => {
    bytes.fill(0xaa, 0, 32);
    native.write64(region, 8, 0x0807060504030201n);
    assert.deepEqual([...bytes.subarray(7, 17)], [0xaa, 1, 2, 3, 4, 5, 6, 7, 8, 0xaa]);
    native.write64(region, 8, 2n ** 64n - 1n);
    assert.equal(native.read64(region, 8), 2n ** 64n - 1n);
    assert.throws(() => native.write64(region, 8, 2n ** 64n), { ...outOfRange, message: /"value"/ });
    assert.throws(() => native.write64(region, 8, -1n), outOfRange);
    assert.throws(() => native.read64(region, 4), outOfRange);
    assert.throws(() => native.read64(region, 2 * page), outOfRange);
    assert.throws(() => Reflect.apply(native.write64, null, [region, 8, 1]), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
      message: /"value".*a bigint/,
    });
    assert.throws(() => Reflect.apply(native.write32, null, [region, 8, 1n]), {
      name: 'TypeError',
      message: /"value".*a number/,
    });
  });

  it('works on memory and blocks too', () => {
    const block = native.allocateBlock(page);
    native.write16(block, 2, 0x1234);
    assert.equal(native.read32(block, 0), 0x12340000);
    native.freeRegion(block);
  });

  it('gives no ArrayBuffer over registers, but an unsafe one', () => {
    assert.throws(() => native.window(region, 0, page), { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' });
    const unsafe = native.unsafeWindow(region, 0, page);
    new Uint8Array(unsafe)[1] = 17;
    assert.equal(native.read8(region, 1), 17);
    native.freeRegion(region);
    assert.equal(unsafe.byteLength, 0);
    region = native.allocateBlock(page);
  });

  it('refuses accesses after the region was freed', () => {
    const freed = native.mapMmio(native.regionFd(device), 0, page);
    native.freeRegion(freed);
    const notLive = { ...outOfRange, message: /region \d+ is not live/ };
    assert.throws(() => native.read32(freed, 0), notLive);
    assert.throws(() => native.write64(freed, 0, 0n), notLive);
    assert.throws(() => Reflect.apply(native.read8, null, ['1', 0]), {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_TYPE',
      message: /"region"/,
    });
  });
});
