// DmaMemory: what devices may reach, as JavaScript sees it. Freeing it while it is mapped is in ioas-unmap.
import assert from 'node:assert/strict';
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import type { DmaMemory } from '../../lib/index.js';
import { IOMMU_IOAS_MAP_FILE } from '../../lib/uapi/index.js';
import { collect, hostWith, IOVA, translation } from '../rig/address-space.js';
import { type Bench, conformance, PAGE, PAGE_SIZE, refused } from '../rig/suite.js';

const GONE = { name: 'UsageError', code: 'ERR_IOMMUFD_DESTROYED' };
const RANGE = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };
const HUGE = 2 << 20;

/** Memory that the case frees itself, and whether its address range is reserved. */
function own(t: Bench, size = 0x10000): { ram: DmaMemory; reserved: () => boolean } {
  const before = t.rig.census().regions;
  return { ram: t.rig.host.allocateMemory(size), reserved: () => t.rig.census().regions !== before };
}

/** Memory that nothing refers to afterwards: answers whether its address range is reserved. */
function forget(t: Bench): () => boolean {
  const before = t.rig.census().regions;
  t.rig.host.allocateMemory(0x10000);
  return () => t.rig.census().regions !== before;
}

conformance('memory', (test) => {
  for (const backing of ['memfd', 'anonymous'] as const) {
    test(`${backing}-zeroed`, `${backing} memory is zeroed, and keeps what is written`, (t) => {
      const ram = t.memory(0x4000, { backing });
      assert.equal(ram.backing, backing);
      assert.equal(ram.size, 0x4000);
      assert.equal(ram.address % PAGE, 0n);
      assert(ram.window().every((byte) => byte === 0));
      ram.write(0x1ffe, Uint8Array.of(1, 2, 3, 4));
      assert.deepEqual([...ram.read(0x1ffdn, 6n)], [0, 1, 2, 3, 4, 0]);
    });
  }

  test('default-backing', 'memory is a memfd unless asked otherwise', (t) => {
    assert.equal(t.memory().backing, 'memfd');
    assert(t.memory().fd >= 0);
    assert.equal(t.memory(PAGE_SIZE, { backing: 'anonymous' }).fd, -1);
  });

  test('sizes', 'sizes are positive multiples of a page', (t) => {
    const { host } = t.rig;
    for (const size of [0, 1, PAGE_SIZE - 1, PAGE_SIZE + 1, -PAGE_SIZE, 0.5, 2 ** 53])
      assert.throws(() => host.allocateMemory(size), RANGE);
    assert.throws(() => host.allocateMemory('4096' as never), TYPE);
    assert.equal(t.memory(PAGE).size, PAGE_SIZE);
  });

  test('options', 'wrong options are refused', (t) => {
    const { host } = t.rig;
    assert.throws(() => host.allocateMemory(PAGE_SIZE, { backing: 'file' as never }), RANGE);
    assert.throws(() => host.allocateMemory(PAGE_SIZE, { hugePageSize: 12345 }), RANGE);
    assert.throws(() => host.allocateMemory(HUGE, { hugePageSize: 2n as never }), TYPE);
    assert.throws(() => host.allocateMemory(PAGE_SIZE, { huge: true } as never), { code: 'ERR_UNKNOWN_OPTION' });
    assert.throws(() => host.allocateMemory(PAGE_SIZE, { hugePageSize: HUGE }), RANGE);
  });

  test('too-much', 'more than there are addresses is ENOMEM, with nothing left behind', (t) => {
    const error = refused('ENOMEM', () => t.rig.host.allocateMemory(2 ** 50, { backing: 'anonymous' }));
    assert.match(error.message, /hint: /);
  });

  for (const backing of ['memfd', 'anonymous'] as const) {
    test(`huge-${backing}`, `huge pages can back ${backing} memory`, { needs: 'huge-pages' }, (t) => {
      const ram = t.memory(2 * HUGE, { backing, hugePageSize: HUGE });
      ram.window()[HUGE] = 7;
      const ioas = t.iommufd.allocIoas();
      const hwpt = ioas.allocHwpt(t.mockDevice().device);
      ioas.map(ram, { iova: IOVA });
      assert.equal(translation(t, hwpt, IOVA, ram, 0, ram.size), 'ok');
      assert.equal(ioas.map(ram) % BigInt(HUGE), 0n);
    });
  }

  test('huge-offset', 'part of a huge page can be mapped', { needs: 'huge-pages' }, (t) => {
    const ram = t.memory(HUGE, { hugePageSize: HUGE });
    const ioas = t.iommufd.allocIoas();
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    ioas.map(ram, { iova: IOVA, offset: 0x3000, length: 0x2000 });
    assert.equal(translation(t, hwpt, IOVA, ram, 0x3000, 0x2000), 'ok');
  });

  test('windows', 'windows show the same bytes', (t) => {
    const ram = t.memory();
    const [all, part] = [ram.window(), ram.window(0x1000n, 0x10n)];
    all[0x100f] = 0x5a;
    assert.equal(part[0xf], 0x5a);
    assert.equal(part.length, 0x10);
    assert.equal(ram.window(0x10000).length, 0);
    assert.equal(ram.window(5).length, 0xfffb);
  });

  test('window-transferred', 'windows whose bytes were given to another ArrayBuffer are followed by others', (t) => {
    const ram = t.memory();
    const window = ram.window();
    const buffer = window.buffer as ArrayBuffer & { transfer?(): ArrayBuffer };
    // Node 20 copies where it is asked to move, and has no `transfer`.
    structuredClone(window, { transfer: [buffer] });
    const moved = new Uint8Array(buffer.transfer?.() ?? buffer);
    moved[3] = 7;
    assert.equal(ram.window()[3], 7);
    ram.write(4, Uint8Array.of(8));
    assert.deepEqual([...ram.read(3, 2)], [7, 8]);
  });

  test('window-bounds', 'windows stay inside', (t) => {
    const ram = t.memory();
    assert.throws(() => ram.window(0x10001), RANGE);
    assert.throws(() => ram.window(0, 0x10001), RANGE);
    assert.throws(() => ram.window(0xffff, 2), RANGE);
    assert.throws(() => ram.window(-1), RANGE);
    assert.throws(() => ram.window('0' as never), TYPE);
    assert.throws(() => ram.write(0xffff, new Uint8Array(2)), RANGE);
    assert.throws(() => ram.write(0, [1] as never), TYPE);
  });

  test('window-large', 'a window may lie across the first GiB', (t) => {
    const ram = t.memory(2 ** 30 + 0x10000);
    const window = ram.window(2 ** 30 - 8, 16);
    window.fill(9);
    assert.equal(ram.read(2 ** 30 - 1, 2)[1], 9);
    assert.equal(ram.window(2 ** 30).length, 0x10000);
    assert.equal(ram.window(2 ** 30, 1)[0], 9);
  });

  test('read-copies', 'read answers a copy', (t) => {
    const ram = t.memory();
    const copy = ram.read(0, 4);
    ram.window()[0] = 1;
    assert.equal(copy[0], 0);
    ram.free();
    assert.equal(copy.length, 4);
  });

  test('free', 'freeing sends windows to length 0 and gives the range back', (t) => {
    const { ram, reserved } = own(t);
    const [all, part] = [ram.window(), ram.window(0x1000, 4)];
    assert.equal(reserved(), true);
    ram.free();
    assert.deepEqual([all.length, part.length], [0, 0]);
    assert.equal(ram.freed, true);
    assert.equal(reserved(), false);
    ram.free();
    ram[Symbol.dispose]();
    assert.deepEqual(ram.toJSON(), { type: 'DmaMemory', backing: 'memfd', size: 0x10000, freed: true, mappings: 0 });
  });

  test('freed-map', 'freed memory cannot be mapped', async (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ram.free();
    assert.throws(() => ioas.map(ram), GONE);
    assert.throws(() => ioas.mapFile(ram), GONE);
    await assert.rejects(ioas.mapAsync(ram), GONE);
  });

  test('sealed', 'the memfd cannot shrink, whoever opens it', { needs: 'own-files' }, (t) => {
    const ram = t.memory();
    const fd = openSync(`/proc/self/fd/${ram.fd}`, 'r+');
    try {
      assert.throws(() => ftruncateSync(fd, PAGE_SIZE), { code: 'EPERM' });
    } finally {
      closeSync(fd);
    }
    ram.window()[0xffff] = 1;
  });

  test('import', 'a memfd made elsewhere can be imported: the same bytes, an fd of its own', (t) => {
    const ram = t.memory();
    const imported = t.rig.host.unsafeImportMemory(ram.fd, ram.size);
    t.later(() => imported.free());
    assert.equal(imported.backing, 'imported');
    imported.window()[3] = 3;
    assert.equal(ram.window()[3], 3);
    ram.free();
    assert.equal(imported.window()[3], 3);
    const ioas = t.iommufd.allocIoas();
    ioas.map(imported, { iova: IOVA });
    t.iommufd.changeProcess();
    assert.equal(ioas.unmapAll(), 0x10000n);
  });

  test('import-wrong', 'what is no memfd, or too short, cannot', (t) => {
    const { host, seam } = t.rig;
    const ram = t.memory();
    refused('EINVAL', () => host.unsafeImportMemory(ram.fd, ram.size + PAGE_SIZE));
    const fd = seam.open('/dev/null', 2);
    refused('EINVAL', () => host.unsafeImportMemory(fd, PAGE_SIZE));
    seam.close(fd);
    refused('EBADF', () => host.unsafeImportMemory(0x7fff_fff0, PAGE_SIZE));
    assert.throws(() => host.unsafeImportMemory(ram.fd, 100), RANGE);
    assert.throws(() => host.unsafeImportMemory(-1, PAGE_SIZE), RANGE);
  });

  test('prefault', 'makes pages present chunk by chunk, and tells its progress', async (t) => {
    const ram = t.memory();
    const told: [number, number][] = [];
    await ram.prefault({ chunk: 0x4000, onProgress: (done, total) => told.push([done, total]) });
    assert.deepEqual(
      told,
      [0x4000, 0x8000, 0xc000, 0x10000].map((done) => [done, 0x10000]),
    );
  });

  test('prefault-part', 'a part only, in uneven chunks', async (t) => {
    const ram = t.memory();
    const told: number[] = [];
    await ram.prefault({ offset: 0x1000n, length: 0x5000n, chunk: 0x2000, onProgress: (done) => told.push(done) });
    assert.deepEqual(told, [0x2000, 0x4000, 0x5000]);
    await ram.prefault({ offset: 0x10000 });
  });

  test('prefault-keeps', 'what was written stays', async (t) => {
    const ram = t.memory();
    ram.write(0x5000, Uint8Array.of(1, 2, 3));
    await ram.prefault();
    assert.deepEqual([...ram.read(0x5000, 3)], [1, 2, 3]);
  });

  test('prefault-abort', 'an abort ends it between chunks, with the reason given', async (t) => {
    const ram = t.memory();
    const abort = new AbortController();
    const reason = new Error('enough');
    const told: number[] = [];
    const onProgress = (done: number) => {
      told.push(done);
      if (told.length === 2) abort.abort(reason);
    };
    await assert.rejects(
      ram.prefault({ chunk: PAGE_SIZE, signal: abort.signal, onProgress }),
      (error) => error === reason,
    );
    assert.deepEqual(told, [PAGE_SIZE, 2 * PAGE_SIZE]);
    await assert.rejects(ram.prefault({ signal: abort.signal }), (error) => error === reason);
  });

  test('prefault-free', 'memory that is freed meanwhile ends it, and is given back', async (t) => {
    const { ram, reserved } = own(t);
    await assert.rejects(ram.prefault({ chunk: PAGE_SIZE, onProgress: () => ram.free() }), GONE);
    assert.equal(reserved(), false);
  });

  test('prefault-arguments', 'wrong arguments are refused', async (t) => {
    const ram = t.memory();
    await assert.rejects(ram.prefault({ chunk: 1 }), RANGE);
    await assert.rejects(ram.prefault({ offset: 0x10001 }), RANGE);
    await assert.rejects(ram.prefault({ offset: PAGE_SIZE, length: 0x10000 }), RANGE);
    await assert.rejects(ram.prefault({ signal: {} as never }), TYPE);
    await assert.rejects(ram.prefault({ size: 1 } as never), { code: 'ERR_UNKNOWN_OPTION' });
  });

  test('map-async', 'mapAsync maps as map does, and tells its progress', async (t) => {
    const ioas = t.iommufd.allocIoas();
    const hwpt = ioas.allocHwpt(t.mockDevice().device);
    for (const backing of ['memfd', 'anonymous'] as const) {
      const ram = t.memory(0x10000, { backing });
      const told: number[] = [];
      const options = { offset: 0x2000, length: 0x4000, onProgress: (done: number) => told.push(done) };
      const iova = await ioas.mapAsync(ram, options);
      assert.deepEqual(told, [0x4000]);
      assert.equal(translation(t, hwpt, iova, ram, 0x2000, 0x4000), 'ok');
      assert.equal(ram.mappings, 1);
      assert.equal(await ioas.mapAsync(ram, { iova: IOVA + 0x100_0000n, writable: false }), IOVA + 0x100_0000n);
      ioas.unmapAll();
      assert.equal(ram.mappings, 0);
    }
  });

  test('map-async-many', 'many at once do not disturb each other', async (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    const iovas = await Promise.all(Array.from({ length: 20 }, () => ioas.mapAsync(ram)));
    assert.equal(new Set(iovas).size, 20);
    assert.equal(ram.mappings, 20);
    assert.equal(ioas.unmapAll(), 20n * 0x10000n);
  });

  test('map-async-abort', 'an abort leaves nothing mapped, and nothing held', async (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    const abort = new AbortController();
    const reason = new Error('enough');
    const options = { iova: IOVA, signal: abort.signal, onProgress: () => abort.abort(reason) };
    await assert.rejects(ioas.mapAsync(ram, options), (error) => error === reason);
    await assert.rejects(ioas.mapAsync(ram, { signal: abort.signal }), (error) => error === reason);
    assert.equal(ram.mappings, 0);
    assert.equal(ioas.mappingCount, 0);
    assert.equal(ioas.unmapAll(), 0n);
  });

  test('map-async-refused', 'a refusal leaves nothing held', async (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    const syscall = t.has(IOMMU_IOAS_MAP_FILE) ? 'IOMMU_IOAS_MAP_FILE' : 'IOMMU_IOAS_MAP';
    await assert.rejects(ioas.mapAsync(ram, { iova: IOVA }), { code: 'EEXIST', syscall });
    assert.equal(ram.mappings, 1);
    await assert.rejects(ioas.mapAsync(ram, { iovo: 1 } as never), { code: 'ERR_UNKNOWN_OPTION' });
    await assert.rejects(ioas.mapAsync({} as never), TYPE);
    await assert.rejects(ioas.mapAsync(ram, { signal: 1 as never }), TYPE);
  });

  test('map-async-free', 'memory freed while it is made present is not mapped, and is given back', async (t) => {
    const ioas = t.iommufd.allocIoas();
    const { ram, reserved } = own(t);
    await assert.rejects(ioas.mapAsync(ram, { onProgress: () => ram.free() }), GONE);
    assert.equal(reserved(), false);
    assert.equal(ioas.unmapAll(), 0n);
  });

  test('map-async-destroy', 'an address space destroyed meanwhile ends it', async (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    await assert.rejects(ioas.mapAsync(ram, { onProgress: () => ioas.destroy() }), GONE);
    assert.equal(ram.mappings, 0);
  });

  test('map-async-close', 'an iommufd closed meanwhile lets the memory go', async (t) => {
    const { seam } = t.rig;
    let closing: Promise<void> | undefined;
    const host = hostWith(t, {
      ioctlAsync: (fd, request, block, at) => {
        const answer = seam.ioctlAsync(fd, request, block, at);
        if (request === IOMMU_IOAS_MAP_FILE.request) closing = iommufd.closeAsync();
        return answer;
      },
    });
    const iommufd = host.openIommufd();
    t.later(() => iommufd.close());
    const ram = host.allocateMemory(0x4000);
    t.later(() => ram.free());
    await iommufd.allocIoas().mapAsync(ram);
    await closing;
    assert.equal(iommufd.closed, true);
    assert.equal(ram.mappings, 0);
  });

  test('foreign', 'memory of another host is refused', async (t) => {
    const ram = t.memory();
    const iommufd = hostWith(t, {}).openIommufd();
    t.later(() => iommufd.close());
    const ioas = iommufd.allocIoas();
    const foreign = { name: 'UsageError', code: 'ERR_IOMMUFD_FOREIGN_HOST' };
    assert.throws(() => ioas.map(ram), foreign);
    assert.throws(() => ioas.mapFile(ram), foreign);
    await assert.rejects(ioas.mapAsync(ram), foreign);
    assert.equal(ram.mappings, 0);
  });

  test('collected', 'memory that is forgotten is given back, with a warning', async (t) => {
    const reserved = forget(t);
    const warnings: string[] = [];
    const listen = (warning: Error & { code?: string }) => warnings.push(warning.code ?? warning.message);
    process.on('warning', listen);
    try {
      await collect(() => !reserved() && warnings.length > 0);
    } finally {
      process.off('warning', listen);
    }
    assert.equal(reserved(), false);
    assert(warnings.includes('IOMMUFD_COLLECTED'));
  });
});
