// Groups of several devices on the emulated kernel: they move together, or not at all. The mock's groups have one device.
import assert from 'node:assert/strict';
import type { IommufdDevice } from '../../lib/emulated/kernel/device.js';
import { Domain, type Iommu, type IommuDevice, type ReservedRegion } from '../../lib/emulated/kernel/driver.js';
import { type AttachHandle, IommuGroup, NO_PASID } from '../../lib/emulated/kernel/iommu-group.js';

const [EPERM, ENOMEM, EBUSY, EINVAL] = [-1, -12, -16, -22];

/** Where each device is, by name, and with a PASID by name/PASID. */
type Places = Map<string, string>;

class TestDomain extends Domain {
  readonly kind;
  /** The device that this domain's driver fails at. */
  failsAt: string | undefined;
  constructor(
    readonly name: string,
    readonly places: Places,
    owner?: Iommu,
  ) {
    super();
    this.kind = owner === undefined ? ('blocked' as const) : ('paging' as const);
    this.owner = owner;
  }
  attach({ name }: IommuDevice): number {
    return this.#take(name, name);
  }
  attachPasid({ name }: IommuDevice, pasid: number): number {
    return this.#take(name, `${name}/${pasid}`);
  }
  #take(device: string, place: string): number {
    if (device === this.failsAt) return ENOMEM;
    this.places.set(place, this.name);
    return 0;
  }
  free(): void {}
}

class TestIommu implements Iommu {
  readonly name = 'test';
  readonly userPasidTable = false;
  constructor(readonly blocked: Domain) {}
  hwInfo = () => EINVAL;
  allocPaging = () => EINVAL;
  hasViommu = () => false;
  initViommu = () => EINVAL;
}
class OtherIommu extends TestIommu {}

/** A group of x, y (which has no PASIDs) and z (16 PASIDs). */
function start(reservedRegions: ReservedRegion[] = []) {
  const places: Places = new Map();
  const blocked = new TestDomain('blocked', places);
  const iommu = new TestIommu(blocked);
  const group = new IommuGroup(blocked);
  for (const [name, maxPasids] of [
    ['x', 16],
    ['y', 0],
    ['z', 16],
  ] as const) {
    group.add({ name, iommu, group, maxPasids, reservedRegions, pciPasid: undefined, capable: () => false });
  }
  const domain = (name: string, owner: Iommu = iommu) => new TestDomain(name, places, owner);
  const at = (suffix = '') => ['x', 'y', 'z'].map((name) => places.get(name + suffix));
  return { group, domain, at, blocked };
}

/** What attaches: whose device it is does not matter here. */
function by(domain: Domain): AttachHandle {
  return { domain, device: undefined as unknown as IommufdDevice };
}

describe('emulated IOMMU groups', () => {
  it('belong to one owner at a time, who claims them once a device', () => {
    const { group } = start();
    const [one, other] = [{}, {}];
    assert.deepEqual([group.claim(one), group.claim(one), group.claim(other)], [0, 0, EPERM]);
    group.release();
    assert.equal(group.claim(other), EPERM);
    group.release();
    assert.equal(group.claim(other), 0);
  });
  it('cannot be claimed where a device needs memory mapped one to one', () => {
    assert.equal(start([{ start: 0n, last: 0xfffn, type: 'direct' }]).group.claim({}), EINVAL);
    assert.equal(start([{ start: 0n, last: 0xfffn, type: 'direct-relaxable' }]).group.claim({}), 0);
  });
  it('move as a whole', () => {
    const { group, domain, at, blocked } = start();
    const [a, b] = [domain('a'), domain('b')];
    assert.deepEqual([group.attach(by(a)), at(), group.domainOf(NO_PASID)], [0, ['a', 'a', 'a'], a]);
    assert.equal(group.attach(by(a)), EBUSY);
    assert.deepEqual([group.replace(by(b)), at(), group.domainOf(NO_PASID)], [0, ['b', 'b', 'b'], b]);
    group.detach();
    assert.deepEqual([at(), group.handleOf(NO_PASID)], [['blocked', 'blocked', 'blocked'], undefined]);
    assert.equal(group.domainOf(NO_PASID), blocked);
  });
  it('go back where they were when the driver fails at one device', () => {
    const { group, domain, at } = start();
    const [a, b] = [domain('a'), domain('b')];
    a.failsAt = 'z';
    assert.deepEqual([group.attach(by(a)), at()], [ENOMEM, ['blocked', 'blocked', undefined]]);
    a.failsAt = undefined;
    group.attach(by(a));
    const handle = group.handleOf(NO_PASID);
    b.failsAt = 'y';
    assert.deepEqual([group.replace(by(b)), at(), group.handleOf(NO_PASID)], [ENOMEM, ['a', 'a', 'a'], handle]);
  });
  it('are blocked rather than half moved when going back fails too', () => {
    const { group, domain, at } = start();
    const [a, b] = [domain('a'), domain('b')];
    group.attach(by(a));
    b.failsAt = 'y';
    a.failsAt = 'x';
    assert.deepEqual([group.replace(by(b)), at()], [ENOMEM, ['blocked', 'a', 'a']]);
  });
  it('refuse domains of another driver', () => {
    const { group, domain, blocked } = start();
    const foreign = domain('foreign', new OtherIommu(blocked));
    assert.deepEqual([group.attach(by(foreign)), group.attachPasid(1, by(foreign))], [EINVAL, EINVAL]);
    group.attach(by(domain('a')));
    assert.equal(group.replace(by(foreign)), EINVAL);
  });
  it('attach a PASID for the devices that have any', () => {
    const { group, domain, at } = start();
    const a = domain('a');
    assert.equal(group.attachPasid(16, by(a)), EINVAL);
    assert.deepEqual([group.attachPasid(3, by(a)), at('/3')], [0, ['a', undefined, 'a']]);
    assert.equal(group.attachPasid(3, by(a)), EBUSY);
    group.detachPasid(3);
    assert.deepEqual([at('/3'), group.handleOf(3)], [['blocked', undefined, 'blocked'], undefined]);
  });
  it('keep a PASID where it was when the driver fails at one device', () => {
    const { group, domain, at } = start();
    const [a, b] = [domain('a'), domain('b')];
    a.failsAt = 'z';
    assert.deepEqual([group.attachPasid(3, by(a)), at('/3')], [ENOMEM, ['blocked', undefined, undefined]]);
    assert.equal(group.replacePasid(3, by(b)), EINVAL);
    a.failsAt = undefined;
    group.attachPasid(3, by(a));
    b.failsAt = 'z';
    assert.deepEqual([group.replacePasid(3, by(b)), at('/3')], [ENOMEM, ['a', undefined, 'a']]);
    b.failsAt = undefined;
    assert.deepEqual([group.replacePasid(3, by(b)), at('/3')], [0, ['b', undefined, 'b']]);
  });
});
