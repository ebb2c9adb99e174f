// Physical addresses that a program was told and hands to a device without an IOMMU: in registers, configuration space and
// descriptors they are handles, so that a transcript is the same wherever memory lies, and a replay has addresses of its own.
import assert from 'node:assert/strict';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import type { Host } from '../../lib/index.js';
import { recordingHost, replayHost } from '../../lib/recording-host.js';
import { hostSeam } from '../../lib/unsafe.js';
import { Edu, pattern } from '../rig/edu.js';

const NIC = '0000:00:05.0';
const IOVA = 0x100_0000n;
const ADDRESS = 0x80;
const COUNT = 0x90;

/** `before`: pages of memory that is taken first, so that the program's lies elsewhere. */
function machine(before: number, scatter: boolean): Host {
  const host = createEmulatedHost({
    machine: 'selftest',
    memory: { scatter },
    devices: [{ address: NIC, iommu: false, model: 'edu' }],
  });
  if (before > 0) host.allocateMemory(before * 4096).write(0, new Uint8Array(before * 4096).fill(1));
  return host;
}

/** DMA of edu by its 64-bit registers, then the address of a second page by halves, and into a descriptor in memory. */
async function program(host: Host): Promise<unknown[]> {
  const iommufd = host.openIommufd();
  const nic = host.unsafeOpenDevice(NIC);
  nic.bind(iommufd);
  const ram = host.allocateMemory(0x3000);
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: IOVA });
  nic.attach(ioas);
  const first = ioas.physicalAddress(IOVA + 0x20n, 64).address;
  const second = ioas.physicalAddress(IOVA + 0x1000n, 64).address;
  ram.write(0x20, pattern(64));
  const edu = new Edu(nic);
  await edu.load(first, 64);
  await edu.store(second + 0x800n, 64);
  const seen = [...ram.read(0x1800, 64)];
  const registers = nic.region('bar0').mmap();
  registers.write32(ADDRESS, Number(second & 0xffff_ffffn));
  registers.write32(ADDRESS + 4, Number(second >> 32n));
  registers.write32(COUNT, 0x10);
  new DataView(ram.window().buffer, ram.window().byteOffset).setBigUint64(0x2008, second + 0x10n, true);
  registers.unmap();
  nic.close();
  iommufd.close();
  ram.free();
  return seen;
}

async function record(host: Host): Promise<{ transcript: string; seen: unknown[] }> {
  const recorded = recordingHost(host);
  const seen = await program(recorded);
  return { transcript: recorded.transcript(), seen };
}

/** Without how often the program looked whether the device is done: that is a matter of time. */
function oncePolled(transcript: string): string {
  const lines = transcript.split('\n');
  return lines.filter((line, at) => line !== lines[at - 1]).join('\n');
}

describe('recording physical addresses', () => {
  it('tells them as handles wherever the program writes them', async () => {
    const { transcript } = await record(machine(0, false));
    assert.match(transcript, /"call":"write64",[^\n]*"to":"pa:0\+0x20"/);
    assert.match(transcript, /"call":"write32",[^\n]*"offset":"0x80","to":"pa:1\+0x0 lower half"/);
    assert.match(transcript, /"call":"write32",[^\n]*"offset":"0x84","to":"pa:1\+0x0 upper half"/);
    assert.match(transcript, /"mem:0\+0x2008":"@pa:1\+0x10"/);
  });

  it('is the same text wherever memory lies', async () => {
    const transcript = oncePolled((await record(machine(0, false))).transcript);
    assert.equal(oncePolled((await record(machine(37, false))).transcript), transcript);
    assert.equal(oncePolled((await record(machine(5, true))).transcript), transcript);
  });

  it('is replayed by addresses of the replay', async () => {
    const { transcript, seen } = await record(machine(37, true));
    assert.deepEqual(seen, [...pattern(64)]);
    const replayed = replayHost(transcript);
    assert.deepEqual(await program(replayed), seen);
    replayed.finish();
  });

  it('finds another address that is written', async () => {
    const { transcript } = await record(machine(0, false));
    const other = transcript.replace('"to":"pa:1+0x0 lower half"', '"to":"pa:0+0x0 lower half"');
    assert.notEqual(other, transcript);
    const replayed = replayHost(other);
    await assert.rejects(program(replayed), /expected "pa:0\+0x0 lower half", came "pa:1\+0x0 lower half"/);
  });

  it('tells them in what is written to configuration space and other files', () => {
    const host = recordingHost(machine(0, false));
    const iommufd = host.openIommufd();
    const nic = host.unsafeOpenDevice(NIC);
    nic.bind(iommufd);
    const ram = host.allocateMemory(0x1000);
    const ioas = iommufd.allocIoas();
    ioas.map(ram, { iova: IOVA });
    nic.attach(ioas);
    const { address } = ioas.physicalAddress(IOVA, 64);
    const { arena, pwrite } = { arena: hostSeam(host).arena, pwrite: hostSeam(host).pwrite.bind(hostSeam(host)) };
    const mark = arena.mark();
    const at = arena.take(16);
    arena.view.setBigUint64(at, 5n, true);
    arena.view.setBigUint64(at + 8, address + 8n, true);
    pwrite(nic.fd, at, 16, 0);
    arena.release(mark);
    assert.match(host.transcript(), /"call":"pwrite",[^\n]*"bytes":"0500000000000000 @pa:0\+0x8"/);
    nic.close();
    iommufd.close();
    ram.free();
  });
});
