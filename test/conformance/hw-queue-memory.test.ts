// The memory of a hardware queue: mapped, readable, contiguous, and pinned for as long as the queue lives.
import assert from 'node:assert/strict';
import { test_check_map, test_check_refs } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IOMMU_IOAS_MAP, iommufd_ioas_map_flags } from '../../lib/uapi/index.js';
import { BASE, type Guest, makeGuest, makeViommu, QUEUE_TYPE } from '../rig/guest.js';
import { MOCK_PAGE_SIZE, tryTestCmd } from '../rig/mock.js';
import { type Bench, conformance, PAGE, portOf, refused } from '../rig/suite.js';

/** Free IOVAs behind the guest's memory. */
const SPOT = BASE + 0x100_0000n;

function makeQueue(guest: Guest, iova: bigint, length: bigint | number = PAGE, index = 0) {
  return guest.viommu.allocHwQueue({ type: QUEUE_TYPE, index, iova, length });
}

/** Asserts how often each page of the guest's memory is pinned. */
function assertPins(t: Bench, guest: Guest, refs: number): void {
  const input = { length: PAGE, uptr: guest.ram.address, refs };
  const { result } = tryTestCmd(portOf(t), 'IOMMU_TEST_OP_MD_CHECK_REFS', test_check_refs, input);
  assert.equal(result, 0, `not ${refs} pins`);
}

/** Asserts that the nesting parent maps the guest's memory. */
function assertMapped(t: Bench, guest: Guest): void {
  const input = { id: guest.parent.id, iova: BASE, length: BigInt(guest.ram.size), uptr: guest.ram.address };
  assert.equal(tryTestCmd(portOf(t), 'IOMMU_TEST_OP_MD_CHECK_MAP', test_check_map, input).result, 0);
}

conformance('hw-queue-memory', (test) => {
  test('not-mapped', 'memory that is not mapped is ENOENT', (t) => {
    const guest = makeGuest(t);
    assert.match(refused('ENOENT', () => makeQueue(guest, SPOT)).message, /not mapped from end to end/);
  });

  test('outside-aperture', 'so is memory outside what the IOMMU can map at all', (t) => {
    refused('ENOENT', () => makeQueue(makeGuest(t), 1n << 40n));
  });

  test('address-0', 'address 0 is not refused as such: nothing is mapped there', (t) => {
    refused('ENOENT', () => makeQueue(makeGuest(t), 0n));
  });

  test('end-not-mapped', 'a queue that ends behind the mapping is ENOENT', (t) => {
    const guest = makeGuest(t);
    const last = BASE + BigInt(guest.ram.size) - PAGE;
    refused('ENOENT', () => makeQueue(guest, last, PAGE + 1n));
    assert.equal(makeQueue(guest, last).iova, last);
  });

  test('start-not-mapped', 'a queue that starts before the mapping is ENOENT', (t) => {
    const guest = makeGuest(t);
    guest.ioas.map(guest.ram, { iova: SPOT });
    refused('ENOENT', () => makeQueue(guest, SPOT - PAGE, 2n * PAGE));
  });

  test('gap', 'a hole between two mappings is ENOENT', (t) => {
    const guest = makeGuest(t);
    guest.ioas.map(guest.ram, { iova: SPOT, length: 4096 });
    guest.ioas.map(guest.ram, { iova: SPOT + 2n * PAGE, offset: 8192, length: 4096 });
    refused('ENOENT', () => makeQueue(guest, SPOT, 3n * PAGE));
    assert.equal(guest.ioas.unmap(SPOT, 3n * PAGE), 2n * PAGE);
  });

  test('write-only', 'memory mapped without read permission is EPERM', (t) => {
    const guest = makeGuest(t);
    guest.ioas.map(guest.ram, { iova: SPOT, readable: false });
    assert.match(refused('EPERM', () => makeQueue(guest, SPOT)).message, /without read permission/);
    guest.ioas.unmap(SPOT, guest.ram.size);
  });

  test('read-only', 'read permission is enough', (t) => {
    const guest = makeGuest(t);
    guest.ioas.map(guest.ram, { iova: SPOT, writable: false });
    assert.equal(makeQueue(guest, SPOT).iova, SPOT);
  });

  test('permission-order', 'areas are looked at from the first on: permission before a gap behind it', (t) => {
    const guest = makeGuest(t);
    guest.ioas.map(guest.ram, { iova: SPOT, length: 4096, readable: false });
    refused('EPERM', () => makeQueue(guest, SPOT, 2n * PAGE));
    guest.ioas.map(guest.ram, { iova: SPOT - PAGE, length: 4096 });
    refused('EPERM', () => makeQueue(guest, SPOT - PAGE, 3n * PAGE));
    assert.equal(guest.ioas.unmap(SPOT - PAGE, 2n * PAGE), 2n * PAGE);
  });

  test('not-contiguous', 'pages that do not follow each other in physical memory are EFAULT', (t) => {
    const guest = makeGuest(t);
    // The same page twice: it cannot follow itself.
    guest.ioas.map(guest.ram, { iova: SPOT, length: 4096 });
    guest.ioas.map(guest.ram, { iova: SPOT + PAGE, length: 4096 });
    assert.match(refused('EFAULT', () => makeQueue(guest, SPOT, 2n * PAGE)).message, /not physically contiguous/);
    assert.equal(guest.ioas.unmap(SPOT, 2n * PAGE), 2n * PAGE);
  });

  const layout = { dependsOnLayout: true };
  test('swapped', 'two pages are EFAULT in one of their two orders, if not in both', layout, (t) => {
    const guest = makeGuest(t);
    for (const [at, offset] of [0, 4096, 4096, 0].entries()) {
      guest.ioas.map(guest.ram, { iova: SPOT + BigInt(at) * PAGE, offset, length: 4096 });
    }
    const works = [SPOT, SPOT + 2n * PAGE].filter((iova) => {
      try {
        makeQueue(guest, iova, 2n * PAGE).destroy();
        return true;
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'EFAULT');
        return false;
      }
    });
    assert(works.length < 2);
  });

  test('contiguity-by-page', 'bytes are not pages: across a page boundary both pages count, within one none', (t) => {
    const guest = makeGuest(t);
    guest.ioas.map(guest.ram, { iova: SPOT, length: 4096 });
    guest.ioas.map(guest.ram, { iova: SPOT + PAGE, length: 4096 });
    refused('EFAULT', () => makeQueue(guest, SPOT + PAGE - 1n, 2n));
    assert.equal(makeQueue(guest, SPOT + PAGE - 1n, 1n).length, 1n);
  });

  test('contiguity-before-index', 'contiguity is looked at before the index', (t) => {
    const guest = makeGuest(t);
    guest.queue(0);
    guest.ioas.map(guest.ram, { iova: SPOT, length: 4096 });
    guest.ioas.map(guest.ram, { iova: SPOT + PAGE, length: 4096 });
    refused('EFAULT', () => makeQueue(guest, SPOT, 2n * PAGE, 0));
  });

  test('unaligned', 'the kernel itself asks for no alignment of address or length', (t) => {
    const guest = makeGuest(t);
    const queue = makeQueue(guest, BASE + 0x123n, 77n);
    assert.deepEqual([queue.iova, queue.length], [BASE + 0x123n, 77n]);
    refused('EBUSY', () => guest.ioas.unmap(BASE, guest.ram.size));
    queue.destroy();
    assert.equal(guest.ioas.unmap(BASE, guest.ram.size), BigInt(guest.ram.size));
  });

  test('huge-page', 'in a huge page, a queue may be as long as the page', { needs: 'huge-pages' }, (t) => {
    const guest = makeGuest(t);
    const size = 2 * 2 ** 20;
    const ram = t.memory(size, { hugePageSize: size });
    guest.ioas.map(ram, { iova: SPOT });
    assert.equal(makeQueue(guest, SPOT, size).length, BigInt(size));
    assert.equal(makeQueue(guest, SPOT + 0x1234n, 0x4_0000, 1).index, 1);
  });

  test('two-mappings', 'a queue may span mappings, and holds each of them', { needs: 'huge-pages' }, (t) => {
    const guest = makeGuest(t);
    const size = 2 * 2 ** 20;
    const ram = t.memory(size, { hugePageSize: size });
    guest.ioas.map(ram, { iova: SPOT, length: 8192 });
    guest.ioas.map(ram, { iova: SPOT + 2n * PAGE, offset: 8192, length: 8192 });
    const queue = makeQueue(guest, SPOT + PAGE, 2n * PAGE);
    refused('EBUSY', () => guest.ioas.unmap(SPOT, 2n * PAGE));
    refused('EBUSY', () => guest.ioas.unmap(SPOT + 2n * PAGE, 2n * PAGE));
    queue.destroy();
    assert.equal(guest.ioas.unmap(SPOT, 4n * PAGE), 4n * PAGE);
  });

  test('pinned', 'while the queue lives, unmapping its memory is EBUSY; afterwards it works', (t) => {
    const guest = makeGuest(t);
    const queue = guest.queue(0);
    const error = refused('EBUSY', () => guest.ioas.unmap(BASE, guest.ram.size));
    assert.match(error.message, /hardware queue/);
    assertMapped(t, guest);
    queue.destroy();
    assert.equal(guest.ioas.unmap(BASE, guest.ram.size), BigInt(guest.ram.size));
  });

  test('pinned-partly', 'a range that holds only part of the mapping is EBUSY too, not ENOENT', (t) => {
    const guest = makeGuest(t);
    const queue = guest.queue(0);
    refused('EBUSY', () => guest.ioas.unmap(BASE + 4n * PAGE, PAGE));
    queue.destroy();
    refused('ENOENT', () => guest.ioas.unmap(BASE + 4n * PAGE, PAGE));
  });

  test('pinned-others', 'other mappings come and go as ever', (t) => {
    const guest = makeGuest(t);
    guest.queue(0);
    guest.ioas.map(guest.ram, { iova: SPOT });
    assert.equal(guest.ioas.unmap(SPOT, guest.ram.size), BigInt(guest.ram.size));
  });

  test(
    'pinned-all',
    'unmapping everything is EBUSY; what lies before the queue is gone, and can be mapped again',
    (t) => {
      const guest = makeGuest(t);
      const { ioas, ram } = guest;
      ioas.map(ram, { iova: SPOT });
      const queue = makeQueue(guest, SPOT);
      refused('EBUSY', () => ioas.unmapAll());
      refused('ENOENT', () => ioas.unmap(BASE, ram.size));
      ioas.map(ram, { iova: BASE });
      refused('EEXIST', () => ioas.map(ram, { iova: SPOT }));
      queue.destroy();
      assert.equal(ioas.unmapAll(), BigInt(ram.size) * 2n);
      assert.equal(ioas.mappingCount, 0);
      assert.equal(ram.mappings, 0);
    },
  );

  test('refused-no-pin', 'a refused queue pins nothing', (t) => {
    const guest = makeGuest(t);
    refused('EIO', () => guest.queue(1));
    refused('EINVAL', () => makeQueue(guest, BASE, PAGE, 9));
    refused('ENOENT', () => makeQueue(guest, BASE, BigInt(guest.ram.size) + 1n));
    assert.equal(guest.ioas.unmap(BASE, guest.ram.size), BigInt(guest.ram.size));
  });

  test('same-memory', 'two queues may share memory: it is free when both are gone', (t) => {
    const guest = makeGuest(t);
    const other = makeViommu(guest.parent, guest.device);
    const first = guest.queue(0);
    const second = other.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova: BASE, length: PAGE });
    first.destroy();
    refused('EBUSY', () => guest.ioas.unmap(BASE, guest.ram.size));
    second.destroy();
    assert.equal(guest.ioas.unmap(BASE, guest.ram.size), BigInt(guest.ram.size));
  });

  test('pins', 'a page is pinned once, queue or not, and not at all once it is unmapped', (t) => {
    const guest = makeGuest(t);
    assertPins(t, guest, 1);
    const queue = guest.queue(0);
    assertPins(t, guest, 1);
    queue.destroy();
    assertPins(t, guest, 1);
    guest.ioas.unmapAll();
    assertPins(t, guest, 0);
  });

  test('automatic-iova', 'memory that the kernel chose the IOVA of will do', (t) => {
    const guest = makeGuest(t);
    const iova = guest.ioas.map(guest.ram);
    assert.equal(makeQueue(guest, iova).iova, iova);
    refused('EBUSY', () => guest.ioas.unmap(iova, guest.ram.size));
  });

  test('by-address', 'so will memory mapped by address', (t) => {
    const guest = makeGuest(t);
    const ram = t.memory(0x4000, { backing: 'anonymous' });
    guest.ioas.map(ram, { iova: SPOT });
    const queue = makeQueue(guest, SPOT + PAGE);
    refused('EBUSY', () => guest.ioas.unmap(SPOT, 0x4000));
    queue.destroy();
    assert.equal(guest.ioas.unmap(SPOT, 0x4000), 0x4000n);
  });

  test('freed', 'memory that is freed while a queue lives goes when it is unmapped, not before', (t) => {
    const guest = makeGuest(t);
    const queue = guest.queue(0);
    guest.ram.free();
    assert.equal(guest.ram.mappings, 1);
    refused('EBUSY', () => guest.ioas.unmap(BASE, guest.ram.size));
    assert.equal(guest.ram.mappings, 1);
    queue.destroy();
    guest.ioas.unmap(BASE, guest.ram.size);
    assert.equal(guest.ram.mappings, 0);
  });

  test('alignment', 'while a queue lives, its address space maps whole pages only', (t) => {
    const guest = makeGuest(t);
    assert.equal(guest.ioas.iovaRanges().alignment, BigInt(MOCK_PAGE_SIZE));
    const queue = guest.queue(0);
    assert.equal(guest.ioas.iovaRanges().alignment, PAGE);
    refused('EINVAL', () => guest.ioas.map(guest.ram, { iova: SPOT, length: MOCK_PAGE_SIZE }));
    queue.destroy();
    assert.equal(guest.ioas.iovaRanges().alignment, BigInt(MOCK_PAGE_SIZE));
    guest.ioas.map(guest.ram, { iova: SPOT, length: MOCK_PAGE_SIZE });
  });

  test('small-mapping', 'where less than a page is mapped somewhere, a queue is EADDRINUSE', (t) => {
    const guest = makeGuest(t);
    guest.ioas.map(guest.ram, { iova: SPOT, length: MOCK_PAGE_SIZE });
    assert.match(refused('EADDRINUSE', () => guest.queue(0)).message, /less than page granularity/);
    guest.ioas.unmap(SPOT, MOCK_PAGE_SIZE);
    assert.equal(guest.queue(0).index, 0);
  });

  test('odd-memory', 'nor may memory start within a page', (t) => {
    const guest = makeGuest(t);
    const { IOMMU_IOAS_MAP_FIXED_IOVA, IOMMU_IOAS_MAP_READABLE } = iommufd_ioas_map_flags.values;
    const user_va = guest.ram.address + BigInt(MOCK_PAGE_SIZE);
    const flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE;
    const input = { ioas_id: guest.ioas.id, flags, user_va, length: PAGE, iova: SPOT };
    assert.equal(t.ioctl(IOMMU_IOAS_MAP, input).code, 'ok');
    refused('EADDRINUSE', () => makeQueue(guest, SPOT));
  });
});
