// Writes that the kernel does when an eventfd is signalled: doorbells that a guest rings without this process.
import assert from 'node:assert/strict';
import { armed, EDU_DMA_SOURCE, EDU_RAISE } from '../rig/edu-interrupts.js';
import { codeOf, refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'edu';

/** A device, its registers, and an eventfd to be wired to them. */
function wired(t: VfioBench) {
  const bell = t.rig.host.createEventfd();
  t.later(() => bell.close());
  const nic = t.bound('edu');
  nic.config.enable({ memory: true });
  const bar = nic.region('bar0');
  return { nic, bell, bar, registers: bar.mmap() };
}

vfioCases('vfio-ioeventfd', (test) => {
  test('doorbell', 'signalling the eventfd writes the register', { needs }, async (t) => {
    const { nic, edu, vector } = armed(t, 'msi');
    const bell = t.rig.host.createEventfd();
    t.later(() => bell.close());
    const write = nic.region('bar0').ioeventfd({ offset: EDU_RAISE, width: 4, value: 5, eventfd: bell });
    for (let i = 0; i < 2; i++) {
      bell.signal();
      assert.equal(await vector.wait(), 1n);
      assert.equal(edu.status, 5);
      edu.acknowledge(5);
      assert.equal(bell.drain(), 0n, 'the kernel took what was counted');
    }
    write.close();
    write.close();
    bell.signal();
    assert.deepEqual([edu.status, bell.drain(), vector.drain()], [0, 1n, 0n]);
  });
  test('pending', 'what was counted before counts too', { needs }, async (t) => {
    const { nic, edu, vector } = armed(t, 'msi');
    const bell = t.rig.host.createEventfd(3);
    t.later(() => bell.close());
    nic.region('bar0').ioeventfd({ offset: EDU_RAISE, width: 4, value: 2, eventfd: bell.fd });
    assert.equal(await vector.wait(), 1n);
    edu.acknowledge(edu.status);
  });
  test('pending-left', 'and is left to whoever reads the eventfd', { needs }, (t) => {
    const { bar, registers } = wired(t);
    registers.write64(EDU_DMA_SOURCE, 0n);
    const bell = t.rig.host.createEventfd(3);
    t.later(() => bell.close());
    for (const value of [0x11n, 0x22n]) {
      bar.ioeventfd({ offset: EDU_DMA_SOURCE, width: 8, value, eventfd: bell });
      assert.equal(registers.read64(EDU_DMA_SOURCE), value);
    }
    assert.equal(bell.drain(), 3n);
  });
  test('shared', 'several writes at one eventfd are all done, the newest first', { needs }, (t) => {
    const { bell, bar, registers } = wired(t);
    const DESTINATION = EDU_DMA_SOURCE + 8;
    for (const [offset, value] of [
      [EDU_DMA_SOURCE, 0x11n],
      [EDU_DMA_SOURCE, 0x22n],
      [DESTINATION, 0x33n],
    ] as const) {
      bar.ioeventfd({ offset, width: 8, value, eventfd: bell });
    }
    for (const offset of [EDU_DMA_SOURCE, DESTINATION]) registers.write64(offset, 0n);
    bell.signal();
    assert.deepEqual([registers.read64(EDU_DMA_SOURCE), registers.read64(DESTINATION)], [0x11n, 0x33n]);
    assert.equal(bell.drain(), 0n);
  });
  test('zero', 'a 0 that is added wakes the kernel too; more than 8 bytes are no number', { needs }, (t) => {
    const { bell, bar, registers } = wired(t);
    bar.ioeventfd({ offset: EDU_DMA_SOURCE, width: 8, value: 0x44n, eventfd: bell });
    registers.write64(EDU_DMA_SOURCE, 0n);
    const { seam } = t.rig;
    const mark = seam.arena.mark();
    const at = seam.arena.take(16);
    seam.arena.bytes.fill(0, at, at + 16);
    assert.equal(codeOf(seam.write(bell.fd, at, 16)), 'EINVAL');
    assert.equal(registers.read64(EDU_DMA_SOURCE), 0n);
    assert.equal(seam.write(bell.fd, at, 8), 8);
    assert.equal(registers.read64(EDU_DMA_SOURCE), 0x44n);
    seam.arena.release(mark);
  });
  test('width', 'writes 8 bytes at once', { needs }, (t) => {
    const { bell, bar, registers } = wired(t);
    bar.ioeventfd({ offset: EDU_DMA_SOURCE, width: 8, value: 0x123_4567n, eventfd: bell });
    registers.write64(EDU_DMA_SOURCE, 0n);
    bell.signal();
    assert.equal(registers.read64(EDU_DMA_SOURCE), 0x123_4567n);
  });
  test('memory-off', 'writes nothing while the memory of the device is off', { needs }, (t) => {
    const { bell, bar, nic } = wired(t);
    bar.ioeventfd({ offset: EDU_DMA_SOURCE, width: 8, value: 0x99n, eventfd: bell });
    bar.write64(EDU_DMA_SOURCE, 0x11n);
    nic.config.enable({ memory: false });
    bell.signal();
    assert.equal(bell.drain(), 0n);
    nic.config.enable({ memory: true });
    assert.equal(bar.read64(EDU_DMA_SOURCE), 0x11n);
    bell.signal();
    assert.equal(bar.read64(EDU_DMA_SOURCE), 0x99n);
  });
  test('takes-along', 'what was signalled before is seen, and goes with the wire that saw it', { needs }, (t) => {
    const { bell, bar, registers } = wired(t);
    bell.signal(3n);
    const wire = (value: bigint) => bar.ioeventfd({ offset: EDU_DMA_SOURCE, width: 8, value, eventfd: bell });
    const first = wire(0x11n);
    assert.equal(registers.read64(EDU_DMA_SOURCE), 0x11n);
    first.close();
    wire(0x22n);
    assert.equal(registers.read64(EDU_DMA_SOURCE), 0x11n);
    assert.equal(bell.drain(), 0n);
  });
  test('limit', 'a device has at most 1000 of them', { needs }, (t) => {
    const { bell, bar } = wired(t);
    const wire = (value: number) => bar.ioeventfd({ offset: EDU_DMA_SOURCE, width: 8, value, eventfd: bell });
    const [first] = Array.from({ length: 1000 }, (_, value) => wire(value));
    refused('ENOSPC', () => wire(1000));
    first?.close();
    wire(1000);
  });
  test('exists', 'the same write cannot be wired twice, another value can', { needs }, (t) => {
    const { bell, bar } = wired(t);
    const options = { offset: EDU_RAISE, width: 4, value: 1, eventfd: bell } as const;
    const first = bar.ioeventfd(options);
    assert.match(refused('EEXIST', () => bar.ioeventfd(options)).message, /hint/);
    bar.ioeventfd({ ...options, value: 2 });
    first.close();
    bar.ioeventfd(options);
  });
  test('refused', 'only eventfds will do', { needs }, (t) => {
    const { bell, bar } = wired(t);
    const options = { offset: 0, width: 4, value: 1, eventfd: bell } as const;
    refused('EINVAL', () => bar.ioeventfd({ ...options, eventfd: t.iommufd.fd }));
    refused('EBADF', () => bar.ioeventfd({ ...options, eventfd: 0x7fff_ff00 }));
  });
  test('config', 'configuration space cannot be written so', { needs }, (t) => {
    const bell = t.rig.host.createEventfd();
    t.later(() => bell.close());
    const config = t.bound('edu').region('config');
    refused('EINVAL', () => config.ioeventfd({ offset: 4, width: 2, value: 0, eventfd: bell }));
  });
  test('misuse', 'places outside of the region and values too large are refused before', { needs }, (t) => {
    const { bell, bar } = wired(t);
    const options = { offset: 0, width: 4, value: 1, eventfd: bell } as const;
    refused('ERR_OUT_OF_RANGE', () => bar.ioeventfd({ ...options, offset: bar.size }));
    refused('ERR_OUT_OF_RANGE', () => bar.ioeventfd({ ...options, offset: 2 }));
    refused('ERR_OUT_OF_RANGE', () => bar.ioeventfd({ ...options, value: 2 ** 32 }));
    refused('ERR_OUT_OF_RANGE', () => bar.ioeventfd({ ...options, width: 3 as 4 }));
    bell.close();
    refused('ERR_IOMMUFD_DESTROYED', () => bar.ioeventfd(options));
  });
  test('closed', 'ends with the device', { needs }, (t) => {
    const bell = t.rig.host.createEventfd();
    t.later(() => bell.close());
    const nic = t.bound('edu');
    const write = nic.region('bar0').ioeventfd({ offset: EDU_RAISE, width: 4, value: 1, eventfd: bell });
    nic.close();
    assert.equal(write.closed, true);
    write.close();
    bell.signal();
    assert.equal(bell.drain(), 1n);
  });
});
