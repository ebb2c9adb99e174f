// Code of the caller's that runs in the middle of a call (getters of options, listeners to traces), properties that
// were shadowed, and ids that come to mean another object: none may part what the kernel has mapped from what is kept.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { type CallTrace, Iommufd } from '../../lib/index.js';
import {
  IOMMU_HWPT_GET_DIRTY_BITMAP,
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_UNMAP,
} from '../../lib/uapi/index.js';
import { codeOf, deviceStage, leftovers, NODE, NOTHING, stage, viommuStage } from './stage.js';

const GONE = 'ERR_IOMMUFD_DESTROYED';
const K = 4096;

/** Options of which one is read by a getter that does something else first. */
function meddling<T extends object>(options: T, key: keyof T, meddle: () => void): T {
  const value = options[key];
  const get = () => {
    meddle();
    return value;
  };
  return Object.defineProperty({ ...options }, key, { enumerable: true, get });
}

/** Runs `work`; `listen` hears of its calls with this name. */
function hearing<T>(syscall: string, listen: (trace: CallTrace) => void, work: () => T): T {
  const listener = (message: unknown) => {
    if ((message as CallTrace).syscall === syscall) listen(message as CallTrace);
  };
  subscribe('iommufd:call', listener);
  try {
    return work();
  } finally {
    unsubscribe('iommufd:call', listener);
  }
}

describe('options that are read by code of the caller’s', () => {
  it('cannot destroy an address space under a mapping or a copy', () => {
    const { host, iommufd, seam } = stage();
    const ram = host.allocateMemory(K);
    const calls: ((ioas: ReturnType<Iommufd['allocIoas']>) => unknown)[] = [
      (ioas) =>
        ioas.map(
          ram,
          meddling({ iova: 0n }, 'iova', () => ioas.destroy()),
        ),
      (ioas) =>
        ioas.mapFile(
          ram,
          meddling({ iova: 0n }, 'iova', () => ioas.destroy()),
        ),
      (ioas) =>
        ioas.unsafeMapFd(
          5,
          0,
          meddling({ length: K }, 'length', () => ioas.destroy()),
        ),
      (ioas) =>
        ioas.unsafeMapAddress(
          0,
          meddling({ length: K }, 'length', () => ioas.destroy()),
        ),
      (ioas) =>
        ioas.copy(
          ioas,
          meddling({ sourceIova: 0n, length: K }, 'length', () => ioas.destroy()),
        ),
      (ioas) => ioas.allowIovas([meddling({ start: 0n, last: 1n }, 'last', () => ioas.destroy())]),
    ];
    for (const call of calls) {
      const ioas = iommufd.allocIoas();
      const before = seam.calls.length;
      assert.equal(
        codeOf(() => call(ioas)),
        GONE,
        String(call),
      );
      assert.deepEqual(
        seam.calls.slice(before).map(({ syscall }) => syscall),
        ['IOMMU_DESTROY'],
        String(call),
      );
    }
    assert.equal(ram.mappings, 0);
  });

  it('cannot close the iommufd under a call', () => {
    type Graph = ReturnType<typeof viommuStage>;
    const calls: ((g: Graph, close: () => void) => unknown)[] = [
      (g, close) => g.viommu.invalidate(meddling({ smmuv3: new BigUint64Array(2) }, 'smmuv3', close)),
      (g, close) => g.viommu.mmap(meddling({ length: 8 }, 'length', close)),
      (g, close) => g.viommu.allocVdevice(g.device, meddling({ virtId: 1n }, 'virtId', close)),
      (g, close) => g.viommu.allocVeventq(meddling({ depth: 1 }, 'depth', close)),
      (g, close) => g.viommu.allocHwQueue(meddling({ index: 0, iova: 0, length: K }, 'length', close)),
      (g, close) => g.viommu.allocNestedHwpt(g.device, meddling({ ste: [1n, 0n] as const }, 'ste', close)),
      (g, close) => g.parent.allocViommu(g.device, meddling({ type: 'arm-smmuv3' as const }, 'type', close)),
      (g, close) => g.ioas.allocHwpt(g.device, meddling({ pasid: true }, 'pasid', close)),
      (g, close) => g.device.attach(g.ioas, meddling({ pasid: 1 }, 'pasid', close)),
    ];
    for (const call of calls) {
      const graph = viommuStage();
      let asked = 0;
      const close = () => {
        graph.iommufd.close();
        asked = graph.seam.calls.length;
      };
      assert.equal(
        codeOf(() => call(graph, close)),
        GONE,
        String(call),
      );
      assert.equal(graph.seam.calls.length, asked, String(call));
    }
  });

  it('cannot tell two lengths of the same bytes', () => {
    class Shifty extends Uint8Array {
      override get length(): number {
        return 2 ** 20;
      }
    }
    const { ioas, device, seam } = viommuStage();
    ioas.allocHwpt(device, { data: { type: 1, bytes: new Shifty(8) } });
    assert.equal(seam.made('IOMMU_HWPT_ALLOC').at(-1)?.input.data_len, 8);
  });
});

describe('listeners to traces', () => {
  it('may unmap what was just mapped, and map something else there', () => {
    const { host, iommufd, seam } = stage();
    const ioas = iommufd.allocIoas();
    const [first, second] = [host.allocateMemory(K), host.allocateMemory(K)];
    let once = true;
    const swap = () => {
      if (!once) return;
      once = false;
      ioas.unmap(0n, K);
      ioas.map(second, { iova: 0n });
      first.free();
    };
    hearing('IOMMU_IOAS_MAP_FILE', swap, () => ioas.map(first, { iova: 0n }));
    assert.deepEqual([first.mappings, second.mappings], [0, 1]);
    second.free();
    assert.equal(leftovers(seam).regions, 1, 'the kernel has it mapped');
  });

  it('may free memory between a refused mapping and the next way to map it', () => {
    const { host, iommufd, seam } = stage();
    seam.on(IOMMU_IOAS_MAP, -17);
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(K, { backing: 'anonymous' });
    const map = () =>
      hearing(
        'IOMMU_IOAS_MAP',
        () => ram.free(),
        () => ioas.map(ram),
      );
    assert.equal(codeOf(map), 'EEXIST');
    assert.deepEqual([ram.mappings, leftovers(seam).regions], [0, 0]);
  });

  it('cannot change what a call answered', () => {
    const { iommufd } = stage();
    const forge = ({ output }: CallTrace) => Object.assign(output, { out_ioas_id: 77 });
    assert.notEqual(hearing('IOMMU_IOAS_ALLOC', forge, () => iommufd.allocIoas()).id, 77);
  });

  it('may close the iommufd: nothing is left of what was being made', () => {
    const { iommufd, seam } = stage();
    const alloc = () =>
      hearing(
        'IOMMU_FAULT_QUEUE_ALLOC',
        () => iommufd.close(),
        () => iommufd.allocFaultQueue(),
      );
    assert.equal(codeOf(alloc), GONE);
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('may close what is being closed: its fd is closed once', () => {
    const { iommufd, seam } = stage();
    iommufd.allocIoas();
    hearing(
      'IOMMU_DESTROY',
      () => iommufd.close(),
      () => iommufd.close(),
    );
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('may close a device that is being bound', () => {
    const { host, iommufd } = stage();
    const nic = host.openDevice(NODE);
    const bind = () =>
      hearing(
        'VFIO_DEVICE_BIND_IOMMUFD',
        () => nic.close(),
        () => nic.bind(iommufd),
      );
    assert.equal(codeOf(bind), GONE);
  });

  it('may close a device that is being attached', () => {
    for (const attach of ['attach', 'tryAttach'] as const) {
      const { iommufd, nic, seam } = deviceStage();
      const ioas = iommufd.allocIoas();
      const work = () => nic[attach](ioas);
      assert.equal(
        codeOf(() => hearing('VFIO_DEVICE_ATTACH_IOMMUFD_PT', () => nic.close(), work)),
        GONE,
      );
      assert.deepEqual(ioas.heldBy, []);
      iommufd.close();
      assert.deepEqual(leftovers(seam), NOTHING);
    }
  });

  it('may attach something else than what is being attached, or detached', () => {
    for (const syscall of ['VFIO_DEVICE_ATTACH_IOMMUFD_PT', 'VFIO_DEVICE_DETACH_IOMMUFD_PT']) {
      const { iommufd, nic, device, seam } = deviceStage();
      const [first, second] = [iommufd.allocIoas(), iommufd.allocIoas()];
      const isAttach = syscall === 'VFIO_DEVICE_ATTACH_IOMMUFD_PT';
      if (!isAttach) nic.attach(first);
      let once = true;
      const swap = () => {
        if (!once) return;
        once = false;
        nic.attach(second);
      };
      hearing(syscall, swap, () => (isAttach ? nic.attach(first) : nic.detach()));
      const inUse = device.attachedTo();
      assert.deepEqual(inUse?.parents, [second]);
      assert.deepEqual(first.heldBy, []);
      nic.detach();
      assert.deepEqual(second.heldBy, []);
      iommufd.close();
      assert.deepEqual(leftovers(seam), NOTHING);
    }
  });

  it('cannot read or free a dirty bitmap that is being read', () => {
    const { device, iommufd, seam } = deviceStage();
    const ioas = iommufd.allocIoas();
    const bitmap = ioas.allocHwpt(device, { dirtyTracking: true }).dirtyBitmap({ iova: 0n, length: 16 * K });
    for (const iova of [0, 4 * K]) ioas.unsafeMapAddress(0, { iova, length: K });
    const codes: string[] = [];
    const meddle = () => {
      codes.push(codeOf(() => bitmap.read()));
      bitmap.free();
    };
    const read = () => hearing('IOMMU_HWPT_GET_DIRTY_BITMAP', meddle, () => bitmap.read());
    assert.deepEqual([codeOf(read), codes], [GONE, ['ERR_IOMMUFD_BUSY']]);
    assert.equal(seam.made('IOMMU_HWPT_GET_DIRTY_BITMAP').length, 1);
  });
});

describe('shadowed properties', () => {
  it('of memory change nothing of what is mapped', () => {
    const { host, iommufd, seam } = stage();
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(K, { backing: 'anonymous' });
    const { address } = ram;
    for (const [name, value] of Object.entries({
      address: 0x1000n,
      size: 2 ** 40,
      fd: 3,
      backing: 'memfd',
      freed: false,
    })) {
      Object.defineProperty(ram, name, { value, configurable: true, writable: true });
    }
    assert.equal(
      codeOf(() => ioas.map(ram, { length: 2 * K })),
      'ERR_OUT_OF_RANGE',
    );
    ioas.map(ram, { iova: 0n });
    assert.equal(seam.made('IOMMU_IOAS_MAP').at(-1)?.input.user_va, address);
    assert.equal(seam.made('IOMMU_IOAS_MAP_FILE').length, 0);
  });

  it('of objects cannot make them seem another, or alive', () => {
    const { host, iommufd, seam } = stage();
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(K);
    assert.throws(() => Object.assign(ioas, { id: 99 }), TypeError);
    Object.defineProperty(ioas, 'id', { value: 99 });
    (ioas.parents as unknown[]).push(ioas);
    assert.deepEqual(ioas.parents, []);
    ioas.map(ram, { iova: 0n });
    assert.notEqual(seam.made('IOMMU_IOAS_MAP_FILE').at(-1)?.input.ioas_id, 99);
    const other = iommufd.allocIoas();
    other.copy(ioas, { sourceIova: 0n, length: K });
    assert.notEqual(seam.made('IOMMU_IOAS_COPY').at(-1)?.input.src_ioas_id, 99);
    for (const name of ['finish', 'afterDestroy', 'destroyInKernel']) assert.equal(Reflect.get(ioas, name), undefined);
    Object.defineProperty(ioas, 'destroyed', { value: false });
    iommufd.close();
    const before = seam.calls.length;
    assert.equal(
      codeOf(() => ioas.map(ram, { iova: 0n })),
      GONE,
    );
    assert.equal(seam.calls.length, before);
  });
});

describe('ids that two objects could share', () => {
  it('are answered by the address space that is known', () => {
    const { iommufd, seam } = stage();
    const ioas = iommufd.allocIoas();
    assert.equal(iommufd.adoptIoas(ioas.id), ioas);
    const early = iommufd.adoptIoas(50);
    seam.on(IOMMU_IOAS_ALLOC, (_, { set }) => {
      set({ out_ioas_id: 50 });
      return 0;
    });
    assert.equal(iommufd.allocIoas(), early);
    early.destroy();
    assert.notEqual(iommufd.allocIoas(), early);
  });

  it('are the new one’s as soon as the kernel gave them out again', () => {
    const { host, iommufd, seam } = stage();
    seam.on(IOMMU_IOAS_ALLOC, (_, { set }) => {
      set({ out_ioas_id: 60 });
      return 0;
    });
    const [first, ram] = [iommufd.allocIoas(), host.allocateMemory(K)];
    const made: unknown[] = [];
    const remake = () => {
      if (made.length > 0) return;
      const next = iommufd.allocIoas();
      next.map(ram, { iova: 0n });
      made.push(next);
    };
    hearing('IOMMU_DESTROY', remake, () => first.destroy());
    assert.notEqual(made[0], first);
    assert.equal(ram.mappings, 1);
    assert.equal(iommufd.adoptIoas(60), made[0]);
  });

  it('are not copied from where nothing here keeps the memory', () => {
    const { host, iommufd, seam } = stage();
    const [theirs, target] = [iommufd.allocIoas(), iommufd.allocIoas()];
    const ram = host.allocateMemory(2 * K);
    theirs.map(ram, { iova: 0n });
    const borrowed = Iommufd.fromFd(iommufd.fd, { host, ownership: 'borrowed' });
    const adopted = borrowed.adoptIoas(theirs.id, { mappings: [{ iova: 0n, length: 2 * K }] });
    const copy = () => borrowed.adoptIoas(target.id).copy(adopted, { sourceIova: 0n, length: K, iova: 0x10000n });
    assert.equal(codeOf(copy), 'ERR_IOMMUFD_BORROWED');
    assert.deepEqual(
      seam.made('IOMMU_IOAS_UNMAP').map(({ input }) => [input.ioas_id, input.iova, input.length]),
      [[target.id, 0x10000n, BigInt(K)]],
    );
    assert.equal(
      codeOf(() => target.copy(theirs, { sourceIova: 0n, length: 2 * K, iova: 0x10000n })),
      'ok',
    );
  });

  it('are not adopted half-way', () => {
    const { iommufd } = stage();
    const mappings = [
      { iova: 0n, length: K },
      { iova: -1n, length: K },
    ];
    assert.equal(
      codeOf(() => iommufd.adoptIoas(9, { mappings })),
      'ERR_OUT_OF_RANGE',
    );
    assert.deepEqual(iommufd.objects, []);
  });
});

describe('a dirty bitmap whose read was refused half-way', () => {
  it('keeps what it found, wherever its bits lie in the next read', () => {
    const { device, iommufd, seam } = deviceStage();
    const ioas = iommufd.allocIoas();
    const bitmap = ioas.allocHwpt(device, { dirtyTracking: true }).dirtyBitmap({ iova: 0n, length: 2 ** 30 });
    for (const iova of [64 * K, 512 * K]) ioas.unsafeMapAddress(0, { iova, length: 70 * K });
    let left = 1;
    seam.on(IOMMU_HWPT_GET_DIRTY_BITMAP, ({ data, iova }, { memory }) => {
      if (left-- <= 0) return -12;
      // The kernel tells of pages 65 and 66 of the first stretch, and forgets them.
      if (iova === BigInt(64 * K)) memory(data, 16)[8] = 0b110;
      return 0;
    });
    assert.equal(
      codeOf(() => bitmap.read()),
      'ENOMEM',
    );
    // Another mapping before the first moves all bits, and a large one needs a larger buffer.
    ioas.unsafeMapAddress(0, { iova: 0, length: K });
    ioas.unsafeMapAddress(0, { iova: 1024 * K, length: 200_000 * K });
    seam.on(IOMMU_HWPT_GET_DIRTY_BITMAP, 0);
    assert.deepEqual([...bitmap.read().ranges()], [{ iova: BigInt((64 + 65) * K), length: BigInt(2 * K) }]);
    assert.equal(bitmap.read().dirtyPages, 0);
    seam.on(IOMMU_IOAS_UNMAP, 0);
  });
});
