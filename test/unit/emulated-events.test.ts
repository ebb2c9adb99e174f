// Event queues and page requests of the emulated kernel: what no mock device can bring about, as sequence numbers that
// start again, groups of several requests, and memory that is short.
import assert from 'node:assert/strict';
import type { IommuDevice, PageRequest } from '../../lib/emulated/kernel/driver.js';
import { Fault } from '../../lib/emulated/kernel/fault.js';
import { Fifo } from '../../lib/emulated/kernel/fifo.js';
import type { AttachHandle } from '../../lib/emulated/kernel/iommu-group.js';
import type { IommufdContext } from '../../lib/emulated/kernel/iommufd-file.js';
import { Kernel } from '../../lib/emulated/kernel/kernel.js';
import { forgetPageRequests, reportPageRequest } from '../../lib/emulated/kernel/page-requests.js';
import { Veventq } from '../../lib/emulated/kernel/veventq.js';
import type { Viommu } from '../../lib/emulated/kernel/viommu.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';
import { iommu_hwpt_page_response, iommu_hwpt_pgfault, iommufd_vevent_header } from '../../lib/uapi/index.js';

const HEADER = iommufd_vevent_header.size;
const FAULT = iommu_hwpt_pgfault.size;
const [ENOMEM, EINVAL] = [-12, -22];
const [SUCCESS, INVALID, FAILURE] = [0, 1, 2];

/** An iommufd as far as queues know it. */
function makeContext() {
  const kernel = new Kernel(new PhysicalMemory({ size: 2 ** 20, scatter: false }), 'linux');
  return { kernel, context: { kernel } as IommufdContext };
}

function makeQueue(depth: number) {
  const { kernel, context } = makeContext();
  const viommu = { context, users: 1, veventqs: [] as Veventq[] };
  const queue = new Veventq(viommu as unknown as Viommu, 1, depth);
  return { kernel, viommu, queue, report: (byte: number) => queue.report(Uint8Array.of(byte)) };
}

/** Events of one byte, in short: [sequence, byte], or ['lost', sequence]. */
function events(queue: Veventq, room = 4096): unknown[] | number {
  const bytes = new Uint8Array(room);
  const length = queue.readEvents(bytes);
  if (length < 0) return length;
  const view = new DataView(bytes.buffer);
  const seen: unknown[] = [];
  for (let at = 0; at < length; ) {
    const { flags, sequence } = iommufd_vevent_header.decode(view, at);
    seen.push(flags === 0 ? [sequence, bytes[at + HEADER]] : ['lost', sequence]);
    at += HEADER + (flags === 0 ? 1 : 0);
  }
  return seen;
}

describe('virtual event queues of the emulated kernel', () => {
  it('number events up to 2^31 - 1, and then from 0', () => {
    const { queue, report } = makeQueue(2);
    queue.sequence = 0x7ffffffe;
    for (let i = 0; i < 2; i++) report(i);
    assert.deepEqual(events(queue), [
      [0x7ffffffe, 0],
      [0x7fffffff, 1],
    ]);
    report(2);
    assert.deepEqual(events(queue), [[0, 2]]);
  });

  it('count lost events across the end of the numbers', () => {
    const { queue, report } = makeQueue(1);
    queue.sequence = 0x7fffffff;
    for (let i = 0; i < 3; i++) assert.equal(report(i), 0);
    assert.deepEqual(events(queue), [
      [0x7fffffff, 0],
      ['lost', 1],
    ]);
  });

  it('lose an event that no memory is for, and say so to who reports it', () => {
    const { kernel, queue, report } = makeQueue(4);
    report(1);
    kernel.failAllocation(0);
    assert.equal(report(2), ENOMEM);
    assert.equal(queue.pending, true);
    assert.deepEqual(events(queue), [
      [0, 1],
      ['lost', 1],
    ]);
    report(3);
    assert.deepEqual(events(queue), [[2, 3]]);
  });

  it('keep the note of a loss until there is room and memory for it', () => {
    const { kernel, queue, report } = makeQueue(1);
    report(1);
    report(2);
    assert.deepEqual(events(queue, HEADER + 1 + HEADER - 1), [[0, 1]]);
    assert.equal(queue.pending, true);
    kernel.failAllocation(0);
    assert.equal(events(queue), ENOMEM);
    assert.deepEqual(events(queue), [['lost', 1]]);
    assert.equal(queue.pending, false);
    assert.deepEqual(events(queue), []);
  });

  it('hold their vIOMMU until they are destroyed', () => {
    const { queue, viommu } = makeQueue(1);
    assert.deepEqual([viommu.users, viommu.veventqs], [2, [queue]]);
    queue.destroy();
    assert.deepEqual([viommu.users, viommu.veventqs], [1, []]);
  });
});

/** A device whose page requests go to a fault queue, and what it was answered: [group, code]. */
function makeFaulter({ nested = false, userPasidTable = false } = {}) {
  const { kernel, context } = makeContext();
  const queue = new Fault(context);
  const handle = { domain: { fault: queue, kind: nested ? 'nested' : 'paging' }, device: { id: 7 } };
  const handles = new Map([[0, handle as unknown as AttachHandle]]);
  const answers: number[][] = [];
  const pageResponse = (_device: IommuDevice, request: PageRequest, code: number) =>
    void answers.push([request.group, code]);
  const iommu = { userPasidTable, pageResponse };
  const group = { handleOf: (pasid: number) => handles.get(pasid) };
  const device = { iommu, group } as unknown as IommuDevice;
  const plain = { address: 0n, pasid: 0, hasPasid: false, group: 1, perm: 1, last: true };
  const request = (more: Partial<PageRequest> = {}) => reportPageRequest(device, { ...plain, ...more });
  return { kernel, queue, handle: handle as unknown as AttachHandle, handles, device, answers, request };
}

/** Faults in short: [cookie, group, address]. */
function faults(queue: Fault, room = 64 * FAULT): unknown[] | number {
  const bytes = new Uint8Array(room);
  const length = queue.readEvents(bytes);
  if (length < 0) return length;
  const view = new DataView(bytes.buffer);
  return Array.from({ length: length / FAULT }, (_, i) => {
    const { cookie, grpid, addr, dev_id } = iommu_hwpt_pgfault.decode(view, i * FAULT);
    assert.equal(dev_id, 7);
    return [cookie, grpid, Number(addr)];
  });
}

function answer(queue: Fault, ...cookies: readonly number[]): number {
  const bytes = new Uint8Array(cookies.length * iommu_hwpt_page_response.size);
  const view = new DataView(bytes.buffer);
  for (const [i, cookie] of cookies.entries()) iommu_hwpt_page_response.encode(view, i * 8, { cookie, code: SUCCESS });
  return queue.writeEvents(bytes);
}

describe('page requests of the emulated kernel', () => {
  it('come as groups, in the order they were raised, once the last one of a group is there', () => {
    const { queue, request, answers } = makeFaulter();
    request({ group: 1, address: 1n, last: false });
    request({ group: 2, address: 2n, last: false });
    request({ group: 1, address: 3n, last: false });
    assert.equal(queue.pending, false);
    request({ group: 1, address: 4n });
    request({ group: 2, address: 5n });
    assert.deepEqual(faults(queue, 4 * FAULT), [
      [1, 1, 1],
      [1, 1, 3],
      [1, 1, 4],
    ]);
    assert.equal(faults(queue, FAULT), EINVAL);
    assert.deepEqual(faults(queue), [
      [2, 2, 2],
      [2, 2, 5],
    ]);
    assert.equal(answer(queue, 2, 1), 16);
    assert.deepEqual(answers, [
      [2, SUCCESS],
      [1, SUCCESS],
    ]);
  });

  it('get the lowest cookie that is free', () => {
    const { queue, request } = makeFaulter();
    for (let group = 0; group < 3; group++) request({ group });
    assert.deepEqual(faults(queue), [
      [1, 0, 0],
      [2, 1, 0],
      [3, 2, 0],
    ]);
    assert.equal(answer(queue, 2), 8);
    assert.equal(answer(queue, 2), EINVAL);
    request({ group: 9 });
    request({ group: 10 });
    assert.deepEqual(faults(queue), [
      [2, 9, 0],
      [4, 10, 0],
    ]);
  });

  it('are answered when their device leaves, unread ones first, and forgotten', () => {
    const { queue, request, answers, handle, handles } = makeFaulter();
    request({ group: 1 });
    faults(queue);
    request({ group: 2 });
    handles.set(0, { ...handle });
    request({ group: 3 });
    queue.autoRespond(handle);
    assert.deepEqual(answers, [
      [2, INVALID],
      [1, INVALID],
    ]);
    assert.equal(answer(queue, 1), EINVAL);
    assert.deepEqual(faults(queue), [[1, 3, 0]]);
    queue.destroy();
    assert.deepEqual(answers.slice(2), [[3, INVALID]]);
  });

  it('that nobody handles are refused at once', () => {
    const { request, answers, handles, handle } = makeFaulter();
    handle.domain.fault = undefined;
    assert.equal(request(), EINVAL);
    handles.clear();
    assert.equal(request({ last: false }), EINVAL);
    assert.deepEqual(answers, [
      [1, INVALID],
      [1, INVALID],
    ]);
  });

  it('with a PASID that is not attached go to the nested page table, where the guest keeps the PASIDs', () => {
    const withPasid = { pasid: 5, hasPasid: true };
    assert.equal(makeFaulter({ nested: true, userPasidTable: true }).request(withPasid), 0);
    assert.equal(makeFaulter({ nested: true, userPasidTable: false }).request(withPasid), EINVAL);
    assert.equal(makeFaulter({ nested: false, userPasidTable: true }).request(withPasid), EINVAL);
  });

  it('that no memory is for are lost, or fail with their whole group', () => {
    const { kernel, queue, request, answers } = makeFaulter();
    kernel.failAllocation(0);
    assert.equal(request({ last: false }), ENOMEM);
    request({ last: false });
    kernel.failAllocation(0);
    assert.equal(request(), 0);
    assert.deepEqual(answers, [[1, FAILURE]]);
    assert.equal(queue.pending, false);
    request();
    kernel.failAllocation(0);
    assert.equal(faults(queue), ENOMEM);
    assert.deepEqual(faults(queue), [[1, 1, 0]]);
  });

  it('without their last one are forgotten with the last domain that handles any', () => {
    const { queue, request, device } = makeFaulter();
    request({ address: 1n, last: false });
    forgetPageRequests(device);
    request({ address: 2n });
    assert.deepEqual(faults(queue), [[1, 1, 2]]);
  });
});

describe('a queue of the emulated kernel', () => {
  it('gives back what was put in, in order, however much of it', () => {
    const fifo = new Fifo<number>();
    let next = 0;
    for (let i = 0; i < 5000; i++) {
      fifo.push(i);
      if (i % 2 === 1) assert.equal(fifo.shift(), next++);
    }
    assert.deepEqual([fifo.length, fifo.first], [2500, 2500]);
    assert.deepEqual(
      fifo.take((item) => item % 1000 === 0),
      [3000, 4000],
    );
    assert.equal(fifo.length, 2498);
    for (next = 2500; next < 5000; next++) if (next % 1000 !== 0) assert.equal(fifo.shift(), next);
    assert.deepEqual([fifo.shift(), fifo.first, fifo.length], [undefined, undefined, 0]);
  });
});
