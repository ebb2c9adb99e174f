// Live update: a device, its mappings and its DMA go on in another process. On a host that is no other process's, both are
// this one.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { CallTrace, Handover } from '../../lib/index.js';
import { EDU_IOVA, Edu, pattern } from '../rig/edu.js';
import { type Found, goOn, LENGTH, PLACES, RAM_SIZE } from '../rig/live-update.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'edu';

/** A device that reaches memory, and has loaded bytes from there. */
async function running(t: VfioBench) {
  const nic = t.bound('edu');
  const edu = new Edu(nic);
  const ioas = t.iommufd.allocIoas();
  const ram = t.memory(RAM_SIZE);
  ioas.map(ram, { iova: EDU_IOVA });
  nic.attach(ioas);
  const bytes = pattern(LENGTH, 5);
  ram.write(PLACES.written, bytes);
  await edu.load(EDU_IOVA + BigInt(PLACES.written), LENGTH);
  nic.interrupts('msi').enable();
  return { nic, edu, ioas, ram, bytes: [...bytes] };
}

/** Lets the device write what it loaded: nobody here sees the end of that. */
function startStore(edu: Edu): void {
  edu.store(EDU_IOVA + BigInt(PLACES.underWay), LENGTH).catch(() => undefined);
}

/** The process before: hands over, has its device write until after the end, and ends. */
async function inOneProcess(t: VfioBench): Promise<Found> {
  const { edu, ram, bytes } = await running(t);
  const handover = t.iommufd.handOver({ memories: [ram] });
  const state = JSON.parse(JSON.stringify(handover.state));
  return goOn(t.rig.host, { state, bytes }, handover.fds, async () => {
    startStore(edu);
    handover.complete();
  });
}

function startChild(handover: Handover) {
  const program = fileURLToPath(new URL('../rig/live-update-child.js', import.meta.url));
  return spawn(process.execPath, [program], { stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...handover.fds] });
}

/** The same with a child that gets the fds. */
async function inTwoProcesses(t: VfioBench): Promise<Found> {
  const { edu, ram, bytes } = await running(t);
  const handover = t.iommufd.handOver({ memories: [ram] });
  const child = startChild(handover);
  const exit = once(child, 'exit');
  child.send({ state: handover.state, bytes, fds: handover.fds.length });
  await Promise.race([once(child, 'message'), exit]);
  startStore(edu);
  handover.complete();
  const found = once(child, 'message');
  child.send({ gone: true });
  const [answer] = await Promise.race([found, exit]);
  await exit;
  return answer;
}

/** The names of the calls made by this process until `stop`. */
function record(): { readonly names: string[]; stop(): void } {
  const names: string[] = [];
  const listen = (message: unknown) => names.push((message as CallTrace).syscall);
  subscribe('iommufd:call', listen);
  return { names, stop: () => unsubscribe('iommufd:call', listen) };
}

function check(t: VfioBench, found: Found): void {
  const bytes = [...pattern(LENGTH, 5)];
  assert.deepEqual(found.written, bytes, 'what the process before wrote');
  assert.deepEqual(found.underWay, bytes, 'the DMA that was under way, from a buffer that the device kept');
  assert.equal(found.bothWays, true, 'DMA of the process after');
  assert.equal(found.interrupts, '1');
  assert.equal(t.iommufd.closed, true);
}

vfioCases('vfio-live-update', (test) => {
  // One side has two processes, the other one: they make different calls.
  const differs = { needs, dependsOnHardware: true } as const;
  test('goes-on', 'another process goes on with device, mappings and DMA', differs, async (t) => {
    const ownFiles = t.rig.lacks('own-files') === undefined;
    check(t, ownFiles ? await inTwoProcesses(t) : await inOneProcess(t));
    // The device was let go at the end, wherever that was.
    t.open('edu').bind(t.openIommufd());
  });

  test('same-process', 'objects can be made anew from a hand-over in the same process', { needs }, async (t) => {
    const calls = record();
    try {
      check(t, await inOneProcess(t));
    } finally {
      calls.stop();
    }
    const until = calls.names.slice(0, calls.names.indexOf('IOMMU_IOAS_CHANGE_PROCESS'));
    assert(until.includes('IOMMU_IOAS_MAP_FILE'));
    for (const name of ['IOMMU_IOAS_UNMAP', 'IOMMU_DESTROY', 'VFIO_DEVICE_DETACH_IOMMUFD_PT']) {
      assert(!until.includes(name), `${name} was asked for`);
    }
  });

  test('abort', 'after an abort all goes on as before', { needs }, async (t) => {
    const { edu, ioas, ram, nic } = await running(t);
    const handover = t.iommufd.handOver({ memories: [ram] });
    assert.throws(() => ioas.unmapAll(), { code: 'ERR_IOMMUFD_BUSY' });
    assert.throws(() => nic.close(), { code: 'ERR_IOMMUFD_BUSY' });
    handover.abort();
    await edu.store(EDU_IOVA + BigInt(PLACES.to), LENGTH);
    assert.deepEqual(ram.read(PLACES.to, LENGTH), pattern(LENGTH, 5));
    assert.equal(ioas.unmapAll(), BigInt(RAM_SIZE));
  });

  test('abort-after-adoption', 'what the other process gave up again is still there', { needs }, async (t) => {
    const { edu, ram } = await running(t);
    const handover = t.iommufd.handOver({ memories: [ram] });
    const adopted = t.rig.host.adoptIommufd(handover.state, handover.fds);
    adopted.iommufd.changeProcess();
    adopted.iommufd.handOver({ memories: adopted.memories }).complete();
    handover.abort();
    t.iommufd.changeProcess();
    await edu.store(EDU_IOVA + BigInt(PLACES.to), LENGTH);
    assert.deepEqual(ram.read(PLACES.to, LENGTH), pattern(LENGTH, 5));
  });

  test('by-address', 'memory without a file is refused, and nothing is frozen', { needs }, (t) => {
    const ioas = t.iommufd.allocIoas();
    t.bound('edu').attach(ioas);
    const iova = ioas.map(t.memory(0x1000, { backing: 'anonymous' }), { iova: EDU_IOVA });
    refused('ERR_IOMMUFD_UNAVAILABLE', () => t.iommufd.handOver());
    // The kernel says the same.
    refused('EINVAL', () => t.iommufd.changeProcess());
    ioas.unmap(iova, 0x1000);
    t.iommufd.handOver().abort();
  });

  test('wrong-fds', 'fds that are something else are refused, and stay open', { needs }, (t) => {
    const nic = t.bound('edu');
    const unbound = t.rig.host.openDevice(t.address('edu'));
    t.later(() => unbound.close());
    const ram = t.memory();
    const handover = t.iommufd.handOver({ memories: [ram] });
    t.later(() => handover.abort());
    const [iommufd = -1, memory = -1, device = -1] = handover.fds;
    assert.equal(device, nic.fd);
    const adopt = (...fds: number[]) => t.rig.host.adoptIommufd(handover.state, fds);
    refused('ENOTTY', () => adopt(device, memory, device));
    refused('ENOTTY', () => adopt(iommufd, memory, iommufd));
    refused('EINVAL', () => adopt(iommufd, memory, unbound.fd));
    refused('EINVAL', () => adopt(iommufd, device, device));
    refused('ERR_IOMMUFD_UNAVAILABLE', () => adopt(iommufd, memory));
  });
});
