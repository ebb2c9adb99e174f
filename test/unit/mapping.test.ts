// Mapping and unmapping on the stub seam: which call is made, and what keeps the memory.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { CallTrace } from '../../lib/index.js';
import { IOMMU_IOAS_MAP, IOMMU_IOAS_MAP_FILE, IOMMU_IOAS_UNMAP } from '../../lib/uapi/index.js';
import { codeOf, codeOfAsync, leftovers, type Stage, stage, turn } from './stage.js';

function mapping(): Stage & { ioas: ReturnType<Stage['iommufd']['allocIoas']> } {
  const base = stage();
  return { ...base, ioas: base.iommufd.allocIoas() };
}

describe('mapping', () => {
  it('goes by file, or by address where the memory has none', () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(16384);
    const anonymous = host.allocateMemory(16384, { backing: 'anonymous' });
    ioas.map(ram, { iova: 0x1000n, offset: 4096, length: 8192, writable: false });
    ioas.map(anonymous, { offset: 4096n, readable: false });
    assert.deepEqual(seam.made('IOMMU_IOAS_MAP_FILE')[0]?.input, {
      size: 40,
      flags: 0b101,
      ioas_id: ioas.id,
      fd: ram.fd,
      start: 4096n,
      length: 8192n,
      iova: 0x1000n,
    });
    assert.deepEqual(seam.made('IOMMU_IOAS_MAP')[0]?.input, {
      size: 40,
      flags: 0b010,
      ioas_id: ioas.id,
      __reserved: 0,
      user_va: anonymous.address + 4096n,
      length: 12288n,
      iova: 0n,
    });
  });

  it('answers the IOVA that the kernel chose, beyond 2^53 too', () => {
    const { host, ioas, seam } = mapping();
    const iova = 2n ** 63n + 4096n;
    seam.on(IOMMU_IOAS_MAP_FILE, (_, { set }) => {
      set({ iova });
      return 0;
    });
    const ram = host.allocateMemory(4096);
    assert.equal(ioas.map(ram), iova);
    ioas.unmap(iova, 4096);
    assert.equal(ram.mappings, 0);
  });

  it('falls back to the address where the kernel cannot map files, unless files were asked for', async () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(4096);
    seam.on(IOMMU_IOAS_MAP_FILE, -25);
    ioas.map(ram, { iova: 0n });
    assert.equal(seam.made('IOMMU_IOAS_MAP')[0]?.input.user_va, ram.address);
    await ioas.mapAsync(ram, { iova: 4096n });
    assert.equal(seam.made('IOMMU_IOAS_MAP').length, 2);
    assert.throws(() => ioas.mapFile(ram), { code: 'ENOTTY', syscall: 'IOMMU_IOAS_MAP_FILE' });
    assert.equal(ram.mappings, 2);
  });

  it('tells of the call that was refused, with what was asked', async () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(4096);
    seam.on(IOMMU_IOAS_MAP_FILE, -25).on(IOMMU_IOAS_MAP, -17);
    const expected = { code: 'EEXIST', syscall: 'IOMMU_IOAS_MAP' };
    assert.throws(() => ioas.map(ram, { iova: 0x2000n }), expected);
    await assert.rejects(ioas.mapAsync(ram, { iova: 0x2000n }), expected);
    assert.equal(ram.mappings, 0, 'a refused mapping holds nothing');
  });

  it('keeps memory that is freed while mapped until the last mapping of it goes', () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(8192);
    const window = ram.window();
    ioas.map(ram, { iova: 0n });
    ioas.map(ram, { iova: 0x10000n, length: 4096 });
    ioas.copy(ioas, { sourceIova: 4096n, length: 4096n, iova: 0x20000n });
    const [region] = seam.regions;
    ram.free();
    ram.free();
    assert.equal(window.length, 0);
    assert.equal(
      codeOf(() => ram.window()),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(
      codeOf(() => ioas.map(ram)),
      'ERR_IOMMUFD_DESTROYED',
    );
    for (const [iova, length] of [
      [0n, 8192],
      [0x10000n, 4096],
    ] as const) {
      ioas.unmap(iova, length);
      assert.equal(region?.live, true);
    }
    ioas.unmap(0x20000n, 4096);
    assert.equal(region?.live, false);
  });

  it('keeps memory where unmapping fails half-way', () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(4096);
    ioas.map(ram, { iova: 0n });
    seam.on(IOMMU_IOAS_UNMAP, (_, { set }) => {
      set({ length: 4096n });
      return -16;
    });
    assert.equal(
      codeOf(() => ioas.unmapAll()),
      'EBUSY',
    );
    ram.free();
    assert.equal(leftovers(seam).regions, 1);
    seam.on(IOMMU_IOAS_UNMAP, 0);
    ioas.unmapAll();
    assert.equal(leftovers(seam).regions, 0);
  });

  it('answers how much was unmapped', () => {
    const { ioas, seam } = mapping();
    seam.on(IOMMU_IOAS_UNMAP, (_, { set }) => {
      set({ length: 12288n });
      return 0;
    });
    assert.equal(ioas.unmapAll(), 12288n);
    assert.deepEqual(seam.made('IOMMU_IOAS_UNMAP')[0]?.input.length, 2n ** 64n - 1n);
  });

  it('refuses arguments that do not fit before the kernel is asked', () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(8192);
    const bad: [object, string][] = [
      [{ offset: 8193 }, 'ERR_OUT_OF_RANGE'],
      [{ offset: 4096, length: 4097 }, 'ERR_OUT_OF_RANGE'],
      [{ iova: -1n }, 'ERR_OUT_OF_RANGE'],
      [{ readable: false, writable: false }, 'ERR_OUT_OF_RANGE'],
      [{ readable: 0 }, 'ERR_INVALID_ARG_TYPE'],
      [{ iowa: 0n }, 'ERR_UNKNOWN_OPTION'],
    ];
    for (const [options, code] of bad)
      assert.equal(
        codeOf(() => ioas.map(ram, options)),
        code,
      );
    assert.equal(
      codeOf(() => ioas.map({} as typeof ram)),
      'ERR_INVALID_ARG_TYPE',
    );
    assert.equal(
      codeOf(() => ioas.mapFile(host.allocateMemory(4096, { backing: 'anonymous' }))),
      'ERR_INVALID_ARG_TYPE',
    );
    assert.equal(seam.made('IOMMU_IOAS_MAP_FILE').length, 0);
    assert.equal(ram.mappings, 0);
  });
});

describe('mapping on the thread pool', () => {
  it('makes the memory present first, in chunks, and tells how far it is', async () => {
    const { host, ioas, seam } = mapping();
    const chunk = 64 * 2 ** 20;
    const ram = host.allocateMemory(3 * chunk);
    const progress: number[] = [];
    const options = { iova: 0n, offset: 4096, onProgress: (done: number) => progress.push(done) };
    assert.equal(await ioas.mapAsync(ram, options), 0n);
    assert.deepEqual(progress, [chunk, 2 * chunk, 3 * chunk - 4096]);
    assert.deepEqual(seam.prefaults[0], { offset: 4096, length: chunk });
    assert.equal(seam.made('IOMMU_IOAS_MAP_FILE')[0]?.input.length, BigInt(3 * chunk - 4096));
  });

  it('maps nothing once aborted, and holds nothing', async () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(3 * 64 * 2 ** 20);
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = () => controller.abort(reason);
    await assert.rejects(ioas.mapAsync(ram, { signal: controller.signal, onProgress }), reason);
    await assert.rejects(ioas.mapAsync(ram, { signal: controller.signal }), reason);
    assert.equal(seam.prefaults.length, 1);
    assert.equal(seam.made('IOMMU_IOAS_MAP_FILE').length, 0);
    assert.equal(ram.mappings, 0);
  });

  it('maps nothing where the memory cannot be made present', async () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(4096);
    seam.fail('prefault', -12);
    assert.equal(await codeOfAsync(ioas.mapAsync(ram)), 'ENOMEM');
    assert.deepEqual([seam.made('IOMMU_IOAS_MAP_FILE').length, ram.mappings], [0, 0]);
  });

  it('maps nothing into what was destroyed meanwhile', async () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(4096);
    const pending = ioas.mapAsync(ram);
    ioas.destroy();
    assert.equal(await codeOfAsync(pending), 'ERR_IOMMUFD_DESTROYED');
    assert.deepEqual([seam.made('IOMMU_IOAS_MAP_FILE').length, ram.mappings], [0, 0]);
  });

  it('keeps the address space while the call is under way: its id must not become another one’s', async () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(4096);
    const pending = ioas.mapAsync(ram);
    while (seam.made('IOMMU_IOAS_MAP_FILE').length === 0) {
      seam.holdPool = seam.prefaults.length > 0;
      await turn(1);
    }
    assert.equal(
      codeOf(() => ioas.destroy()),
      'ERR_IOMMUFD_BUSY',
    );
    seam.deliver();
    await pending;
    assert.equal(ram.mappings, 1);
    ioas.destroy();
    assert.equal(ram.mappings, 0);
  });

  it('keeps what was mapped in its place after it was overtaken by an unmapping', async () => {
    const { host, ioas, seam } = mapping();
    const [first, second] = [host.allocateMemory(4096), host.allocateMemory(4096)];
    const pending = ioas.mapAsync(first, { iova: 0x1000n });
    while (seam.made('IOMMU_IOAS_MAP_FILE').length === 0) {
      seam.holdPool = seam.prefaults.length > 0;
      await turn(1);
    }
    // The kernel has mapped it already; this process does not know yet.
    ioas.unmap(0x1000n, 4096);
    ioas.map(second, { iova: 0x1000n });
    seam.deliver();
    await pending;
    second.free();
    assert.equal([...seam.regions].filter(({ kind }) => kind === 'memory').length, 2, 'the kernel has the second');
    ioas.unmap(0x1000n, 4096);
    assert.deepEqual([first.mappings, second.mappings, ioas.mappingCount], [0, 0, 0]);
  });

  it('keeps memory that is freed meanwhile until the mapping is undone', async () => {
    const { host, ioas, seam } = mapping();
    const ram = host.allocateMemory(4096);
    const pending = ioas.mapAsync(ram, { iova: 0n });
    while (seam.made('IOMMU_IOAS_MAP_FILE').length === 0) {
      seam.holdPool = seam.prefaults.length > 0;
      await turn(1);
    }
    ram.free();
    const region = [...seam.regions].find(({ kind }) => kind === 'memory');
    seam.deliver();
    await pending;
    assert.equal(region?.live, true);
    ioas.unmap(0n, 4096);
    assert.equal(region?.live, false);
  });

  it('keeps memory that a listener to traces mapped where it hears of an unmapping', () => {
    const { host, ioas } = mapping();
    const [first, second] = [host.allocateMemory(4096), host.allocateMemory(4096)];
    ioas.map(first, { iova: 0x1000n });
    const remap = (message: unknown) => {
      if ((message as CallTrace).syscall === 'IOMMU_IOAS_UNMAP') ioas.map(second, { iova: 0x1000n });
    };
    subscribe('iommufd:call', remap);
    try {
      ioas.unmap(0x1000n, 4096);
    } finally {
      unsubscribe('iommufd:call', remap);
    }
    assert.deepEqual([first.mappings, second.mappings, ioas.mappingCount], [0, 1, 1]);
  });

  it('keeps copied memory that a listener to traces unmaps from the source and frees', () => {
    const { host, iommufd, ioas, seam } = mapping();
    const other = iommufd.allocIoas();
    const ram = host.allocateMemory(4096);
    ioas.map(ram, { iova: 0x1000n });
    const free = (message: unknown) => {
      if ((message as CallTrace).syscall !== 'IOMMU_IOAS_COPY') return;
      ioas.unmap(0x1000n, 4096);
      ram.free();
    };
    subscribe('iommufd:call', free);
    try {
      other.copy(ioas, { sourceIova: 0x1000n, length: 4096, iova: 0x1000n });
    } finally {
      unsubscribe('iommufd:call', free);
    }
    assert.equal(ram.mappings, 1);
    assert.equal(leftovers(seam).regions, 1, 'the copy needs it');
    other.unmapAll();
    assert.equal(leftovers(seam).regions, 0);
  });
});
