// Hardware queues as the third version of the vQUEUE patches had them: what differs from what Linux took. No real kernel
// speaks so any more; sources are the patches of 1 May 2025 (Part-4 vQUEUE).
import assert from 'node:assert/strict';
import { vqueueBench } from '../rig/dialect.js';
import { BASE, makeGuest, QUEUE_TYPE, rawMmap } from '../rig/guest.js';
import { conformance, PAGE, refused } from '../rig/suite.js';

const IN_DATA = 0x1234_5678;

conformance('vqueue-v3', (test) => {
  const needs = { needs: 'emulated' } as const;

  test('region', 'the first region starts at offset 0, and is one page', needs, (outer) => {
    const t = vqueueBench(outer);
    const { offset, length } = makeGuest(t).viommu.mmapRegion;
    assert.deepEqual([offset, length], [0n, PAGE]);
  });

  test('next-region', 'the next one follows it', needs, (outer) => {
    const t = vqueueBench(outer);
    const [first, second] = [makeGuest(t), makeGuest(t)];
    assert.equal(second.viommu.mmapRegion.offset, PAGE);
    first.viommu.destroy();
    assert.equal(makeGuest(t).viommu.mmapRegion.offset, 0n);
  });

  test('window', 'a window of any length, from the start, shows the registers', needs, (outer) => {
    const t = vqueueBench(outer);
    const { viommu, queue } = makeGuest(t, { inData: IN_DATA });
    assert.equal(queue(0).mmap({ length: 8 }).read32(0), IN_DATA);
    assert.equal(viommu.mmap().length, Number(PAGE));
  });

  test('mmap', 'never more than the region, never from within it', needs, (outer) => {
    const t = vqueueBench(outer);
    const { offset, length } = makeGuest(t).viommu.mmapRegion;
    assert.equal(rawMmap(t, offset, length), 'ok');
    assert.equal(rawMmap(t, offset, length + PAGE), 'ENXIO');
    assert.equal(rawMmap(t, offset + PAGE, PAGE), 'ENXIO');
  });

  test('mapped', 'a mapped vIOMMU is EBUSY, and free again afterwards', needs, (outer) => {
    const t = vqueueBench(outer);
    const { viommu } = makeGuest(t);
    const window = viommu.mmap();
    refused('EBUSY', () => viommu.destroy());
    window.unmap();
    viommu.destroy();
  });

  test('address-0', 'a queue at address 0 is EINVAL', needs, (outer) => {
    const t = vqueueBench(outer);
    const { viommu } = makeGuest(t);
    refused('EINVAL', () => viommu.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova: 0n, length: PAGE }));
  });

  test('unmapped', 'a queue in memory that is not mapped is ENXIO', needs, (outer) => {
    const t = vqueueBench(outer);
    const { viommu, ram } = makeGuest(t);
    const iova = BASE + BigInt(ram.size);
    refused('ENXIO', () => viommu.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova, length: PAGE }));
  });

  test('gap', 'only its first byte is looked at so: a gap further on is ENOENT, as on Linux', needs, (outer) => {
    const t = vqueueBench(outer);
    const { viommu, ram } = makeGuest(t);
    const iova = BASE + BigInt(ram.size) - PAGE;
    refused('ENOENT', () => viommu.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova, length: 2n * PAGE }));
    viommu.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova, length: PAGE }).destroy();
  });

  test('unmap', 'unmapping what lies under a queue is EDEADLOCK, and works once the queue is gone', needs, (outer) => {
    const t = vqueueBench(outer);
    const { ioas, ram, queue } = makeGuest(t);
    const made = queue(0);
    refused('EDEADLK', () => ioas.unmap(BASE, ram.size));
    made.destroy();
    assert.equal(ioas.unmap(BASE, ram.size), BigInt(ram.size));
  });

  test('order', 'queues go in descending order, as on Linux', needs, (outer) => {
    const t = vqueueBench(outer);
    const { queue } = makeGuest(t);
    refused('EIO', () => queue(1));
    const [first, second] = [queue(0), queue(1)];
    refused('EBUSY', () => first.destroy());
    second.destroy();
    first.destroy();
  });
});
