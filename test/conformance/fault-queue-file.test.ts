// The file of a fault queue, past the objects: how it is read, how answers are written, and what the open file holds.
import assert from 'node:assert/strict';
import type { FaultQueue } from '../../lib/index.js';
import {
  IOMMU_FAULT_QUEUE_ALLOC,
  iommu_hwpt_page_response,
  iommu_hwpt_pgfault,
  iommufd_page_response_code,
} from '../../lib/uapi/index.js';
import { makeFaulter, only } from '../rig/faults.js';
import { rawRead, rawWrite } from '../rig/guest.js';
import { type Bench, conformance, refused } from '../rig/suite.js';

const SIZE = iommu_hwpt_pgfault.size;
const CODES = iommufd_page_response_code.values;

/** Writes answers past the object. */
function rawRespond(
  t: Bench,
  queue: FaultQueue,
  ...answers: readonly { cookie: number; code: number }[]
): number | string {
  const { size } = iommu_hwpt_page_response;
  const bytes = new Uint8Array(answers.length * size);
  const view = new DataView(bytes.buffer);
  answers.forEach((answer, i) => {
    iommu_hwpt_page_response.encode(view, i * size, answer);
  });
  return rawWrite(t, queue.fd, bytes);
}

conformance('fault-queue-file', (test) => {
  test('empty', 'past the objects, an empty queue reads as 0 bytes', (t) => {
    const { queue } = makeFaulter(t);
    for (const length of [0, SIZE, 4 * SIZE]) assert.equal((rawRead(t, queue.fd, length) as Uint8Array).length, 0);
  });

  test('multiple', 'a read that is not a multiple of the record is ESPIPE', (t) => {
    const { queue, fault } = makeFaulter(t);
    assert.equal(rawRead(t, queue.fd, SIZE + 1), 'ESPIPE');
    fault();
    for (const length of [1, SIZE - 1, SIZE + 8]) assert.equal(rawRead(t, queue.fd, length), 'ESPIPE');
    queue.respond(only(queue.drain()), 'success');
  });

  test('no-room', 'a read without room for the first group is EINVAL, and keeps it', (t) => {
    const { queue, fault } = makeFaulter(t);
    fault();
    // Linux 6.12 answers that it read nothing.
    const answer = rawRead(t, queue.fd, 0);
    assert.deepEqual(answer, t.onLinux('6.12') ? new Uint8Array(0) : 'EINVAL');
    queue.respond(only(queue.drain()), 'success');
  });

  test('write-size', 'a write that is not whole answers is ESPIPE; no bytes are no answer', (t) => {
    const { queue, fault } = makeFaulter(t);
    fault();
    const { cookie } = only(queue.drain());
    for (const length of [1, 4, 7, 12]) assert.equal(rawWrite(t, queue.fd, new Uint8Array(length)), 'ESPIPE');
    assert.equal(rawWrite(t, queue.fd, new Uint8Array(0)), 0);
    queue.respond(cookie, 'success');
  });

  test('write-code', 'an answer that is neither is EINVAL, and the group waits on', (t) => {
    const { queue, fault } = makeFaulter(t);
    fault();
    const { cookie } = only(queue.drain());
    for (const code of [2, 0xffff_ffff]) assert.equal(rawRespond(t, queue, { cookie, code }), 'EINVAL');
    assert.equal(rawRespond(t, queue, { cookie, code: CODES.IOMMUFD_PAGE_RESP_SUCCESS }), 8);
  });

  test('write-many', 'one write takes several answers, up to the first bad one', (t) => {
    const { queue, fault } = makeFaulter(t);
    fault();
    fault();
    const [a, b] = queue.drain().map(({ cookie }) => ({ cookie, code: CODES.IOMMUFD_PAGE_RESP_INVALID }));
    assert(a !== undefined && b !== undefined);
    assert.equal(rawRespond(t, queue, a, { ...a, cookie: 0 }, b), 8);
    assert.equal(rawRespond(t, queue, a), 'EINVAL');
    assert.equal(rawRespond(t, queue, b), 8);
  });

  test('cookies', 'a cookie is the lowest number that is free, from 1 on', (t) => {
    const { queue, fault } = makeFaulter(t);
    const next = (): number => {
      fault();
      return only(queue.drain()).cookie;
    };
    assert.deepEqual([next(), next(), next()], [1, 2, 3]);
    queue.respond(2, 'success');
    assert.deepEqual([next(), next()], [2, 4]);
    for (const cookie of [1, 2, 3, 4]) queue.respond(cookie, 'success');
    assert.equal(next(), 1);
    queue.respond(1, 'success');
  });

  test('cookie-0', 'whoever answers 0 while a group waits is refused, but makes 0 a cookie like the others', (t) => {
    const { queue, fault } = makeFaulter(t);
    const next = (): number => {
      fault();
      return only(queue.drain()).cookie;
    };
    // While none waits, it changes nothing.
    refused('EINVAL', () => queue.respond(0, 'success'));
    assert.equal(next(), 1);
    refused('EINVAL', () => queue.respond(0, 'success'));
    assert.deepEqual([next(), next()], [0, 2]);
    for (const cookie of [1, 0, 2]) queue.respond(cookie, 'success');
    assert.deepEqual([next(), next()], [0, 1]);
    for (const cookie of [0, 1]) queue.respond(cookie, 'success');
  });

  test('fd-holds', 'the open fd holds the queue: DESTROY is EBUSY until it is closed', (t) => {
    const { code, out } = t.ioctl(IOMMU_FAULT_QUEUE_ALLOC, {});
    assert.equal(code, 'ok');
    assert.equal(t.rig.seam.own(out.out_fault_fd), 0);
    assert.equal(t.destroyId(out.out_fault_id), 'EBUSY');
    t.rig.seam.close(out.out_fault_fd);
    assert.equal(t.destroyId(out.out_fault_id), 'ok');
  });
});
