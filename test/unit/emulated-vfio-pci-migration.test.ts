// Migration and DMA notes of the emulated vfio-pci, over hardware that can do that.
import assert from 'node:assert/strict';
import { OpenFile } from '../../lib/emulated/kernel/file.js';
import type { DmaLoggingHardware, MigrationHardware } from '../../lib/emulated/kernel/vfio-pci/function.js';
import { VFIO_DEVICE_RESET, VFIO_MIG_GET_PRECOPY_INFO } from '../../lib/uapi/vfio-ioctls.js';
import { PciBench } from './fake-pci.js';

const [EINVAL, ENODEV, ENOMSG] = [-22, -19, -42];
const [STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P] = [1, 2, 3, 4, 5, 6, 7];

class FakeState implements MigrationHardware {
  readonly p2p = true;
  state = Uint8Array.of(1, 2, 3);
  running = true;
  constructor(readonly preCopy = true) {}
  stop(): void {
    assert(this.running);
    this.running = false;
  }
  start(): void {
    assert(!this.running);
    this.running = true;
  }
  save(): Uint8Array {
    return this.state;
  }
  load(state: Uint8Array): boolean {
    if (state[0] === 0xff) return false;
    this.state = state.slice();
    return true;
  }
}

function readAll(file: OpenFile): { bytes: Uint8Array; end: number } {
  const parts: number[] = [];
  const part = new Uint8Array(5);
  for (;;) {
    const done = file.read(part);
    if (done <= 0) return { bytes: Uint8Array.from(parts), end: done };
    parts.push(...part.subarray(0, done));
  }
}

describe('migration of the emulated vfio-pci', () => {
  function open(hardware = new FakeState()) {
    const bench = new PciBench();
    const { driver } = bench.open({ migration: hardware });
    const { migration } = driver;
    assert(migration !== undefined);
    const go = (state: number): OpenFile | undefined | number => migration.setState(state);
    const goFile = (state: number): OpenFile => {
      const file = go(state);
      assert(file instanceof OpenFile, `state ${state} has no stream: ${file}`);
      return file;
    };
    return { bench, driver, hardware, migration, go, goFile };
  }

  it('moves a state from one device to another', () => {
    const source = open();
    source.hardware.state = Uint8Array.from({ length: 300 }, (_, i) => i);
    assert.equal(source.migration.dataSize(), 308n);
    const { bytes, end } = readAll(source.goFile(STOP_COPY));
    assert.equal(end, 0);
    assert(!source.hardware.running);
    assert.equal(source.go(RUNNING), undefined);
    assert(source.hardware.running);
    const target = open();
    const resuming = target.goFile(RESUMING);
    assert(!target.hardware.running);
    for (let i = 0; i < bytes.length; i += 100) resuming.write(bytes.subarray(i, i + 100));
    assert.equal(target.go(RUNNING), undefined);
    assert.deepEqual(target.hardware.state, source.hardware.state);
    assert(target.hardware.running);
    assert.equal(resuming.write(Uint8Array.of(1)), ENODEV);
  });

  it('copies before it stops, and then what changed', () => {
    const { hardware, migration, goFile, go, bench } = open();
    const info = (file: OpenFile): number[] => {
      const bytes = new Uint8Array(24);
      const view = new DataView(bytes.buffer);
      view.setUint32(0, 24, true);
      const rc = file.ioctl(VFIO_MIG_GET_PRECOPY_INFO.request, { bytes, u32: new Uint32Array(bytes.buffer) }, 0);
      return [rc, Number(view.getBigUint64(8, true)), Number(view.getBigUint64(16, true))];
    };
    const file = goFile(PRE_COPY);
    assert(hardware.running && bench !== undefined);
    assert.deepEqual(info(file), [0, 11, 0]);
    assert.equal(readAll(file).end, ENOMSG);
    assert.deepEqual(info(file), [0, 0, 0]);
    hardware.state = Uint8Array.of(4, 5);
    assert.deepEqual(info(file), [0, 0, 10]);
    assert.equal(readAll(file).bytes.length, 10);
    hardware.state = Uint8Array.of(6);
    assert.equal(go(STOP_COPY), undefined, 'the stream goes on');
    assert(!hardware.running);
    const { bytes, end } = readAll(file);
    assert.equal(end, 0);
    assert.equal(bytes.at(-1), 6);
    assert.deepEqual(info(file)[0], EINVAL);
    assert.equal(migration.state, STOP_COPY);
    assert.equal(go(PRE_COPY), EINVAL);
    go(STOP);
    assert.equal(file.read(new Uint8Array(1)), ENODEV);
  });

  it('goes by way of the states in which nothing is sent to other devices', () => {
    const { hardware, goFile, go, migration } = open();
    go(RUNNING_P2P);
    assert(!hardware.running);
    go(RUNNING);
    assert(hardware.running);
    const file = goFile(PRE_COPY);
    go(PRE_COPY_P2P);
    assert(!hardware.running);
    go(PRE_COPY);
    assert(hardware.running);
    assert(readAll(file).bytes.length > 0);
    go(RUNNING);
    assert.equal(migration.state, RUNNING);
    assert.equal(file.read(new Uint8Array(1)), ENODEV);
  });

  it('knows no copying before where the hardware does not', () => {
    const { go, migration } = open(new FakeState(false));
    assert.equal(migration.flags, 3);
    assert.equal(go(PRE_COPY), EINVAL);
    assert.equal(go(0), EINVAL);
    assert.equal(go(8), EINVAL);
  });

  it('takes in nothing but whole states of such a device', () => {
    for (const bytes of [
      [],
      [1, 2, 3],
      [0x72, 0x67, 0x69, 0x6d, 5, 0, 0, 0, 1],
      [0x72, 0x67, 0x69, 0x6d, 1, 0, 0, 0, 0xff],
      [0x72, 0x67, 0x69, 0x6d, 0xff, 0xff, 0xff, 0xff],
    ]) {
      const { hardware, go, goFile, migration } = open();
      const file = goFile(RESUMING);
      file.write(Uint8Array.from(bytes));
      assert.equal(go(RUNNING), EINVAL);
      assert.equal(migration.state, RESUMING);
      assert.deepEqual(hardware.state, Uint8Array.of(1, 2, 3));
    }
  });

  it('is over with a reset, and with closing', () => {
    const { bench, driver, hardware, goFile, migration } = open();
    const file = goFile(STOP_COPY);
    driver.ioctl(VFIO_DEVICE_RESET.request, bench.argument(0));
    assert.equal(migration.state, RUNNING);
    assert(hardware.running);
    assert.equal(file.read(new Uint8Array(1)), ENODEV);
    goFile(RESUMING);
    driver.closeDevice();
    assert(hardware.running);
    assert.equal(driver.migration, undefined);
  });
});

describe('DMA notes of the emulated vfio-pci', () => {
  it('are kept by pages that the hardware can tell apart', () => {
    const calls: string[] = [];
    const hardware: DmaLoggingHardware = {
      pageSizes: 0x20_1000n,
      start: (ranges, pageSize) => calls.push(`start ${ranges.length} ${pageSize}`),
      stop: () => calls.push('stop'),
      readAndClear: (iova, length, report) => {
        calls.push(`read ${iova} ${length}`);
        report(iova, 4096n);
      },
    };
    const bench = new PciBench();
    const { driver } = bench.open({ dmaLogging: hardware });
    const { dmaLogging } = driver;
    assert(dmaLogging !== undefined);
    assert.equal(
      dmaLogging.readAndClear(0n, 4096n, () => {}),
      EINVAL,
    );
    assert.equal(dmaLogging.stop(), 0);
    assert.equal(dmaLogging.start([{ iova: 0n, length: 4096n }], 0x4000n), 0x1000n);
    assert.equal(dmaLogging.start([], 0x1000n), EINVAL);
    assert.equal(
      dmaLogging.readAndClear(8192n, 4096n, (start) => calls.push(`at ${start}`)),
      0,
    );
    driver.closeDevice();
    assert.deepEqual(calls, ['start 1 4096', 'read 8192 4096', 'at 8192', 'stop']);
    driver.openDevice(bench.binding());
    assert.equal(driver.dmaLogging?.start([], 0x40_0000n), 0x20_0000n);
    driver.closeDevice();
    driver.openDevice(bench.binding());
    assert.equal(driver.dmaLogging?.start([], 0x800n), 0x1000n);
  });

  it('are not there without such hardware', () => {
    const { driver } = new PciBench().open();
    assert.equal(driver.dmaLogging, undefined);
    assert.equal(driver.migration, undefined);
  });
});
