// Configuration space, as vfio-pci shows it.
import assert from 'node:assert/strict';
import { refused } from '../rig/suite.js';
import { vfioCases } from '../rig/vfio.js';

const needs = 'edu';
const BAR0 = 0x10;
const INTERRUPT_LINE = 0x3c;

vfioCases('vfio-config', (test) => {
  // It set the BARs.
  const firmware = { needs, dependsOnHardware: true } as const;
  test('ids', 'says who the device is', { needs }, (t) => {
    const { config } = t.bound('edu');
    assert.deepEqual([config.vendorId, config.deviceId, config.size], [0x1234, 0x11e8, 256]);
    assert.equal(config.read8(8), 0x10, 'revision');
    assert.equal(config.read32(8) >>> 8, 0x00ff00, 'class');
  });
  test('scratch', 'keeps what is written behind all capabilities', { needs }, (t) => {
    const { config } = t.bound('edu');
    const [behindMsi, last] = [0x4e, 0xfc];
    config.write16(behindMsi, 0xabcd);
    config.write32(last, 0x1234_5678);
    assert.deepEqual([config.read16(behindMsi), config.read32(last)], [0xabcd, 0x1234_5678]);
    config.write16(behindMsi, 0);
    config.write32(last, 0);
    assert.deepEqual([config.read16(behindMsi), config.read32(last)], [0, 0]);
  });
  test('widths', 'reads the same in every width', firmware, (t) => {
    const nic = t.bound('edu');
    const { config } = nic;
    const bytes = nic.region('config').read(0, 256);
    const view = new DataView(bytes.buffer);
    for (let offset = 0; offset < 64; offset += 4) {
      assert.equal(config.read32(offset), view.getUint32(offset, true));
      assert.equal(config.read16(offset + 2), view.getUint16(offset + 2, true));
      assert.equal(config.read8(offset + 1), view.getUint8(offset + 1));
    }
  });
  test('command', 'turns the switches of the command register', { needs }, (t) => {
    const { config } = t.bound('edu');
    config.enable({ memory: true, busMaster: true, interruptDisable: true });
    assert.deepEqual([config.command.memory, config.command.busMaster], [true, true]);
    assert.equal(config.command.interruptDisable, true);
    config.enable({ busMaster: false, interruptDisable: false });
    assert.deepEqual(
      [config.command.memory, config.command.busMaster, config.command.interruptDisable],
      [true, false, false],
    );
    config.enable({ memory: false });
    assert.equal(config.command.memory, false);
    assert.equal(config.read16(4) & 2, 0);
  });
  test('at-bind', 'bound, the device answers to its memory, and does no DMA', { needs }, (t) => {
    const { command } = t.bound('edu').config;
    assert.deepEqual([command.memory, command.busMaster], [true, false]);
  });
  test('bar-sizing', 'BAR registers are the caller’s own: all ones read back as the size', firmware, (t) => {
    const nic = t.bound('edu');
    const { config } = nic;
    const before = config.read32(BAR0);
    config.write32(BAR0, 0xffff_ffff);
    assert.equal(config.read32(BAR0), 0xfff0_0000);
    config.write32(BAR0, 0xfe00_0000);
    assert.equal(config.read32(BAR0), 0xfe00_0000);
    config.write32(BAR0, before);
    config.enable({ memory: true });
    assert.equal(nic.region('bar0').read32(0), 0x0100_00ed, 'the BAR itself is where it was');
  });
  test('fixed', 'what is fixed does not change, and what is the caller’s does', { needs }, (t) => {
    const { config } = t.bound('edu');
    config.write32(0, 0);
    assert.equal(config.vendorId, 0x1234);
    config.write8(INTERRUPT_LINE, 0x55);
    assert.equal(config.read8(INTERRUPT_LINE), 0x55);
    assert.equal(config.read8(INTERRUPT_LINE + 1), 1, 'pin A');
  });
  test('capabilities', 'edu has MSI, and nothing else', { needs }, (t) => {
    const { config } = t.bound('edu');
    const { offset } = config.findCapability('msi') ?? {};
    assert.deepEqual(
      config.capabilities().map(({ name, id }) => [name, id]),
      [['msi', 5]],
    );
    assert.equal(offset, 0x40);
    assert.equal(config.findCapability(5)?.offset, offset);
    assert.equal(config.findCapability('pcie'), undefined);
    assert.notEqual(config.read16(0x42) & 0x80, 0, '64-bit addresses');
  });
  test('nvme-capabilities', 'a PCIe device has its own, each where the list says', { needs: 'nvme' }, (t) => {
    const { config } = t.bound('nvme');
    assert.equal(config.size, 4096);
    for (const name of ['power-management', 'msix', 'pcie'] as const) {
      assert.equal(config.findCapability(name)?.extended, false, name);
    }
    for (const { id, offset, extended } of config.capabilities()) {
      assert.equal(extended, offset >= 256);
      assert.equal(extended ? config.read16(offset) : config.read8(offset), id);
    }
  });
  test('bounds', 'no access leaves it', { needs }, (t) => {
    const { config } = t.bound('edu');
    refused('ERR_OUT_OF_RANGE', () => config.read8(256));
    refused('ERR_OUT_OF_RANGE', () => config.read32(254));
    refused('ERR_OUT_OF_RANGE', () => config.write16(255, 0));
  });
  test('serial', 'a mediated device has one too', { needs: 'serial' }, (t) => {
    const { config } = t.bound('serial');
    assert.deepEqual([config.vendorId, config.deviceId], [0x4348, 0x3253]);
  });
});
