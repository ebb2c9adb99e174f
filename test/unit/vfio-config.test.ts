// Configuration space on the stub seam: capability lists of broken devices, and the writes that take memory away.
import assert from 'node:assert/strict';
import * as uapi from '../../lib/uapi/vfio.js';
import type { MemoryLoss } from '../../lib/vfio/core.js';
import { deviceCore } from '../../lib/vfio/device.js';
import { readCapabilities } from '../../lib/vfio/pci-capabilities.js';
import type { VfioRegion } from '../../lib/vfio/region.js';
import { codeOf, deviceStage } from './stage.js';

const CONFIG_START = 7 * 2 ** 40;
const PM = 0x40;
const PCIE = 0x60;
const AF = 0xa0;

/** A device's configuration space with power management, PCIe (with FLR) and advanced features. */
function usual(): DataView {
  const view = new DataView(new ArrayBuffer(4096));
  view.setUint32(0, 0x11e8_1234, true);
  view.setUint16(6, 0x10, true);
  view.setUint8(0x34, PM);
  view.setUint16(PM, 0x6001, true);
  view.setUint16(PCIE, 0xa010, true);
  view.setUint32(PCIE + 4, 0x1000_0000, true);
  view.setUint16(AF, 0x0013, true);
  view.setUint8(AF + 3, 0x03);
  return view;
}

function configStage(space: DataView = usual()) {
  const base = deviceStage();
  const bytes = new Uint8Array(space.buffer);
  base.seam.onPread = (position, into) => {
    const at = position - CONFIG_START;
    into.set(bytes.subarray(at, at + into.length));
    return into.length;
  };
  base.seam.onPwrite = (position, from) => {
    bytes.set(from, position - CONFIG_START);
    return from.length;
  };
  const losses: MemoryLoss[] = [];
  deviceCore(base.nic).onMemoryLoss((why) => losses.push(why));
  return { ...base, space, losses, config: base.nic.config };
}

/** A space alone, for the walker: 16 bits of id and next at each place. */
function listed(entries: Readonly<Record<number, number>>, pointer: number, size = 256): DataView {
  const view = new DataView(new ArrayBuffer(size));
  view.setUint16(6, 0x10, true);
  view.setUint8(0x34, pointer);
  for (const [offset, word] of Object.entries(entries)) view.setUint32(Number(offset), word, true);
  return view;
}
function walked(view: DataView) {
  const reader = {
    size: view.byteLength,
    read8: (offset: number) => view.getUint8(offset),
    read16: (offset: number) => view.getUint16(offset, true),
    read32: (offset: number) => view.getUint32(offset, true),
  };
  return readCapabilities(reader).map(({ id, offset }) => [id, offset]);
}

describe('PCI configuration space', () => {
  it('tells who the device is', () => {
    const { config } = configStage();
    assert.deepEqual([config.vendorId, config.deviceId, config.size], [0x1234, 0x11e8, 4096]);
  });

  it('changes the switches that are given, and leaves the others', () => {
    const { config, space } = configStage();
    space.setUint16(4, 0x0441, true);
    assert.deepEqual(config.command, { memory: false, io: true, busMaster: false, interruptDisable: true });
    config.enable({ memory: true, busMaster: true, io: false });
    assert.equal(space.getUint16(4, true), 0x0446);
    config.enable({ interruptDisable: false });
    assert.equal(space.getUint16(4, true), 0x0046);
    config.enable({});
    assert.equal(space.getUint16(4, true), 0x0046);
    for (const [bad, code] of [
      [{ memory: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ memmory: true }, 'ERR_UNKNOWN_OPTION'],
      [undefined, 'ERR_INVALID_ARG_TYPE'],
      [null, 'ERR_INVALID_ARG_TYPE'],
    ] as const) {
      assert.equal(
        codeOf(() => config.enable(bad as never)),
        code,
      );
    }
    assert.equal(space.getUint16(4, true), 0x0046);
  });

  it('has its capabilities by name and by number', () => {
    const space = usual();
    space.setUint32(0x100, 0x1401_0001, true);
    space.setUint32(0x140, 0x0002_001b, true);
    const { config } = configStage(space);
    assert.deepEqual(
      config.capabilities().map(({ name, id, offset, extended, version }) => [name, id, offset, extended, version]),
      [
        ['power-management', 1, PM, false, undefined],
        ['pcie', 0x10, PCIE, false, undefined],
        ['advanced-features', 0x13, AF, false, undefined],
        ['aer', 1, 0x100, true, 1],
        ['pasid', 0x1b, 0x140, true, 2],
      ],
    );
    assert.equal(config.findCapability('pcie')?.offset, PCIE);
    assert.equal(config.findCapability(1)?.offset, PM);
    assert.equal(config.findCapability('aer')?.offset, 0x100);
    assert.equal(config.findCapability('msix'), undefined);
    assert.equal(
      codeOf(() => config.findCapability('msi-x' as never)),
      'ERR_OUT_OF_RANGE',
    );
  });

  it('is walked once round, and no further than it goes', () => {
    assert.deepEqual(walked(listed({ 64: 0x5005, 80: 0x4001 }, 0x40)), [
      [5, 0x40],
      [1, 0x50],
    ]);
    assert.deepEqual(walked(listed({ 64: 0x4005 }, 0x40)), [[5, 0x40]], 'one that names itself');
    assert.deepEqual(
      walked(listed({ 252: 0x4001, 64: 0xffff_ffff }, 0xfc)),
      [[1, 0xfc]],
      'a place that reads as nothing',
    );
    assert.deepEqual(walked(listed({ 64: 0x3005 }, 0x40)), [[5, 0x40]], 'one inside the header');
    assert.deepEqual(walked(listed({ 64: 0x0005 }, 0x20)), [], 'a first one inside the header');
    const without = listed({ 64: 5 }, 0x40);
    without.setUint16(6, 0, true);
    assert.deepEqual(walked(without), [], 'a device that says it has none');
    const short = new DataView(listed({ 64: 0xfc05 }, 0x40).buffer.slice(0, 253));
    assert.deepEqual(walked(short), [[5, 0x40]], 'a space that ends before');
    const all = new DataView(new ArrayBuffer(4096));
    new Uint8Array(all.buffer).fill(0xff);
    assert.deepEqual(walked(all), [], 'a device that is gone');
  });

  it('is walked past what VFIO hides in front, and not in circles behind it', () => {
    const view = listed({}, 0, 4096);
    view.setUint32(0x100, 0x2000_0000, true);
    view.setUint32(0x200, 0x1001_0003, true);
    assert.deepEqual(walked(view), [[3, 0x200]]);
    view.setUint32(0x200, 0xffc1_0003, true);
    view.setUint32(0xffc, 0x0041_0019, true);
    assert.deepEqual(walked(view), [
      [3, 0x200],
      [0x19, 0xffc],
    ]);
  });
});

describe('writes to configuration space', () => {
  it('take memory away where they turn its bit off, in any width', () => {
    for (const [write, expected] of [
      [(c) => c.write16(4, 0), ['memory off']],
      [(c) => c.write16(4, 2), []],
      [(c) => c.write8(4, 5), ['memory off']],
      [(c) => c.write8(5, 0), []],
      [(c) => c.write32(4, 0xffff_fffd), ['memory off']],
      [(c) => c.write32(4, 2), []],
      [(c) => c.write64(0, 0n), ['memory off']],
      [(c) => c.write64(0, 2n << 32n), []],
      [(c) => c.write(2, Uint8Array.of(1, 1, 0)), ['memory off']],
      [(c) => c.write(2, Uint8Array.of(1, 1, 6)), []],
      [(c) => c.write(5, new Uint8Array(20)), []],
      [(c) => c.write16(6, 0), []],
    ] as readonly (readonly [(region: VfioRegion) => void, MemoryLoss[]])[]) {
      const { nic, losses } = configStage();
      write(nic.region('config'));
      assert.deepEqual(losses, expected, String(write));
    }
  });

  it('take it away also where they are refused half-way', () => {
    const { nic, losses, seam } = configStage();
    seam.onPwrite = () => -5;
    assert.throws(() => nic.config.write16(4, 0), { code: 'EIO' });
    assert.deepEqual(losses, ['memory off']);
  });

  it('take it away where they put the device to sleep or reset it', () => {
    const { config, losses, space } = configStage();
    config.write16(PM + 4, 0x0002);
    assert.deepEqual(losses.splice(0), []);
    config.write16(PM + 4, 0x0003);
    assert.deepEqual(losses.splice(0), ['low power']);
    config.write16(PCIE + 8, 0x7fff);
    assert.deepEqual(losses.splice(0), []);
    config.write16(PCIE + 8, 0x8000);
    config.write32(PCIE + 8, 0x8000);
    config.write8(PCIE + 9, 0x80);
    assert.deepEqual(losses.splice(0), ['reset', 'reset', 'reset']);
    config.write8(AF + 4, 1);
    assert.deepEqual(losses.splice(0), ['reset']);
    // Elsewhere the same bits are something else.
    space.setUint16(4, 2, true);
    config.write32(0x80, 0xffff_ffff);
    assert.deepEqual(losses, []);
  });

  it('reset nothing where the device cannot be reset so', () => {
    const space = usual();
    space.setUint32(PCIE + 4, 0, true);
    space.setUint8(AF + 3, 0x01);
    const { config, losses } = configStage(space);
    config.write16(PCIE + 8, 0x8000);
    config.write8(AF + 4, 1);
    assert.deepEqual(losses, []);
  });

  it('know of no capability that is cut off by the end', () => {
    const space = usual();
    space.setUint8(0x34, 0xfc);
    space.setUint16(0xfc, 0x10, true);
    const base = deviceStage();
    base.seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, (_, { set }) => {
      set({ size: 256n, offset: BigInt(CONFIG_START), flags: 3 });
      return 0;
    });
    base.seam.onPread = (position, into) => {
      const at = position - CONFIG_START;
      into.set(new Uint8Array(space.buffer).subarray(at, at + into.length));
      return into.length;
    };
    base.seam.onPwrite = (_, from) => from.length;
    base.nic.config.write8(0xff, 0xff);
    assert.equal(base.nic.config.findCapability('pcie')?.offset, 0xfc);
  });
});
