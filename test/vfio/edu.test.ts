// The edu device itself, QEMU's and the emulated one: registers by every width, its interrupts as they are seen from outside,
// and what DMA does to its buffer. It keeps its registers from case to case: it cannot be reset.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { MmioRegion, VfioDevice } from '../../lib/index.js';
import { EDU_IOVA, Edu, pattern } from '../rig/edu.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const LIVENESS = 0x04;
const FACTORIAL = 0x08;
const STATUS = 0x20;
const INTERRUPTS = 0x24;
const RAISE = 0x60;
const ACKNOWLEDGE = 0x64;
const SOURCE = 0x80;
const COMPUTING = 1;
/** The interrupt bit of the status register in configuration space. */
const LINE = 0x8;
const ALL_ONES = 0xffff_ffff;
const needs = { needs: 'edu' } as const;

function registersOf(nic: VfioDevice): MmioRegion {
  nic.config.enable({ memory: true });
  const registers = nic.region('bar0').mmap();
  registers.write32(ACKNOWLEDGE, ALL_ONES);
  return registers;
}
function lineOf(nic: VfioDevice): boolean {
  return (nic.region('config').read16(6) & LINE) !== 0;
}
async function computed(registers: MmioRegion, of: number): Promise<number> {
  registers.write32(FACTORIAL, of);
  while ((registers.read32(STATUS) & COMPUTING) !== 0) await pause(1);
  return registers.read32(FACTORIAL);
}

vfioCases('edu', (test) => {
  test('liveness', 'is alive: a register reads back inverted', needs, (t) => {
    const registers = registersOf(t.bound('edu'));
    assert.equal(registers.read32(0), 0x0100_00ed);
    registers.write32(LIVENESS, 0x1234_5678);
    assert.equal(registers.read32(LIVENESS), 0xedcb_a987);
  });

  test('widths', 'what is too narrow or too wide for a register does nothing', needs, (t) => {
    const nic = t.bound('edu');
    const mapped = registersOf(nic);
    mapped.write32(LIVENESS, 0);
    for (const registers of [mapped, nic.region('bar0')]) {
      registers.write8(LIVENESS, 1);
      registers.write16(LIVENESS, 1);
      registers.write64(0, 0xffff_ffff_ffffn);
      assert.equal(registers.read32(LIVENESS), ALL_ONES);
      assert.deepEqual([registers.read8(0), registers.read16(0)], [0, 0]);
      assert.equal(registers.read64(0), 0xffff_ffff_ffff_ffffn);
      for (const nowhere of [0x0c, RAISE, 0xa0, 0x1000, 0xf_fffc]) assert.equal(registers.read32(nowhere), ALL_ONES);
    }
  });

  test('wide-registers', 'registers of 64 bits are read whole, or their lower half', needs, (t) => {
    const registers = registersOf(t.bound('edu'));
    registers.write64(SOURCE, 0x1122_3344_5566_7788n);
    assert.deepEqual([registers.read64(SOURCE), registers.read32(SOURCE)], [0x1122_3344_5566_7788n, 0x5566_7788]);
    assert.equal(registers.read32(SOURCE + 4), ALL_ONES);
    registers.write32(SOURCE, 0x55);
    registers.write32(SOURCE + 4, 0x66);
    assert.equal(registers.read64(SOURCE), 0x55n);
  });

  test('factorial', 'computes factorials of 32 bits', needs, async (t) => {
    const registers = registersOf(t.bound('edu'));
    const found: number[] = [];
    for (const of of [0, 1, 5, 12, 13, 33, 34, 100_000]) found.push(await computed(registers, of));
    assert.deepEqual(found, [1, 1, 120, 479_001_600, 1_932_053_504, 0x8000_0000, 0, 0]);
  });

  test('factorial-interrupt', 'tells that it has computed by an interrupt, if it is to', needs, async (t) => {
    const nic = t.bound('edu');
    const registers = registersOf(nic);
    nic.config.enable({ memory: true, busMaster: true });
    const [vector] = nic.interrupts('msi').enable({ count: 1 });
    registers.write32(STATUS, ALL_ONES);
    assert.equal(registers.read32(STATUS), 0x80);
    assert.equal(await computed(registers, 4), 24);
    assert.equal(await vector?.wait({ signal: AbortSignal.timeout(10_000) }), 1n);
    assert.equal(registers.read32(INTERRUPTS), 1);
    registers.write32(STATUS, 0);
    registers.write32(ACKNOWLEDGE, 1);
  });

  test('line', 'holds its line until all is acknowledged, whoever listens', needs, (t) => {
    const nic = t.bound('edu');
    const registers = registersOf(nic);
    registers.write32(RAISE, 0);
    assert.equal(lineOf(nic), false);
    registers.write32(RAISE, 0x8000_0000);
    registers.write32(RAISE, 1);
    assert.deepEqual([registers.read32(INTERRUPTS), lineOf(nic)], [0x8000_0001, true]);
    registers.write32(ACKNOWLEDGE, 0x8000_0000);
    assert.deepEqual([registers.read32(INTERRUPTS), lineOf(nic)], [1, true]);
    registers.write32(ACKNOWLEDGE, ALL_ONES);
    assert.deepEqual([registers.read32(INTERRUPTS), lineOf(nic)], [0, false]);
  });

  test('refused-dma', 'a read that is refused finds zeros', needs, async (t) => {
    const { edu, ram } = await loaded(t);
    await edu.load(EDU_IOVA + 0x100_0000n, 16);
    await edu.store(EDU_IOVA, 32);
    assert.deepEqual(ram.read(0, 16), new Uint8Array(16));
    assert.deepEqual(ram.read(16, 16), pattern(64).subarray(16, 32));
  });

  test('no-bus-master', 'nor does it find anything while bus mastering is off', needs, async (t) => {
    const { nic, edu, ram } = await loaded(t);
    nic.config.enable({ busMaster: false });
    await edu.load(EDU_IOVA, 16);
    await edu.store(EDU_IOVA + 64n, 32);
    assert.deepEqual(ram.read(64, 32), new Uint8Array(32));
    nic.config.enable({ busMaster: true });
    await edu.store(EDU_IOVA, 32);
    assert.deepEqual(ram.read(0, 16), new Uint8Array(16));
    assert.deepEqual(ram.read(16, 16), pattern(64).subarray(16, 32));
  });
});

/** The device with bytes in its buffer that were in memory first. */
async function loaded(t: VfioBench) {
  const nic = t.bound('edu');
  const ioas = t.iommufd.allocIoas();
  const ram = t.memory();
  ioas.map(ram, { iova: EDU_IOVA });
  nic.attach(ioas);
  const edu = new Edu(nic);
  ram.write(0, pattern(64));
  await edu.load(EDU_IOVA, 64);
  return { nic, edu, ram };
}
