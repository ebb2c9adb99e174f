// Configuration space through the emulated vfio-pci: what is made up, what may be written, and what writes do.
import assert from 'node:assert/strict';
import { AT, CONFIG, EXT_AT, PciBench, peek, poke } from './fake-pci.js';

const EFAULT = -14;
const COMMAND = CONFIG + 4;

describe('configuration space of the emulated vfio-pci', () => {
  it('decodes what the BARs need from the start, does no DMA, and lets INTx through', () => {
    const { driver } = new PciBench().open();
    assert.equal(peek(driver, COMMAND, 2), 0x3);
  });

  it('lets the command register be written, and keeps INTx-disable to itself', () => {
    const { driver, fn } = new PciBench().open();
    assert.equal(poke(driver, COMMAND, 2, 0x407), 2);
    assert.equal(peek(driver, COMMAND, 2), 0x407);
    assert.equal(fn.readConfig(4, 2) & 0x7, 0x7);
    poke(driver, COMMAND, 2, 0x4);
    assert.equal(peek(driver, COMMAND, 2), 0x4);
    assert.equal(fn.readConfig(4, 2), 0x4);
  });

  it('does not let ids, the status register and the interrupt pin be written', () => {
    const { driver } = new PciBench().open();
    for (const offset of [0x00, 0x08]) {
      const before = peek(driver, CONFIG + offset, 4);
      assert.equal(poke(driver, CONFIG + offset, 4, 0xa5a5_a5a5), 4);
      assert.equal(peek(driver, CONFIG + offset, 4), before);
    }
    poke(driver, CONFIG + 0x3c, 2, 0x0977);
    assert.equal(peek(driver, CONFIG + 0x3c, 2), 0x0177);
  });

  it('tells BARs’ sizes as hardware does, and leaves the real ones alone', () => {
    const { driver, fn } = new PciBench().open();
    const real = [0x10, 0x14, 0x18, 0x20, 0x24].map((offset) => fn.readConfig(offset, 4));
    for (let offset = 0x10; offset < 0x28; offset += 4) poke(driver, CONFIG + offset, 4, 0xffff_ffff);
    const sizes = [0, 1, 2, 3, 4, 5].map((i) => peek(driver, CONFIG + 0x10 + i * 4, 4));
    assert.deepEqual(sizes, [0xffff_c00c, 0xffff_ffff, 0xffff_e000, 0, 0xffff_ff01, 0xffff_f800]);
    assert.deepEqual(
      [0x10, 0x14, 0x18, 0x20, 0x24].map((offset) => fn.readConfig(offset, 4)),
      real,
    );
    assert.equal(peek(driver, CONFIG + 0x30, 4), 0);
  });

  it('leaves capabilities out of the chain that it does not know', () => {
    const { driver } = new PciBench().open();
    const ids: number[] = [];
    for (let next = peek(driver, CONFIG + 0x34, 1); next !== 0; next = peek(driver, CONFIG + next + 1, 1)) {
      ids.push(peek(driver, CONFIG + next, 1));
    }
    assert.deepEqual(ids, [0x01, 0x05, 0x09, 0x10, 0x11, 0x13]);
    assert.equal(peek(driver, CONFIG + AT.pm, 2), 0x0001 | (AT.msi << 8));
  });

  it('hides the first extended capability under its place', () => {
    const { driver } = new PciBench().open();
    assert.equal(peek(driver, CONFIG + EXT_AT.pasid, 4), EXT_AT.error * 2 ** 20);
    assert.equal(peek(driver, CONFIG + EXT_AT.error, 4), EXT_AT.serial * 2 ** 20 + 0x2_0001);
    poke(driver, CONFIG + EXT_AT.error + 8, 4, 0xffff_ffff);
    assert.equal(peek(driver, CONFIG + EXT_AT.error + 8, 4), 0x03ff_f031);
    poke(driver, CONFIG + EXT_AT.serial + 4, 4, 0);
    assert.equal(peek(driver, CONFIG + EXT_AT.serial + 4, 4), 0x1234_5678);
  });

  it('hands what belongs to no capability, and what is the vendor’s, through', () => {
    const { driver, fn } = new PciBench().open();
    poke(driver, CONFIG + AT.gap, 4, 0x1122_3344);
    poke(driver, CONFIG + AT.vendor + 4, 4, 0x5566_7788);
    assert.equal(fn.readConfig(AT.gap, 4), 0x1122_3344);
    assert.equal(peek(driver, CONFIG + AT.vendor + 4, 4), 0x5566_7788);
  });

  it('answers EFAULT to what reaches beyond its end, and does nothing of it', () => {
    const { driver, fn } = new PciBench().open();
    assert.equal(driver.read(new Uint8Array(8), CONFIG + 4092), EFAULT);
    assert.equal(driver.read(new Uint8Array(1), CONFIG + 4096), EFAULT);
    assert.equal(driver.write(new Uint8Array(4093), CONFIG + 4), EFAULT);
    assert.equal(fn.readConfig(4, 2), 0x3);
    assert.equal(driver.read(new Uint8Array(4096), CONFIG), 4096);
  });

  it('reads the same in one piece as byte by byte', () => {
    const { driver } = new PciBench().open();
    const whole = new Uint8Array(4096);
    driver.read(whole, CONFIG);
    const bytes = Uint8Array.from({ length: 4096 }, (_, i) => peek(driver, CONFIG + i, 1));
    assert.deepEqual(whole, bytes);
  });

  it('sleeps when told so, and then has no memory', () => {
    const { driver, fn } = new PciBench().open({ softReset: true });
    poke(driver, CONFIG + 0x0c, 1, 0x10);
    poke(driver, CONFIG + AT.pm + 4, 2, 0x3);
    assert.equal(fn.readConfig(AT.pm + 4, 2) & 3, 3);
    assert.equal(peek(driver, 0, 4), -5);
    // What it forgets is put back.
    fn.writeConfig(0x0c, 1, 0);
    poke(driver, CONFIG + AT.pm + 4, 2, 0);
    assert.equal(peek(driver, 0, 4), 0);
    assert.equal(peek(driver, CONFIG + 0x0c, 1), 0x10);
  });

  it('hides power management events', () => {
    const { driver, fn } = new PciBench().open();
    assert.equal(peek(driver, CONFIG + AT.pm + 2, 2), 0x0603);
    poke(driver, CONFIG + AT.pm + 4, 2, 0x8100);
    assert.equal(fn.readConfig(AT.pm + 4, 2) & 0x8100, 0);
  });

  for (const [what, offset, value] of [
    ['PCI Express', AT.express + 8, 0xa830],
    ['advanced features', AT.af + 4, 0x1],
  ] as const) {
    it(`resets the function by its bit in ${what}, which reads as 0`, () => {
      const { driver, fn } = new PciBench().open();
      poke(driver, COMMAND, 2, 0x6);
      const before = fn.resets;
      poke(driver, CONFIG + offset, 2, value);
      assert.equal(fn.resets, before + 1);
      assert.equal(peek(driver, CONFIG + offset, 2), value & 0x7ffe);
      assert.equal(fn.readConfig(4, 2), 0x6, 'the command register is as it was');
      assert.equal(fn.readConfig(0x18, 4), 0xfeb0_0000, 'and so are BARs');
    });
  }

  it('makes up the payload size, and keeps read requests at least as large as the real one', () => {
    const { driver, fn } = new PciBench().open();
    poke(driver, CONFIG + AT.express + 8, 2, 0x0010);
    assert.equal(peek(driver, CONFIG + AT.express + 8, 2), 0x0010);
    assert.equal(fn.readConfig(AT.express + 8, 2), 0x1030);
  });

  it('lets nobody turn MSI on by hand', () => {
    const { driver, fn } = new PciBench().open();
    poke(driver, CONFIG + AT.msi + 2, 2, 0x00f5);
    assert.equal(peek(driver, CONFIG + AT.msi + 2, 2), 0x84);
    assert.equal(fn.readConfig(AT.msi + 2, 2), 0x84);
    poke(driver, CONFIG + AT.msi + 4, 4, 0xfee0_0000);
    assert.equal(peek(driver, CONFIG + AT.msi + 4, 4), 0xfee0_0000);
    assert.equal(fn.readConfig(AT.msi + 4, 4), 0);
  });

  it('puts BARs back that something else reset, when memory is turned on', () => {
    const { driver, fn } = new PciBench().open();
    poke(driver, COMMAND, 2, 0x2);
    fn.busReset();
    assert.equal(fn.readConfig(0x18, 4), 0);
    poke(driver, COMMAND, 2, 0x2);
    assert.equal(fn.readConfig(0x18, 4), 0xfeb0_0000);
    assert.equal(fn.readConfig(0x14, 4), 0x38);
  });

  it('gives the function back as it was found', () => {
    const bench = new PciBench();
    const { fn, driver } = bench.plug('0000:00:05.0');
    const before = Array.from({ length: 1024 }, (_, i) => fn.readConfig(i * 4, 4));
    for (let i = 0; i < 2; i++) {
      driver.openDevice(bench.binding());
      poke(driver, COMMAND, 2, 0x407);
      poke(driver, CONFIG + 0x0c, 1, 0x10);
      poke(driver, CONFIG + AT.pm + 4, 2, 0x3);
      driver.closeDevice();
    }
    const after = Array.from({ length: 1024 }, (_, i) => fn.readConfig(i * 4, 4));
    // Memory and ports stay decoded.
    after[1] = (after[1] ?? 0) & ~3;
    assert.deepEqual(after, before);
    assert.equal(fn.onInterrupt, undefined);
  });
});
