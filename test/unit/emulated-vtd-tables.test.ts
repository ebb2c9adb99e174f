// What a VT-d unit makes of a guest's first-stage tables, seen by what a device's DMA reaches.
import assert from 'node:assert/strict';
import { ENTRY } from '../rig/vtd-tables.js';
import { BASE, bytes, DATA, guest, MiB, PAGE, VA } from './emulated-vtd-stage.js';

const EFAULT = { code: 'EFAULT' };
const GiB = 2 ** 30;

/** A guest whose device is attached to its tables. */
function attached(options: Parameters<typeof guest>[0] = {}) {
  const base = guest(options);
  base.device.attach(base.nest());
  return base;
}

describe('emulated VT-d: first-stage tables', () => {
  for (const levels of [4, 5] as const) {
    it(`lead DMA through ${levels} levels and stage 2, both ways`, () => {
      const { tables, own, data, read, write } = attached({ levels });
      tables.map(VA, data(3));
      tables.map(VA + BigInt(PAGE), data(1));
      write(3, bytes(1, 2, 3, 4));
      assert.deepEqual(own.dmaRead(VA, 4), bytes(1, 2, 3, 4));
      own.dmaWrite(VA + BigInt(PAGE - 2), bytes(9, 8, 7, 6));
      assert.deepEqual(read(3, PAGE).subarray(PAGE - 2), bytes(9, 8));
      assert.deepEqual(read(1, 2), bytes(7, 6));
    });
  }

  it('have the addresses of both canonical halves, and no others', () => {
    const four = attached();
    for (const address of [0n, 0x7fff_ffff_f000n, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_f000n]) {
      four.tables.map(address, four.data(0));
      four.own.dmaWrite(address, bytes(5));
    }
    for (const address of [0x8000_0000_0000n, 0xffff_7fff_ffff_f000n, 0x8000_0000_0000_0000n]) {
      four.tables.map(address, four.data(0));
      assert.throws(() => four.own.dmaRead(address, 1), EFAULT);
    }
    const five = attached({ levels: 5 });
    for (const address of [0x8000_0000_0000n, 0xff_ffff_ffff_f000n, 0xff00_0000_0000_0000n]) {
      five.tables.map(address, five.data(0));
      five.own.dmaWrite(address, bytes(5));
    }
    for (const address of [0x100_0000_0000_0000n, 0xfeff_ffff_ffff_f000n]) {
      five.tables.map(address, five.data(0));
      assert.throws(() => five.own.dmaRead(address, 1), EFAULT);
    }
  });

  it('have pages of 2 MiB, whose memory type is no part of the address', () => {
    const { tables, own, ram } = attached();
    const memoryType = 1n << 12n;
    tables.map(VA, (BASE + BigInt(DATA)) | memoryType, { size: 2_097_152 });
    own.dmaWrite(VA + BigInt(MiB + 5), bytes(42));
    assert.equal(ram.read(DATA + MiB + 5, 1)[0], 42);
    tables.put(tables.entryAt(VA, 1), tables.entry(VA, 1) | (1n << 13n));
    own.dmaRead(VA, 1);
  });

  it('have pages of 1 GiB', () => {
    const { tables, own, ram } = attached();
    const address = 4n * BigInt(GiB);
    tables.map(address, BASE, { size: 1_073_741_824 });
    own.dmaWrite(address + BigInt(DATA + 7), bytes(43));
    assert.equal(ram.read(DATA + 7, 1)[0], 43);
    assert.throws(() => own.dmaRead(address + BigInt(8 * MiB), 1), EFAULT);
  });

  it('refuse what an entry does not allow, at any level', () => {
    for (const level of [0, 1, 2, 3]) {
      const { tables, own, data } = attached();
      tables.map(VA, data(0));
      const at = tables.entryAt(VA, level);
      const whole = tables.get(at);
      tables.put(at, whole & ~ENTRY.writable);
      own.dmaRead(VA, 1);
      assert.throws(() => own.dmaWrite(VA, bytes(1)), EFAULT, `read-only at level ${level}`);
      const other = attached();
      other.tables.map(VA, other.data(0));
      const user = other.tables.entryAt(VA, level);
      other.tables.put(user, other.tables.get(user) & ~ENTRY.user);
      assert.throws(() => other.own.dmaRead(VA, 1), EFAULT, `a supervisor's at level ${level}`);
      other.tables.put(user, other.tables.get(user) & ~ENTRY.present);
      assert.throws(() => other.own.dmaRead(VA, 1), EFAULT, `not there at level ${level}`);
    }
  });

  it('refuse entries with bits that must be 0', () => {
    const LARGE_LEAF = 1n << 20n;
    for (const [level, bits] of [
      [3, ENTRY.large],
      [2, ENTRY.large | (1n << 29n)],
      [2, ENTRY.large | (1n << 13n)],
      [1, ENTRY.large | LARGE_LEAF],
      [1, ENTRY.large | (1n << 13n)],
    ] as const) {
      const { tables, own } = attached();
      tables.map(VA, BASE);
      const at = tables.entryAt(VA, level);
      tables.put(at, BASE | ENTRY.present | ENTRY.writable | ENTRY.user | bits);
      assert.throws(() => own.dmaRead(VA, 1), EFAULT, `level ${level}, ${bits.toString(16)}`);
    }
  });

  it('take no notice of the bits that are ignored', () => {
    const { tables, own, data } = attached();
    tables.map(VA, data(0));
    const ignored = ENTRY.noExecute | (0x7ffn << 52n) | (1n << 9n) | (1n << 11n) | (3n << 3n);
    for (const level of [0, 1, 2, 3]) tables.put(tables.entryAt(VA, level), tables.entry(VA, level) | ignored);
    own.dmaWrite(VA, bytes(1));
    assert.equal(tables.entry(VA) & ignored, ignored);
  });

  it('need their tables and their pages to be in the guest’s memory', () => {
    const { tables, own } = attached();
    tables.map(VA, BASE - BigInt(PAGE));
    assert.throws(() => own.dmaRead(VA, 1), EFAULT);
    for (const level of [1, 2, 3]) {
      const other = attached();
      other.tables.map(VA, other.data(0));
      for (const outside of [0n, BASE + BigInt(8 * MiB), 0x000f_ffff_ffff_f000n]) {
        const flags = ENTRY.present | ENTRY.writable | ENTRY.user;
        other.tables.put(other.tables.entryAt(VA, level), outside | flags);
        assert.throws(() => other.own.dmaRead(VA, 1), EFAULT, `level ${level} at ${outside.toString(16)}`);
        other.tables.put(other.tables.entryAt(VA, level), 0n);
      }
    }
    for (const pageTable of [0n, BASE + BigInt(8 * MiB), 2n ** 52n, 2n ** 64n - 4096n]) {
      const other = guest();
      other.device.attach(other.nest({ pageTable }));
      assert.throws(() => other.own.dmaRead(VA, 1), EFAULT, `root at ${pageTable.toString(16)}`);
    }
  });

  it('may have a root anywhere in its page', () => {
    const base = guest();
    base.tables.map(VA, base.data(0));
    base.device.attach(base.nest({ pageTable: base.tables.root + 0xabcn }));
    base.own.dmaWrite(VA, bytes(1));
  });

  it('are never used for the addresses of interrupts, unless the request has a PASID', () => {
    const { tables, own, data } = attached();
    for (const address of [0xfee0_0000n, 0xfeef_f000n]) {
      tables.map(address, data(0));
      assert.throws(() => own.dmaWrite(address, bytes(1)), EFAULT);
      tables.map(address + 0x10_0000n, data(0));
    }
    own.dmaWrite(0xfef0_0000n, bytes(1));
    tables.map(0xfedf_f000n, data(0));
    own.dmaWrite(0xfedf_f000n, bytes(1));
    const other = guest({ pasid: true });
    other.device.attach(other.nest({ pasid: true }), { pasid: 3 });
    other.tables.map(0xfee0_0000n, other.data(0));
    other.own.dmaWrite(0xfee0_0000n, bytes(6), { pasid: 3 });
    assert.equal(other.read(0)[0], 6);
  });
});

describe('emulated VT-d: flags of first-stage entries', () => {
  const USED = ENTRY.accessed;

  it('tell what was used, and what was written', () => {
    const { tables, own, data } = attached();
    tables.map(VA, data(0));
    const levels = [0, 1, 2, 3];
    assert(levels.every((level) => (tables.entry(VA, level) & USED) === 0n));
    own.dmaRead(VA, 1);
    assert(levels.every((level) => (tables.entry(VA, level) & USED) !== 0n));
    assert.equal(tables.entry(VA) & ENTRY.dirty, 0n);
    own.dmaWrite(VA, bytes(1));
    assert.notEqual(tables.entry(VA) & ENTRY.dirty, 0n);
    assert.equal(tables.entry(VA, 1) & ENTRY.dirty, 0n);
  });

  it('are set at leaves of any size, and at nothing that was not used', () => {
    const { tables, own, data } = attached();
    tables.map(VA, data(0), { size: 2_097_152 });
    tables.map(VA + BigInt(2 * MiB), data(0), { size: 2_097_152 });
    own.dmaWrite(VA + BigInt(MiB), bytes(1));
    assert.equal(tables.entry(VA, 1) & (USED | ENTRY.dirty), USED | ENTRY.dirty);
    assert.equal(tables.entry(VA + BigInt(2 * MiB), 1) & (USED | ENTRY.dirty), 0n);
  });

  it('are not set by what is refused', () => {
    const { tables, own, data } = attached();
    tables.map(VA, data(0), { writable: false });
    assert.throws(() => own.dmaWrite(VA, bytes(1)), EFAULT);
    assert.equal(tables.entry(VA) & (USED | ENTRY.dirty), 0n);
  });

  it('have one more that only the IOMMU sets, if that is asked for', () => {
    const base = guest();
    base.tables.map(VA, base.data(0));
    base.device.attach(base.nest({ eafe: true }));
    base.own.dmaRead(VA, 1);
    for (const level of [0, 1, 2, 3]) {
      const both = ENTRY.extendedAccessed | USED;
      assert.equal(base.tables.entry(VA, level) & both, both);
    }
    const plain = attached();
    plain.tables.map(VA, plain.data(0));
    plain.own.dmaRead(VA, 1);
    assert.equal(plain.tables.entry(VA) & ENTRY.extendedAccessed, 0n);
  });

  it('are set anew after the guest cleared them and had them forgotten', () => {
    const base = guest();
    const { tables, own } = base;
    const nested = base.nest();
    base.device.attach(nested);
    tables.map(VA, base.data(0));
    own.dmaWrite(VA, bytes(1));
    tables.map(VA, base.data(0));
    own.dmaWrite(VA, bytes(1));
    assert.equal(tables.entry(VA) & ENTRY.dirty, 0n, 'the TLB knew that it was dirty');
    nested.invalidate({ vtd: [{ address: VA, pages: 1n }] });
    own.dmaWrite(VA, bytes(1));
    assert.notEqual(tables.entry(VA) & ENTRY.dirty, 0n);
  });

  it('survive tables that lead to themselves', () => {
    const { tables, own } = attached();
    // Index 1 at every level: the root's entry leads to the root, and is the leaf in the end.
    const self = (1n << 12n) | (1n << 21n) | (1n << 30n) | (1n << 39n);
    const at = tables.entryAt(1n << 39n, 3);
    const flags = ENTRY.present | ENTRY.writable | ENTRY.user;
    tables.put(at, tables.root | flags);
    own.dmaRead(self, 8);
    assert.equal(tables.get(at), tables.root | flags | USED);
    own.dmaWrite(self + 2048n, bytes(1));
    assert.equal(tables.get(at), tables.root | flags | USED | ENTRY.dirty);
  });
});
