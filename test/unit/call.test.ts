// The way of a call that is not hot: struct and attached bytes there and back, refusals, traces.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import {
  allocateBlock,
  type CallTrace,
  call,
  callAsync,
  refusal,
  tryCall,
  tryCallAsync,
} from '../../lib/objects/call.js';
import {
  IOMMU_DESTROY,
  IOMMU_GET_HW_INFO,
  IOMMU_HWPT_ALLOC,
  IOMMU_IOAS_ALLOC,
  IOMMU_VIOMMU_ALLOC,
  VFIO_DEVICE_DETACH_IOMMUFD_PT,
} from '../../lib/uapi/index.js';
import { codeOf, codeOfAsync, leftovers, stage } from './stage.js';
import { StubSeam } from './stub-seam.js';

function port(arenaSize?: number): { seam: StubSeam; fd: number } {
  const seam = new StubSeam(arenaSize);
  return { seam, fd: seam.makeFd(true) };
}

/** Runs work with a subscriber; answers what it was told. */
function traced(work: () => void, listen: (trace: CallTrace) => void = () => {}): CallTrace[] {
  const traces: CallTrace[] = [];
  const listener = (message: unknown) => {
    traces.push(message as CallTrace);
    listen(message as CallTrace);
  };
  subscribe('iommufd:call', listener);
  try {
    work();
  } finally {
    unsubscribe('iommufd:call', listener);
  }
  return traces;
}

const pattern = (length: number): Uint8Array => new Uint8Array(length).map((_, i) => i * 13 + 1);

/** The answer of a kernel that looks at attached bytes, then turns every bit of them. */
function flips(seam: StubSeam, seen: Uint8Array[]): void {
  const flip = (data: Uint8Array) => {
    seen.push(data.slice());
    data.forEach((byte, i) => {
      data[i] = ~byte;
    });
    return 0;
  };
  seam.on(IOMMU_VIOMMU_ALLOC, (input, { memory }) => flip(memory(input.data_uptr, input.data_len)));
  seam.on(IOMMU_HWPT_ALLOC, (input, { memory }) => flip(memory(input.data_uptr, input.data_len)));
  seam.on(IOMMU_GET_HW_INFO, (input, { memory }) => flip(memory(input.data_uptr, input.data_len)));
}

describe('call', () => {
  it('says how long the struct is, in whatever the field is called, and zeroes the rest', () => {
    const { seam, fd } = port();
    seam.arena.bytes.fill(0xff);
    seam.on(IOMMU_DESTROY, 0).on(VFIO_DEVICE_DETACH_IOMMUFD_PT, 0);
    tryCall({ seam, fd }, IOMMU_DESTROY, { id: 3 });
    tryCall({ seam, fd }, VFIO_DEVICE_DETACH_IOMMUFD_PT, {});
    assert.deepEqual(seam.calls[0]?.input, { size: 8, id: 3 });
    assert.deepEqual(seam.calls[1]?.input, { argsz: 12, flags: 0, pasid: 0 });
  });

  for (const length of [0, 1, 8, 17, 4096, 300 * 1024]) {
    for (const way of ['sync', 'async'] as const) {
      it(`carries ${length} attached bytes there and back (${way})`, async () => {
        const { seam, fd } = port();
        const seen: Uint8Array[] = [];
        flips(seam, seen);
        const data = pattern(length);
        const input = { data_len: length };
        if (way === 'sync') tryCall({ seam, fd }, IOMMU_VIOMMU_ALLOC, input, { data_uptr: data });
        else await tryCallAsync({ seam, fd }, IOMMU_VIOMMU_ALLOC, input, { data_uptr: data });
        assert.deepEqual(seen, [pattern(length)]);
        assert.deepEqual(
          data,
          pattern(length).map((byte) => ~byte),
        );
        assert.deepEqual([seam.arena.mark(), leftovers(seam).regions], [0, 0]);
      });
    }
  }

  it('writes back what the kernel fills, and leaves alone what it only reads', () => {
    for (const arenaSize of [256 * 1024, 1024]) {
      const { seam, fd } = port(arenaSize);
      flips(seam, []);
      const read = pattern(2000);
      tryCall({ seam, fd }, IOMMU_HWPT_ALLOC, { data_len: 2000 }, { data_uptr: read });
      assert.deepEqual(read, pattern(2000), `arena of ${arenaSize}`);
      const filled = new Uint8Array(2000);
      tryCall({ seam, fd }, IOMMU_GET_HW_INFO, { data_len: 2000 }, { data_uptr: filled });
      assert(filled.every((byte) => byte === 255));
    }
  });

  it('brings back the struct of a call whose bytes did not fit into the arena', () => {
    const { seam, fd } = port(1024);
    seam.on(IOMMU_VIOMMU_ALLOC, (_, { set }) => {
      set({ out_viommu_id: 77 });
      return 0;
    });
    const out = call({ seam, fd }, IOMMU_VIOMMU_ALLOC, { data_len: 5000 }, { data_uptr: new Uint8Array(5000) });
    assert.equal(out.out_viommu_id, 77);
  });

  it('leaves nothing behind when a seam throws', async () => {
    const { seam, fd } = port(1024);
    const data = { data_uptr: new Uint8Array(5000) };
    assert.throws(() => tryCall({ seam, fd }, IOMMU_VIOMMU_ALLOC, {}), /not scripted/);
    assert.throws(() => tryCall({ seam, fd }, IOMMU_VIOMMU_ALLOC, {}, data), /not scripted/);
    await assert.rejects(tryCallAsync({ seam, fd }, IOMMU_VIOMMU_ALLOC, {}, data), /not scripted/);
    assert.deepEqual([seam.arena.mark(), leftovers(seam).regions], [0, 0]);
  });

  it('answers a refusal, or throws it with the arguments that count', async () => {
    const { seam, fd } = port();
    seam.on(IOMMU_DESTROY, -16);
    assert.equal(tryCall({ seam, fd }, IOMMU_DESTROY, { id: 3 }).result, -16);
    assert.throws(() => call({ seam, fd }, IOMMU_DESTROY, { id: 3 }), { code: 'EBUSY', args: { id: 3 } });
    assert.equal(await codeOfAsync(callAsync({ seam, fd }, IOMMU_DESTROY, { id: 3 })), 'EBUSY');
    const args = refusal({ seam }, IOMMU_HWPT_ALLOC, -22, { dev_id: 0, __reserved: 1, fault_id: undefined }).args;
    assert.deepEqual(args, { dev_id: 0 });
  });

  it('says so where there is no block to be had', async () => {
    const { seam, fd } = port(1024);
    seam.on(IOMMU_VIOMMU_ALLOC, 0);
    seam.fail('allocateBlock', -12);
    assert.equal(
      codeOf(() => call({ seam, fd }, IOMMU_VIOMMU_ALLOC, {}, { data_uptr: new Uint8Array(5000) })),
      'ENOMEM',
    );
    seam.fail('allocateBlock', -12);
    assert.equal(await codeOfAsync(callAsync({ seam, fd }, IOMMU_VIOMMU_ALLOC, {})), 'ENOMEM');
    assert.equal(seam.calls.length, 0);
  });

  it('takes blocks of whole pages, one at least', () => {
    const { seam } = port();
    for (const [size, length] of [
      [0, 4096],
      [1, 4096],
      [4096, 4096],
      [4097, 8192],
    ] as const) {
      assert.equal(allocateBlock(seam, size).length, length);
    }
  });
});

describe('call traces', () => {
  it('tell call, input, result and output, refusals included', () => {
    const { seam, fd } = port();
    seam.on(IOMMU_IOAS_ALLOC, (_, { set }) => {
      set({ out_ioas_id: 9 });
      return 0;
    });
    seam.on(IOMMU_DESTROY, -2);
    const traces = traced(() => {
      tryCall({ seam, fd }, IOMMU_IOAS_ALLOC, {});
      tryCall({ seam, fd }, IOMMU_DESTROY, { id: 5 });
    });
    assert.deepEqual(
      traces.map(({ host, syscall, result, input }) => [host, syscall, result, input]),
      [
        ['replay', 'IOMMU_IOAS_ALLOC', 0, {}],
        ['replay', 'IOMMU_DESTROY', -2, { id: 5 }],
      ],
    );
    assert.equal(traces[0]?.fd, fd);
    assert.equal(traces[0]?.output.out_ioas_id, 9);
  });

  it('are told of the hot calls as well', () => {
    const { host, iommufd } = stage();
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(8192);
    const anonymous = host.allocateMemory(8192, { backing: 'anonymous' });
    const traces = traced(() => {
      ioas.map(ram, { iova: 0x1000n });
      ioas.map(anonymous, { iova: 0x8000n });
      ioas.unmap(0x1000n, 8192);
    });
    assert.deepEqual(
      traces.map(({ syscall }) => syscall),
      ['IOMMU_IOAS_MAP_FILE', 'IOMMU_IOAS_MAP', 'IOMMU_IOAS_UNMAP'],
    );
    assert.equal(traces[0]?.output.iova, 0x1000n);
  });

  it('come after all is decoded: a listener may make calls of its own', () => {
    const base = stage();
    const { host, iommufd, seam } = base;
    const other = iommufd.allocIoas();
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(4096);
    let depth = 0;
    const ids: number[] = [];
    traced(
      () => {
        ids.push(iommufd.allocIoas().id);
        assert.equal(ioas.map(ram, { iova: 0x40_0000n }), 0x40_0000n);
        assert.equal(ioas.unmap(0x40_0000n, 4096), 4096n);
      },
      () => {
        if (depth > 0) return;
        depth++;
        seam.arena.bytes.fill(0xee, seam.arena.mark(), seam.arena.mark() + 512);
        other.map(ram, { iova: 0x9000n });
        other.unmap(0x9000n, 4096);
        depth--;
      },
    );
    assert.deepEqual(ids, [3]);
    assert.equal(ioas.mappingCount, 0);
    assert.equal(ram.mappings, 0);
    assert.equal(seam.arena.mark(), 0);
  });

  it('are not made where nobody listens', () => {
    const { seam, fd } = port();
    seam.on(IOMMU_DESTROY, 0);
    const input = {
      id: 1,
      get size(): number {
        looks++;
        return 8;
      },
    };
    let looks = 0;
    tryCall({ seam, fd }, IOMMU_DESTROY, input);
    const untraced = looks;
    const traces = traced(() => tryCall({ seam, fd }, IOMMU_DESTROY, { id: 2 }));
    assert.equal(untraced, 1, 'the input is looked at once, to encode it');
    assert.equal(traces.length, 1, 'calls before the subscription are not told');
  });
});
