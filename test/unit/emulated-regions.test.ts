// Regions of the emulated process: windows and single accesses, and what is left when they are freed or forgotten.
import assert from 'node:assert/strict';
import { MmioRegisters } from '../../lib/emulated/process/regions.js';
import { EmulatedSeam } from '../../lib/emulated/process/seam.js';
import { createEmulatedHost, type EmulatedHost } from '../../lib/emulated-host.js';
import { hostSeam, type Region, type Seam } from '../../lib/unsafe.js';
import { assertLinear } from './growth.js';

const PAGE = 4096;
const EBUSY = -16;
const GONE = { name: 'RangeError', message: /the region is gone/ };
const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };

function real(region: Region | number): Region {
  assert(typeof region !== 'number');
  return region;
}
function stage(): { host: EmulatedHost; seam: Seam; memory: Region } {
  const host = createEmulatedHost();
  const seam = hostSeam(host);
  return { host, seam, memory: real(seam.allocateMemory({ backing: 'memfd', size: 2 * PAGE, hugePageSize: 0 })) };
}

describe('regions of the emulated process', () => {
  it('are read and written in every width, little-endian', () => {
    const { memory } = stage();
    memory.write64(8, 0x1122_3344_5566_7788n);
    assert.deepEqual([memory.read8(8), memory.read16(8), memory.read32(12)], [0x88, 0x7788, 0x1122_3344]);
    memory.write8(8, 0xff);
    memory.write16(10, 0xeeee);
    memory.write32(12, 0xffff_ffff);
    assert.equal(memory.read64(8), 0xffff_ffff_eeee_77ffn);
    assert.equal(memory.read8(2 * PAGE - 1), 0);
  });

  it('refuse what is not inside, not aligned, not a number, or does not fit', () => {
    const { memory } = stage();
    for (const offset of [-1, 0.5, 2 * PAGE, Number.NaN, Number.POSITIVE_INFINITY]) {
      for (const access of [() => memory.read8(offset), () => memory.write8(offset, 0)]) assert.throws(access, RANGE);
    }
    assert.throws(() => memory.read16(1), RANGE);
    assert.throws(() => memory.read32(2 * PAGE - 2), RANGE);
    assert.throws(() => memory.read64(4), RANGE);
    assert.throws(() => memory.read8('0' as never), TYPE);
    for (const value of [-1, 256, 0.5, Number.NaN]) assert.throws(() => memory.write8(0, value), RANGE);
    assert.throws(() => memory.write32(0, 2 ** 32), RANGE);
    assert.throws(() => memory.write64(0, 2n ** 64n), RANGE);
    assert.throws(() => memory.write64(0, -1n), RANGE);
    assert.throws(() => memory.write64(0, 1 as never), TYPE);
    assert.throws(() => memory.write8(0, '1' as never), TYPE);
  });

  it('have windows anywhere inside, of any length', () => {
    const { memory } = stage();
    memory.window(PAGE - 1, 2).set([1, 2]);
    assert.equal(memory.read8(PAGE), 2);
    assert.equal(memory.window(2 * PAGE, 0).length, 0);
    for (const [offset, length] of [
      [-1, 1],
      [0, 2 * PAGE + 1],
      [2 * PAGE, 1],
      [0.5, 1],
      [0, Number.NaN],
      [2 ** 53, 0],
    ] as const) {
      assert.throws(() => memory.window(offset, length), RANGE);
    }
    assert.throws(() => memory.window('0' as never, 1), TYPE);
  });

  it('lose their windows when they are detached or freed, whatever was done to them', async () => {
    const { memory } = stage();
    const window = memory.window(0, PAGE);
    window[0] = 5;
    // WebAssembly's buffers cannot be taken away; at most a copy is sent.
    const { port1, port2 } = new MessageChannel();
    for (const take of [
      () => structuredClone(window, { transfer: [window.buffer] }),
      () => port1.postMessage(window, [window.buffer]),
    ]) {
      try {
        take();
      } catch (error) {
        assert(error instanceof Error);
      }
      assert.deepEqual([window.length, window[0], memory.read8(0)], [PAGE, 5, 5]);
    }
    port1.close();
    port2.close();
    memory.detachWindows();
    assert.equal(window.length, 0);
    const words = new Uint32Array(memory.window(0, PAGE).buffer);
    assert.equal(words[0], 5);
    memory.free();
    assert.deepEqual([words.length, words[0]], [0, undefined]);
    assert.throws(() => window.fill(1), TypeError);
  });

  it('are gone when they are freed, once', async () => {
    const { host, seam, memory } = stage();
    const before = host.inspect();
    const block = real(seam.allocateBlock(PAGE));
    assert.equal(block.live, true);
    assert.equal(block.free(), 0);
    assert.equal(block.free(), 0);
    assert.equal(block.live, false);
    for (const access of [() => block.read8(0), () => block.write64(0, 0n), () => block.window(0, 1)]) {
      assert.throws(access, GONE);
    }
    await assert.rejects(block.prefault(0, 1), GONE);
    await assert.rejects(seam.ioctlAsync(memory.fd, 1, block, 0), GONE);
    block.detachWindows();
    block.drop();
    assert.deepEqual(host.inspect(), before);
  });

  it('stay while work is in flight', async () => {
    const { host, seam, memory } = stage();
    const block = real(seam.allocateBlock(PAGE));
    const fd = seam.open('/dev/iommu', 2);
    const works = [memory.prefault(0, PAGE), seam.ioctlAsync(fd, 1, block, 0)];
    assert.deepEqual([memory.free(), block.free()], [EBUSY, EBUSY]);
    seam.close(fd);
    block.drop();
    assert.equal(host.inspect().regions, 2, 'a dropped one too');
    assert.deepEqual(await Promise.all(works), [0, -25]);
    assert.equal(host.inspect().regions, 1);
    assert.equal(memory.free(), 0);
  });

  it('of one file share bytes, and windows live while another region of the file has some', () => {
    const { host, seam, memory } = stage();
    const window = memory.window(0, PAGE);
    const again = real(seam.importMemory(memory.fd, PAGE));
    assert.notEqual(again.fd, memory.fd);
    again.write8(0, 7);
    assert.equal(window[0], 7);
    again.window(0, 1);
    again.free();
    assert.equal(window.length, PAGE);
    const third = real(seam.importMemory(memory.fd, PAGE));
    memory.free();
    assert.equal(window.length, 0, 'the third one never had any');
    assert.equal(third.read8(0), 7);
    third.free();
    assert.deepEqual([host.inspect().regions, host.inspect().openFiles], [0, 0]);
  });

  it('that were dropped can be looked at through windows only, until these are gone', async () => {
    const { host, memory } = stage();
    const { memory: used } = host.inspect();
    let window: Uint8Array | undefined = memory.window(0, 8);
    memory.drop();
    memory.drop();
    assert.equal(memory.live, false);
    assert.throws(() => memory.read8(0), GONE);
    assert.equal(memory.free(), 0);
    window[0] = 1;
    assert.deepEqual([window[0], host.inspect().memory], [1, used]);
    window = undefined;
    const { gc } = globalThis;
    if (gc === undefined) return;
    for (let i = 0; i < 20 && host.inspect().regions > 0; i++) {
      gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.deepEqual(
      [host.inspect().regions, host.inspect().memory, host.inspect().openFiles],
      [0, used - 2 * PAGE, 0],
    );
  });

  it('that were dropped without windows are gone at once', () => {
    const { host, memory } = stage();
    memory.drop();
    assert.deepEqual([host.inspect().regions, host.inspect().openFiles], [0, 0]);
  });

  it('are freed in time that grows as they do', () => {
    const { host, seam } = stage();
    const memory = { backing: 'memfd', size: PAGE, hugePageSize: 0 } as const;
    assertLinear((count) => {
      const regions = Array.from({ length: count }, () => real(seam.allocateMemory(memory)));
      return () => {
        for (const region of regions) region.free();
      };
    }, 150);
    assert.equal(host.inspect().regions, 1);
  });

  it('of registers reach them at every access, and have no windows', async () => {
    const { host, seam } = stage();
    assert(seam instanceof EmulatedSeam);
    const log: unknown[] = [];
    const mapping = {
      read: (offset: number, width: number) => log.push(['read', offset, width]),
      read64: (offset: number) => BigInt(log.push(['read', offset, 8])),
      write: (offset: number, width: number, value: number) => log.push([offset, width, value]),
      write64: (offset: number, value: bigint) => log.push([offset, 8, value]),
      close: () => log.push('close'),
    };
    const placement = seam.memory.map(undefined, 0, PAGE);
    assert(placement !== undefined);
    const registers = new MmioRegisters(seam, placement, mapping, PAGE);
    assert.equal(host.inspect().regions, 2);
    assert.deepEqual([registers.read16(2), registers.read64(8)], [1, 2n]);
    registers.write8(3, 255);
    registers.write64(16, 5n);
    for (const misuse of [() => registers.read32(2), () => registers.write16(PAGE, 0), () => registers.write8(0, -1)]) {
      assert.throws(misuse, RANGE);
    }
    assert.throws(() => registers.window(), TypeError);
    assert.equal(await registers.prefault(), -22);
    registers.detachWindows();
    assert.equal(registers.free(), 0);
    registers.drop();
    assert.throws(() => registers.read8(0), GONE);
    assert.deepEqual(log, [['read', 2, 2], ['read', 8, 8], [3, 1, 255], [16, 8, 5n], 'close']);
    assert.equal(host.inspect().regions, 1);
  });
});
