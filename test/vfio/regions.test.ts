// Registers through the file of the device, by pread and pwrite.
import assert from 'node:assert/strict';
import { errnoName } from '../../lib/uapi/index.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'edu';
/** Registers of QEMU's edu device (docs/specs/edu in QEMU's tree). */
const ID = 0x00;
const EDU_ID = 0x0100_00ed;
const LIVENESS = 0x04;
const DMA_SOURCE = 0x80;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;
/** How much of a place in the file says which region it is in; the rest is the offset in it. */
const REGION_SHIFT = 2 ** 40;

function start(t: VfioBench) {
  const nic = t.bound('edu');
  nic.config.enable({ memory: true });
  return { nic, bar: nic.region('bar0') };
}

/** pread or pwrite past the objects: how many bytes, or the errno's name. */
function raw(t: VfioBench, call: 'pread' | 'pwrite', fd: number, position: number, length: number): number | string {
  const { arena } = t.rig.seam;
  const mark = arena.mark();
  const at = arena.take(length);
  const result = t.rig.seam[call](fd, at, length, position);
  arena.release(mark);
  return result < 0 ? errnoName(result) : result;
}

vfioCases('vfio-regions', (test) => {
  test('registers', 'reads and writes registers of a BAR', { needs }, (t) => {
    const { bar } = start(t);
    assert.equal(bar.read32(ID), EDU_ID);
    for (const value of [0x1234_5678, 0, 0xffff_ffff]) {
      bar.write32(LIVENESS, value);
      assert.equal(bar.read32(LIVENESS), ~value >>> 0);
    }
  });
  test('64-bits', 'reads and writes 64 bits in one access', { needs }, (t) => {
    const { bar } = start(t);
    bar.write64(DMA_SOURCE, 0x12_3456_789an);
    assert.equal(bar.read64(DMA_SOURCE), 0x12_3456_789an);
    assert.equal(bar.read64(ID), ALL_ONES, 'a register that edu has in 32 bits only');
    assert.equal(bar.read32(ID), EDU_ID);
  });
  test('bulk', 'reads and writes bytes, as the widest accesses that fit', { needs }, (t) => {
    const { bar } = start(t);
    assert.deepEqual(bar.read(ID, 4), Uint8Array.of(0xed, 0, 0, 1));
    assert.deepEqual(bar.read(ID, 8), new Uint8Array(8).fill(0xff), 'one access of 64 bits');
    bar.write(LIVENESS, Uint8Array.of(1, 2, 3, 4));
    assert.deepEqual(bar.read(LIVENESS, 4), Uint8Array.of(254, 253, 252, 251));
    const source = Uint8Array.of(9, 8, 7, 6, 5, 0, 0, 0);
    bar.write(DMA_SOURCE, source);
    assert.deepEqual(bar.read(DMA_SOURCE, 8), source);
  });
  test('bulk-long', 'reads more than one call takes', { needs }, (t) => {
    const { bar } = start(t);
    const bytes = bar.read(0x2000, 40000);
    assert.equal(bytes.length, 40000);
  });
  test('bulk-memory', 'writes and reads memory of a device, wherever it begins', { needs: 'test' }, (t) => {
    const nic = t.bound('test');
    nic.config.enable({ memory: true });
    const memory = nic.regions.find(({ name, size }) => name.startsWith('bar') && size >= 0x1_0000);
    assert(memory !== undefined);
    const bytes = Uint8Array.from({ length: 20000 }, (_, i) => (i * 13 + (i >> 8)) & 0xff);
    memory.write(3, bytes);
    assert.deepEqual(memory.read(3, bytes.length), bytes);
    assert.equal(memory.read8(3 + 777), bytes[777]);
  });
  test('memory-off', 'with its memory off, a BAR cannot be reached, and can again with it on', { needs }, (t) => {
    const { nic, bar } = start(t);
    bar.write32(LIVENESS, 1);
    nic.config.enable({ memory: false });
    for (const use of [
      () => bar.read8(ID),
      () => bar.read32(ID),
      () => bar.read64(ID),
      () => bar.read(ID, 64),
      () => bar.write32(LIVENESS, 2),
      () => bar.write(LIVENESS, new Uint8Array(4)),
    ]) {
      assert.match(refused('EIO', use).message, /config\.enable/);
    }
    nic.config.enable({ memory: true });
    assert.equal(bar.read32(LIVENESS), 0xffff_fffe, 'and nothing was written meanwhile');
  });
  test('bounds', 'no access beyond the end, and none that is not aligned, comes to the kernel', { needs }, (t) => {
    const { bar } = start(t);
    for (const use of [
      () => bar.read32(bar.size),
      () => bar.read64(bar.size - 4),
      () => bar.read32(2),
      () => bar.read8(-1),
      () => bar.write32(bar.size, 0),
      () => bar.write8(0, 256),
      () => bar.read(bar.size - 3, 4),
      () => bar.write(bar.size, Uint8Array.of(1)),
    ]) {
      refused('ERR_OUT_OF_RANGE', use);
    }
  });
  test('kernel-bounds', 'beyond a region the kernel refuses, and at its end it does less', { needs }, (t) => {
    const { nic, bar } = start(t);
    for (const call of ['pread', 'pwrite'] as const) {
      assert.equal(raw(t, call, nic.fd, bar.offset + bar.size, 4), 'EINVAL');
      assert.equal(raw(t, call, nic.fd, REGION_SHIFT, 4), 'EINVAL', 'a BAR that is not there');
      assert.equal(raw(t, call, nic.fd, 6 * REGION_SHIFT, 4), 'EINVAL', 'a ROM that is not there');
      assert.equal(raw(t, call, nic.fd, 9 * REGION_SHIFT, 4), 'EINVAL', 'a region that is not there');
      assert.equal(raw(t, call, nic.fd, 7 * REGION_SHIFT + 256, 1), 'EFAULT');
      assert.equal(raw(t, call, nic.fd, 7 * REGION_SHIFT + 254, 4), 'EFAULT');
    }
    assert.equal(raw(t, 'pread', nic.fd, bar.offset + bar.size - 4, 8), 4);
    assert.equal(raw(t, 'pread', nic.fd, bar.offset, 0), 0);
  });
  test('unbound', 'before it is bound, the file can be neither read nor written', { needs }, (t) => {
    const nic = t.open('edu');
    assert.equal(raw(t, 'pread', nic.fd, 7 * REGION_SHIFT, 4), 'EINVAL');
    assert.equal(raw(t, 'pwrite', nic.fd, 7 * REGION_SHIFT + 4, 2), 'EINVAL');
  });
  test('nvme', 'reads the registers of a real controller', { needs: 'nvme' }, (t) => {
    const nic = t.bound('nvme');
    nic.config.enable({ memory: true });
    const bar = nic.region('bar0');
    const version = bar.read32(8);
    assert.equal(version >>> 16, 1, 'NVMe 1.x');
    assert.deepEqual(new DataView(bar.read(8, 4).buffer).getUint32(0, true), version);
    assert.equal(bar.read64(0), BigInt(bar.read32(4)) * 2n ** 32n + BigInt(bar.read32(0)));
  });
  test('msix-table', 'reads of the MSI-X table give ones, and writes go nowhere', { needs: 'nvme' }, (t) => {
    const nic = t.bound('nvme');
    nic.config.enable({ memory: true });
    const capability = nic.config.findCapability('msix');
    assert(capability !== undefined);
    const place = nic.config.read32(capability.offset + 4);
    const bar = nic.region(place & 7);
    const table = place & ~7;
    assert.equal(bar.read32(table), 0xffff_ffff);
    bar.write32(table, 0);
    assert.equal(bar.read32(table), 0xffff_ffff);
  });
});
