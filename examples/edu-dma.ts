// A device does DMA both ways, interrupts when it is done, and cannot reach what is not mapped for it. The device is edu, which
// QEMU has for those who learn to write drivers (docs/specs/edu in its tree): a DMA engine with a buffer of its own.
//
//   node dist/examples/edu-dma.js                   on an emulated machine: no hardware, no privilege
//   node dist/examples/edu-dma.js 0000:00:05.0      the one at this address, which vfio-pci drives
//   npm run start:vm -- --machine vtd --program dist/examples/edu-dma.js -- 0000:00:05.0
//                                                   the same on a real kernel with a real driver for VT-d, in QEMU
import assert from 'node:assert/strict';
import { openHost } from 'iommufd';
import { createEmulatedHost } from 'iommufd/emulated';

// Registers, in BAR 0.
const RAISED = 0x24; // which interrupts it has raised
const ACKNOWLEDGE = 0x64;
const DMA = { source: 0x80, destination: 0x88, count: 0x90, command: 0x98 } as const;
const START = 1n;
const TO_MEMORY = 2n;
const INTERRUPT_AFTER = 4n;
/** Where the device says that its own buffer is. */
const BUFFER = 0x4_0000n;

const TEXT = Buffer.from('DMA both ways through an IOMMU');
/** Where the device finds our memory. It has 28 address bits. */
const IOVA = 0x400_0000n;

// 1. The device, under an iommufd: from here on it reaches nothing.
const address = process.argv[2];
const host =
  address === undefined
    ? createEmulatedHost({ devices: [{ address: '0000:00:05.0', model: 'edu' }] })
    : openHost({ kind: 'kernel' });
const iommufd = host.openIommufd();
const edu = host.openDevice(address ?? '0000:00:05.0');
edu.bind(iommufd);
const { type } = edu.device.hwInfo();
const kind = typeof type === 'string' ? type : 'a mock';
console.log(`edu at ${edu.name}, ${host.kind} host, IOMMU: ${kind}`);

// 2. Memory that it is to reach, and at which addresses.
const ram = host.allocateMemory(0x2000);
const ioas = iommufd.allocIoas();
ioas.map(ram, { iova: IOVA });
edu.attach(ioas);

// 3. Its registers, and its interrupt.
edu.config.enable({ memory: true, busMaster: true });
const registers = edu.region('bar0').mmap();
const [vector] = edu.interrupts('msi').enable({ count: 1 });
assert(vector !== undefined);
const interrupts = vector.read();

async function transfer(source: bigint, destination: bigint, direction: bigint): Promise<void> {
  registers.write64(DMA.source, source);
  registers.write64(DMA.destination, destination);
  registers.write64(DMA.count, BigInt(TEXT.length));
  registers.write64(DMA.command, START | INTERRUPT_AFTER | direction);
  const { value: times } = await interrupts.next();
  registers.write32(ACKNOWLEDGE, registers.read32(RAISED));
  const [from, to] = [source.toString(16), destination.toString(16)];
  console.log(`  interrupt (${times}): ${TEXT.length} bytes from 0x${from} to 0x${to}`);
}

// 4. It reads our memory into its buffer, and writes that to our memory elsewhere.
ram.write(0x10, TEXT);
await transfer(IOVA + 0x10n, BUFFER, 0n);
await transfer(BUFFER, IOVA + 0x1020n, TO_MEMORY);
assert.deepEqual(Buffer.from(ram.read(0x1020, TEXT.length)), TEXT);
console.log(`it came back: "${Buffer.from(ram.read(0x1020, TEXT.length))}"`);

// 5. What is not mapped is out of its reach.
ioas.unmap(IOVA, ram.size);
ram.write(0x1020, new Uint8Array(TEXT.length));
await transfer(BUFFER, IOVA + 0x1020n, TO_MEMORY);
assert(ram.read(0x1020, TEXT.length).every((byte) => byte === 0));
console.log('unmapped, it reaches nothing: the IOMMU refused');

// 6. The way down. Closing the device turns its interrupts off and takes its registers away.
edu.close();
iommufd.close();
ram.free();
console.log('All closed.');
