// A PCI function of the emulated machine around a device model: configuration space, capabilities, interrupts, time, DMA.
import assert from 'node:assert/strict';
import { deviceSpec, type PciDeviceSpec } from '../../lib/emulated/device-options.js';
import { NoiommuDevice } from '../../lib/emulated/hardware/noiommu.js';
import { DeviceClock } from '../../lib/emulated/hardware/pci/clock.js';
import { DmaLog } from '../../lib/emulated/hardware/pci/dma-log.js';
import { Firmware } from '../../lib/emulated/hardware/pci/firmware.js';
import { ModelFunction } from '../../lib/emulated/hardware/pci/function.js';
import type {
  DeviceBus,
  DeviceIdentity,
  DeviceModel,
  ModelBar,
  ModelInterrupts,
} from '../../lib/emulated/hardware/pci/model.js';
import { ModelFaults } from '../../lib/emulated/memory/faults.js';

const ADDRESS = '0000:01:00.0';
const COMMAND = 0x04;
const BUS_MASTER = 0x4;
const INTX_OFF = 0x400;
const CAPABILITIES = 0x34;

/** A model whose bus the test holds. */
class Probe implements DeviceModel {
  readonly identity: DeviceIdentity = { vendorId: 0x1af4, deviceId: 0x1042, revision: 7, classCode: 0x018000 };
  readonly bars: readonly ModelBar[] = [{ index: 0, size: 4096 }];
  readonly interrupts: ModelInterrupts = { intx: true, msi: 4, msix: 3 };
  readonly pcie: boolean = true;
  readonly resettable: boolean = true;
  readonly dmaLogging = true;
  resets = 0;
  answer: unknown = 0x1122_3344_5566_7788n;
  #bus: DeviceBus | undefined;
  get bus(): DeviceBus {
    assert(this.#bus !== undefined);
    return this.#bus;
  }
  connect(bus: DeviceBus): void {
    this.#bus = bus;
  }
  read(): number | bigint {
    return this.answer as bigint;
  }
  write(): void {}
  reset(): void {
    this.resets++;
  }
}

interface Stage {
  readonly model: Probe;
  readonly fn: ModelFunction;
  /** Interrupts that reached the driver. */
  readonly seen: string[];
  /** DMA that left the function. */
  readonly dma: string[];
  readonly faults: ModelFaults;
}

function stage(model = new Probe(), options: { pasid?: boolean; multifunction?: boolean } = {}): Stage {
  const { pasid = false, multifunction = false } = options;
  const spec = deviceSpec({ address: ADDRESS, model, pasid });
  const dma: string[] = [];
  const faults = new ModelFaults();
  const fn = new ModelFunction((spec as PciDeviceSpec).parts, {
    address: ADDRESS,
    dev: new NoiommuDevice(ADDRESS),
    bus: { functions: [], resettable: true },
    multifunction,
    firmware: new Firmware(),
    faults,
    dma: {
      read: (iova, into, id) => dma.push(`read ${iova} ${into.length} ${id}`) > 0,
      write: (iova, from, id) => dma.push(`write ${iova} ${from.length} ${id}`) > 0,
      requestPage: ({ address }) => dma.push(`page ${address}`),
      reset: () => dma.push('reset'),
    },
  });
  const seen: string[] = [];
  fn.onInterrupt = (kind, vector, level) => seen.push(`${kind} ${vector} ${level}`);
  return { model, fn, seen, dma, faults };
}

/** Ids and places of the capabilities, as a driver walks them. */
function walk(fn: ModelFunction): Map<number, number> {
  const found = new Map<number, number>();
  for (let at = fn.readConfig(CAPABILITIES, 1); at !== 0; at = fn.readConfig(at + 1, 1)) {
    assert(!found.has(fn.readConfig(at, 1)), 'a loop');
    found.set(fn.readConfig(at, 1), at);
  }
  return found;
}
function walkExtended(fn: ModelFunction): Map<number, number> {
  const found = new Map<number, number>();
  for (let at = 0x100; at !== 0; at = fn.readConfig(at, 4) >>> 20) found.set(fn.readConfig(at, 2), at);
  return found;
}
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('a PCI function of the emulated machine', () => {
  it('shows what the model says it is', () => {
    const { fn } = stage();
    assert.equal(fn.readConfig(0x00, 4), 0x1042_1af4);
    assert.equal(fn.readConfig(0x08, 4), 0x0180_0007);
    assert.equal(fn.readConfig(0x3d, 1), 1);
    assert.equal(fn.readConfig(0x0e, 1), 0);
    assert.equal(stage(new Probe(), { multifunction: true }).fn.readConfig(0x0e, 1), 0x80);
  });

  it('keeps what a driver may write, and nothing else', () => {
    const { fn } = stage();
    fn.writeConfig(0x00, 4, 0xffff_ffff);
    assert.equal(fn.readConfig(0x00, 4), 0x1042_1af4);
    fn.writeConfig(COMMAND, 2, 0xffff);
    assert.equal(fn.readConfig(COMMAND, 2), 0x0507);
    fn.writeConfig(0x3c, 1, 11);
    assert.equal(fn.readConfig(0x3c, 2), 0x010b);
  });

  it('keeps what is written where no capability is, if the model says so, also at a reset', () => {
    class Scratchy extends Probe {
      readonly scratch = true;
      override readonly pcie = false;
      override readonly resettable = false;
      override readonly interrupts = { msi: 1 };
    }
    const { fn } = stage(new Scratchy());
    const [msi, behindMsi, last] = [0x40, 0x4e, 0xfc];
    const id = fn.readConfig(msi, 2);
    fn.writeConfig(msi, 2, 0xffff);
    fn.writeConfig(behindMsi, 2, 0xabcd);
    fn.writeConfig(last, 4, 0x1234_5678);
    assert.equal(fn.readConfig(msi, 2), id);
    fn.busReset();
    assert.deepEqual([fn.readConfig(behindMsi, 2), fn.readConfig(last, 4)], [0xabcd, 0x1234_5678]);
    const plain = stage().fn;
    plain.writeConfig(last, 4, 0x1234_5678);
    assert.equal(plain.readConfig(last, 4), 0);
  });
  it('tells the sizes of BARs', () => {
    const model = new Probe();
    Object.assign(model, {
      bars: [
        { index: 0, size: 256, kind: 'io' },
        { index: 2, size: 2 ** 20, kind: 'memory64', prefetchable: true },
      ],
    });
    const { fn } = stage(model);
    for (let at = 0x10; at < 0x28; at += 4) fn.writeConfig(at, 4, 0xffff_ffff);
    const registers = [0, 1, 2, 3, 4, 5].map((index) => fn.readConfig(0x10 + 4 * index, 4));
    // The table of MSI-X took the first free one.
    assert.deepEqual(registers, [0xffff_ff01, 0xffff_f000, 0xfff0_000c, 0xffff_ffff, 0, 0]);
    assert.deepEqual(
      fn.bars.map(({ index, size }) => [index, size]),
      [
        [0, 256],
        [1, 4096],
        [2, 2 ** 20],
      ],
    );
  });

  it('has its BARs where firmware put them, until a reset', () => {
    const firmware = new Firmware();
    const low = { index: 0, size: 2 ** 20, kind: 'memory32', prefetchable: false } as const;
    assert.deepEqual([firmware.place(low), firmware.place(low)], [0xc000_0000, 0xc010_0000]);
    assert.equal(firmware.place({ ...low, size: 2 ** 30 }), 0);
    assert.equal(firmware.place({ ...low, kind: 'memory64' }), 2 ** 42);
    const { fn } = stage();
    assert.equal(fn.readConfig(0x10, 4), 0xc000_0000);
    fn.busReset();
    assert.equal(fn.readConfig(0x10, 4), 0);
  });

  it('has the capabilities of what it can do', () => {
    const { fn } = stage(new Probe(), { pasid: true });
    assert.deepEqual([...walk(fn).keys()], [0x01, 0x05, 0x11, 0x10]);
    assert.deepEqual([...walkExtended(fn).keys()], [0x0001, 0x001b]);
    assert.equal((fn.readConfig((walkExtended(fn).get(0x1b) ?? 0) + 4, 2) >> 8) & 0x1f, 20);
    const conventional = new Probe();
    Object.assign(conventional, { pcie: false, interrupts: {} });
    const plain = stage(conventional).fn;
    assert.equal(plain.configSize, 256);
    assert.deepEqual([...walk(plain).keys()], [0x13]);
  });

  it('sends MSI while it is on, with the lowest bits of the vector', () => {
    const { fn, model, seen } = stage();
    assert.equal(model.bus.interrupt(), false);
    fn.setVectors('msi', 2);
    // A message is a write to memory.
    assert.equal(model.bus.interrupt(3), true);
    assert.deepEqual(seen, []);
    fn.writeConfig(COMMAND, 2, BUS_MASTER);
    assert.equal(model.bus.interrupt(3), true);
    fn.setVectors('msi', 0);
    assert.equal(model.bus.interrupt(), false);
    assert.deepEqual(seen, ['msi 1 true']);
  });

  it('holds MSI-X back behind a mask, and sends it after', () => {
    const { fn, model, seen } = stage();
    const [, table] = fn.bars;
    assert(table !== undefined);
    fn.setVectors('msix', 2);
    fn.writeConfig(COMMAND, 2, BUS_MASTER);
    assert.equal(model.bus.interrupt(2), true);
    assert.equal(model.bus.interrupt(7), true);
    assert.deepEqual(seen, []);
    assert.equal(fn.readBar(table.index, table.size / 2, 4), 0b100);
    fn.writeBar(table.index, 2 * 16 + 12, 4, 0);
    assert.deepEqual(seen, ['msix 2 true']);
    assert.equal(fn.readBar64(table.index, table.size / 2), 0n);
    const control = (walk(fn).get(0x11) ?? 0) + 2;
    fn.writeConfig(control, 2, 0xc000);
    model.bus.interrupt(0);
    assert.equal(seen.length, 1);
    fn.writeConfig(control, 2, 0x8000);
    assert.deepEqual(seen.slice(1), ['msix 0 true']);
  });

  it('shows the line to the driver while nothing turns it off', () => {
    const { fn, model, seen } = stage();
    model.bus.setIntx(true);
    model.bus.setIntx(true);
    fn.writeConfig(COMMAND, 2, INTX_OFF);
    assert.equal(fn.readConfig(0x06, 2) & 0x8, 0x8);
    fn.writeConfig(COMMAND, 2, 0);
    fn.setVectors('msi', 1);
    fn.setVectors('msi', 0);
    model.bus.setIntx(false);
    assert.deepEqual(
      seen,
      ['true', 'false', 'true', 'false', 'true', 'false'].map((level) => `intx 0 ${level}`),
    );
    assert.equal(fn.readConfig(0x06, 2) & 0x8, 0);
  });

  it('does DMA as a bus master alone', () => {
    const { fn, model, dma } = stage();
    assert.equal(model.bus.dmaRead(1n, 4), undefined);
    assert.equal(model.bus.dmaWrite(1n, new Uint8Array(4)), false);
    assert.deepEqual(dma, []);
    fn.writeConfig(COMMAND, 2, BUS_MASTER);
    assert.deepEqual(model.bus.dmaRead(1n, 4), new Uint8Array(4));
    assert.equal(model.bus.dmaWrite(2n, new Uint8Array(8), { pasid: 5 }), true);
    model.bus.requestPage({ address: 3n });
    assert.deepEqual(dma, ['read 1 4 0', 'write 2 8 5', 'page 3']);
  });

  it('notes what is written through the device itself', () => {
    const { fn, model } = stage();
    fn.writeConfig(COMMAND, 2, BUS_MASTER);
    const log = fn.dmaLogging;
    assert(log !== undefined);
    log.start([{ iova: 0n, length: 0x10000n }], 4096n);
    model.bus.dmaWrite(0x1fffn, new Uint8Array(2));
    model.bus.dmaWrite(0x5000n, new Uint8Array(2), { pasid: 1 });
    const noted: bigint[] = [];
    log.readAndClear(0n, 0x10000n, (start) => noted.push(start));
    assert.deepEqual(noted, [0x1000n, 0x2000n]);
  });

  it('does work later in the next turn, or after eight accesses', async () => {
    const { fn, model } = stage();
    const done: string[] = [];
    model.bus.later(() => done.push('first'));
    model.bus.later(() => done.push('second'));
    for (let i = 0; i < 7; i++) fn.readBar(0, 0, 4);
    assert.equal(done.length, 0);
    fn.writeBar(0, 0, 4, 0);
    assert.deepEqual(done, ['first', 'second']);
    model.bus.later(() => {
      model.bus.later(() => done.push('fourth'));
      done.push('third');
    });
    await turn();
    assert.deepEqual(done.slice(2), ['third']);
    await turn();
    assert.deepEqual(done.slice(3), ['fourth']);
  });

  it('forgets at a reset what was under way, and its registers', async () => {
    const { fn, model, seen } = stage();
    fn.writeConfig(COMMAND, 2, 0x7);
    fn.setVectors('msix', 3);
    fn.setVectors('msix', 0);
    model.bus.setIntx(true);
    model.bus.later(() => assert.fail('done after a reset'));
    assert(fn.functionReset !== undefined);
    fn.functionReset();
    assert.equal(model.resets, 1);
    assert.equal(fn.readConfig(COMMAND, 2), 0);
    assert.deepEqual(seen, ['intx 0 true', 'intx 0 false']);
    await turn();
  });

  it('cannot be reset alone unless the model says so, yet its bus can', () => {
    const model = new Probe();
    Object.assign(model, { resettable: false });
    const { fn } = stage(model);
    assert.equal(fn.functionReset, undefined);
    fn.busReset();
    assert.equal(model.resets, 1);
  });

  it('stands still while it is stopped for migration', async () => {
    const model = new Probe();
    Object.assign(model, { migration: { save: () => Uint8Array.of(1), load: (state: Uint8Array) => state[0] === 1 } });
    const { fn } = stage(model);
    const done: number[] = [];
    assert(fn.migration !== undefined);
    assert.deepEqual([fn.migration.p2p, fn.migration.preCopy], [false, false]);
    model.bus.later(() => done.push(1));
    fn.migration.stop();
    await turn();
    for (let i = 0; i < 20; i++) fn.readBar(0, 0, 4);
    assert.deepEqual(done, []);
    fn.migration.start();
    await turn();
    assert.deepEqual(done, [1]);
    model.bus.later(() => assert.fail('what a loaded state has replaced is done'));
    fn.migration.stop();
    assert.equal(fn.migration.load(Uint8Array.of(2)), false);
    assert.equal(fn.migration.load(fn.migration.save()), true);
    fn.migration.start();
    await turn();
  });

  it('cuts answers to the width, and takes nothing that is no number', () => {
    const { fn, model, faults } = stage();
    assert.equal(fn.readBar64(0, 0), 0x1122_3344_5566_7788n);
    model.answer = -1;
    assert.deepEqual([fn.readBar(0, 0, 1), fn.readBar(0, 0, 2), fn.readBar(0, 0, 4)], [0xff, 0xffff, 0xffff_ffff]);
    assert.equal(fn.readBar64(0, 0), 0xffff_ffff_ffff_ffffn);
    for (const answer of [undefined, Number.NaN, 1.5, 2 ** 60]) {
      model.answer = answer;
      assert.equal(fn.readBar(0, 0, 4), 0xffff_ffff);
      assert.throws(() => faults.settle(), { name: 'TypeError', message: /answered/ });
      assert.equal(fn.readBar64(0, 0), 0xffff_ffff_ffff_ffffn);
      assert.throws(() => faults.settle(), TypeError);
    }
    faults.settle();
  });
});

describe('the time of devices', () => {
  it('goes on after work that throws, which nobody called', async () => {
    const thrown: unknown[] = [];
    class Faults extends ModelFaults {
      override settle(): void {
        try {
          super.settle();
        } catch (error) {
          thrown.push(error);
        }
      }
    }
    const clock = new DeviceClock(new Faults());
    const done: number[] = [];
    const fail = (message: string) => () => {
      throw new Error(message);
    };
    clock.later(fail('first'));
    clock.later(() => done.push(2));
    clock.later(fail('third'));
    await turn();
    assert.deepEqual(done, [2]);
    assert.equal(thrown.length, 1);
    assert(thrown[0] instanceof AggregateError);
    assert.deepEqual(
      thrown[0].errors.map(({ message }) => message),
      ['first', 'third'],
    );
    clock.later(() => done.push(4));
    await turn();
    assert.deepEqual(done, [2, 4]);
    assert.equal(thrown.length, 1);
  });
});

describe('notes of DMA', () => {
  it('are kept of whole pages inside the ranges, and told once', () => {
    const log = new DmaLog();
    const report = (iova: bigint, length: bigint): string[] => {
      const runs: string[] = [];
      log.readAndClear(iova, length, (start, bytes) => runs.push(`${start.toString(16)}+${bytes.toString(16)}`));
      return runs;
    };
    log.note(0x1000n, 1);
    log.start([{ iova: 0x4000n, length: 0x4000n }], 0x2000n);
    log.note(0x3fffn, 2);
    log.note(0x7000n, 0x10000);
    log.note(0x10000n, 1);
    assert.deepEqual(report(0x6000n, 0x2000n), ['6000+2000']);
    assert.deepEqual(report(0n, 0x20000n), ['4000+2000']);
    log.note(0x4000n, 1);
    log.stop();
    log.note(0x4000n, 1);
    assert.deepEqual(report(0n, 0x20000n), []);
  });
});
