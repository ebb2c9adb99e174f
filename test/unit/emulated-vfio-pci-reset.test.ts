// Resets of the emulated vfio-pci, of a function and of a bus, and low power.
import assert from 'node:assert/strict';
import { IommufdFile } from '../../lib/emulated/kernel/iommufd-file.js';
import type { VfioPci } from '../../lib/emulated/kernel/vfio-pci/vfio-pci.js';
import {
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO,
  VFIO_DEVICE_PCI_HOT_RESET,
  VFIO_DEVICE_RESET,
} from '../../lib/uapi/vfio-ioctls.js';
import { at, CONFIG, PciBench, peek, poke } from './fake-pci.js';

const [EFAULT, ENODEV, EINVAL, ENOTTY, ENOSPC] = [-14, -19, -22, -25, -28];
const [GET, SET, PROBE] = [1 << 16, 1 << 17, 1 << 18];
const [ENTRY, ENTRY_WITH_WAKEUP, EXIT, BUS_MASTER, VF_TOKEN] = [3, 4, 5, 10, 0];

describe('a function of the emulated vfio-pci', () => {
  it('says what it is', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const argument = bench.argument(24, [24]);
    assert.equal(driver.ioctl(VFIO_DEVICE_GET_INFO.request, argument), 0);
    assert.deepEqual(
      [0, 1, 2, 3, 4].map((i) => argument.word(i)),
      [24, 3, 9, 5, 0],
    );
    assert.equal(driver.ioctl(VFIO_DEVICE_GET_INFO.request, bench.argument(24, [15])), EINVAL);
    assert.equal(driver.ioctl(VFIO_DEVICE_GET_INFO.request, bench.argument(12, [16])), EFAULT);
    const short = bench.argument(16, [16]);
    assert.equal(driver.ioctl(VFIO_DEVICE_GET_INFO.request, short), 0);
    assert.equal(short.word(2), 9);
    assert.equal(driver.ioctl(0x3b99, bench.argument(4)), ENOTTY);
  });

  it('is reset, and looks as before', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    poke(driver, CONFIG + 4, 2, 0x6);
    const before = fn.resets;
    assert.equal(driver.ioctl(VFIO_DEVICE_RESET.request, bench.argument(0)), 0);
    assert.equal(fn.resets, before + 1);
    assert.equal(peek(driver, CONFIG + 4, 2), 0x6);
    assert.equal(fn.readConfig(0x10, 4), 0x8000_000c);
    assert.equal(peek(driver, at(0), 4), 0);
  });

  it('cannot be reset where it has nothing for that', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open({ resettable: false });
    assert.equal(driver.ioctl(VFIO_DEVICE_RESET.request, bench.argument(0)), EINVAL);
    assert.equal(fn.resets, 0);
    const argument = bench.argument(24, [24]);
    driver.ioctl(VFIO_DEVICE_GET_INFO.request, argument);
    assert.equal(argument.word(1), 2);
  });
});

describe('hot resets of the emulated vfio-pci', () => {
  /** A pair of functions on one bus, each bound or not. */
  function pair(bench: PciBench): [VfioPci, VfioPci] {
    const options = { resettable: false };
    return [bench.plug('0000:02:00.0', options).driver, bench.plug('0000:02:00.1', options).driver];
  }
  function info(bench: PciBench, driver: VfioPci, room = 2): { rc: number; words: number[] } {
    const argument = bench.argument(12 + room * 8, [12 + room * 8]);
    const rc = driver.ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO.request, argument);
    return { rc, words: Array.from({ length: 2 + room * 2 }, (_, i) => argument.word(i + 1)) };
  }
  function reset(bench: PciBench, driver: VfioPci, words = [12, 0, 0]): number {
    return driver.ioctl(VFIO_DEVICE_PCI_HOT_RESET.request, bench.argument(12, words));
  }
  const PLACES = [0x0002_0000, 0x0102_0000].map((word) => word);

  it('are not to be had on a root bus', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    assert.equal(info(bench, driver).rc, ENODEV);
    assert.equal(reset(bench, driver), ENODEV);
    assert.equal(reset(bench, driver, [12, 0, 1]), EINVAL);
    assert.equal(reset(bench, driver, [12, 1, 0]), EINVAL);
    assert.equal(reset(bench, driver, [11, 0, 0]), EINVAL);
    assert.equal(driver.ioctl(VFIO_DEVICE_PCI_HOT_RESET.request, bench.argument(8)), EFAULT);
  });

  it('tell whom they hit, and who has that', () => {
    const bench = new PciBench();
    const [one, two] = pair(bench);
    const binding = bench.binding();
    one.openDevice(binding);
    const { id } = binding;
    assert.deepEqual(info(bench, one), { rc: 0, words: [1, 2, id, PLACES[0], 0xffff_ffff, 0x0102_0000] });
    const other = bench.binding();
    two.openDevice(other);
    const both = info(bench, one);
    assert.deepEqual(both.words.slice(0, 5), [3, 2, id, PLACES[0], other.id]);
    const none = info(bench, one, 1);
    assert.equal(none.rc, ENOSPC);
    assert.deepEqual(none.words.slice(0, 2), [0, 2]);
  });

  it('need all that is on the bus to be the caller’s', () => {
    const bench = new PciBench();
    const [one, two] = pair(bench);
    one.openDevice(bench.binding());
    assert.equal(reset(bench, one), EINVAL);
    const stranger = new IommufdFile(bench.kernel, bench.process, () => {});
    two.openDevice(bench.binding(stranger.context));
    assert.equal(reset(bench, one), EINVAL);
    two.closeDevice();
    two.openDevice(bench.binding());
    poke(one, CONFIG + 4, 2, 0x6);
    assert.equal(reset(bench, one), 0);
    assert.deepEqual(
      [one, two].map(({ fn }) => (fn as unknown as { resets: number }).resets),
      [1, 1],
    );
    assert.equal(peek(one, CONFIG + 4, 2), 0x6);
    bench.functions.delete(two.fn);
    assert.equal(reset(bench, one), EINVAL, 'another driver has one');
  });

  it('are done when the last function is closed, where none could be reset alone', () => {
    const bench = new PciBench();
    const [one, two] = pair(bench);
    one.openDevice(bench.binding());
    two.openDevice(bench.binding());
    one.closeDevice();
    const resets = () => (one.fn as unknown as { resets: number }).resets;
    assert.equal(resets(), 0);
    two.closeDevice();
    assert.equal(resets(), 1);
  });
});

describe('low power of the emulated vfio-pci', () => {
  /** A feature as the core calls it: the device is awake meanwhile. */
  function feature(bench: PciBench, driver: VfioPci, flags: number, words: readonly number[] = []): number {
    driver.powerGet();
    const rc = driver.feature(flags, bench.argument(words.length * 4, words), words.length * 4);
    driver.powerPut();
    return rc;
  }

  /** Devices fall asleep when nobody has called for a turn. */
  function asleep(): Promise<void> {
    return new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  }

  it('takes mapped BARs away until it is over; other accesses wake the device for themselves', async () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const mapping = driver.mmap(at(0), 0x1000);
    assert(typeof mapping === 'object');
    assert.equal(feature(bench, driver, SET | ENTRY), 0);
    assert.equal(feature(bench, driver, SET | ENTRY), EINVAL);
    assert.throws(() => mapping.read(0, 4), { code: 'EIO' });
    await asleep();
    assert.equal(peek(driver, at(0), 4), 0);
    assert.throws(() => mapping.read(0, 4), { code: 'EIO' });
    assert.equal(feature(bench, driver, SET | EXIT), 0);
    assert.equal(mapping.read(0, 4), 0);
    assert.equal(feature(bench, driver, SET | EXIT), 0);
  });

  it('ends with the first access of a device that slept where an eventfd tells of it', async () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const { fd, file } = bench.eventfd();
    const mapping = driver.mmap(at(0), 0x1000);
    assert(typeof mapping === 'object');
    assert.equal(feature(bench, driver, SET | ENTRY_WITH_WAKEUP, [fd, 0]), 0);
    peek(driver, CONFIG, 2);
    assert.equal(file.take(), 0n, 'it was awake');
    assert.equal(feature(bench, driver, SET | ENTRY), EINVAL);
    await asleep();
    peek(driver, CONFIG, 2);
    assert.equal(file.take(), 1n);
    assert.equal(mapping.read(0, 4), 0);
    assert.equal(feature(bench, driver, SET | ENTRY_WITH_WAKEUP, [fd, 0]), 0, 'and can be entered again');
    await asleep();
    driver.closeDevice();
    assert.equal(file.take(), 0n, 'closing tells nobody');
  });

  it('is refused without an eventfd, and for the wrong size', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    assert.equal(feature(bench, driver, SET | ENTRY_WITH_WAKEUP, [-1, 0]), EINVAL);
    assert.equal(feature(bench, driver, SET | ENTRY_WITH_WAKEUP, [4711, 0]), -9);
    assert.equal(feature(bench, driver, SET | ENTRY_WITH_WAKEUP, [4711]), EINVAL);
    assert.equal(feature(bench, driver, GET | ENTRY), EINVAL);
    assert.equal(feature(bench, driver, ENTRY), EINVAL);
    assert.equal(feature(bench, driver, PROBE | SET | ENTRY), 0);
    for (const other of [BUS_MASTER, VF_TOKEN, 13, 100]) {
      assert.equal(feature(bench, driver, PROBE | SET | other), ENOTTY);
    }
  });

  it('masks the line meanwhile', async () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd, file } = bench.eventfd();
    const argument = bench.argument(24, [24, 4 | 32, 0, 0, 1, fd]);
    driver.ioctl(0x3b6e, argument);
    feature(bench, driver, SET | ENTRY);
    await asleep();
    fn.setLine(true);
    assert.equal(file.take(), 0n);
    feature(bench, driver, SET | EXIT);
    assert.equal(file.take(), 1n);
  });
});
