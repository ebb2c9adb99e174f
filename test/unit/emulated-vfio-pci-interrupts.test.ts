// Interrupts of the emulated vfio-pci: which calls are refused, and what reaches which eventfd.
import assert from 'node:assert/strict';
import type { VfioPci } from '../../lib/emulated/kernel/vfio-pci/vfio-pci.js';
import { VFIO_DEVICE_GET_IRQ_INFO, VFIO_DEVICE_IOEVENTFD, VFIO_DEVICE_SET_IRQS } from '../../lib/uapi/vfio-ioctls.js';
import { AT, at, CONFIG, PciBench, peek, poke } from './fake-pci.js';

const [EBADF, ENOMEM, EFAULT, EBUSY, EEXIST, ENODEV, EINVAL, ENOTTY, ENOSPC, ERANGE] = [
  -9, -12, -14, -16, -17, -19, -22, -25, -28, -34,
];
const [INTX, MSI, MSIX, ERROR, REQUEST] = [0, 1, 2, 3, 4];
const [NONE, BOOL, EVENTFD, MASK, UNMASK, TRIGGER] = [1, 2, 4, 8, 16, 32];

/** SET_IRQS with data as numbers: bytes for BOOL, words for EVENTFD. */
function set(
  bench: PciBench,
  driver: VfioPci,
  flags: number,
  index: number,
  start: number,
  count: number,
  data: readonly number[] = [],
): number {
  const width = (flags & BOOL) !== 0 ? 1 : 4;
  const argument = bench.argument(20 + data.length * width, [20 + data.length * width, flags, index, start, count]);
  data.forEach((value, i) => {
    if (width === 1) argument.view.setUint8(20 + i, value);
    else argument.view.setInt32(20 + i * 4, value, true);
  });
  return driver.ioctl(VFIO_DEVICE_SET_IRQS.request, argument);
}
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe('interrupts of the emulated vfio-pci', () => {
  it('are what the function has', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const infos = [0, 1, 2, 3, 4].map((index) => {
      const argument = bench.argument(16, [16, 0, index, 0]);
      assert.equal(driver.ioctl(VFIO_DEVICE_GET_IRQ_INFO.request, argument), 0);
      return [argument.word(1), argument.word(3)];
    });
    assert.deepEqual(infos, [
      [7, 1],
      [9, 4],
      [1, 8],
      [9, 1],
      [9, 1],
    ]);
    const info = (size: number, argsz: number, index: number) =>
      driver.ioctl(VFIO_DEVICE_GET_IRQ_INFO.request, bench.argument(size, [argsz, 0, index]));
    assert.deepEqual([info(16, 15, 0), info(16, 16, 5), info(12, 16, 0)], [EINVAL, EINVAL, EFAULT]);
  });

  it('refuse what makes no sense, in the order of Linux', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const { fd } = bench.eventfd();
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, 5, 0, 1, [fd]), EINVAL);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER | 64, MSI, 0, 1, [fd]), EINVAL);
    assert.equal(set(bench, driver, EVENTFD | BOOL | TRIGGER, MSI, 0, 1, [1, 0, 0, 0]), EINVAL);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSI, 4, 1, [fd]), EINVAL);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSI, 3, 2, [fd, fd]), EINVAL);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSI, 1, 0xffff_fffe, [fd]), EINVAL);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSI, 0, 2, [fd]), EINVAL, 'data too short');
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSI, 0, 1, [12345]), EBADF);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSI, 0, 0), ERANGE);
    assert.equal(set(bench, driver, NONE | MASK, MSI, 0, 1), ENOTTY);
    assert.equal(set(bench, driver, NONE | MASK | UNMASK, INTX, 0, 1), ENOTTY);
    assert.equal(set(bench, driver, NONE | MASK, INTX, 0, 1), EINVAL, 'INTx is off');
    assert.equal(set(bench, driver, NONE | TRIGGER, INTX, 0, 1), EINVAL);
    assert.equal(set(bench, driver, NONE | TRIGGER, MSIX, 0, 1), EINVAL);
    assert.equal(set(bench, driver, NONE | UNMASK, ERROR, 0, 1), ENOTTY);
    const other = bench.files.installOwned(bench.iommufd.hold());
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, INTX, 0, 1, [other]), EINVAL, 'no eventfd');
    const short = bench.argument(22, [24, EVENTFD | TRIGGER, MSI, 0, 1]);
    assert.equal(driver.ioctl(VFIO_DEVICE_SET_IRQS.request, short), EFAULT);
    assert.equal(driver.ioctl(VFIO_DEVICE_SET_IRQS.request, bench.argument(16)), EFAULT);
  });

  it('exclude each other', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd } = bench.eventfd();
    for (const index of [INTX, MSI, MSIX]) {
      assert.equal(set(bench, driver, EVENTFD | TRIGGER, index, 0, 1, [fd]), 0);
      for (const other of [INTX, MSI, MSIX]) {
        if (other === index) continue;
        assert.equal(set(bench, driver, EVENTFD | TRIGGER, other, 0, 1, [fd]), EINVAL);
        assert.equal(set(bench, driver, NONE | TRIGGER, other, 0, 0), EINVAL);
      }
      assert.equal(set(bench, driver, NONE | TRIGGER, index, 0, 0), 0);
    }
    assert.equal(fn.vectorsOn, undefined);
  });

  it('reach their eventfds by vector, from the device and by hand', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const [one, two] = [bench.eventfd(), bench.eventfd()];
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSIX, 0, 3, [one.fd, -1, two.fd]), 0);
    assert.deepEqual(fn.vectorsOn, ['msix', 3]);
    for (const vector of [0, 1, 2, 2, 7]) fn.onInterrupt?.('msix', vector, true);
    fn.onInterrupt?.('msi', 0, true);
    assert.deepEqual([one.file.take(), two.file.take()], [1n, 2n]);
    assert.equal(set(bench, driver, NONE | TRIGGER, MSIX, 0, 3), 0);
    assert.equal(set(bench, driver, BOOL | TRIGGER, MSIX, 0, 3, [0, 1, 1]), 0);
    assert.deepEqual([one.file.take(), two.file.take()], [1n, 2n]);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSIX, 0, 1, [-1]), 0);
    fn.onInterrupt?.('msix', 0, true);
    assert.equal(one.file.take(), 0n);
  });

  it('of MSI-X grow, those of MSI do not', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd, file } = bench.eventfd();
    set(bench, driver, EVENTFD | TRIGGER, MSIX, 0, 1, [fd]);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSIX, 6, 1, [fd]), 0);
    assert.deepEqual(fn.vectorsOn, ['msix', 7]);
    fn.onInterrupt?.('msix', 6, true);
    assert.equal(file.take(), 1n);
    set(bench, driver, NONE | TRIGGER, MSIX, 0, 0);
    set(bench, driver, EVENTFD | TRIGGER, MSI, 0, 2, [fd, fd]);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSI, 2, 1, [fd]), EINVAL);
    assert.deepEqual(fn.vectorsOn, ['msi', 2]);
    poke(driver, CONFIG + AT.msi + 2, 2, 0x00f5);
    assert.equal(peek(driver, CONFIG + AT.msi + 2, 2), 0x0095, 'as many as were asked for');
  });

  it('are off where a row of eventfds was refused', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const [one, two] = [bench.eventfd(), bench.eventfd()];
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSIX, 0, 2, [one.fd, 4711]), EBADF);
    assert.equal(fn.vectorsOn, undefined);
    set(bench, driver, EVENTFD | TRIGGER, MSIX, 0, 3, [one.fd, one.fd, two.fd]);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSIX, 0, 3, [one.fd, 4711, two.fd]), EBADF);
    for (const vector of [0, 1, 2]) fn.onInterrupt?.('msix', vector, true);
    assert.deepEqual([one.file.take(), two.file.take()], [0n, 1n]);
    bench.kernel.failAllocation(0);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, MSIX, 0, 1, [one.fd]), ENOMEM);
  });

  it('by the line are masked when they fire, until the program unmasks', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd, file } = bench.eventfd();
    set(bench, driver, EVENTFD | TRIGGER, INTX, 0, 1, [fd]);
    fn.setLine(true);
    assert.equal(file.take(), 1n);
    assert.equal(fn.readConfig(4, 2) & 0x400, 0x400);
    assert.equal(peek(driver, CONFIG + 4, 2) & 0x400, 0, 'the program does not see that');
    assert.equal(set(bench, driver, NONE | UNMASK, INTX, 0, 1), 0);
    assert.equal(file.take(), 1n, 'the line is still up');
    fn.setLine(false);
    assert.equal(set(bench, driver, BOOL | UNMASK, INTX, 0, 1, [0]), 0);
    fn.setLine(true);
    assert.equal(file.take(), 0n, 'still masked');
    fn.setLine(false);
    set(bench, driver, BOOL | UNMASK, INTX, 0, 1, [1]);
    fn.setLine(true);
    assert.equal(file.take(), 1n);
    fn.setLine(false);
    set(bench, driver, NONE | UNMASK, INTX, 0, 1);
    set(bench, driver, NONE | MASK, INTX, 0, 1);
    fn.setLine(true);
    assert.equal(file.take(), 0n);
    set(bench, driver, NONE | TRIGGER, INTX, 0, 1);
    assert.equal(file.take(), 1n, 'by hand');
    assert.equal(set(bench, driver, EVENTFD | MASK, INTX, 0, 1, [fd]), ENOTTY);
  });

  it('by the line fire at once where the line is up when they are turned on', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    fn.setLine(true);
    const { fd, file } = bench.eventfd();
    set(bench, driver, EVENTFD | TRIGGER, INTX, 0, 1, [fd]);
    assert.equal(file.take(), 1n);
  });

  it('by the line stay away while the command register disables them', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd, file } = bench.eventfd();
    set(bench, driver, EVENTFD | TRIGGER, INTX, 0, 1, [fd]);
    poke(driver, CONFIG + 4, 2, 0x402);
    fn.setLine(true);
    set(bench, driver, NONE | TRIGGER, INTX, 0, 1);
    set(bench, driver, NONE | UNMASK, INTX, 0, 1);
    assert.equal(file.take(), 0n);
    poke(driver, CONFIG + 4, 2, 0x2);
    assert.equal(file.take(), 1n);
  });

  it('by the line are unmasked by an eventfd, even by the one that they signal', async () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const [trigger, unmask] = [bench.eventfd(), bench.eventfd()];
    assert.equal(set(bench, driver, EVENTFD | UNMASK, INTX, 0, 1, [unmask.fd]), EINVAL, 'INTx is off');
    set(bench, driver, EVENTFD | TRIGGER, INTX, 0, 1, [trigger.fd]);
    assert.equal(set(bench, driver, EVENTFD | UNMASK, INTX, 0, 1, [unmask.fd]), 0);
    assert.equal(set(bench, driver, EVENTFD | UNMASK, INTX, 0, 1, [unmask.fd]), EBUSY);
    fn.setLine(true);
    assert.equal(trigger.file.take(), 1n);
    unmask.file.signal();
    assert.equal(unmask.file.take(), 0n, 'the kernel has read it');
    await turn();
    assert.equal(trigger.file.take(), 1n, 'the line is still up');
    fn.setLine(false);
    unmask.file.signal();
    fn.setLine(true);
    assert.equal(trigger.file.take(), 1n);
    set(bench, driver, EVENTFD | UNMASK, INTX, 0, 1, [-1]);
    unmask.file.signal();
    assert.equal(unmask.file.take(), 1n, 'it is the program’s again');
    // One that unmasks and is signalled: a loop that goes on in turns, and ends with the line.
    set(bench, driver, EVENTFD | UNMASK, INTX, 0, 1, [trigger.fd]);
    trigger.file.signal();
    for (let i = 0; i < 5; i++) await turn();
    fn.setLine(false);
    for (let i = 0; i < 5; i++) await turn();
    assert.equal(fn.readConfig(4, 2) & 0x400, 0);
  });

  it('forget an eventfd that was closed', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const [trigger, unmask, other] = [bench.eventfd(), bench.eventfd(), bench.eventfd()];
    set(bench, driver, EVENTFD | TRIGGER, INTX, 0, 1, [trigger.fd]);
    set(bench, driver, EVENTFD | UNMASK, INTX, 0, 1, [unmask.fd]);
    bench.files.close(unmask.fd);
    assert.equal(set(bench, driver, EVENTFD | UNMASK, INTX, 0, 1, [other.fd]), 0);
  });

  it('tell of errors, and that the host wants the device back', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const [error, request] = [bench.eventfd(), bench.eventfd()];
    assert.equal(set(bench, driver, NONE | TRIGGER, ERROR, 0, 1), EINVAL);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, ERROR, 0, 1, [error.fd]), 0);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, REQUEST, 0, 1, [request.fd]), 0);
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, REQUEST, 0, 1, [-2]), EINVAL);
    fn.onInterrupt?.('error', 0, true);
    driver.request();
    assert.deepEqual([error.file.take(), request.file.take()], [1n, 1n]);
    set(bench, driver, NONE | TRIGGER, ERROR, 0, 1);
    set(bench, driver, BOOL | TRIGGER, REQUEST, 0, 1, [1]);
    assert.deepEqual([error.file.take(), request.file.take()], [1n, 1n]);
    set(bench, driver, NONE | TRIGGER, ERROR, 0, 0);
    set(bench, driver, EVENTFD | TRIGGER, REQUEST, 0, 1, [-1]);
    fn.onInterrupt?.('error', 0, true);
    fn.onInterrupt?.('request', 0, true);
    assert.deepEqual([error.file.take(), request.file.take()], [0n, 0n]);
  });

  it('are off when the device is closed', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd, file } = bench.eventfd();
    set(bench, driver, EVENTFD | TRIGGER, MSIX, 0, 1, [fd]);
    set(bench, driver, EVENTFD | TRIGGER, REQUEST, 0, 1, [fd]);
    driver.closeDevice();
    driver.request();
    assert.equal(fn.vectorsOn, undefined);
    assert.equal(file.take(), 0n);
    driver.openDevice(bench.binding());
    fn.onInterrupt?.('msix', 0, true);
    assert.equal(file.take(), 0n);
  });

  it('do not come by a line that is not there', () => {
    const bench = new PciBench();
    const { driver } = bench.open({ intx: false });
    const { fd } = bench.eventfd();
    assert.equal(set(bench, driver, EVENTFD | TRIGGER, INTX, 0, 1, [fd]), EINVAL);
  });
});

describe('ioeventfds of the emulated vfio-pci', () => {
  function wire(bench: PciBench, driver: VfioPci, flags: number, position: number, data: bigint, fd: number): number {
    const argument = bench.argument(32, [32, flags]);
    argument.view.setBigUint64(8, BigInt(position), true);
    argument.view.setBigUint64(16, data, true);
    argument.view.setInt32(24, fd, true);
    return driver.ioctl(VFIO_DEVICE_IOEVENTFD.request, argument);
  }

  it('write to a register whenever the eventfd is signalled', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd, file } = bench.eventfd();
    assert.equal(wire(bench, driver, 4, at(0, 0x60), 0x1_2345_6789n, fd), 0);
    file.signal(3n);
    assert.deepEqual(fn.accesses.splice(0), ['w4 0:60=23456789']);
    assert.equal(file.take(), 0n);
    assert.equal(wire(bench, driver, 4, at(0, 0x60), 0x1_2345_6789n, fd), EEXIST);
    assert.equal(wire(bench, driver, 4, at(0, 0x60), 1n, -1), ENODEV);
    poke(driver, CONFIG + 4, 2, 0);
    file.signal();
    assert.deepEqual(fn.accesses, [], 'memory is off');
    assert.equal(wire(bench, driver, 4, at(0, 0x60), 0x1_2345_6789n, -1), 0);
    file.signal();
    assert.equal(file.take(), 1n);
  });

  it('count what was signalled before', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd, file } = bench.eventfd();
    file.signal();
    assert.equal(wire(bench, driver, 8, at(0, 8), 7n, fd), 0);
    assert.deepEqual(fn.accesses, ['w8 0:8=7']);
  });

  it('are refused outside of BARs, on the MSI-X table, and for what is no eventfd', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const { fd } = bench.eventfd();
    assert.equal(wire(bench, driver, 4, CONFIG + 4, 0n, fd), EINVAL);
    assert.equal(wire(bench, driver, 4, at(0, 0x3ffd), 0n, fd), EINVAL);
    assert.equal(wire(bench, driver, 4, at(1), 0n, fd), EINVAL);
    assert.equal(wire(bench, driver, 4, at(2, 0xffd), 0n, fd), EINVAL);
    assert.equal(wire(bench, driver, 4, at(2, 0xffc), 0n, fd), 0);
    assert.equal(wire(bench, driver, 3, at(0), 0n, fd), EINVAL);
    assert.equal(wire(bench, driver, 0, at(0), 0n, fd), EINVAL);
    assert.equal(wire(bench, driver, 16, at(0), 0n, fd), EINVAL);
    assert.equal(wire(bench, driver, 4, at(0), 0n, -2), EINVAL);
    assert.equal(wire(bench, driver, 4, at(0), 0n, 4711), EBADF);
    assert.equal(driver.ioctl(VFIO_DEVICE_IOEVENTFD.request, bench.argument(24, [24])), EFAULT);
    assert.equal(driver.ioctl(VFIO_DEVICE_IOEVENTFD.request, bench.argument(32, [24])), EINVAL);
  });

  it('are a thousand at most', () => {
    const bench = new PciBench();
    const { driver } = bench.open();
    const { fd } = bench.eventfd();
    for (let i = 0; i < 1000; i++) assert.equal(wire(bench, driver, 1, at(0), BigInt(i), fd), 0);
    assert.equal(wire(bench, driver, 1, at(0), 1000n, fd), ENOSPC);
  });

  it('may signal themselves, in turns', async () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const { fd, file } = bench.eventfd();
    wire(bench, driver, 4, at(0, 0x60), 1n, fd);
    let left = 1000;
    fn.onWrite = () => {
      if (--left > 0) file.signal();
    };
    file.signal();
    assert(left > 900, `${1000 - left} writes within one call`);
    while (left > 0) await turn();
    assert.equal(fn.accesses.length, 1000);
  });

  it('end with their eventfd, and with the device', () => {
    const bench = new PciBench();
    const { driver, fn } = bench.open();
    const [one, two] = [bench.eventfd(), bench.eventfd()];
    wire(bench, driver, 4, at(0, 0x60), 1n, one.fd);
    wire(bench, driver, 4, at(0, 0x60), 2n, two.fd);
    bench.files.close(one.fd);
    one.file.signal();
    driver.closeDevice();
    two.file.signal();
    assert.deepEqual(fn.accesses, []);
    assert.equal(two.file.take(), 1n);
  });
});
