// PASIDs of a device behind a VT-d unit: each has an entry of its own, with a page table of the kernel's or of a guest's.
import assert from 'node:assert/strict';
import { VtdTables } from '../rig/vtd-tables.js';
import { BASE, bytes, DATA, guest, MiB, PAGE, VA } from './emulated-vtd-stage.js';

const EFAULT = { code: 'EFAULT' };
const EINVAL = { code: 'EINVAL' };

describe('emulated VT-d: PASIDs', () => {
  /** A guest whose device has PASIDs, with tables of two address spaces. */
  function spaces() {
    const base = guest({ pasid: true });
    const other = new VtdTables(base.ram, { base: BASE, from: 2 * MiB });
    base.tables.map(VA, base.data(0));
    other.map(VA, base.data(1));
    return { ...base, other };
  }

  it('have address spaces of their own', () => {
    const { device, own, nest, other, read, parent } = spaces();
    device.attach(nest({ pasid: true }));
    device.attach(nest({ ...other.vtd, pasid: true }), { pasid: 5 });
    own.dmaWrite(VA, bytes(1));
    own.dmaWrite(VA, bytes(2), { pasid: 5 });
    assert.deepEqual([read(0)[0], read(1)[0]], [1, 2]);
    for (const pasid of [1, 6, 2 ** 20 + 5, 2 ** 32 - 1]) {
      assert.throws(() => own.dmaRead(VA, 1, { pasid }), EFAULT, `PASID ${pasid}`);
    }
    assert.equal(parent.nestParent, true);
  });

  it('are attached with page tables that are made for that', () => {
    const { device, nest, ioas } = spaces();
    assert.throws(() => device.attach(nest(), { pasid: 5 }), EINVAL);
    assert.throws(() => device.attach(ioas.allocHwpt(device), { pasid: 5 }), EINVAL);
    device.attach(nest());
    assert.throws(() => device.attach(nest({ pasid: true }), { pasid: 5 }), EINVAL);
    assert.throws(() => device.attach(nest({ pasid: true, addressWidth: 39 }), { pasid: 5 }), EINVAL);
  });

  it('take page tables of the kernel too', () => {
    const { device, own, ioas, read } = spaces();
    const first = ioas.allocHwpt(device, { pasid: true });
    const second = ioas.allocHwpt(device, { pasid: true, dirtyTracking: true });
    device.attach(first, { pasid: 70 });
    own.dmaWrite(BASE + BigInt(DATA), bytes(7), { pasid: 70 });
    device.attach(second, { pasid: 70 });
    own.dmaWrite(BASE + BigInt(DATA + 1), bytes(8), { pasid: 70 });
    assert.deepEqual(read(0, 2), bytes(7, 8));
    assert.throws(() => own.dmaRead(BASE, 1), EFAULT);
    device.detach({ pasid: 70 });
    assert.throws(() => own.dmaRead(BASE, 1, { pasid: 70 }), EFAULT);
  });

  it('are replaced, detached and attached again, without a leaf of before', () => {
    const { host, device, own, nest, other, read } = spaces();
    device.attach(nest({ pasid: true }), { pasid: 5 });
    own.dmaWrite(VA, bytes(1), { pasid: 5 });
    device.attach(nest({ ...other.vtd, pasid: true }), { pasid: 5 });
    own.dmaWrite(VA, bytes(2), { pasid: 5 });
    assert.deepEqual([read(0)[0], read(1)[0]], [1, 2]);
    assert.equal(host.inspect().tlb.length, 1);
    device.detach({ pasid: 5 });
    assert.deepEqual(host.inspect().tlb, []);
    assert.throws(() => own.dmaRead(VA, 1, { pasid: 5 }), EFAULT);
  });

  it('that cannot be replaced are blocked, though they stay attached to what they were', () => {
    const { device, own, nest, ioas } = spaces();
    const before = ioas.allocHwpt(device, { pasid: true });
    device.attach(before, { pasid: 5 });
    assert.throws(() => device.attach(nest({ pasid: true, addressWidth: 39 }), { pasid: 5 }), EINVAL);
    assert.equal(device.attachedTo({ pasid: 5 }), before);
    assert.throws(() => own.dmaRead(BASE, 1, { pasid: 5 }), EFAULT);
    device.detach({ pasid: 5 });
    device.attach(before, { pasid: 5 });
    own.dmaRead(BASE, 1, { pasid: 5 });
  });

  it('are forgotten together where they share a page table, whatever device they are of', () => {
    const { host, device, second, own, otherOwn, nest } = spaces();
    const nested = nest({ pasid: true });
    device.attach(nested, { pasid: 5 });
    device.attach(nested, { pasid: 6 });
    second.attach(nested, { pasid: 5 });
    own.dmaRead(VA, 1, { pasid: 5 });
    own.dmaRead(VA, 1, { pasid: 6 });
    otherOwn.dmaRead(VA, 1, { pasid: 5 });
    assert.deepEqual(
      host.inspect().tlb.map(({ pasid }) => pasid),
      [5, 6],
    );
    second.detach({ pasid: 5 });
    device.detach({ pasid: 6 });
    own.dmaRead(VA, 1, { pasid: 5 });
    nested.invalidate({ vtd: [{ address: VA, pages: 1n }] });
    assert.deepEqual(host.inspect().tlb, []);
  });

  it('go on when the device itself is attached to something else, and the other way round', () => {
    const { device, own, nest, other, read } = spaces();
    device.attach(nest({ pasid: true }));
    device.attach(nest({ ...other.vtd, pasid: true }), { pasid: 9 });
    device.detach();
    assert.throws(() => own.dmaRead(VA, 1), EFAULT);
    own.dmaWrite(VA + BigInt(PAGE - 1), bytes(4), { pasid: 9 });
    assert.equal(read(1, PAGE)[PAGE - 1], 4);
  });

  it('of a device that has none are attached in name only, as on Linux', () => {
    const { device, own, nest, tables, data } = guest();
    tables.map(VA, data(0));
    device.attach(nest({ pasid: true }), { pasid: 5 });
    assert.throws(() => own.dmaRead(VA, 1, { pasid: 5 }), EFAULT);
    device.detach({ pasid: 5 });
  });
});
