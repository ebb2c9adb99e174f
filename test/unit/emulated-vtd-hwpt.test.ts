// What Linux's driver of VT-d answers through iommufd: information, page tables, attaching, and what is refused when.
import assert from 'node:assert/strict';
import type { DmaMemory, Ioas } from '../../lib/index.js';
import { iommu_hwpt_vtd_s1 } from '../../lib/uapi/iommufd-driver-data.js';
import { VtdTables } from '../rig/vtd-tables.js';
import { BASE, bytes, DATA, guest, MiB, machine, PAGE, VA } from './emulated-vtd-stage.js';

const GiB = 2 ** 30;
const EFAULT = { code: 'EFAULT' };
const EINVAL = { code: 'EINVAL' };
const EOPNOTSUPP = { code: 'EOPNOTSUPP' };
const DATA_VTD = 1;
const IOVA = 0x10_0000n;

function bits(register: unknown, at: number, width = 1): number {
  assert(typeof register === 'bigint');
  return Number(BigInt.asUintN(width, register >> BigInt(at)));
}

/** The driver data of a nested page table, as bytes. */
function raw(fields: { flags?: bigint; pgtbl_addr?: bigint; addr_width?: number; __reserved?: number }, length = 24) {
  const data = new Uint8Array(Math.max(length, iommu_hwpt_vtd_s1.size));
  iommu_hwpt_vtd_s1.encode(new DataView(data.buffer), 0, { addr_width: 48, ...fields });
  return { data: { type: DATA_VTD, bytes: data.subarray(0, length) } };
}

describe('emulated VT-d: what it says of itself', () => {
  it('is a unit in scalable mode with nested translation', () => {
    const { device } = machine({ pasid: true, ats: true });
    const info = device.hwInfo();
    assert.equal(info.type, 'intel-vtd');
    assert.equal(info.data.length, 24);
    const { cap_reg: cap, ecap_reg: ecap, flags } = info.fields;
    assert.equal(flags, 1, 'Linux tells of the erratum on all units');
    const widths = [bits(cap, 16, 6) + 1, bits(cap, 8, 5), bits(cap, 34, 4)];
    assert.deepEqual(widths, [57, 0b1100, 0b11], 'MGAW, SAGAW, SSLPS');
    assert.deepEqual(
      [bits(cap, 7), bits(cap, 39), bits(cap, 56), bits(cap, 60)],
      [0, 1, 1, 1],
      'CM, PSI, FS1GP, FS5LP',
    );
    for (const [name, at] of Object.entries({
      NEST: 26,
      PRS: 29,
      PASID: 40,
      SMTS: 43,
      SSADS: 45,
      SSTS: 46,
      FSTS: 47,
    })) {
      assert.equal(bits(ecap, at), 1, name);
    }
    assert.equal(bits(ecap, 35, 5) + 1, 20);
    assert.equal(info.maxPasidLog2, 20);
    assert.deepEqual(info.capabilities, { dirtyTracking: true, pasidExec: false, pasidPriv: false, ats: true });
  });

  it('has devices with less', () => {
    const { device } = machine({ dirtyTracking: false });
    const info = device.hwInfo();
    assert.equal(bits(info.fields.ecap_reg, 45), 0);
    assert.equal(info.maxPasidLog2, 0);
    assert.deepEqual(info.capabilities, { dirtyTracking: false, pasidExec: false, pasidPriv: false, ats: false });
  });

  it('answers for its own type, or whichever there is', () => {
    const { device } = machine();
    assert.equal(device.hwInfo('intel-vtd').type, 'intel-vtd');
    assert.throws(() => device.hwInfo('arm-smmuv3'), EOPNOTSUPP);
    assert.throws(() => device.hwInfo('amd'), EOPNOTSUPP);
  });

  it('has no vIOMMU', () => {
    const { parent, device } = guest();
    assert.throws(() => parent.allocViommu(device, { type: 'arm-smmuv3' }), EOPNOTSUPP);
    assert.throws(() => parent.allocViommu(device, { type: 0 }), EOPNOTSUPP);
  });
});

describe('emulated VT-d: page tables of the kernel', () => {
  function last(ioas: Ioas): bigint | undefined {
    return ioas.iovaRanges().ranges.at(-1)?.last;
  }

  it('are of the first stage, with half of its addresses, unless more is asked for', () => {
    const { device, iommufd } = machine();
    const first = iommufd.allocIoas();
    device.attach(first);
    assert.deepEqual(first.iovaRanges().ranges, [
      { start: 0n, last: 0xfedf_ffffn },
      { start: 0xfef0_0000n, last: 2n ** 56n - 1n },
    ]);
    assert.equal(first.iovaRanges().alignment, 4096n);
    for (const options of [{ nestParent: true }, { dirtyTracking: true }, { nestParent: true, dirtyTracking: true }]) {
      const ioas = iommufd.allocIoas();
      ioas.allocHwpt(device, options);
      assert.equal(last(ioas), 2n ** 57n - 1n, JSON.stringify(options));
    }
    const ioas = iommufd.allocIoas();
    ioas.allocHwpt(device, { pasid: true });
    assert.equal(last(ioas), 2n ** 56n - 1n);
    ioas.allocHwpt(device, { pasid: true, nestParent: true });
    assert.equal(last(ioas), 2n ** 56n - 1n);
  });

  it('take no driver data', () => {
    const { device, iommufd } = machine();
    const ioas = iommufd.allocIoas();
    const data = { type: DATA_VTD, bytes: new Uint8Array(24) };
    assert.throws(() => ioas.allocHwpt(device, { data }), EOPNOTSUPP);
  });

  it('lead DMA to memory, as far as the IOAS allows it', () => {
    const { device, own, iommufd, memory } = machine();
    const ram = memory(MiB);
    const ioas = iommufd.allocIoas();
    ioas.map(ram, { iova: IOVA });
    ioas.map(ram, { iova: 2n ** 56n - BigInt(MiB) });
    assert.throws(() => own.dmaRead(IOVA, 1), EFAULT);
    device.attach(ioas);
    own.dmaWrite(IOVA + 4090n, bytes(1, 2, 3, 4, 5, 6, 7, 8));
    assert.deepEqual(ram.read(4090, 8), bytes(1, 2, 3, 4, 5, 6, 7, 8));
    assert.deepEqual(own.dmaRead(2n ** 56n - BigInt(MiB) + 4090n, 2), bytes(1, 2));
    assert.throws(() => own.dmaRead(IOVA + BigInt(MiB) - 1n, 2), EFAULT);
    ioas.unmap(IOVA, MiB);
    assert.throws(() => own.dmaRead(IOVA, 1), EFAULT);
    device.detach();
    assert.throws(() => own.dmaRead(2n ** 56n - BigInt(MiB), 1), EFAULT);
  });

  it('allow what their entries can express: one of the first stage can always be read', () => {
    const { device, own, iommufd, memory } = machine();
    const ioas = iommufd.allocIoas();
    ioas.map(memory(PAGE), { iova: IOVA, writable: false });
    ioas.map(memory(PAGE), { iova: IOVA + 4096n, readable: false });
    const attempt = () => {
      own.dmaRead(IOVA, 1);
      assert.throws(() => own.dmaWrite(IOVA, bytes(1)), EFAULT);
      own.dmaWrite(IOVA + 4096n, bytes(1));
    };
    device.attach(ioas);
    attempt();
    own.dmaRead(IOVA + 4096n, 1);
    device.attach(ioas.allocHwpt(device, { dirtyTracking: true }));
    attempt();
    assert.throws(() => own.dmaRead(IOVA + 4096n, 1), EFAULT);
  });

  it('go with units that have what they need', () => {
    const { device, second, iommufd } = machine({}, { dirtyTracking: false });
    const ioas = iommufd.allocIoas();
    assert.throws(() => ioas.allocHwpt(second, { dirtyTracking: true }), EOPNOTSUPP);
    const tracking = ioas.allocHwpt(device, { dirtyTracking: true });
    assert.throws(() => second.attach(tracking), EINVAL);
    second.attach(ioas.allocHwpt(device));
    const parent = ioas.allocHwpt(device, { nestParent: true, dirtyTracking: true });
    const nested = parent.allocNestedHwpt(second, raw({}));
    assert.throws(() => second.attach(nested), EINVAL);
    device.attach(nested);
  });

  it('make all accesses coherent', () => {
    const { device, iommufd } = machine();
    const ioas = iommufd.allocIoas();
    assert.doesNotThrow(() => [{}, { nestParent: true }].map((options) => ioas.allocHwpt(device, options)));
  });
});

describe('emulated VT-d: a guest’s page table', () => {
  it('is taken as it is, and looked at when it is attached', () => {
    const { parent, device } = guest();
    const attach = (fields: Parameters<typeof raw>[0]) => device.attach(parent.allocNestedHwpt(device, raw(fields)));
    for (const addr_width of [0, 39, 47, 49, 56, 58, 64, 2 ** 32 - 1]) {
      assert.throws(() => attach({ addr_width }), { ...EINVAL, syscall: 'VFIO_DEVICE_ATTACH_IOMMUFD_PT' });
    }
    attach({ addr_width: 48 });
    attach({ addr_width: 57 });
    attach({ flags: 7n });
    attach({ flags: 4n });
    attach({ flags: 2n ** 64n - 1n, __reserved: 1 });
  });

  it('is refused where its parent or its data is another’s', () => {
    const { ioas, parent, device } = guest();
    const plain = ioas.allocHwpt(device);
    const tracking = ioas.allocHwpt(device, { dirtyTracking: true });
    for (const hwpt of [plain, tracking]) assert.throws(() => hwpt.allocNestedHwpt(device, raw({})), EINVAL);
    const other = { data: { type: 2, bytes: new Uint8Array(24) } };
    assert.throws(() => parent.allocNestedHwpt(device, other), EOPNOTSUPP);
    assert.throws(() => parent.allocNestedHwpt(device, raw({}, 23)), EINVAL);
    assert.throws(() => parent.allocNestedHwpt(device, raw({}, 25)), EINVAL);
  });

  it('that cannot be attached leaves the device blocked, though it stays attached to what it was', () => {
    const { ioas, nest, device, own } = guest();
    const before = ioas.allocHwpt(device);
    device.attach(before);
    own.dmaRead(BASE, 1);
    const bad = nest({ addressWidth: 39 });
    assert.throws(() => device.attach(bad), EINVAL);
    assert.equal(device.attachedTo(), before);
    assert.throws(() => own.dmaRead(BASE, 1), EFAULT);
    device.attach(before);
    assert.throws(() => own.dmaRead(BASE, 1), EFAULT);
    device.attach(ioas.allocHwpt(device));
    own.dmaRead(BASE, 1);
  });

  it('is replaced by others, and by the parent', () => {
    const { ram, parent, tables, nest, device, own, data, read } = guest();
    tables.map(VA, data(0));
    const other = new VtdTables(ram, { base: BASE, from: 2 * MiB, levels: 5 });
    other.map(VA, data(1));
    device.attach(nest());
    own.dmaWrite(VA, bytes(1));
    device.attach(nest(other.vtd));
    own.dmaWrite(VA, bytes(2));
    device.attach(parent);
    assert.throws(() => own.dmaWrite(VA, bytes(3)), EFAULT);
    own.dmaWrite(data(2), bytes(3));
    device.attach(nest());
    own.dmaWrite(VA + 1n, bytes(4));
    assert.deepEqual([read(0, 2), read(1, 1), read(2, 1)], [bytes(1, 4), bytes(2), bytes(3)]);
  });

  it('fails with what cannot be allocated, and nothing stays behind', () => {
    const { host, ioas, tables, nest, parent, device, own, data } = guest({ ats: true, pasid: true });
    tables.map(VA, data(0));
    const nested = nest({ pasid: true });
    const steps: (() => void)[] = [
      () => device.hwInfo(),
      () => ioas.allocHwpt(device).destroy(),
      () => ioas.allocHwpt(device, { nestParent: true }).destroy(),
      () => parent.allocNestedHwpt(device, raw({})).destroy(),
      () => {
        device.attach(nested);
        device.detach();
      },
      () => {
        device.attach(ioas);
        device.detach();
      },
      () => {
        device.attach(nested, { pasid: 70 });
        device.detach({ pasid: 70 });
      },
    ];
    for (const [index, step] of steps.entries()) {
      const objects = () => host.inspect().iommufds[0]?.objects.length;
      const before = objects();
      let failed = 0;
      for (let after = 0; ; after++) {
        host.failAllocation(after);
        try {
          step();
        } catch (error) {
          // The PASID table's own page is the one thing that Linux answers otherwise.
          assert.match(String((error as { code?: unknown }).code), /^(ENOMEM|ENODEV)$/, `step ${index} after ${after}`);
          failed++;
        }
        if (host.failurePending) break;
      }
      host.failAllocation(-1);
      assert(failed >= 1, `step ${index} allocates`);
      assert.equal(objects(), before, `step ${index}`);
    }
    device.attach(nested);
    own.dmaRead(VA, 1);
  });
});

describe('emulated VT-d: dirty pages', () => {
  /** Pages that were written, in `length` bytes from `iova`. */
  function dirty(hwpt: ReturnType<Ioas['allocHwpt']>, iova: bigint, length: number, clear = true): number[] {
    const bitmap = hwpt.dirtyBitmap({ iova, length });
    const pages: number[] = [];
    for (const range of bitmap.read({ clear }).ranges()) {
      for (let at = range.iova; at < range.iova + range.length; at += 4096n) pages.push(Number(at - iova) / PAGE);
    }
    bitmap.free();
    return pages;
  }
  function tracked(size = MiB, hugePages = false) {
    const base = machine();
    const ram: DmaMemory = base.memory(size);
    const ioas = base.iommufd.allocIoas();
    ioas.hugePages = hugePages;
    ioas.map(ram, { iova: BigInt(GiB) });
    const hwpt = ioas.allocHwpt(base.device, { dirtyTracking: true });
    base.device.attach(hwpt);
    const write = (page: number) => base.own.dmaWrite(BigInt(GiB + page * PAGE), bytes(1));
    return { ...base, ioas, ram, hwpt, write };
  }

  it('are those written since tracking began, or since they were read', () => {
    const { hwpt, write, own } = tracked();
    const read = (clear = true) => dirty(hwpt, BigInt(GiB), MiB, clear);
    write(1);
    hwpt.setDirtyTracking(true);
    assert.deepEqual(read(), []);
    write(3);
    write(5);
    own.dmaRead(BigInt(GiB), 1);
    assert.deepEqual(read(false), [3, 5]);
    assert.deepEqual(read(), [3, 5]);
    assert.deepEqual(read(), []);
    write(3);
    assert.deepEqual(read(), [3]);
    hwpt.setDirtyTracking(false);
    write(7);
    assert.deepEqual(read(), []);
  });

  it('are whole entries, of 2 MiB where memory is mapped so', () => {
    const { hwpt, write } = tracked(4 * MiB, true);
    hwpt.setDirtyTracking(true);
    write(3);
    assert.deepEqual(dirty(hwpt, BigInt(GiB), 4 * MiB), [...Array(512).keys()]);
    assert.deepEqual(dirty(hwpt, BigInt(GiB), 4 * MiB), []);
  });

  it('are forgotten with their mapping', () => {
    const { hwpt, write, ioas, ram } = tracked();
    hwpt.setDirtyTracking(true);
    write(3);
    ioas.unmap(BigInt(GiB), MiB);
    ioas.map(ram, { iova: BigInt(GiB) });
    assert.deepEqual(dirty(hwpt, BigInt(GiB), MiB), []);
  });

  it('are seen through a guest’s tables too, whose own pages the IOMMU writes', () => {
    const { ioas, parent, tables, device, own, data, nest } = guest({ dirtyTracking: true });
    assert.equal(ioas.iovaRanges().alignment, 4096n);
    tables.map(VA, data(3));
    device.attach(nest());
    parent.setDirtyTracking(true);
    const page = DATA / PAGE;
    const read = () => dirty(parent, BASE, 8 * MiB);
    // The guest's memory is in large entries: its tables lie in the first, its data in the third.
    own.dmaRead(VA, 1);
    const first = [...Array(512).keys()];
    const third = first.map((i) => page + i);
    assert.deepEqual(read(), first);
    own.dmaWrite(VA, bytes(1));
    assert.deepEqual(read(), [...first, ...third]);
    own.dmaWrite(VA, bytes(2));
    assert.deepEqual(read(), third);
  });
});

describe('emulated VT-d: memory that cannot be written', () => {
  it('is not mapped below a guest, whichever comes first', () => {
    const { host, iommufd, device, memory } = machine();
    const ram = memory(PAGE);
    const ioas = iommufd.allocIoas();
    const readOnly = { iova: IOVA, writable: false };
    const objects = () => host.inspect().iommufds[0]?.objects;
    ioas.map(ram, readOnly);
    const alone = objects();
    assert.throws(() => ioas.allocHwpt(device, { nestParent: true }), EINVAL);
    assert.deepEqual(objects(), alone, 'nothing is left of it');
    // Other tables have no such need, and go on beside the refusal.
    const plain = ioas.allocHwpt(device);
    assert.throws(() => ioas.allocHwpt(device, { nestParent: true }), EINVAL);
    ioas.unmap(IOVA, PAGE);
    const parent = ioas.allocHwpt(device, { nestParent: true });
    assert.throws(() => ioas.map(ram, readOnly), EINVAL);
    ioas.map(ram, { iova: IOVA });
    ioas.unmap(IOVA, PAGE);
    parent.destroy();
    ioas.map(ram, readOnly);
    plain.destroy();
  });
});
