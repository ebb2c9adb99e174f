// The test device of emulated machines, through VFIO alone: its registers as docs/emulated.md has them.
import assert from 'node:assert/strict';
import { createEmulatedHost } from '../../lib/emulated-host.js';

const ADDRESS = '0000:02:00.0';
const IOVA = 0x400_0000n;
const STATUS = 0x08;
const CAUSE = 0x0c;
const OFFSET = 0x18;
const LENGTH = 0x1c;
const PASID = 0x20;
const COMMAND = 0x24;
const VECTOR = 0x28;
const RAISE = 0x2c;
const TO_MEMORY = 1;
const FROM_MEMORY = 2;
const REQUEST_PAGE = 3;
const REFUSED = 2;

const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

function stage() {
  const host = createEmulatedHost({ machine: 'selftest', devices: [{ address: ADDRESS, model: 'test', pasid: true }] });
  const iommufd = host.openIommufd();
  const nic = host.openDevice(ADDRESS);
  const device = nic.bind(iommufd);
  const ioas = iommufd.allocIoas();
  const ram = host.allocateMemory(65536);
  ioas.map(ram, { iova: IOVA });
  nic.config.enable({ memory: true, busMaster: true });
  const registers = nic.region('bar0').mmap();
  const memory = nic.region('bar2').mmap();
  undo.push(() => {
    nic.close();
    iommufd.close();
    ram.free();
  });
  const run = (command: number, options: { iova?: bigint; offset?: number; length?: number } = {}): number => {
    const { iova = IOVA, offset = 0, length = 64 } = options;
    registers.write32(0x10, Number(iova & 0xffff_ffffn));
    registers.write32(0x14, Number(iova >> 32n));
    registers.write32(OFFSET, offset);
    registers.write32(LENGTH, length);
    registers.write32(COMMAND, command);
    while ((registers.read32(STATUS) & 1) !== 0);
    return registers.read32(STATUS);
  };
  return { host, iommufd, nic, device, ioas, ram, registers, memory, run };
}

describe('the test device of emulated machines', () => {
  it('says what it is, and keeps what is written to it', () => {
    const { nic, registers, memory } = stage();
    assert.deepEqual([nic.config.vendorId, nic.config.deviceId], [0x1234, 0x7e57]);
    assert.equal(registers.read32(0), 0x5453_4554);
    registers.write32(4, 0xdead_beef);
    registers.write16(4, 0);
    registers.write32(0, 0);
    assert.deepEqual([registers.read32(0), registers.read32(4)], [0x5453_4554, 0xdead_beef]);
    assert.deepEqual(
      [registers.read8(4), registers.read64(0), registers.read32(0x100)],
      [0xff, 0xffff_ffff_ffff_ffffn, 0xffff_ffff],
    );
    memory.write64(0xfff8, 0x1122_3344_5566_7788n);
    memory.write8(0xffff, 0x99);
    assert.deepEqual([memory.read16(0xfffe), memory.read32(0xfff8)], [0x9922, 0x5566_7788]);
  });

  it('does DMA both ways, and tells what was refused', () => {
    const { nic, ioas, ram, memory, run } = stage();
    assert.equal(run(FROM_MEMORY), REFUSED);
    nic.attach(ioas);
    ram.write(
      0,
      Uint8Array.from({ length: 64 }, (_, i) => i),
    );
    assert.equal(run(FROM_MEMORY, { offset: 32 }), 0);
    assert.equal(memory.read8(32 + 63), 63);
    assert.equal(run(TO_MEMORY, { iova: IOVA + 4090n, offset: 32 }), 0);
    assert.deepEqual(ram.read(4090, 64), ram.read(0, 64));
    assert.equal(run(TO_MEMORY, { iova: IOVA + 65536n }), REFUSED);
    assert.equal(run(TO_MEMORY, { offset: 65500 }), REFUSED);
    assert.equal(run(TO_MEMORY, { offset: 0xffff_ffff, length: 0xffff_ffff }), REFUSED);
    assert.equal(run(9), REFUSED);
  });

  it('uses an address space by PASID', () => {
    const { nic, ioas, iommufd, device, ram, registers, memory, run } = stage();
    const parent = ioas.allocHwpt(device, { pasid: true });
    nic.attach(parent);
    const other = iommufd.allocIoas();
    other.map(ram, { iova: 2n * IOVA });
    nic.attach(other.allocHwpt(device, { pasid: true }), { pasid: 7 });
    registers.write32(PASID, 7);
    memory.write8(0, 42);
    assert.equal(run(TO_MEMORY), REFUSED);
    assert.equal(run(TO_MEMORY, { iova: 2n * IOVA }), 0);
    assert.equal(ram.read(0, 1)[0], 42);
  });

  it('raises vectors, or its line, on command and when it is done', async () => {
    const { nic, ioas, registers, run } = stage();
    nic.attach(ioas);
    const vectors = nic.interrupts('msix').enable({ count: 8 });
    registers.write32(RAISE, 5);
    registers.write32(RAISE, 8);
    registers.write32(VECTOR, 2);
    assert.equal(run(TO_MEMORY), 0);
    assert.deepEqual(
      vectors.map((vector) => vector.drain()),
      [0n, 0n, 1n, 0n, 0n, 1n, 0n, 0n],
    );
    nic.interrupts('msix').disable();
    const [line] = nic.interrupts('intx').enable();
    registers.write32(RAISE, 3);
    assert.deepEqual([line?.drain(), registers.read32(CAUSE)], [1n, 8]);
    line?.unmask();
    assert.equal(line?.drain(), 1n);
    registers.write32(CAUSE, 8);
    line?.unmask();
    assert.deepEqual([line?.drain(), registers.read32(CAUSE)], [0n, 0]);
  });

  it('asks for pages', () => {
    const { nic, ioas, iommufd, device, run } = stage();
    const faults = iommufd.allocFaultQueue();
    nic.attach(ioas.allocHwpt(device, { faultQueue: faults }));
    assert.equal(run(REQUEST_PAGE, { iova: 0x5000n }), 0);
    const [group] = faults.drain();
    assert.equal(group?.faults[0]?.address, 0x5000n);
    if (group !== undefined) faults.respond(group, 'success');
  });

  it('is as at the start after a reset', () => {
    const { nic, registers, memory } = stage();
    registers.write32(4, 1);
    registers.write32(RAISE, 0);
    memory.write8(0, 1);
    nic.reset();
    const [again, emptied] = [nic.region('bar0').mmap(), nic.region('bar2').mmap()];
    assert.deepEqual([again.read32(4), again.read32(CAUSE), again.read32(VECTOR)], [0, 0, 0xffff_ffff]);
    assert.equal(emptied.read8(0), 0);
  });

  it('takes its state along, a transfer under way included', async () => {
    const host = createEmulatedHost({
      devices: [
        { address: ADDRESS, model: 'test' },
        { address: '0000:03:00.0', model: 'test' },
      ],
    });
    const iommufd = host.openIommufd();
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(4096);
    ioas.map(ram, { iova: IOVA });
    const [source, target] = host.devices.map((address) => {
      const nic = host.openDevice(address);
      nic.bind(iommufd);
      nic.attach(ioas);
      nic.config.enable({ memory: true, busMaster: true });
      return nic;
    });
    assert(source !== undefined && target !== undefined);
    source.region('bar2').write32(0, 0x0403_0201);
    const registers = source.region('bar0');
    registers.write32(0x10, Number(IOVA));
    registers.write32(LENGTH, 4);
    registers.write32(COMMAND, TO_MEMORY);
    const saving = source.migration.setState('stop-copy');
    assert(saving !== undefined);
    const state: Uint8Array[] = [];
    for (let chunk = saving.read(); chunk.length > 0; chunk = saving.read()) state.push(chunk);
    saving.close();
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(ram.read(0, 1)[0], 0);
    const resuming = target.migration.setState('resuming');
    for (const chunk of state) resuming?.write(chunk);
    target.migration.setState('stop');
    target.migration.setState('running');
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(ram.read(0, 4), Uint8Array.of(1, 2, 3, 4));
    assert.equal(target.region('bar0').read32(STATUS), 0);
    for (const nic of [source, target]) nic.close();
    iommufd.close();
  });
});
