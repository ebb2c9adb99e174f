// The emulated edu device, register by register: what QEMU's answers, odd accesses included (hw/misc/edu.c).
import assert from 'node:assert/strict';
import { EduDevice } from '../../lib/emulated/hardware/devices/edu.js';
import { createEmulatedHost, type DeviceBus } from '../../lib/emulated-host.js';

const BUFFER = 0x40000n;

/** The device on a bus of memory, whose time the test moves. */
class Bench implements DeviceBus {
  readonly edu = new EduDevice();
  readonly memory = new Uint8Array(8192);
  readonly work: (() => void)[] = [];
  readonly told: string[] = [];
  messages = false;

  constructor() {
    this.edu.connect(this);
  }
  dmaRead(iova: bigint, length: number): Uint8Array | undefined {
    const at = Number(iova);
    return at + length > this.memory.length ? undefined : this.memory.slice(at, at + length);
  }
  dmaWrite(iova: bigint, bytes: Uint8Array): boolean {
    if (Number(iova) + bytes.length > this.memory.length) return false;
    this.memory.set(bytes, Number(iova));
    return true;
  }
  interrupt(vector = 0): boolean {
    if (this.messages) this.told.push(`msi ${vector}`);
    return this.messages;
  }
  setIntx(level: boolean): void {
    this.told.push(`line ${level}`);
  }
  later(work: () => void): void {
    this.work.push(work);
  }
  requestPage(): void {
    assert.fail('edu asks for no pages');
  }

  read(offset: number): number | bigint {
    return this.edu.read(0, offset, 4);
  }
  read64(offset: number): number | bigint {
    return this.edu.read(0, offset, 8);
  }
  write(offset: number, value: number): void {
    this.edu.write(0, offset, 4, value);
  }
  write64(offset: number, value: bigint): void {
    this.edu.write(0, offset, 8, value);
  }
  transfer(source: bigint, destination: bigint, count: bigint, command: bigint): void {
    this.write64(0x80, source);
    this.write64(0x88, destination);
    this.write64(0x90, count);
    this.write64(0x98, command);
    for (const work of this.work.splice(0)) work();
  }
}

describe('the emulated edu device', () => {
  it('says what it is, and answers the liveness check', () => {
    const bench = new Bench();
    assert.equal(bench.read(0x00), 0x0100_00ed);
    assert.equal(bench.read(0x04), 0);
    bench.write(0x04, 0x1234_5678);
    assert.equal(bench.read(0x04), 0xedcb_a987);
  });

  it('takes accesses of the widths it knows alone', () => {
    const bench = new Bench();
    bench.edu.write(0, 0x04, 1, 0xff);
    bench.edu.write(0, 0x04, 2, 0xff);
    bench.edu.write(0, 0x00, 8, 0xffn);
    bench.edu.write(0, 0x80, 2, 7);
    assert.equal(bench.read(0x04), 0);
    assert.equal(bench.read64(0x80), 0n);
    assert.equal(bench.read64(0x00), 0xffff_ffff_ffff_ffffn);
    assert.equal(bench.edu.read(0, 0x00, 1), 0);
    assert.equal(bench.edu.read(0, 0x00, 2), 0);
    for (const nowhere of [0x0c, 0x60, 0x84, 0xa0, 0x40000]) assert.equal(bench.read(nowhere), 0xffff_ffff);
    assert.equal(bench.read64(0xa0), 0xffff_ffff_ffff_ffffn);
  });

  it('computes factorials, of 32 bits, one at a time', () => {
    const bench = new Bench();
    const compute = (of: number) => {
      bench.write(0x08, of);
      assert.equal(bench.read(0x20), 1);
      bench.write(0x08, 3);
      for (const work of bench.work.splice(0)) work();
      assert.equal(bench.read(0x20), 0);
      return bench.read(0x08);
    };
    const found = [0, 1, 5, 12, 13, 33, 34, 0xffff_ffff].map(compute);
    assert.deepEqual(found, [1, 1, 120, 479_001_600, 1_932_053_504, 0x8000_0000, 0, 0]);
    assert.deepEqual(bench.told, []);
  });

  it('interrupts after a factorial if it is told to', () => {
    const bench = new Bench();
    bench.write(0x20, 0xffff_ffff);
    assert.equal(bench.read(0x20), 0x80);
    bench.write(0x08, 4);
    for (const work of bench.work.splice(0)) work();
    assert.deepEqual([bench.read(0x08), bench.read(0x20), bench.read(0x24)], [24, 0x80, 1]);
    assert.deepEqual(bench.told, ['line true']);
  });

  it('holds its line until all is acknowledged', () => {
    const bench = new Bench();
    bench.write(0x60, 0);
    bench.write(0x60, 0x8000_0001);
    bench.write(0x64, 0x8000_0000);
    assert.equal(bench.read(0x24), 1);
    assert.deepEqual(bench.told, ['line true']);
    bench.write(0x64, 0xffff_ffff);
    assert.equal(bench.read(0x24), 0);
    assert.deepEqual(bench.told, ['line true', 'line false']);
  });

  it('sends a message for each raise while those are on', () => {
    const bench = new Bench();
    bench.messages = true;
    bench.write(0x60, 2);
    bench.write(0x60, 2);
    assert.deepEqual(bench.told, ['msi 0', 'msi 0']);
  });

  it('does DMA both ways, busy until it is done', () => {
    const bench = new Bench();
    bench.memory.set([1, 2, 3, 4]);
    bench.write64(0x80, 0n);
    bench.write64(0x88, BUFFER + 4092n);
    bench.write64(0x90, 4n);
    bench.write64(0x98, 1n);
    assert.equal(bench.read64(0x98), 1n);
    // Its registers are its own until then.
    bench.write64(0x90, 1n);
    bench.write64(0x98, 7n);
    for (const work of bench.work.splice(0)) work();
    assert.deepEqual([bench.read64(0x98), bench.read64(0x90), bench.read(0x24)], [0n, 4n, 0]);
    bench.transfer(BUFFER + 4092n, 100n, 4n, 7n);
    assert.deepEqual([...bench.memory.subarray(100, 104)], [1, 2, 3, 4]);
    assert.deepEqual([bench.read64(0x98), bench.read(0x24)], [6n, 0x100]);
    assert.deepEqual(bench.told, ['line true']);
  });

  it('has 28 lines of addresses, and registers of 64 bits', () => {
    const bench = new Bench();
    bench.memory.set([9]);
    bench.transfer(0xf000_0000_1000_0000n, BUFFER, 1n, 1n);
    bench.transfer(BUFFER, 0x1000_0001n, 1n, 3n);
    assert.equal(bench.memory[1], 9);
    bench.write64(0x80, 0x1122_3344_5566_7788n);
    assert.equal(bench.read(0x80), 0x5566_7788);
    bench.write(0x80, 5);
    assert.equal(bench.read64(0x80), 5n);
  });

  it('has enough of them for physical addresses, without an IOMMU', () => {
    const host = createEmulatedHost({
      devices: [{ address: '0000:00:05.0', iommu: false, model: 'edu' }],
    });
    const iommufd = host.openIommufd();
    const nic = host.unsafeOpenDevice('0000:00:05.0');
    nic.bind(iommufd);
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(4096);
    ioas.map(ram, { iova: 0x400_0000n });
    nic.attach(ioas);
    nic.config.enable({ memory: true, busMaster: true });
    const { address } = ioas.physicalAddress(0x400_0000n, 4096n);
    const bar = nic.region('bar0');
    ram.write(0, Uint8Array.of(1, 2));
    for (const [source, destination, command] of [
      [address, BUFFER, 1n],
      [BUFFER, address + 2n, 3n],
    ] as const) {
      bar.write64(0x80, source);
      bar.write64(0x88, destination);
      bar.write64(0x90, 2n);
      bar.write64(0x98, command);
      while ((bar.read64(0x98) & 1n) !== 0n);
    }
    assert.deepEqual(ram.read(0, 4), Uint8Array.of(1, 2, 1, 2));
    nic.close();
    iommufd.close();
  });

  it('goes on behind a page that is refused', () => {
    const bench = new Bench();
    bench.memory.fill(7);
    bench.transfer(0x2000n - 8n, BUFFER, 16n, 1n);
    bench.transfer(BUFFER, 0n, 16n, 3n);
    assert.deepEqual([...bench.memory.subarray(0, 16)], [...new Array(8).fill(7), ...new Array(8).fill(0)]);
  });
  it('reads zeros where DMA is refused, and writes nothing', () => {
    const bench = new Bench();
    bench.memory.fill(7, 0, 16);
    bench.transfer(0n, BUFFER, 16n, 1n);
    bench.transfer(0x8000n, BUFFER, 8n, 1n);
    bench.transfer(BUFFER, 32n, 16n, 3n);
    assert.deepEqual([...bench.memory.subarray(32, 48)], [...new Array(8).fill(0), ...new Array(8).fill(7)]);
    bench.transfer(BUFFER, 0x8000n, 8n, 3n);
  });

  it('transfers nothing that leaves its buffer, and is done all the same', () => {
    const bench = new Bench();
    bench.memory.fill(7);
    for (const [at, count] of [
      [BUFFER - 1n, 2n],
      [BUFFER + 4096n, 1n],
      [BUFFER + 1n, 4096n],
      [BUFFER, 2n ** 64n - 1n],
      [2n ** 64n - 1n, 2n],
    ] as const) {
      bench.transfer(0n, at, count, 1n);
      bench.transfer(at, 0n, count, 7n);
      assert.equal(bench.read64(0x98), 6n);
    }
    assert.deepEqual(bench.memory, new Uint8Array(8192).fill(7));
    bench.transfer(0n, BUFFER, 4096n, 1n);
    bench.memory.fill(0);
    bench.transfer(BUFFER, 4096n, 4096n, 3n);
    assert.deepEqual(bench.memory.subarray(4096), new Uint8Array(4096).fill(7));
  });
});
