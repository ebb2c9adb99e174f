// Interrupts of devices: on and off, with eventfds of the library's own and of the caller's, raised by the device or, to
// test what waits, without it.
import assert from 'node:assert/strict';
import { codeOfAsync } from '../rig/codes.js';
import { armed, EduInterrupts as Edu } from '../rig/edu-interrupts.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, type VfioGroup, vfioCases } from '../rig/vfio.js';

const needs = 'edu';

/** What a conventional PCI device has besides its own: Linux 6.12 tells of errors only where it is of PCI Express. */
const others = (t: VfioBench) => (t.onLinux('6.12') ? (['request'] as const) : (['error', 'request'] as const));

vfioCases('vfio-interrupts', (test) => {
  test('info', 'tells how many there are of each kind, and what they can do', { needs }, (t) => {
    const nic = t.bound('edu');
    const intx = nic.interrupts('intx');
    assert.deepEqual([intx.count, intx.eventfd, intx.maskable, intx.automasked], [1, true, true, true]);
    const msi = nic.interrupts('msi');
    assert.deepEqual(
      [msi.count, msi.eventfd, msi.maskable, msi.automasked, msi.resizable],
      [1, true, false, false, false],
    );
    assert.equal(nic.interrupts('msix').count, 0);
    for (const name of others(t)) assert.equal(nic.interrupts(name).count, 1);
    assert.equal(nic.interrupts(1), msi);
    assert.deepEqual([msi.name, msi.index], ['msi', 1]);
    assert.match(refused('EINVAL', () => nic.interrupts(5)).message, /interrupt 5 of .*hint/s);
  });
  test('no-such', 'refuses what the device does not have', { needs }, (t) => {
    const nic = t.bound('edu');
    assert.match(refused('ERR_IOMMUFD_UNAVAILABLE', () => nic.interrupts('msix').enable()).message, /no msix/);
    refused('ERR_OUT_OF_RANGE', () => nic.interrupts('msi').enable({ count: 2 }));
    refused('ERR_OUT_OF_RANGE', () => nic.interrupts('msi').enable({ start: 1 }));
    refused('ERR_OUT_OF_RANGE', () => nic.interrupts('msi').trigger(0, 0));
  });
  test('loopback', 'comes without the device when it is triggered', { needs }, async (t) => {
    const msi = t.bound('edu').interrupts('msi');
    const [vector] = msi.enable();
    assert.equal(vector?.drain(), 0n);
    msi.trigger();
    assert.equal(await vector.wait(), 1n);
    vector.trigger();
    vector.trigger();
    assert.equal(vector.drain(), 2n);
    assert.equal(vector.drain(), 0n);
  });
  test('off', 'cannot be triggered while it is off', { needs }, (t) => {
    const nic = t.bound('edu');
    for (const name of ['intx', 'msi', ...others(t)] as const) {
      refused('EINVAL', () => nic.interrupts(name).trigger());
      nic.interrupts(name).disable();
    }
  });
  test('msi', 'arrives when the device raises it', { needs }, async (t) => {
    const { edu, vector } = armed(t, 'msi');
    for (const cause of [1, 2, 0x100]) {
      edu.raise(cause);
      assert.equal(await vector.wait(), 1n);
      assert.equal(edu.status, cause);
      edu.acknowledge(cause);
      assert.equal(edu.status, 0);
    }
  });
  test('iterator', 'arrives in a loop, which ends when the index is turned off', { needs }, async (t) => {
    const { edu, vector, interrupts } = armed(t, 'msi');
    const causes: number[] = [];
    edu.raise(1);
    for await (const count of vector) {
      assert.equal(count, 1n);
      causes.push(edu.status);
      edu.acknowledge(edu.status);
      if (causes.length === 3) interrupts.disable();
      else edu.raise(causes.length + 1);
    }
    assert.deepEqual(causes, [1, 2, 3]);
  });
  test('intx', 'INTx comes once, and again only when it is unmasked', { needs }, async (t) => {
    const { edu, vector } = armed(t, 'intx');
    edu.raise(1);
    assert.equal(await vector.wait(), 1n);
    edu.acknowledge(1);
    edu.raise(2);
    assert.equal(edu.status, 2);
    assert.equal(vector.drain(), 0n, 'it masks itself');
    vector.unmask();
    assert.equal(await vector.wait(), 1n);
    edu.acknowledge(2);
    vector.unmask();
    assert.equal(vector.drain(), 0n);
  });
  test(
    'intx-level',
    'INTx comes again at once when it is unmasked before the device took it back',
    { needs },
    async (t) => {
      const { edu, vector } = armed(t, 'intx');
      edu.raise(1);
      assert.equal(await vector.wait(), 1n);
      vector.unmask();
      assert.equal(await vector.wait(), 1n);
      edu.acknowledge(1);
    },
  );
  test('intx-mask', 'INTx that is masked comes when it is unmasked', { needs }, async (t) => {
    const { edu, vector } = armed(t, 'intx');
    vector.mask();
    edu.raise(1);
    assert.equal(edu.status, 1);
    assert.equal(vector.drain(), 0n);
    vector.unmask();
    assert.equal(await vector.wait(), 1n);
    edu.acknowledge(1);
  });
  test('intx-disabled', 'INTx that the command register disables comes when that ends', { needs }, async (t) => {
    const { nic, edu, vector } = armed(t, 'intx');
    nic.config.enable({ interruptDisable: true });
    edu.raise(1);
    assert.equal(edu.status, 1);
    vector.unmask();
    assert.equal(vector.drain(), 0n);
    nic.config.enable({ interruptDisable: false });
    assert.equal(await vector.wait(), 1n);
    edu.acknowledge(1);
  });
  test('resample', 'an eventfd unmasks INTx, as KVM does for a guest', { needs }, async (t) => {
    const { edu, vector, interrupts } = armed(t, 'intx');
    const resample = t.rig.host.createEventfd();
    t.later(() => resample.close());
    interrupts.unmaskOn(resample);
    refused('EBUSY', () => interrupts.unmaskOn(resample));
    for (const cause of [1, 2]) {
      edu.raise(cause);
      assert.equal(await vector.wait(), 1n);
      edu.acknowledge(cause);
      resample.signal();
    }
    interrupts.unmaskOn(undefined);
    edu.raise(4);
    await vector.wait();
    edu.acknowledge(4);
    resample.signal();
    edu.raise(8);
    assert.equal(edu.status, 8);
    assert.equal(vector.drain(), 0n, 'nobody unmasked it');
    edu.acknowledge(8);
  });
  test('unmaskable', 'MSI cannot be masked', { needs }, (t) => {
    const msi = t.bound('edu').interrupts('msi');
    const [vector] = msi.enable();
    assert.match(refused('ENOTTY', () => vector?.mask()).message, /only INTx can be masked/);
    refused('ENOTTY', () => vector?.unmask());
    refused('ENOTTY', () => msi.unmaskOn(undefined));
  });
  test('exclusive', 'INTx and MSI exclude each other', { needs }, (t) => {
    const nic = t.bound('edu');
    const [pin] = nic.interrupts('intx').enable();
    assert.match(refused('EINVAL', () => nic.interrupts('msi').enable()).message, /exclude each other/);
    pin?.trigger();
    assert.equal(pin?.drain(), 1n, 'the refusal left the other as it was');
    nic.interrupts('intx').disable();
    assert.equal(pin?.eventfd.closed, true);
    nic.interrupts('msi').enable();
    refused('EINVAL', () => nic.interrupts('intx').enable());
  });
  test('twice', 'what is on cannot be turned on again before it is off', { needs }, (t) => {
    const msi = t.bound('edu').interrupts('msi');
    const [first] = msi.enable();
    refused('ERR_IOMMUFD_BUSY', () => msi.enable());
    msi.disable();
    msi.disable();
    refused('ERR_IOMMUFD_DESTROYED', () => first?.drain());
    const [second] = msi.enable();
    second?.trigger();
    assert.equal(second?.drain(), 1n);
  });
  test('closed', 'ends with the device, and tells who waits', { needs }, async (t) => {
    const { vector, nic } = armed(t, 'msi');
    const waiting = codeOfAsync(vector.wait());
    nic.close();
    assert.equal(await waiting, 'ERR_IOMMUFD_DESTROYED');
    refused('ERR_IOMMUFD_DESTROYED', () => vector.trigger());
    refused('ERR_IOMMUFD_DESTROYED', () => vector.drain());
  });
  test('bus-master-off', 'MSI do not come while the device may not write to memory', { needs }, async (t) => {
    const { nic, edu, vector } = armed(t, 'msi');
    nic.config.enable({ busMaster: false });
    edu.raise(1);
    assert.equal(edu.status, 1);
    assert.equal(vector.drain(), 0n);
    nic.config.enable({ busMaster: true });
    edu.acknowledge(1);
    edu.raise(2);
    assert.equal(await vector.wait(), 1n);
    edu.acknowledge(2);
  });
  test('memory-off', 'can be turned on and off while the memory of the device is off', { needs }, async (t) => {
    const nic = t.bound('edu');
    nic.config.enable({ memory: false, busMaster: true });
    const [vector] = nic.interrupts('msi').enable();
    const edu = new Edu(nic);
    edu.raise(1);
    assert.equal(await vector?.wait(), 1n);
    edu.acknowledge(1);
  });
  connecting(test);
  vectors(test, 'nvme');
  vectors(test, 'test');
  mediated(test);
});

/** An eventfd, closed at the end of the case. */
function eventfd(t: VfioBench) {
  const made = t.rig.host.createEventfd();
  t.later(() => made.close());
  return made;
}

function connecting(test: VfioGroup): void {
  test('connect', "arrives at the caller's eventfd, until that is taken away", { needs }, async (t) => {
    const nic = t.bound('edu');
    const edu = new Edu(nic);
    const msi = nic.interrupts('msi');
    const [first, second] = [eventfd(t), eventfd(t)];
    msi.connect([first]);
    edu.raise(1);
    assert.equal(await first.wait(), 1n);
    edu.acknowledge(1);
    msi.connect([second.fd]);
    edu.raise(1);
    assert.equal(await second.wait(), 1n);
    assert.equal(first.drain(), 0n);
    edu.acknowledge(1);
    msi.connect([undefined]);
    msi.trigger();
    assert.deepEqual([first.drain(), second.drain()], [0n, 0n]);
    msi.disable();
    assert.deepEqual([first.closed, second.closed], [false, false]);
  });
  test('connect-vector', "takes the place of the library's own eventfd", { needs }, (t) => {
    const msi = t.bound('edu').interrupts('msi');
    const [vector] = msi.enable();
    const own = eventfd(t);
    msi.connect([own]);
    assert.equal(vector?.eventfd.closed, true);
    msi.trigger();
    assert.equal(own.drain(), 1n);
  });
  test('connect-refused', 'what is no eventfd is refused, and leaves nothing connected', { needs }, (t) => {
    const msi = t.bound('edu').interrupts('msi');
    assert.match(refused('EINVAL', () => msi.connect([t.iommufd.fd])).message, /not an eventfd/);
    refused('EBADF', () => msi.connect([0x7fff_ff00]));
    const own = eventfd(t);
    msi.connect([own]);
    refused('EBADF', () => msi.connect([0x7fff_ff00]));
    msi.trigger();
    assert.equal(own.drain(), 0n, 'the kernel let go of it before it looked');
    msi.connect([own]);
    msi.trigger();
    assert.equal(own.drain(), 1n);
    const closed = eventfd(t);
    closed.close();
    refused('ERR_IOMMUFD_DESTROYED', () => msi.connect([closed]));
  });
  test('error-index', 'the error and request indexes are connected like others', { needs }, (t) => {
    const nic = t.bound('edu');
    for (const name of others(t)) {
      const own = eventfd(t);
      const interrupts = nic.interrupts(name);
      interrupts.connect([own]);
      interrupts.trigger();
      assert.equal(own.drain(), 1n);
      refused('ENOTTY', () => interrupts.mask());
      interrupts.disable();
      refused('EINVAL', () => interrupts.trigger());
    }
  });
}

/** Of a device with several MSI-X vectors. */
function vectors(test: VfioGroup, role: 'nvme' | 'test'): void {
  const options = { needs: role } as const;
  test(`msix-${role}`, 'vectors are told apart', options, async (t) => {
    const msix = t.bound(role).interrupts('msix');
    assert(msix.count > 3, `${msix.count} vectors`);
    const all = msix.enable({ count: 3 });
    assert.deepEqual(
      all.map(({ index }) => index),
      [0, 1, 2],
    );
    msix.trigger(1, 2);
    all[2]?.trigger();
    assert.deepEqual(await Promise.all([all[1]?.wait(), all[2]?.wait()]), [1n, 2n]);
    assert.equal(all[0]?.drain(), 0n);
  });
  test(`msix-grow-${role}`, 'more are to be had while some are on only where they are resizable', options, (t) => {
    const msix = t.bound(role).interrupts('msix');
    const few = msix.enable({ count: 2 });
    refused('ERR_IOMMUFD_BUSY', () => msix.enable({ start: 1, count: 2 }));
    if (msix.resizable) {
      const [third] = msix.enable({ start: 2, count: 1 });
      third?.trigger();
      assert.equal(third?.drain(), 1n);
    } else assert.match(refused('EINVAL', () => msix.enable({ start: 2, count: 1 })).message, /all of them on at once/);
    few[0]?.trigger();
    assert.equal(few[0]?.drain(), 1n, 'those that were on stay so');
  });
  test(`msix-holes-${role}`, 'some are connected, others not', options, (t) => {
    const msix = t.bound(role).interrupts('msix');
    const [first, third] = [eventfd(t), eventfd(t)];
    msix.connect([first, undefined, third]);
    msix.trigger(0, 3);
    assert.deepEqual([first.drain(), third.drain()], [1n, 1n]);
    msix.connect([undefined], { start: 2 });
    msix.trigger(0, 3);
    assert.deepEqual([first.drain(), third.drain()], [1n, 0n]);
  });
}

function mediated(test: VfioGroup): void {
  test('mediated', 'a mediated device has what its driver has', { needs: 'serial' }, async (t) => {
    const port = t.bound('serial');
    const [intx, msi] = [port.interrupts('intx'), port.interrupts('msi')];
    assert.deepEqual([intx.count, intx.automasked, msi.count, msi.resizable], [1, true, 1, false]);
    for (const name of ['msix', 'error', 'request'] as const) refused('EINVAL', () => port.interrupts(name));
    const [vector] = intx.enable();
    refused('EINVAL', () => msi.enable());
    vector?.trigger();
    assert.equal(await vector?.wait(), 1n);
    vector?.mask();
    vector?.unmask();
    refused('ENOTTY', () => intx.unmaskOn(vector?.eventfd));
    intx.disable();
    intx.disable();
    const [message] = msi.enable();
    message?.trigger();
    assert.equal(message?.drain(), 1n);
    refused('ENOTTY', () => msi.mask());
  });
}
