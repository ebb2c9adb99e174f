// The serial device itself, as the other cases use it: Linux's sample of a mediated device (samples/vfio-mdev/mtty.c), whose
// twin the emulated host has.
import assert from 'node:assert/strict';
import type { VfioDevice, VfioRegion } from '../../lib/index.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'serial';

/** Registers of a 16550, by their offset. */
const [DATA, INTERRUPTS, FIFO, LINE, MODEM, LINE_STATUS, MODEM_STATUS, SCRATCH] = [0, 1, 2, 3, 4, 5, 6, 7];
/** To write to INTERRUPTS: when something was received, when all was, when something was lost, when lines change. */
const [RECEIVED, EMPTY, LOST, CHANGED] = [1, 2, 4, 8];
/** To write to FIFO: 16 bytes, and empty. */
const FRESH_FIFO = 7;
const LATCH = 0x80;

/** A port with nothing in it, and nothing turned on. */
function freshPort(nic: VfioDevice, bar: 'bar0' | 'bar1' = 'bar0'): VfioRegion {
  const port = nic.region(bar);
  for (const register of [LINE, INTERRUPTS, MODEM, SCRATCH]) port.write8(register, 0);
  port.write8(FIFO, FRESH_FIFO);
  // What was lost is forgotten with the next byte that was not.
  port.write8(DATA, 0);
  port.write8(FIFO, FRESH_FIFO);
  return port;
}
/** A port whose interrupts come as MSI. */
function withMsi(t: VfioBench) {
  const nic = t.bound('serial');
  const port = freshPort(nic);
  const [vector] = nic.interrupts('msi').enable();
  assert(vector !== undefined);
  return { nic, port, vector };
}

/** Numbers that look like any, the same every time. */
function numbers(): (below: number) => number {
  let state = 12345;
  return (below) => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0;
    return (state >>> 8) % below;
  };
}

vfioCases('serial', (test) => {
  test('loopback', 'what is sent is received, byte by byte', { needs }, (t) => {
    const port = freshPort(t.bound('serial'));
    assert.equal(port.read8(LINE_STATUS), 0x60);
    for (const byte of [1, 2, 255]) port.write8(DATA, byte);
    assert.equal(port.read8(LINE_STATUS), 0x01);
    // An access is one of one register, however wide it is.
    assert.deepEqual([port.read8(DATA), port.read32(DATA), port.read16(DATA)], [1, 2, 255]);
    assert.deepEqual([port.read8(LINE_STATUS), port.read8(DATA)], [0x60, 0]);
  });
  test('ports', 'two ports know nothing of each other', { needs }, (t) => {
    const nic = t.bound('serial');
    const [one, two] = [freshPort(nic), freshPort(nic, 'bar1')];
    one.write8(DATA, 1);
    two.write8(SCRATCH, 2);
    assert.deepEqual([one.read8(SCRATCH), two.read8(LINE_STATUS), two.read8(DATA), one.read8(DATA)], [0, 0x60, 0, 1]);
    assert.deepEqual(
      nic.regions.map(({ size }) => size),
      [8, 8, 255],
    );
  });
  test('full', 'sixteen bytes fit, look like none, and what comes then is lost', { needs }, (t) => {
    const port = freshPort(t.bound('serial'));
    for (let i = 0; i < 16; i++) port.write8(DATA, i);
    assert.equal(port.read8(LINE_STATUS), 0x60);
    port.write8(DATA, 99);
    assert.equal(port.read8(LINE_STATUS), 0x62);
    assert.equal(port.read8(DATA), 0);
  });
  test('latch', 'behind the latch lies the divisor, whose bits are only added', { needs }, (t) => {
    const port = freshPort(t.bound('serial'));
    port.write8(LINE, LATCH);
    assert.deepEqual([port.read8(DATA), port.read8(INTERRUPTS)], [0, 0]);
    for (const value of [0x01, 0x80]) port.write8(DATA, value);
    port.write8(INTERRUPTS, 0x34);
    assert.deepEqual([port.read8(DATA), port.read8(INTERRUPTS), port.read8(LINE)], [0x81, 0x34, LATCH]);
    port.write8(LINE, 3);
    assert.deepEqual([port.read8(DATA), port.read8(INTERRUPTS), port.read8(LINE)], [0, 0, 3]);
  });
  test('status', 'the status registers tell, and are not written', { needs }, (t) => {
    const port = freshPort(t.bound('serial'));
    for (const register of [LINE_STATUS, MODEM_STATUS]) port.write8(register, 0xff);
    assert.deepEqual([port.read8(LINE_STATUS), port.read8(MODEM_STATUS)], [0x60, 0xb3]);
    // With automatic flow control and no FIFO, one byte closes the line.
    port.write8(MODEM, 0x20);
    port.write8(FIFO, 0);
    port.write8(DATA, 1);
    assert.equal(port.read8(MODEM_STATUS), 0xa2);
    assert.equal(port.read8(DATA), 1);
    assert.equal(port.read8(MODEM_STATUS), 0xb3);
  });
  test('msi', 'MSI come for what was asked for', { needs }, (t) => {
    const { port, vector } = withMsi(t);
    const comes = (times: bigint, what: string, work: () => void) => {
      work();
      assert.equal(vector.drain(), times, what);
    };
    comes(0n, 'nothing is on', () => port.write8(DATA, 1));
    comes(1n, 'reading the last byte', () => {
      port.write8(INTERRUPTS, EMPTY);
      port.read8(DATA);
    });
    comes(1n, 'nothing is there', () => port.write8(INTERRUPTS, EMPTY));
    port.write8(INTERRUPTS, RECEIVED);
    comes(1n, 'the first byte', () => port.write8(DATA, 1));
    comes(0n, 'the second byte', () => port.write8(DATA, 2));
    port.write8(INTERRUPTS, LOST);
    for (let i = 0; i < 14; i++) port.write8(DATA, i);
    comes(1n, 'one too many', () => port.write8(DATA, 99));
    port.write8(INTERRUPTS, CHANGED);
    comes(2n, 'both outputs and a modem line', () => port.write8(MODEM, 0x0b));
  });
  test('reasons', 'all reasons are told at once', { needs }, (t) => {
    const port = freshPort(t.bound('serial'));
    assert.equal(port.read8(FIFO), 0xc1);
    port.write8(INTERRUPTS, EMPTY | RECEIVED);
    assert.equal(port.read8(FIFO), 0xc2);
    port.write8(DATA, 1);
    assert.equal(port.read8(FIFO), 0xc4);
  });
  test('intx', 'INTx masks itself', { needs }, (t) => {
    const nic = t.bound('serial');
    const port = freshPort(nic);
    const intx = nic.interrupts('intx');
    const [vector] = intx.enable();
    for (let i = 0; i < 3; i++) port.write8(INTERRUPTS, EMPTY);
    assert.equal(vector?.drain(), 1n);
    // What came meanwhile is lost: the sample keeps no note of it.
    intx.unmask();
    assert.equal(vector.drain(), 0n);
    port.write8(INTERRUPTS, EMPTY);
    assert.equal(vector.drain(), 1n);
  });
  test('config', 'its configuration space is that of a serial port with BARs to be sized', { needs }, (t) => {
    const { config } = t.bound('serial');
    assert.deepEqual([config.vendorId, config.deviceId], [0x4348, 0x3253]);
    assert.deepEqual([config.read32(0x08), config.read8(0x3d), config.read8(0x34)], [0x0700_0210, 1, 0]);
    for (const bar of [0x10, 0x14]) {
      config.write32(bar, 0xffff_ffff);
      assert.equal(config.read32(bar), 0xffff_fff9);
      config.write32(bar, 0xc000);
      assert.equal(config.read32(bar), 0xc001);
    }
    config.write32(0x18, 0xffff_ffff);
    config.write16(0x06, 0xffff);
    assert.deepEqual([config.read32(0x18), config.read16(0x06)], [0, 0x0200]);
    config.write8(0x3c, 11);
    assert.equal(config.read8(0x3c), 11);
  });
  test('made-up', 'answers a thousand made-up accesses as Linux does', { needs }, (t) => {
    const nic = t.bound('serial');
    const ports = [freshPort(nic), freshPort(nic, 'bar1')];
    const below = numbers();
    let digest = 0;
    const note = (value: number): void => {
      digest = Math.imul(digest ^ value, 0x0100_0193) >>> 0;
    };
    for (let i = 0; i < 1000; i++) {
      const port = ports[below(2)];
      const register = below(8);
      if (below(2) === 0) {
        // Open latches would hide the registers most of the time.
        port?.write8(register, below(256) & (register === LINE && below(4) > 0 ? 0x7f : 0xff));
      } else {
        note(port?.read8(register) ?? 0);
      }
    }
    // As Linux 7.3 answered.
    assert.equal(digest, 3167932501);
  });
});
