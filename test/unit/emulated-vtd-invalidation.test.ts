// What a VT-d unit and a device with ATS keep of a guest's tables, and what makes them forget it.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { EmulatedHost } from '../../lib/emulated-host.js';
import type { HwptNested } from '../../lib/index.js';
import { iommu_hwpt_vtd_s1_invalidate } from '../../lib/uapi/iommufd-driver-data.js';
import { ADDRESS, BASE, bytes, DATA, guest, OTHER, PAGE, VA } from './emulated-vtd-stage.js';

const EFAULT = { code: 'EFAULT' };
const LAST = 2n ** 64n - 1n;
const STRUCT = iommu_hwpt_vtd_s1_invalidate;

function attached(options: Parameters<typeof guest>[0] = {}) {
  const base = guest(options);
  const nested = base.nest();
  base.device.attach(nested);
  return { ...base, nested };
}

/** Pages of the guest that are kept, from VA on. */
function kept(host: EmulatedHost, where = 'tlb'): number[] {
  return host
    .inspect()
    .tlb.filter((entry) => entry.where === where)
    .map(({ iova }) => Number(iova - VA) / PAGE)
    .sort((a, b) => a - b);
}

/** Maps pages from VA on, and has the device read them all. */
function touch({ tables, own, data }: ReturnType<typeof attached>, pages: number): void {
  for (let page = 0; page < pages; page++) tables.map(VA + BigInt(page * PAGE), data(page));
  for (let page = 0; page < pages; page++) own.dmaRead(VA + BigInt(page * PAGE), 1);
}

interface RawEntry {
  readonly addr?: bigint;
  readonly npages?: bigint;
  readonly flags?: number;
  readonly __reserved?: number;
}
function raw(nested: HwptNested, entries: readonly RawEntry[], entryLength = STRUCT.size, type = 0) {
  const all = new Uint8Array(entries.length * entryLength);
  const view = new DataView(all.buffer);
  for (const [i, { addr = 0n, npages = 1n, flags = 0, __reserved = 0 }] of entries.entries()) {
    view.setBigUint64(i * entryLength + STRUCT.at.addr, addr, true);
    view.setBigUint64(i * entryLength + STRUCT.at.npages, npages, true);
    if (entryLength < STRUCT.size) continue;
    view.setUint32(i * entryLength + STRUCT.at.flags, flags, true);
    view.setUint32(i * entryLength + STRUCT.at.__reserved, __reserved, true);
  }
  return nested.tryInvalidate({ type, entryLength, entries: all });
}

describe('emulated VT-d: what is cached', () => {
  it('stays as it was until it is invalidated', () => {
    const { tables, own, data, read, nested } = attached();
    tables.map(VA, data(0));
    own.dmaWrite(VA, bytes(1));
    tables.map(VA, data(1));
    own.dmaWrite(VA, bytes(2));
    assert.deepEqual([read(0)[0], read(1)[0]], [2, 0]);
    tables.unmap(VA);
    own.dmaWrite(VA, bytes(3));
    nested.invalidate({ vtd: [{ address: VA, pages: 1n }] });
    assert.throws(() => own.dmaWrite(VA, bytes(4)), EFAULT);
    assert.equal(read(0)[0], 3);
  });

  it('is nothing that was not there: a page that appears needs no invalidation', () => {
    const { tables, own, data, read } = attached();
    assert.throws(() => own.dmaWrite(VA, bytes(1)), EFAULT);
    tables.map(VA, data(0), { writable: false });
    own.dmaRead(VA, 1);
    tables.map(VA, data(1));
    own.dmaWrite(VA, bytes(2));
    assert.equal(read(1)[0], 2, 'what allowed too little was looked up again');
  });

  it('is found by inspection, with what it leads to', () => {
    const { host, tables, own, data } = attached();
    tables.map(VA, data(2), { writable: false });
    tables.map(VA + 0x20_0000n, BASE, { size: 2_097_152 });
    own.dmaRead(VA + 5n, 1);
    own.dmaRead(VA + 0x20_1000n, 1);
    const [small, large] = host.inspect().tlb;
    assert.deepEqual(
      { ...small, vmid: undefined },
      {
        ...{ where: 'tlb', iova: VA, length: 4096n, address: data(2) },
        ...{ readable: true, writable: false, pasid: 0, vmid: undefined },
      },
    );
    assert.deepEqual([large?.iova, large?.length, large?.address], [VA + 0x20_0000n, 0x20_0000n, BASE]);
    assert.equal(large?.writable, true);
  });

  it('goes by the aligned range around what is named, as the command to hardware has it', () => {
    for (const [first, pages, gone] of [
      [0, 1n, [0]],
      [3, 1n, [3]],
      [0, 2n, [0, 1]],
      [1, 2n, [0, 1, 2, 3]],
      [4, 3n, [4, 5, 6, 7]],
      [3, 2n, [0, 1, 2, 3, 4, 5, 6, 7]],
      // None is the page before to this one, in the kernel's sum.
      [2, 0n, [0, 1, 2, 3]],
      [0, 2n ** 52n + 1n, [0]],
    ] as const) {
      const base = attached();
      touch(base, 8);
      base.nested.invalidate({ vtd: [{ address: VA + BigInt(first * PAGE), pages, leaf: true }] });
      const left = [0, 1, 2, 3, 4, 5, 6, 7].filter((page) => !(gone as readonly number[]).includes(page));
      assert.deepEqual(kept(base.host), left, `${pages} pages from ${first} on`);
    }
  });

  it('goes altogether', () => {
    for (const entry of [{ all: true }, { address: 0n, pages: 0n }, { address: VA, pages: LAST - 1n }] as const) {
      const base = attached();
      touch(base, 3);
      base.nested.invalidate({ vtd: [entry] });
      assert.deepEqual(
        kept(base.host),
        [],
        JSON.stringify(entry, (_, value) => String(value)),
      );
    }
  });

  it('goes as a whole where one of its pages is named', () => {
    const { host, tables, own, nested } = attached();
    tables.map(VA, BASE, { size: 2_097_152 });
    own.dmaRead(VA, 1);
    nested.invalidate({ vtd: [{ address: VA + 0x1f_f000n, pages: 1n }] });
    assert.deepEqual(kept(host), []);
  });

  it('goes when the host unmaps memory behind it', () => {
    const { host, ioas, own, ram, tables, data } = attached();
    const second = 0x8000_0000n;
    ioas.map(ram, { iova: second, offset: DATA, length: PAGE });
    tables.map(VA, second);
    tables.map(VA + BigInt(PAGE), data(1));
    own.dmaRead(VA, 1);
    own.dmaRead(VA + BigInt(PAGE), 1);
    ioas.unmap(second, PAGE);
    assert.deepEqual(kept(host), []);
    assert.throws(() => own.dmaRead(VA, 1), EFAULT);
    own.dmaRead(VA + BigInt(PAGE), 1);
  });

  it('goes when the device leaves, and is not another’s', () => {
    const base = attached();
    touch(base, 2);
    base.second.attach(base.nest());
    base.otherOwn.dmaRead(VA, 1);
    assert.deepEqual(kept(base.host), [0, 0, 1]);
    base.device.detach();
    assert.deepEqual(kept(base.host), [0]);
  });

  it('is shared by devices on the same page table, and forgotten for both', () => {
    const { tables, own, otherOwn, second, data, nested, host, read } = attached();
    second.attach(nested);
    tables.map(VA, data(0));
    own.dmaRead(VA, 1);
    tables.map(VA, data(1));
    otherOwn.dmaWrite(VA, bytes(1));
    assert.deepEqual([read(0)[0], read(1)[0]], [0, 1], 'a write looks for the dirty flag');
    nested.invalidate({ vtd: [{ all: true }] });
    assert.deepEqual(kept(host), []);
  });
});

describe('emulated VT-d: a device that keeps translations (ATS)', () => {
  it('is told of every invalidation', () => {
    const base = attached({ ats: true });
    touch(base, 4);
    const where = `atc ${ADDRESS}`;
    assert.deepEqual(kept(base.host, where), [0, 1, 2, 3]);
    base.nested.invalidate({ vtd: [{ address: VA, pages: 2n }] });
    assert.deepEqual(kept(base.host, where), [2, 3]);
    base.nested.invalidate({ vtd: [{ all: true }] });
    assert.deepEqual(kept(base.host, where), []);
    touch(base, 2);
    base.device.detach();
    assert.deepEqual(kept(base.host, where), []);
  });

  it('keeps what it has where it does not answer, and nobody is told', () => {
    const base = attached({ ats: true });
    const { tables, own, data, nested, read } = base;
    tables.map(VA, data(0));
    own.dmaWrite(VA, bytes(1));
    own.answersInvalidations = false;
    tables.map(VA, data(1));
    nested.invalidate({ vtd: [{ all: true }] });
    own.dmaWrite(VA, bytes(2));
    assert.deepEqual([read(0)[0], read(1)[0]], [2, 0]);
    assert.deepEqual(kept(base.host), []);
    own.answersInvalidations = true;
    nested.invalidate({ vtd: [{ all: true }] });
    own.dmaWrite(VA, bytes(3));
    assert.deepEqual([read(0)[0], read(1)[0]], [2, 3]);
  });

  it('forgets all of it in a reset, also where it does not answer', () => {
    const base = attached({ ats: true, model: 'test' });
    const { tables, own, data, nested, read } = base;
    touch(base, 2);
    own.answersInvalidations = false;
    base.nics[0].hotReset();
    assert.deepEqual(kept(base.host, `atc ${ADDRESS}`), []);
    assert.deepEqual(kept(base.host), [0, 1], 'the IOMMU keeps what it has');
    tables.map(VA, data(1));
    nested.invalidate({ vtd: [{ all: true }] });
    own.dmaWrite(VA, bytes(2));
    assert.equal(read(1)[0], 2);
  });

  it('forgets all of it when the host unmaps memory', () => {
    const base = attached({ ats: true });
    const { ioas, ram, host } = base;
    touch(base, 2);
    ioas.map(ram, { iova: 0x9000_0000n, length: PAGE });
    assert.deepEqual(kept(host, `atc ${ADDRESS}`), [0, 1]);
    ioas.unmap(0x9000_0000n, PAGE);
    assert.deepEqual(kept(host, `atc ${ADDRESS}`), []);
    assert.deepEqual(kept(host, `atc ${OTHER}`), []);
  });
});

describe('emulated VT-d: invalidation requests', () => {
  it('are refused one by one, and what comes before is done', () => {
    const base = attached();
    touch(base, 3);
    const page = (index: number) => ({ addr: VA + BigInt(index * PAGE) });
    for (const [bad, code] of [
      [{ ...page(1), flags: 2 }, 'EOPNOTSUPP'],
      [{ ...page(1), flags: 2 ** 31 }, 'EOPNOTSUPP'],
      [{ ...page(1), __reserved: 1 }, 'EOPNOTSUPP'],
      [{ addr: VA + 1n }, 'EINVAL'],
      [{ addr: VA + 2048n }, 'EINVAL'],
      [{ addr: VA, npages: LAST }, 'EINVAL'],
      [{ addr: VA + 1n, flags: 2 }, 'EOPNOTSUPP'],
    ] as const) {
      base.own.dmaRead(VA, 1);
      const { completed, refusal } = raw(base.nested, [page(0), bad, page(2)]);
      assert.deepEqual([completed, refusal?.code], [1, code]);
      assert.deepEqual(kept(base.host), [1, 2]);
    }
  });

  it('are of the kind that there is, and of its length', () => {
    const { nested } = attached();
    assert.equal(raw(nested, [{}], STRUCT.size, 1).refusal?.code, 'EINVAL');
    assert.equal(raw(nested, [], STRUCT.size, 1).refusal?.code, 'EINVAL');
    assert.equal(raw(nested, [{}], STRUCT.size - 1).refusal?.code, 'EINVAL');
    assert.equal(raw(nested, [{}], STRUCT.size + 8).refusal?.code, 'EINVAL');
    assert.deepEqual(raw(nested, []), { completed: 0 });
  });

  it('work where nothing is attached', () => {
    const { nest } = guest();
    assert.equal(nest().invalidate({ vtd: [{ all: true }, { address: VA, pages: 5n }] }), 2);
  });

  it('forget no less than what is named, and no more than the kernel says', () => {
    const base = attached();
    const PAGES = 64;
    fc.assert(
      fc.property(fc.integer({ min: 0, max: PAGES - 1 }), fc.integer({ min: 1, max: PAGES }), (first, count) => {
        touch(base, PAGES);
        base.nested.invalidate({ vtd: [{ address: VA + BigInt(first * PAGE), pages: BigInt(count) }] });
        const last = first + count - 1;
        let size = 1;
        while (Math.floor(first / size) !== Math.floor(last / size)) size *= 2;
        const start = first - (first % size);
        const left = Array.from({ length: PAGES }, (_, i) => i).filter((i) => i < start || i >= start + size);
        assert.deepEqual(kept(base.host), left);
      }),
      { numRuns: 60 },
    );
  });
});
