// IOMMU_DESTROY, and the end of objects.
import assert from 'node:assert/strict';
import { IOMMU_DESTROY } from '../../lib/uapi/index.js';
import { COMMON, USES, type Uses } from '../rig/members.js';
import { conformance, NO_ID, refused } from '../rig/suite.js';
import { type WholeGraph, wholeGraph } from '../rig/whole-graph.js';

const GONE = { name: 'UsageError', code: 'ERR_IOMMUFD_DESTROYED' };
async function assertGone(uses: Uses, g: WholeGraph): Promise<void> {
  for (const [name, use] of Object.entries(uses)) {
    await assert.rejects(async () => use(g), GONE, `${name} did not refuse`);
  }
}

/** Ends everything, children first. */
function destroyAll(g: WholeGraph): void {
  g.device.detach();
  for (const object of [g.nested, g.queue, g.veventq, g.vdevice]) object.destroy();
  g.mmio.unmap();
  g.bitmap.free();
  for (const object of [g.viommu, g.parent, g.faultQueue, g.ioas, g.device]) object.destroy();
  g.ram.free();
}

conformance('destroy', (test) => {
  test('unknown', 'an id that no object has is ENOENT', (t) => {
    for (const id of [0, 1, NO_ID, 0x8000_0000, 0xffff_ffff]) assert.equal(t.destroyId(id), 'ENOENT');
  });

  test('twice', 'an object is destroyed once', (t) => {
    const { id } = t.iommufd.allocIoas();
    assert.equal(t.destroyId(id), 'ok');
    assert.equal(t.destroyId(id), 'ENOENT');
  });

  test('device', 'a bound device is not destroyed by its id', (t) => {
    const { device } = t.mockDevice();
    assert.equal(t.destroyId(device.id), 'EBUSY');
    assert.equal(device.hwInfo().data.length > 0, true);
  });

  test('mapped', 'an address space goes with all its mappings', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram);
    ioas.map(ram);
    ioas.destroy();
    assert.equal(ram.mappings, 0);
    assert.equal(ioas.mappingCount, 0);
  });

  test('in-order', 'everything goes, children first, and its ids with it', (t) => {
    const g = wholeGraph(t);
    const ids = t.iommufd.objects.map((object) => object.id);
    assert.equal(new Set(ids).size, 9);
    destroyAll(g);
    assert.deepEqual(t.iommufd.objects, []);
    for (const id of ids) assert.equal(t.destroyId(id), 'ENOENT');
  });

  test('held', 'what is held is EBUSY, names its holders, and stays usable', (t) => {
    const g = wholeGraph(t);
    const holders: [{ destroy(): void; readonly heldBy: readonly string[] }, string[]][] = [
      [g.ioas, [g.parent.describe()]],
      [g.parent, [g.viommu.describe()]],
      [g.faultQueue, [g.nested.describe()]],
      [g.nested, [`attached ${g.device.describe()}`]],
    ];
    for (const [object, names] of holders) {
      const error = refused('EBUSY', () => object.destroy());
      for (const name of names) assert(error.message.includes(name), error.message);
      assert.deepEqual(object.heldBy, names);
    }
    const error = refused('EBUSY', () => g.viommu.destroy());
    for (const holder of [g.vdevice, g.veventq, g.queue, g.nested]) assert(error.message.includes(holder.describe()));
    assert.match(error.message, /mmap of/);
    g.ioas.iovaRanges();
    assert.equal(g.faultQueue.drain().length, 0);
  });

  test('held-raw', 'and so it is by its id', (t) => {
    const g = wholeGraph(t);
    for (const { id } of [g.ioas, g.parent, g.faultQueue, g.nested, g.viommu]) assert.equal(t.destroyId(id), 'EBUSY');
  });

  test('device-held', 'a device with a virtual device is not unbound before it', (t) => {
    const g = wholeGraph(t);
    assert.throws(() => g.device.destroy(), { name: 'UsageError', code: 'ERR_IOMMUFD_BUSY' });
    assert.equal(g.device.destroyed, false);
  });

  test('idempotent', 'destroying twice is fine', (t) => {
    const g = wholeGraph(t);
    destroyAll(g);
    g.mmio.unmap();
    g.bitmap.free();
    const objects = [g.nested, g.queue, g.veventq, g.vdevice, g.viommu, g.parent, g.faultQueue, g.ioas, g.device];
    for (const object of objects) {
      object.destroy();
      object[Symbol.dispose]();
      object.release();
      assert.equal(object.destroyed, true);
    }
  });

  test('id-reused', 'a second destroy does not hit the object that has the id now', (t) => {
    const first = t.iommufd.allocIoas();
    first.destroy();
    const second = t.iommufd.allocIoas();
    assert.equal(second.id, first.id);
    first.destroy();
    second.iovaRanges();
  });

  test('dispose', 'dispose takes what was made from it along', (t) => {
    const g = wholeGraph(t);
    g.ioas[Symbol.dispose]();
    for (const gone of [g.ioas, g.parent, g.viommu, g.vdevice, g.veventq, g.queue, g.nested]) {
      assert.equal(gone.destroyed, true, gone.describe());
    }
    assert.equal(g.mmio.mapped, false);
    assert.equal(g.device.attachedTo(), undefined);
    assert.deepEqual(t.iommufd.objects, [g.device, g.faultQueue]);
    assert.equal(g.ram.mappings, 0);
  });

  test('dispose-middle', 'and leaves what it was made from', (t) => {
    const g = wholeGraph(t);
    g.viommu[Symbol.dispose]();
    assert.equal(g.parent.destroyed, false);
    assert.deepEqual(g.parent.heldBy, []);
    g.parent.destroy();
    g.ioas.destroy();
  });

  test('foreign', 'an object that somebody else destroyed says so once', (t) => {
    const ioas = t.iommufd.allocIoas();
    assert.equal(t.ioctl(IOMMU_DESTROY, { id: ioas.id }).code, 'ok');
    refused('ENOENT', () => ioas.destroy());
    assert.equal(ioas.destroyed, true);
    ioas.destroy();
    const other = t.iommufd.allocIoas();
    assert.equal(t.destroyId(other.id), 'ok');
    other[Symbol.dispose]();
    assert.equal(other.destroyed, true);
  });

  test('close', 'closing the iommufd ends everything', (t) => {
    const g = wholeGraph(t);
    const objects = t.iommufd.objects;
    t.iommufd.close();
    assert(objects.every((object) => object.destroyed));
    assert.equal(g.mmio.mapped, false);
    assert.equal(g.ram.mappings, 0);
    assert.deepEqual(t.iommufd.objects, []);
    // The memory is not the iommufd's.
    g.ram.write(0, Uint8Array.of(1));
  });

  test('close-then-destroy', 'destroying afterwards is fine', (t) => {
    const g = wholeGraph(t);
    t.iommufd.close();
    for (const object of [g.nested, g.queue, g.viommu, g.parent, g.ioas, g.device, g.faultQueue]) object.destroy();
    g.mmio.unmap();
    g.bitmap.free();
  });

  for (const [name, { of, uses, still }] of Object.entries(USES)) {
    test(`members-${name}`, `the case about use after the end knows every member of ${name}`, (t) => {
      const prototype: object = Object.getPrototypeOf(wholeGraph(t)[of]);
      const members = Object.getOwnPropertyNames(prototype).filter((member) => !COMMON.includes(member));
      assert.deepEqual(members.sort(), [...Object.keys(uses), ...still].sort());
    });
    if (Object.keys(uses).length === 0) continue;
    test(`closed-${name}`, `${name} throws ERR_IOMMUFD_DESTROYED after the iommufd was closed`, async (t) => {
      const g = wholeGraph(t);
      t.iommufd.close();
      if (of === 'ram') g.ram.free();
      await assertGone(uses, g);
    });
    if (of === 'iommufd') continue;
    test(`gone-${name}`, `${name} throws ERR_IOMMUFD_DESTROYED after it was destroyed`, async (t) => {
      const g = wholeGraph(t);
      destroyAll(g);
      await assertGone(uses, g);
    });
  }

  test('closed-vfio-compat', 'so does the compatibility address space', (t) => {
    const { vfioCompat } = t.iommufd;
    t.iommufd.close();
    assert.throws(() => vfioCompat.ioas, GONE);
    assert.throws(() => {
      vfioCompat.ioas = undefined;
    }, GONE);
  });

  test('closed-setters', 'and setters', (t) => {
    const ioas = t.iommufd.allocIoas();
    ioas.destroy();
    assert.throws(() => {
      ioas.hugePages = false;
    }, GONE);
    t.iommufd.close();
    assert.throws(() => {
      t.iommufd.rlimitMode = 'user';
    }, GONE);
  });

  test('gone-as-argument', 'what is gone is no argument either', (t) => {
    const g = wholeGraph(t);
    const other = t.iommufd.allocIoas();
    destroyAll(g);
    assert.throws(() => other.allocHwpt(g.device), GONE);
    assert.throws(() => other.copy(g.ioas, { sourceIova: 0, length: 1 }), GONE);
    const { device } = t.mockDevice();
    assert.throws(() => device.attach(g.ioas), GONE);
    assert.throws(() => device.attach(g.parent), GONE);
    assert.throws(() => other.allocHwpt(device, { faultQueue: g.faultQueue }), GONE);
  });

  test('json', 'what is gone can still be shown', (t) => {
    const g = wholeGraph(t);
    const objects = t.iommufd.objects;
    destroyAll(g);
    for (const object of objects) {
      const json = JSON.parse(JSON.stringify(object));
      assert.equal(json.destroyed, true);
      assert.deepEqual(json.heldBy, []);
      assert.equal(object.describe(), `${object.type} ${object.id}`);
    }
  });
});
