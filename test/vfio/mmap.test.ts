// Registers mapped into the process: loads and stores, and what becomes of them when the device's memory goes.
import assert from 'node:assert/strict';
import type { MmioRegion, VfioDevice } from '../../lib/index.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'edu';
const ID = 0x00;
const EDU_ID = 0x0100_00ed;
const LIVENESS = 0x04;
const DMA_SOURCE = 0x80;
const NVME_VERSION = 8;

function start(t: VfioBench) {
  const nic = t.bound('edu');
  nic.config.enable({ memory: true });
  return { nic, bar: nic.region('bar0') };
}

/** A mapping that was lost: it says why, and nothing reaches the device through it. */
function assertLost(window: MmioRegion, why: RegExp): void {
  assert.equal(window.mapped, false);
  for (const use of [() => window.read32(ID), () => window.write32(LIVENESS, 0), () => window.unsafeView()]) {
    assert.match(refused('ERR_IOMMUFD_DESTROYED', use).message, why);
  }
  // Memory slots that have it can still be found, and taken away.
  assert(window.address > 0n);
}

/** Resets a function as its own driver would, by the bit in the PCIe capability. */
function resetByConfig({ config }: VfioDevice): void {
  const capability = config.findCapability('pcie');
  assert(capability !== undefined);
  config.write16(capability.offset + 8, config.read16(capability.offset + 8) | 0x8000);
}

vfioCases('vfio-mmap', (test) => {
  test('registers', 'reads and writes registers as the file does', { needs }, (t) => {
    const { bar } = start(t);
    const window = bar.mmap();
    assert.equal(window.length, bar.size);
    assert.equal(window.read32(ID), EDU_ID);
    window.write32(LIVENESS, 0x0f0f_0f0f);
    assert.equal(bar.read32(LIVENESS), 0xf0f0_f0f0);
    bar.write64(DMA_SOURCE, 0x1234_5678n);
    assert.equal(window.read64(DMA_SOURCE), 0x1234_5678n);
    window.unmap();
  });
  test('part', 'maps the part that is asked for, beside the whole', { needs }, (t) => {
    const { bar } = start(t);
    const whole = bar.mmap();
    const first = bar.mmap({ length: 4096 });
    const rest = bar.mmap({ offset: 4096n });
    assert.deepEqual([first.length, rest.length], [4096, bar.size - 4096]);
    first.write32(LIVENESS, 5);
    assert.equal(whole.read32(LIVENESS), ~5 >>> 0);
    refused('ERR_OUT_OF_RANGE', () => first.read32(4096));
    whole.unmap();
    assert.equal(first.read32(ID), EDU_ID);
  });
  test('misuse', 'maps whole pages inside of what can be mapped', { needs }, (t) => {
    const { nic, bar } = start(t);
    for (const options of [
      { offset: 1 },
      { length: 0 },
      { length: 4095 },
      { offset: 4096, length: bar.size },
      { length: bar.size + 4096 },
      { offset: -4096 },
    ]) {
      refused('ERR_OUT_OF_RANGE', () => bar.mmap(options));
    }
    assert.match(refused('ERR_IOMMUFD_UNAVAILABLE', () => bar.mmap({ offset: bar.size })).message, /0 to 1048575/);
    for (const name of ['config', 'bar1'] as const) {
      refused('ERR_IOMMUFD_UNAVAILABLE', () => nic.region(name).mmap());
    }
  });
  test('kernel-refuses', 'the kernel maps nothing else either', { needs }, (t) => {
    const { nic, bar } = start(t);
    const { seam } = t.rig;
    const unbound = t.open('edu');
    for (const [fd, offset, length] of [
      [nic.fd, 7 * 2 ** 40, 4096],
      [nic.fd, 2 ** 40, 4096],
      [nic.fd, 9 * 2 ** 40, 4096],
      [nic.fd, bar.offset + bar.size, 4096],
      [nic.fd, bar.offset + bar.size - 4096, 8192],
      [unbound.fd, 0, 4096],
    ] as const) {
      assert.equal(seam.mapMmio(fd, offset, length), -22, `${offset} ${length}`);
    }
  });
  test('close', 'closing the device unmaps, and the device is free again', { needs }, (t) => {
    const { nic, bar } = start(t);
    const window = bar.mmap();
    nic.close();
    assert.equal(window.mapped, false);
    refused('ERR_IOMMUFD_DESTROYED', () => window.read32(ID));
    window.unmap();
    t.bound('edu');
  });
  test('memory-off', 'memory turned off takes a mapping away for good; a new one works', { needs }, (t) => {
    const { nic, bar } = start(t);
    const before = bar.mmap();
    const inner = before.subregion(0, 64);
    before.write32(LIVENESS, 7);
    nic.config.enable({ memory: false });
    assertLost(before, /turned off/);
    assertLost(inner, /turned off/);
    nic.config.enable({ memory: true });
    assertLost(before, /turned off/);
    const after = bar.mmap();
    assert.equal(after.read32(LIVENESS), ~7 >>> 0);
    before.unmap();
    assert.equal(after.read32(ID), EDU_ID);
  });
  test('memory-off-raw', 'so does a write of the same by another width', { needs }, (t) => {
    const { nic, bar } = start(t);
    const config = nic.region('config');
    for (const turnOff of [
      () => config.write8(4, 0),
      () => config.write32(4, 0),
      () => config.write(2, new Uint8Array(4)),
    ]) {
      nic.config.enable({ memory: true });
      const window = bar.mmap();
      turnOff();
      assert.equal(nic.config.command.memory, false);
      assertLost(window, /turned off/);
    }
  });
  test('access-while-off', 'an access while memory is off is an error, and the process lives', { needs }, (t) => {
    const { nic, bar } = start(t);
    nic.config.enable({ memory: false });
    const window = bar.mmap();
    assert.equal(window.mapped, true);
    for (const use of [
      () => window.read8(ID),
      () => window.read16(ID),
      () => window.read32(ID),
      () => window.read64(ID),
      () => window.write8(LIVENESS, 1),
      () => window.write16(LIVENESS, 1),
      () => window.write32(LIVENESS, 1),
      () => window.write64(LIVENESS + 4, 1n),
    ]) {
      refused('EIO', use);
    }
    nic.config.enable({ memory: true });
    assert.equal(window.read32(ID), EDU_ID, 'nothing was lost by it');
  });
  test('bus-error-listeners', 'so it is where the program listened to SIGBUS meanwhile', { needs }, (t) => {
    const { nic, bar } = start(t);
    nic.config.enable({ memory: false });
    const window = bar.mmap();
    const listener = () => undefined;
    process.on('SIGBUS', listener);
    refused('EIO', () => window.read32(ID));
    process.off('SIGBUS', listener);
    refused('EIO', () => window.read32(ID));
  });
  test('unsafe-view', 'a view of registers reaches nothing once they are lost', { needs }, (t) => {
    // A recording has no views.
    const host = t.rig.bare ?? t.rig.host;
    using iommufd = host.openIommufd();
    using nic = host.openDevice(t.address('edu'));
    nic.bind(iommufd);
    nic.config.enable({ memory: true });
    const window = nic.region('bar0').mmap();
    if (t.rig.name === 'emulated') {
      refused('ERR_IOMMUFD_UNAVAILABLE', () => window.unsafeView());
      return;
    }
    const view = window.unsafeView();
    // A DataView may read bytes one by one, which edu does not answer.
    assert.equal(new Uint32Array(view.buffer)[ID], EDU_ID);
    nic.config.enable({ memory: false });
    assert.throws(() => view.getUint32(ID, true), TypeError);
    assert.equal(view.buffer.byteLength, 0);
  });
  for (const role of ['nvme', 'test'] as const) {
    test(`reset-${role}`, 'a reset takes a mapping away; a new one works', { needs: role }, (t) => {
      const nic = t.bound(role);
      nic.config.enable({ memory: true });
      const bar = nic.region('bar0');
      const before = bar.mmap();
      const version = before.read32(NVME_VERSION);
      nic.reset();
      assertLost(before, /reset/);
      nic.config.enable({ memory: true });
      assert.equal(bar.mmap().read32(NVME_VERSION), version);
    });
    test(`reset-by-config-${role}`, 'so does one that configuration space asks for', { needs: role }, (t) => {
      const nic = t.bound(role);
      nic.config.enable({ memory: true });
      const before = nic.region('bar0').mmap();
      const version = before.read32(NVME_VERSION);
      resetByConfig(nic);
      assertLost(before, /reset/);
      nic.config.enable({ memory: true });
      assert.equal(nic.region('bar0').mmap().read32(NVME_VERSION), version);
    });
    test(`sleep-${role}`, 'so does D3', { needs: role }, (t) => {
      const nic = t.bound(role);
      nic.config.enable({ memory: true });
      const bar = nic.region('bar0');
      const before = bar.mmap();
      const capability = nic.config.findCapability('power-management');
      assert(capability !== undefined);
      nic.config.write16(capability.offset + 4, 3);
      assertLost(before, /sleep/);
      refused('EIO', () => bar.read32(NVME_VERSION));
      nic.config.write16(capability.offset + 4, 0);
      nic.config.enable({ memory: true });
      assert.equal(bar.mmap().read32(NVME_VERSION), bar.read32(NVME_VERSION));
    });
  }
});
