// What the emulated SMMUv3 keeps of a guest's tables, and which command makes it forget what: a guest that gives none, or the
// wrong one, goes on with what was there.
import assert from 'node:assert/strict';
import type { TlbEntryState } from '../../lib/emulated/hardware/platform.js';
import { CERROR } from '../../lib/emulated/hardware/smmuv3/command-queue.js';
import { ASID, COMMANDS, command, PAGE, RAM, Smmuv3Guest, STREAM, steWords, VMID } from './emulated-smmuv3-guest.js';

const VA = 0x1234_5000n;
const VA_PAGE = Number(VA >> 12n);
type Command = [number, number, number, number];

/** A page is mapped at VA, was read, and is mapped no more. */
function stale({ global = false, asid = ASID } = {}) {
  const guest = new Smmuv3Guest();
  const { tables, stream, context } = guest.simple({ asid });
  const target = guest.page();
  tables.map(VA, target, PAGE, { global });
  const known = (page = VA_PAGE) => stream.translate(page, 0, false, 0) >= 0;
  assert(known());
  tables.unmap(VA, PAGE);
  const given = (...commands: Command[]) => {
    for (const one of commands) assert.equal(guest.smmu.execute(...one), CERROR.none);
    return known();
  };
  return { guest, tables, stream, context, target, known, given };
}

describe('emulated SMMUv3: what it keeps', () => {
  it('a translation stays until it is told', () => {
    const { known, guest, given } = stale();
    for (let i = 0; i < 3; i++) assert(known());
    assert.equal(given(COMMANDS.nhVa(VA)), false);
    assert.deepEqual(guest.smmu.tlb(), []);
  });

  it('a fault is not kept', () => {
    const { known, guest, given, tables } = stale();
    assert.equal(given(COMMANDS.nhAll()), false);
    tables.map(VA, guest.page(), PAGE);
    assert(known());
  });

  describe('commands', () => {
    const forget: readonly (readonly [string, Command])[] = [
      ['TLBI_NH_VA', COMMANDS.nhVa(VA)],
      ['TLBI_NH_VA with something in the top byte', COMMANDS.nhVa(VA | (0x12n << 56n))],
      ['TLBI_NH_VAA', COMMANDS.nhVaa(VA)],
      ['TLBI_NH_ASID', COMMANDS.nhAsid()],
      ['TLBI_NH_ALL', COMMANDS.nhAll()],
      ['TLBI_NSNH_ALL', COMMANDS.nsnhAll()],
      ['TLBI_S12_VMALL', command(0x28n | (BigInt(VMID) << 32n))],
      ['a range that has the page', COMMANDS.range(VA - 0x3000n, 1, 3, 0)],
      ['a range of larger granules', COMMANDS.range(VA & ~0xffffn, 3, 0, 1)],
      ['a range that begins within the granule', COMMANDS.range(VA + 0x3000n, 3, 0, 1)],
      ['a range of one page, of the last level', COMMANDS.range(VA, 1, 0, 0, ASID, 3)],
      ['a range of everything', COMMANDS.range(0n, 3, 31, 31)],
    ];
    for (const [name, one] of forget) {
      it(`${name} makes it forget the page`, () => assert.equal(stale().given(one), false));
    }

    const others: readonly (readonly [string, Command])[] = [
      ["another page's", COMMANDS.nhVa(VA + 0x1000n)],
      ["another ASID's", COMMANDS.nhVa(VA, ASID + 1)],
      ["another VMID's", COMMANDS.nhVa(VA, ASID, VMID + 1)],
      ["another page's of all ASIDs", COMMANDS.nhVaa(VA - 0x1000n)],
      ["another VMID's of all ASIDs", COMMANDS.nhVaa(VA, VMID + 1)],
      ['another ASID', COMMANDS.nhAsid(ASID + 1)],
      ["another VMID's ASID", COMMANDS.nhAsid(ASID, VMID + 1)],
      ['another VMID', COMMANDS.nhAll(VMID + 1)],
      ['a range that ends before', COMMANDS.range(VA - 0x4000n, 1, 3, 0)],
      ['a range that begins behind', COMMANDS.range(VA + 0x1000n, 1, 31, 31)],
      ["a range of another ASID's", COMMANDS.range(0n, 3, 31, 31, ASID + 1)],
      ['what it has of contexts', COMMANDS.cfgiCdAll()],
      ['what devices have', COMMANDS.atcInv(0n, 52)],
      ['what was before', COMMANDS.sync()],
      ['nothing: PREFETCH_CONFIG', command(1n | (BigInt(STREAM) << 32n))],
      ['stage 2 addresses', command(0x2an | (BigInt(VMID) << 32n), VA)],
    ];
    for (const [name, one] of others) {
      it(`nothing of it goes with ${name}`, () => assert.equal(stale().given(one), true));
    }

    it('that are none are illegal, and do nothing', () => {
      const { guest, known } = stale();
      const bad: Command[] = [
        command(0n),
        command(0x20n),
        command(0x21n),
        command(0x41n),
        command(0xffn),
        command(0x30n | (1n << 10n)),
        COMMANDS.range(VA, 1, 0, 0),
        COMMANDS.range(VA, 2, 0, 0, ASID, 1),
        COMMANDS.atcInv(VA, 53),
        command(0x46n | (3n << 12n)),
      ];
      for (const one of bad) assert.equal(guest.smmu.execute(...one), CERROR.illegal);
      assert(known());
    });
  });

  describe('global translations', () => {
    it('hold for other address spaces', () => {
      const { guest, stream, context, known } = stale({ global: true });
      guest.context({ lower: { table: guest.tables().root }, asid: ASID + 1 }, context);
      stream.forgetContexts();
      assert(known());
    });
    it('stay when an address space goes', () => assert.equal(stale({ global: true }).given(COMMANDS.nhAsid()), true));
    const goes: readonly (readonly [string, Command])[] = [
      ['its address, whatever the ASID', COMMANDS.nhVa(VA, ASID + 9)],
      ['a range around it, whatever the ASID', COMMANDS.range(0n, 1, 31, 31, ASID + 9)],
      ['its address of all ASIDs', COMMANDS.nhVaa(VA)],
      ['all of the VMID', COMMANDS.nhAll()],
    ];
    for (const [name, one] of goes) {
      it(`go with ${name}`, () => assert.equal(stale({ global: true }).given(one), false));
    }
  });

  it('leaves go as a whole', () => {
    for (const one of [COMMANDS.nhVa(0x4030_0000n), COMMANDS.range(0x4030_0000n, 1, 1, 0)]) {
      const guest = new Smmuv3Guest(2048);
      const { tables, stream } = guest.simple();
      tables.map(0x4020_0000n, guest.allocate(2 ** 21), 2 ** 21);
      assert(stream.translate(0x4_0201, 0, false, 0) >= 0);
      tables.unmap(0x4020_0000n, 2 ** 21);
      assert(stream.translate(0x4_03ff, 0, false, 0) >= 0);
      assert.equal(guest.smmu.execute(...one), CERROR.none);
      assert.equal(stream.translate(0x4_0201, 0, false, 0), -1);
    }
  });

  it('the same ASID of another VMID is another address space', () => {
    const { guest, context, known } = stale();
    const other = guest.stream(undefined, STREAM + 1);
    other.install({ kind: 'nested', stage2: { ...guest.stage2, vmid: VMID + 1 }, ste: steWords(context) });
    assert(known());
    assert.equal(other.translate(VA_PAGE, 0, false, 0), -1);
  });

  it('streams of one address space share what is kept', () => {
    const { guest, context } = stale();
    const other = guest.stream(steWords(context), STREAM + 1);
    assert(other.translate(VA_PAGE, 0, false, 0) >= 0);
  });

  it('what it keeps of a permission counts, not what the tables say by now', () => {
    const guest = new Smmuv3Guest();
    const { tables, stream } = guest.simple();
    const target = guest.page();
    tables.map(VA, target, PAGE, { writable: false });
    assert(stream.translate(VA_PAGE, 0, false, 0) >= 0);
    tables.map(VA, target, PAGE);
    assert.equal(stream.translate(VA_PAGE, 0, true, 0), -1);
    assert.equal(guest.smmu.execute(...COMMANDS.nhVa(VA)), CERROR.none);
    assert(stream.translate(VA_PAGE, 0, true, 0) >= 0);
  });

  it('forgets all of a VMID whose stage 2 changes', () => {
    const { guest, tables, known, target } = stale();
    tables.map(VA, target, PAGE);
    guest.smmu.invalidateVmid(VMID + 1);
    assert.equal(guest.smmu.tlb().length, 1);
    guest.map.frames.delete(target / PAGE);
    guest.smmu.invalidateVmid(VMID);
    assert.deepEqual(guest.smmu.tlb(), []);
    assert.equal(known(), false);
  });

  it('forgets a page without stage 1 where stage 2 changes', () => {
    const guest = new Smmuv3Guest();
    const stream = guest.stream();
    stream.install({ kind: 'bypass', stage2: guest.stage2 });
    const knows = (page: number) => stream.translate(page, 0, false, 0) >= 0;
    const first = RAM / PAGE;
    for (const page of [first, first + 1, first + 2]) assert(knows(page));
    guest.map.frames.delete(first);
    guest.smmu.invalidateVmid(VMID);
    assert.equal(knows(first), false);
    assert(knows(first + 1));
    guest.map.frames.delete(first + 1);
    assert.equal(guest.smmu.execute(...command(0x2an | (BigInt(VMID) << 32n), BigInt(RAM))), CERROR.none);
    assert.equal(knows(first + 1), false);
    const other = new Smmuv3Guest();
    other.map.frames.delete(first + 2);
    assert(knows(first + 2));
    stream.install({ kind: 'bypass', stage2: other.stage2 });
    assert(knows(first));
    assert.equal(knows(first + 2), false);
  });

  it('keeps streams and contexts apart, whatever the StreamIDs', () => {
    const guest = new Smmuv3Guest();
    // The micro TLB's tags have 32 bits and a sign: contexts come first, then streams with the longest ids.
    const { tables, stream } = guest.simple();
    const identical = RAM + 8 * PAGE;
    tables.map(BigInt(identical), guest.page(), PAGE);
    const others = [1, 2, 3, 4].map((i) => guest.stream(undefined, 2 ** 32 - 1 - i));
    for (const other of others) other.install({ kind: 'bypass', stage2: guest.stage2 });
    const page = identical / PAGE;
    const wanted = guest.frame(identical);
    const behind = stream.translate(page, 0, false, 0);
    assert(behind >= 0 && behind !== wanted);
    assert.equal(guest.smmu.execute(...COMMANDS.nhAll()), CERROR.none);
    for (const other of others) {
      assert(other.translate(page + 1, 0, false, 0) >= 0);
      assert.equal(other.translate(page, 0, false, 0), wanted);
    }
  });

  it('address spaces beyond counting go together: every command still does what it is to', () => {
    const guest = new Smmuv3Guest(1024);
    const tables = guest.tables();
    tables.map(VA, guest.page(), PAGE);
    const contexts = guest.allocate(64 * 512);
    for (let i = 0; i < 512; i++) guest.context({ lower: { table: tables.root }, asid: i }, contexts + 64 * i);
    const stream = guest.stream(steWords(contexts, { substreamBits: 9, withoutSubstream: 2 }));
    for (let i = 0; i < 512; i++) assert(stream.translate(VA_PAGE, 0, false, i) >= 0);
    assert.equal(guest.smmu.tlb().length, 512);
    assert.equal(guest.smmu.execute(...COMMANDS.nhVaa(VA)), CERROR.none);
    assert.deepEqual(guest.smmu.tlb(), []);
    assert(stream.translate(VA_PAGE, 0, false, 3) >= 0);
    assert.equal(guest.smmu.execute(...COMMANDS.nhVaa(VA + 0x1000n)), CERROR.none);
    assert.equal(guest.smmu.tlb().length, 1);
  });

  describe('context descriptors', () => {
    /** The context was used, and another one is in its place that has nothing mapped at VA, and another ASID. */
    function replaced() {
      const stage = stale();
      const { guest, context } = stage;
      guest.context({ lower: { table: guest.tables().root }, asid: ASID + 1 }, context);
      return stage;
    }
    it('stay until they are told', () => assert.equal(replaced().given(COMMANDS.nhVa(VA + 0x1000n)), true));
    const forget: readonly (readonly [string, Command])[] = [
      ['CFGI_CD', COMMANDS.cfgiCd()],
      ['CFGI_CD_ALL', COMMANDS.cfgiCdAll()],
      ['CFGI_STE', command(3n | (BigInt(STREAM) << 32n))],
      ['CFGI_STE_RANGE around the stream', command(4n | (BigInt(STREAM & ~7) << 32n), 2n)],
      ['CFGI_ALL', command(4n, 31n)],
    ];
    for (const [name, one] of forget) {
      it(`${name} makes it forget them`, () => assert.equal(replaced().given(one), false));
    }
    const others: readonly (readonly [string, Command])[] = [
      ['CFGI_CD of another substream', COMMANDS.cfgiCd(1)],
      ['CFGI_CD of another stream', command(5n | (BigInt(STREAM + 1) << 32n))],
      ['CFGI_CD_ALL of another stream', command(6n | (BigInt(STREAM + 1) << 32n))],
      ['CFGI_STE_RANGE before the stream', command(4n | (BigInt(STREAM - 8) << 32n), 2n)],
      ['CFGI_STE_RANGE behind the stream', command(4n | (BigInt(STREAM + 8) << 32n), 2n)],
    ];
    for (const [name, one] of others) {
      it(`${name} does not`, () => assert.equal(replaced().given(one), true));
    }
    it('go with another stream table entry', () => {
      const { guest, stream, context, known } = replaced();
      stream.install({ kind: 'nested', stage2: guest.stage2, ste: steWords(context, { withoutSubstream: 2 }) });
      assert.equal(known(), false);
    });
    it('stay with the same one: the driver sees nothing to tell', () => {
      const { guest, stream, context, known } = replaced();
      stream.install({ kind: 'nested', stage2: guest.stage2, ste: steWords(context) });
      assert.equal(known(), true);
      stream.install({ kind: 'abort' });
      stream.install({ kind: 'nested', stage2: guest.stage2, ste: steWords(context) });
      assert.equal(known(), false);
    });
    it('are not kept where they are of no use', () => {
      const guest = new Smmuv3Guest();
      const { stream, context, tables } = guest.simple({ valid: false });
      tables.map(VA, guest.page(), PAGE);
      assert.equal(stream.translate(VA_PAGE, 0, false, 0), -1);
      guest.context({ lower: { table: tables.root } }, context);
      assert(stream.translate(VA_PAGE, 0, false, 0) >= 0);
    });
    it('of more substreams than are kept work as well', () => {
      const guest = new Smmuv3Guest(1024);
      const tables = guest.tables();
      tables.map(VA, guest.page(), PAGE);
      const contexts = guest.allocate(64 * 2048);
      for (let i = 0; i < 2048; i++) guest.context({ lower: { table: tables.root } }, contexts + 64 * i);
      const stream = guest.stream(steWords(contexts, { substreamBits: 11, withoutSubstream: 2 }));
      for (let i = 0; i < 2048; i++) assert(stream.translate(VA_PAGE, 0, false, i) >= 0);
      assert.deepEqual(guest.events, []);
    });
  });

  describe("a device's own cache (ATC)", () => {
    /** As `stale`, of a device that keeps translations, for PASIDs 0 (none) to 2. */
    function kept() {
      const guest = new Smmuv3Guest();
      const tables = guest.tables();
      const target = guest.page();
      tables.map(VA, target, PAGE);
      const contexts = guest.page();
      for (let i = 0; i < 4; i++) guest.context({ lower: { table: tables.root } }, contexts + 64 * i);
      const ste = steWords(contexts, { substreamBits: 2, withoutSubstream: 2, ats: 1 });
      const stream = guest.stream();
      stream.ats = true;
      stream.name = '0000:01:00.0';
      stream.install({ kind: 'nested', stage2: guest.stage2, ste });
      const known = () => [0, 1, 2].map((pasid) => stream.translate(VA_PAGE, 0, true, pasid) >= 0);
      assert.deepEqual(known(), [true, true, true]);
      tables.unmap(VA, PAGE);
      assert.equal(guest.smmu.execute(...COMMANDS.nhAll()), CERROR.none);
      const given = (one: Command) => {
        assert.equal(guest.smmu.execute(...one), CERROR.none);
        return known();
      };
      return { guest, tables, stream, target, known, given, ste };
    }
    const all = [true, true, true];
    const none = [false, false, false];

    it("stays when the SMMU's goes", () => {
      const { known, guest } = kept();
      assert.deepEqual(known(), all);
      assert.deepEqual(
        guest.smmu.tlb().map(({ where, pasid }) => [where, pasid]),
        [undefined, 1, 2].map((pasid) => ['atc 0000:01:00.0', pasid]),
      );
    });
    it('stays when a context goes', () => assert.deepEqual(kept().given(COMMANDS.cfgiCdAll()), all));
    it('goes with ATC_INV, everything without a PASID', () => {
      assert.deepEqual(kept().given(COMMANDS.atcInv(VA, 0)), none);
      assert.deepEqual(kept().given(COMMANDS.atcInv(0n, 52)), none);
      assert.deepEqual(kept().given(COMMANDS.atcInv(VA & ~0xffffn, 4)), none);
      assert.deepEqual(kept().given(COMMANDS.atcInv(VA + 0x3000n, 4)), none);
      assert.deepEqual(kept().given(COMMANDS.atcInv(VA + 0x1000n, 0)), all);
      assert.deepEqual(kept().given(COMMANDS.atcInv(VA + 0x8_0000n, 4)), all);
    });
    it('one PASID by itself', () => {
      assert.deepEqual(kept().given(COMMANDS.atcInv(0n, 52, 1)), [true, false, true]);
      assert.deepEqual(kept().given(COMMANDS.atcInv(0n, 52, 0)), [false, true, true]);
      const global = command(0x40n | (1n << 9n) | (1n << 11n) | (BigInt(STREAM) << 32n), 52n);
      assert.deepEqual(kept().given(global), none);
    });
    it("is of no use for another stream's invalidation", () => {
      const { guest, known } = kept();
      guest.stream(undefined, 3);
      for (const stream of [3n, 4n]) assert.equal(guest.smmu.execute(...command(0x40n | (stream << 32n), 52n)), 0);
      assert.deepEqual(known(), all);
    });
    it('asks stage 2 at every access: what the kernel took is gone', () => {
      const { guest, target, known } = kept();
      guest.map.frames.delete(target / PAGE);
      assert.deepEqual(known(), none);
      assert.equal(guest.events.length, 3);
    });
    it('asks anew for what it may not do', () => {
      const { guest, tables, stream, known, given, target } = kept();
      assert.deepEqual(given(COMMANDS.atcInv(0n, 52)), none);
      tables.map(VA, target, PAGE, { writable: false });
      assert(stream.translate(VA_PAGE, 0, false, 0) >= 0);
      tables.map(VA, target, PAGE);
      assert.equal(guest.smmu.execute(...COMMANDS.nhAll()), CERROR.none);
      assert.deepEqual(known(), all);
    });
    it('is there where the device has one, and the stream table entry allows it', () => {
      const { guest, stream, known, ste, tables, target } = kept();
      stream.ats = false;
      assert.deepEqual(known(), none);
      stream.ats = true;
      assert.deepEqual(known(), all);
      const without = Uint32Array.from(ste);
      without[2] = 2;
      stream.install({ kind: 'nested', stage2: guest.stage2, ste: without });
      assert.deepEqual(known(), none);
      stream.install({ kind: 'nested', stage2: guest.stage2, ste });
      assert.deepEqual(known(), none, 'it went when ATS was switched off');
      const split = Uint32Array.from(ste);
      split[2] = 2 | (2 << 28);
      stream.install({ kind: 'nested', stage2: guest.stage2, ste: split });
      tables.map(VA, target, PAGE);
      assert.deepEqual(known(), all);
      assert.deepEqual([...new Set(guest.smmu.tlb().map(({ where }) => where))], ['tlb'], 'EATS 2 is not there');
    });

    it('of a device that does not answer stays, and the next CMD_SYNC says so', () => {
      const { guest, stream, known } = kept();
      const other = guest.smmu.addQueue();
      stream.answersInvalidations = false;
      assert.equal(guest.smmu.execute(...COMMANDS.atcInv(VA, 0)), CERROR.none);
      assert.equal(other.execute(...COMMANDS.sync()), CERROR.none, 'of another queue');
      for (let i = 0; i < 2; i++) assert.equal(guest.smmu.execute(...COMMANDS.sync()), CERROR.atcTimeout);
      assert.deepEqual(known(), all);
      assert.equal(guest.smmu.execute(...COMMANDS.nhAsid(99)), CERROR.none);
      assert.equal(guest.smmu.execute(...COMMANDS.sync()), CERROR.none, 'who goes on has given it up');
      assert.deepEqual(known(), all);
    });
    it('of a device that answers late goes then', () => {
      const { guest, stream, known } = kept();
      stream.answersInvalidations = false;
      guest.smmu.execute(...COMMANDS.atcInv(VA, 0));
      assert.equal(guest.smmu.execute(...COMMANDS.sync()), CERROR.atcTimeout);
      stream.answersInvalidations = true;
      assert.equal(guest.smmu.execute(...COMMANDS.sync()), CERROR.none);
      assert.deepEqual(known(), none);
    });
    it('is forgotten to be waited for where a queue is reset', () => {
      const { guest, stream } = kept();
      stream.answersInvalidations = false;
      const queue = guest.smmu.addQueue();
      queue.execute(...COMMANDS.atcInv(VA, 0));
      queue.reset();
      assert.equal(queue.execute(...COMMANDS.sync()), CERROR.none);
    });
  });

  it('tells all of it', () => {
    const guest = new Smmuv3Guest(2048);
    const lower = guest.tables();
    const upper = guest.tables();
    const context = guest.context({ lower: { table: lower.root }, upper: { table: upper.root } });
    const stream = guest.stream(steWords(context, { ats: 1 }));
    Object.assign(stream, { ats: true, name: '0000:01:00.0' });
    const [page, block] = [guest.page(), guest.allocate(2 ** 21)];
    lower.map(VA, page, PAGE, { writable: false, global: true });
    upper.map(0xffff_ffff_ffe0_0000n, block, 2 ** 21);
    assert(stream.translate(VA_PAGE, 0, false, 0) >= 0);
    assert(stream.translate(2 ** 52 - 7, 0, false, 0) >= 0);
    const small = { iova: VA, length: 4096n, address: BigInt(page), readable: true, writable: false };
    const large = {
      ...{ iova: 0xffff_ffff_ffe0_0000n, length: 2n ** 21n, address: BigInt(block) },
      ...{ readable: true, writable: true },
    };
    const atc = { where: 'atc 0000:01:00.0' };
    const byAddress = (one: TlbEntryState, other: TlbEntryState) => (one.iova < other.iova ? -1 : 1);
    const told = guest.smmu.tlb().sort(byAddress);
    assert.deepEqual(
      told.filter(({ where }) => where === 'tlb'),
      [
        { where: 'tlb', ...small, vmid: VMID, global: true },
        { where: 'tlb', ...large, vmid: VMID, asid: ASID, global: false },
      ],
    );
    assert.deepEqual(
      told.filter(({ where }) => where !== 'tlb'),
      [
        { ...atc, ...small },
        { ...atc, ...large },
      ],
    );
  });
});
