// A program is replaced by a newer one, and its device never notices: mappings, page tables and DMA go on. The device is
// QEMU's edu, as in edu-dma.ts, which copies between memory and a buffer of its own.
//
//   node dist/examples/live-update.js                  on an emulated machine, where both programs are this process
//   node dist/examples/live-update.js 0000:00:05.0     with the one at this address, in two processes
//   npm run start:vm -- --machine vtd --program dist/examples/live-update.js -- 0000:00:05.0
//                                                      the same on a real kernel with a real driver for VT-d, in QEMU
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { type HandoverState, type Host, openHost, type VfioDevice } from 'iommufd';
import { createEmulatedHost } from 'iommufd/emulated';

const DMA = { source: 0x80, destination: 0x88, count: 0x90, command: 0x98 } as const;
const START = 1n;
const TO_MEMORY = 2n;
/** Where the device says that its own buffer is. */
const BUFFER = 0x4_0000n;
/** Where the device finds our memory. It has 28 address bits. */
const IOVA = 0x400_0000n;
const TEXT = Buffer.from('written by one program, fetched by the next');

async function transfer(edu: VfioDevice, source: bigint, destination: bigint, direction: bigint): Promise<void> {
  edu.config.enable({ memory: true, busMaster: true });
  using registers = edu.region('bar0').mmap();
  registers.write64(DMA.source, source);
  registers.write64(DMA.destination, destination);
  registers.write64(DMA.count, BigInt(TEXT.length));
  registers.write64(DMA.command, START | direction);
  while ((registers.read64(DMA.command) & START) !== 0n) await pause(1);
}

/** The first program. */
async function begin(host: Host, address: string) {
  const iommufd = host.openIommufd();
  const edu = host.openDevice(address);
  edu.bind(iommufd);
  const ram = host.allocateMemory(0x2000);
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: IOVA });
  edu.attach(ioas);
  ram.write(0, TEXT);
  await transfer(edu, IOVA, BUFFER, 0n);
  console.log(`the device has what is in memory: "${TEXT}"`);
  // From here on nothing of it can be changed here, until it is another program's, or this one's again.
  return iommufd.handOver({ memories: [ram] });
}

/** The one that takes its place. */
async function goOn(host: Host, state: HandoverState, fds: readonly number[]): Promise<void> {
  const { iommufd, devices, memories, ioases } = host.adoptIommufd(state, fds);
  iommufd.changeProcess(); // pinned memory counts as this process's from now on
  const [edu, ram, ioas] = [devices[0], memories[0], ioases[0]];
  assert(edu !== undefined && ram !== undefined && ioas !== undefined);
  console.log(`process ${process.pid} goes on with ${edu.name} and ${ioas.mappingCount} mapping(s)`);
  await transfer(edu, BUFFER, IOVA + 0x1000n, TO_MEMORY);
  assert.deepEqual(Buffer.from(ram.read(0x1000, TEXT.length)), TEXT);
  console.log(`it has kept its buffer, and reaches the same memory: "${Buffer.from(ram.read(0x1000, TEXT.length))}"`);
  iommufd.close();
  ram.free();
  console.log('All closed.');
}

/** Starts the second program with the files of the first. */
async function replace(host: Host, address: string): Promise<void> {
  const handover = await begin(host, address);
  // In the child they are 4, 5, 6...: 0 to 2 are the usual ones, and 3 is the channel.
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? '', GO_ON], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...handover.fds],
  });
  child.send({ state: handover.state, fds: handover.fds.map((_, i) => 4 + i) });
  // A newer program would say here that it could take over all of it; if it cannot: handover.abort().
  handover.complete();
  console.log(`process ${process.pid} has nothing left of it`);
  const [status] = await once(child, 'exit');
  assert.equal(status, 0);
}

const GO_ON = '--go-on';
const [argument] = process.argv.slice(2);
if (argument === GO_ON) {
  const [{ state, fds }] = await once(process, 'message');
  await goOn(openHost({ kind: 'kernel' }), state, fds);
  process.disconnect();
} else if (argument !== undefined) {
  await replace(openHost({ kind: 'kernel' }), argument);
} else {
  const host = createEmulatedHost({ devices: [{ address: '0000:00:05.0', model: 'edu' }] });
  const handover = await begin(host, '0000:00:05.0');
  const state: HandoverState = JSON.parse(JSON.stringify(handover.state)); // as a message would bring it
  const second = goOn(host, state, handover.fds);
  handover.complete();
  await second;
}
