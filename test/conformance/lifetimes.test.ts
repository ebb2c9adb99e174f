// What holds what: a parent in use is EBUSY and says who uses it, disposing takes the users first, and nothing that
// failed half-way is left behind.
import assert from 'node:assert/strict';
import { type Device, Host, type HwptNested, type Iommufd, type KernelObject } from '../../lib/index.js';
import { IOMMU_IOAS_ALLOC } from '../../lib/uapi/index.js';
import type { Seam } from '../../lib/unsafe.js';
import {
  assertUnmapped,
  BASE,
  makeGuest,
  makeNested,
  PAYLOAD,
  plugDevice,
  QUEUE_TYPE,
  raiseEvents,
  VEVENTQ_TYPE,
} from '../rig/guest.js';
import { MockDevice } from '../rig/mock.js';
import { nestedOptions } from '../rig/mock-checks.js';
import { type Bench, conformance, refused } from '../rig/suite.js';

interface Pair {
  readonly parent: KernelObject;
  /** How the message names what holds the parent. */
  readonly name: string;
  /** Gives the parent free again. */
  release(): void;
}

/** Every way in which one object holds another. */
const PAIRS: Readonly<Record<string, (t: Bench) => Pair>> = {
  'ioas-hwpt': (t) => {
    const ioas = t.iommufd.allocIoas();
    return held(ioas, ioas.allocHwpt(t.mockDevice().device));
  },
  'ioas-attached': (t) => {
    const ioas = t.iommufd.allocIoas();
    const { device } = t.mockDevice();
    return { parent: ioas, name: device.attach(ioas).describe(), release: () => device.detach() };
  },
  'hwpt-attached': (t) => {
    const { device } = t.mockDevice();
    const hwpt = t.iommufd.allocIoas().allocHwpt(device);
    device.attach(hwpt);
    return { parent: hwpt, name: `attached ${device.describe()}`, release: () => device.detach() };
  },
  'hwpt-attached-pasid': (t) => {
    const { device } = t.mockDevice({ pasid: true });
    const ioas = t.iommufd.allocIoas();
    device.attach(ioas.allocHwpt(device, { pasid: true }));
    const hwpt = ioas.allocHwpt(device, { pasid: true });
    device.attach(hwpt, { pasid: 3 });
    return { parent: hwpt, name: `attached ${device.describe()} PASID 3`, release: () => device.detach({ pasid: 3 }) };
  },
  'hwpt-nested': (t) => {
    const { device } = t.mockDevice();
    const hwpt = t.iommufd.allocIoas().allocHwpt(device, { nestParent: true });
    return held(hwpt, hwpt.allocNestedHwpt(device, nestedOptions()));
  },
  'hwpt-viommu': (t) => {
    const { parent, viommu } = makeGuest(t);
    return held(parent, viommu);
  },
  'fault-queue-hwpt': (t) => {
    const faultQueue = t.iommufd.allocFaultQueue();
    return held(faultQueue, t.iommufd.allocIoas().allocHwpt(t.mockDevice().device, { faultQueue }));
  },
  'fault-queue-nested': (t) => {
    const { viommu, device } = makeGuest(t);
    const faultQueue = t.iommufd.allocFaultQueue();
    return held(faultQueue, makeNested(viommu, device, { faultQueue }));
  },
  'viommu-nested': (t) => {
    const { viommu, device } = makeGuest(t);
    return held(viommu, makeNested(viommu, device));
  },
  'viommu-vdevice': (t) => {
    const { viommu, device } = makeGuest(t);
    return held(viommu, viommu.allocVdevice(device, { virtId: 1 }));
  },
  'viommu-veventq': (t) => {
    const { viommu } = makeGuest(t);
    return held(viommu, viommu.allocVeventq({ depth: 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD }));
  },
  'viommu-hw-queue': (t) => {
    const guest = makeGuest(t);
    return held(guest.viommu, guest.queue(0));
  },
  'viommu-mmap': (t) => {
    const { viommu } = makeGuest(t);
    const window = viommu.mmap();
    return { parent: viommu, name: `mmap of ${viommu.describe()}`, release: () => window.unmap() };
  },
  'hw-queue-next': (t) => {
    const guest = makeGuest(t);
    const first = guest.queue(0);
    return held(first, guest.queue(1));
  },
  'nested-attached': (t) => {
    const guest = makeGuest(t);
    const nested = plugDevice(guest);
    return { parent: nested, name: `attached ${guest.device.describe()}`, release: () => guest.device.detach() };
  },
};

function held(parent: KernelObject, child: KernelObject): Pair {
  return { parent, name: child.describe(), release: () => child.destroy() };
}

/** A graph with everything there is in it. */
function makeAll(t: Bench, iommufd: Iommufd) {
  const guest = makeGuest(t, {}, iommufd);
  const faultQueue = iommufd.allocFaultQueue();
  const { viommu, device } = guest;
  const events = viommu.allocVeventq({ depth: 2, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
  const vdevice = viommu.allocVdevice(device, { virtId: 5 });
  const nested = makeNested(viommu, device, { faultQueue });
  device.attach(nested);
  const queues = [guest.queue(0), guest.queue(1)];
  return { ...guest, faultQueue, events, vdevice, nested, queues, window: viommu.mmap() };
}

/** A host like the rig's, one of whose calls answers this errno from now on until it is mended. */
function failingHost(t: Bench, call: 'watch' | 'mapMmio' | 'own', errno: number) {
  let broken = false;
  const { seam } = t.rig;
  const proxy = new Proxy(seam, {
    get: (target, key) => {
      if (key === call && broken) return () => errno;
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  }) as Seam;
  const host = new Host(proxy);
  const iommufd = host.openIommufd();
  t.later(() => iommufd.close());
  const { device } = new MockDevice(iommufd, proxy);
  const set = (to: boolean): void => {
    broken = to;
  };
  return { host, iommufd, device, fail: () => set(true), mend: () => set(false) };
}

function makeFailing(t: Bench, call: 'watch' | 'mapMmio', errno: number) {
  const stage = failingHost(t, call, errno);
  const parent = stage.iommufd.allocIoas().allocHwpt(stage.device, { nestParent: true });
  const data = new Uint8Array(24);
  const viommu = parent.allocViommu(stage.device, { type: QUEUE_TYPE, data, mmapPair: { offsetAt: 8, lengthAt: 16 } });
  return { ...stage, parent, viommu };
}

conformance('lifetimes', (test) => {
  for (const [id, make] of Object.entries(PAIRS)) {
    const [parent] = id.split(/-(?=hwpt|attached|nested|viommu|vdevice|veventq|hw-queue|mmap|next)/);
    test(`busy-${id}`, `${parent} held this way is EBUSY and says by whom; let go, it can be destroyed`, (t) => {
      const pair = make(t);
      assert(
        pair.parent.heldBy.some((name) => name.startsWith(pair.name)),
        `${pair.parent.heldBy}`,
      );
      const error = refused('EBUSY', () => pair.parent.destroy());
      assert(error.message.includes(`held by ${pair.name}`), error.message);
      assert.equal(pair.parent.destroyed, false);
      assert.equal(t.iommufd.objects.includes(pair.parent), true);
      pair.release();
      assert.deepEqual(pair.parent.heldBy, []);
      pair.parent.destroy();
      assert.equal(pair.parent.destroyed, true);
      assert.equal(t.iommufd.objects.includes(pair.parent), false);
    });

    test(`dispose-${id}`, `disposing of ${parent} lets go of what holds it first`, (t) => {
      const pair = make(t);
      pair.parent[Symbol.dispose]();
      assert.equal(pair.parent.destroyed, true);
      pair.parent[Symbol.dispose]();
    });
  }

  test('mappings-hold-nothing', 'mappings do not hold an address space: it goes, and the memory is let go', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: BASE });
    assert.equal(ram.mappings, 1);
    ioas.destroy();
    assert.equal(ram.mappings, 0);
  });

  test('device-holds-nothing', 'page tables and vIOMMUs do not hold the device they were made for', (t) => {
    const guest = makeGuest(t);
    guest.queue(0);
    assert.deepEqual(guest.device.heldBy, []);
    guest.device.destroy();
    guest.viommu[Symbol.dispose]();
    guest.parent.destroy();
  });

  test('root-dispose', 'disposing of the address space at the root takes all that hangs from it', (t) => {
    const all = makeAll(t, t.iommufd);
    all.ioas[Symbol.dispose]();
    const gone = [all.ioas, all.parent, all.viommu, all.events, all.vdevice, all.nested, ...all.queues];
    assert.deepEqual(
      gone.filter((object) => !object.destroyed),
      [],
    );
    assertUnmapped(all.window);
    assert.equal(all.device.attachedTo(), undefined);
    assert.deepEqual(t.iommufd.objects, [all.device, all.faultQueue]);
    assert.equal(all.ram.mappings, 0);
    all.faultQueue.destroy();
    all.device.destroy();
  });

  test('using', 'a scope that ends takes what it made, in the order of need', (t) => {
    const stages = makeAll(t, t.iommufd);
    // As `using` disposes: the last made first, then those that the others hang from.
    for (const object of [stages.viommu, stages.parent, stages.device, stages.ioas, stages.faultQueue])
      object[Symbol.dispose]();
    assert.deepEqual(t.iommufd.objects, []);
  });

  test('close-all', 'closing the iommufd closes all, and says that all is gone', async (t) => {
    const iommufd = t.openIommufd();
    const all = makeAll(t, iommufd);
    const waiting = all.events.read().next();
    const faults = all.faultQueue.read().next();
    iommufd.close();
    iommufd.close();
    assert.deepEqual(await waiting, { done: true, value: undefined });
    assert.deepEqual(await faults, { done: true, value: undefined });
    assertUnmapped(all.window);
    assert.equal(all.ram.mappings, 0);
    const objects = [
      all.ioas,
      all.parent,
      all.viommu,
      all.device,
      all.nested,
      all.vdevice,
      all.faultQueue,
      ...all.queues,
    ];
    for (const object of objects) {
      assert.equal(object.destroyed, true);
      object.destroy();
      object[Symbol.dispose]();
    }
    assert.throws(() => iommufd.fd, { code: 'ERR_IOMMUFD_DESTROYED' });
    assert.throws(() => iommufd.allocIoas(), { code: 'ERR_IOMMUFD_DESTROYED' });
    assert.deepEqual(iommufd.objects, []);
  });

  test('close-pending', 'also with events and page requests that nobody read', (t) => {
    const all = makeAll(t, t.iommufd);
    raiseEvents(t, all.device, 5);
    t.iommufd.close();
    assert.throws(() => all.events.drain(), { code: 'ERR_IOMMUFD_DESTROYED' });
  });

  test('close-duplicate', 'a copy of the event fd is what close tells of; the rest is gone', (t) => {
    const iommufd = t.openIommufd();
    const all = makeAll(t, iommufd);
    const copy = t.rig.seam.duplicate(all.events.fd);
    t.later(() => t.rig.seam.close(copy));
    assert.throws(
      () => iommufd.close(),
      (error) => error instanceof AggregateError && error.errors.some((inner) => `${inner}`.includes('EBUSY')),
    );
    assert.equal(iommufd.closed, true);
    assert.equal(all.nested.destroyed, true);
    assertUnmapped(all.window);
  });

  test('fault-fd-duplicate', 'a copy of the fault fd keeps the fault queue: EBUSY until it is closed', (t) => {
    const queue = t.iommufd.allocFaultQueue();
    const copy = t.rig.seam.duplicate(queue.fd);
    refused('EBUSY', () => queue.destroy());
    const gone = { code: 'ERR_IOMMUFD_DESTROYED' };
    assert.throws(() => queue.fd, gone);
    assert.throws(() => queue.respond(1, 'success'), gone);
    t.rig.seam.close(copy);
    queue.destroy();
    assert.equal(queue.destroyed, true);
  });

  test('half-veventq', 'an event queue whose fd cannot be watched leaves nothing behind', (t) => {
    const { viommu, fail, mend } = makeFailing(t, 'watch', -28);
    const make = () => viommu.allocVeventq({ depth: 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    const before = t.rig.census();
    fail();
    refused('ENOSPC', make);
    assert.deepEqual(t.rig.census(), before);
    assert.deepEqual(viommu.heldBy, []);
    mend();
    make().destroy();
    viommu.destroy();
  });

  test('half-fault-queue', 'nor does a fault queue', (t) => {
    const { iommufd, fail, mend } = makeFailing(t, 'watch', -12);
    const before = t.rig.census();
    const objects = iommufd.objects.length;
    fail();
    refused('ENOMEM', () => iommufd.allocFaultQueue());
    assert.deepEqual(t.rig.census(), before);
    assert.equal(iommufd.objects.length, objects);
    mend();
    const ids = [iommufd.allocFaultQueue(), iommufd.allocIoas()].map(({ id }) => id);
    assert.equal(ids[1], (ids[0] ?? 0) + 1);
  });

  test('half-mmap', 'an mmap that fails leaves the vIOMMU free, and the next one works', (t) => {
    const { viommu, fail, mend } = makeFailing(t, 'mapMmio', -12);
    fail();
    const error = refused('ENOMEM', () => viommu.mmap());
    assert.match(error.message, /^mmap: ENOMEM/);
    assert.deepEqual(viommu.heldBy, []);
    mend();
    viommu.mmap().unmap();
    viommu.destroy();
  });

  test('half-refused', 'a call that the kernel refuses makes no object and takes no id', (t) => {
    const { parent, viommu, device } = makeGuest(t);
    const objects = t.iommufd.objects.length;
    const next = () => {
      const { out } = t.ioctl(IOMMU_IOAS_ALLOC, {});
      t.destroyId(out.out_ioas_id);
      return out.out_ioas_id;
    };
    const id = next();
    refused('EOPNOTSUPP', () => parent.allocViommu(device, { type: 1234 }));
    refused('EINVAL', () => viommu.allocVeventq({ depth: 2 ** 31, type: VEVENTQ_TYPE, payloadSize: PAYLOAD }));
    refused('ENOENT', () => viommu.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova: 0, length: 1 }));
    refused('EOPNOTSUPP', () => makeNestedOfType(viommu, device, 77));
    assert.equal(t.iommufd.objects.length, objects);
    assert.deepEqual([viommu.heldBy, parent.heldBy.length], [[], 1]);
    assert.equal(next(), id);
  });

  test('graph', 'the tree shows every object under what it was made from, and what else holds it', (t) => {
    const all = makeAll(t, t.iommufd);
    const lines = t.iommufd.drawGraph().split('\n');
    for (const object of t.iommufd.objects) {
      assert.equal(
        lines.filter((line) => new RegExp(`^[ │├└─]*${object.describe()}\\b`).test(line)).length,
        1,
        object.describe(),
      );
    }
    const depth = (object: KernelObject): number =>
      lines.find((line) => line.includes(object.describe()))?.search(/\w/) ?? -1;
    assert(depth(all.ioas) < depth(all.parent) && depth(all.parent) < depth(all.viommu));
    assert(depth(all.viommu) < depth(all.nested));
    assert(lines.some((line) => line.includes(`[mmap of ${all.viommu.describe()} (1 window(s))]`)));
    assert(lines.some((line) => line.includes(`[attached ${all.device.describe()}]`)));
  });

  test('json', 'every object can be printed as JSON, with what it was made from and what holds it', (t) => {
    const all = makeAll(t, t.iommufd);
    const told = JSON.parse(JSON.stringify(t.iommufd)) as { objects: { type: string; id: number; heldBy: string[] }[] };
    assert.equal(told.objects.length, t.iommufd.objects.length);
    const viommu = told.objects.find(({ type }) => type === 'viommu');
    assert.deepEqual(viommu?.heldBy, all.viommu.heldBy);
    assert.equal(viommu?.heldBy.length, 6);
  });
});

function makeNestedOfType(viommu: ReturnType<typeof makeGuest>['viommu'], device: Device, type: number): HwptNested {
  return viommu.allocNestedHwpt(device, { data: { type, bytes: new Uint8Array(8) } });
}
