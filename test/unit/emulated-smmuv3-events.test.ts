// Event records of the emulated SMMUv3, byte for byte (SMMUv3 manual, IHI 0070, 7.3). Words here are of 32 bits: word 0 has
// the event's number, SSV and SubstreamID, word 1 the StreamID, word 2 Stall and STAG, word 3 RnW, S2 and CLASS, words 4
// and 5 InputAddr, words 6 and 7 IPA or FetchAddr.
import assert from 'node:assert/strict';
import {
  type ContextFields,
  PAGE,
  RAM,
  record,
  Smmuv3Guest,
  STREAM,
  type SteFields,
  steWords,
} from './emulated-smmuv3-guest.js';
import { translationBy } from './translation-by.js';

const VA = 0x1234_5000;
const VA_PAGE = VA / PAGE;
const OFFSET = 0x678;
const SSV = 1 << 11;

const [TRANSLATION, ADDRESS_SIZE, ACCESS, PERMISSION] = [0x10, 0x11, 0x12, 0x13];
const READ = 1 << 3;
const STAGE_2 = 1 << 7;
const [CONTEXT, TABLE, INPUT] = [0 << 8, 1 << 8, 2 << 8];
/** What lies behind memory for the guest. */
const NOWHERE = 0x9000_0000;

function stage(context: ContextFields = {}, ste: SteFields = {}) {
  const guest = new Smmuv3Guest();
  const made = guest.simple(context, ste);
  const refuse = (write: boolean, pasid = 0, page = VA_PAGE) => {
    guest.events.length = 0;
    assert.equal(made.stream.translate(page, OFFSET, write, pasid), -1);
    assert.equal(made.stream.stalledTag, -1);
    return [...guest.events];
  };
  return { guest, ...made, refuse };
}
const fault = (type: number, flags: number, ...more: number[]) =>
  record(type, STREAM, 0, flags, VA + OFFSET, 0, ...more);

describe('emulated SMMUv3: events', () => {
  it('F_TRANSLATION: nothing is mapped, read or written', () => {
    const { refuse } = stage();
    assert.deepEqual(refuse(false), [fault(TRANSLATION, INPUT | READ)]);
    assert.deepEqual(refuse(true), [fault(TRANSLATION, INPUT)]);
    assert.deepEqual(
      refuse(false),
      ['1000000008010000000000000802000078563412000000000000000000000000'],
      'in full, to be read beside the manual',
    );
  });

  it('tells addresses of 64 bits, and PASIDs of 20', () => {
    const guest = new Smmuv3Guest();
    const tables = guest.tables();
    const at = guest.context({ lower: { table: tables.root } });
    guest.put64(at + 0x3f * 64, 0n);
    const stream = guest.stream(steWords(at, { substreamBits: 20, withoutSubstream: 2 }), 0xffff);
    // Behind the guest's memory are no context descriptors.
    const pasid = 0xf_ffff;
    assert.equal(stream.translate(0xf_edcb_a987_6543, 0x210, true, 0), -1);
    assert.equal(stream.translate(0xf_edcb_a987_6543, 0x210, true, pasid), -1);
    const context = at + pasid * 64;
    const input = [0x7654_3210, 0xfedc_ba98] as const;
    assert.deepEqual(guest.events, [
      record(TRANSLATION, 0xffff, 0, INPUT, ...input),
      record(
        TRANSLATION | SSV | (pasid << 12),
        0xffff,
        0,
        STAGE_2 | CONTEXT | READ,
        ...input,
        context - (context % PAGE),
        0,
      ),
    ]);
  });

  it('F_PERMISSION: it may be read alone, or by privileged accesses alone', () => {
    const { guest, tables, refuse, stream } = stage();
    tables.map(BigInt(VA), guest.page(), PAGE, { writable: false });
    assert(stream.translate(VA_PAGE, 0, false, 0) >= 0);
    assert.deepEqual(refuse(true), [fault(PERMISSION, INPUT)]);
    assert.deepEqual(refuse(true), [fault(PERMISSION, INPUT)], 'by the TLB too');
    tables.map(BigInt(VA + PAGE), guest.page(), PAGE, { unprivileged: false });
    const input = record(PERMISSION, STREAM, 0, INPUT | READ, VA + PAGE + OFFSET);
    assert.deepEqual(refuse(false, 0, VA_PAGE + 1), [input]);
  });

  it('F_PERMISSION: a table takes it away from all below, unless nobody heeds that (HAD0)', () => {
    const { guest, tables, refuse, context, stream } = stage();
    tables.map(BigInt(VA), guest.page(), PAGE);
    tables.restrict(BigInt(VA), 2, { readOnly: true });
    assert.deepEqual(refuse(true), [fault(PERMISSION, INPUT)]);
    guest.put64(context + 8, BigInt(tables.root) | 2n);
    stream.forgetContexts();
    guest.smmu.invalidateVmid(guest.stage2.vmid);
    assert(stream.translate(VA_PAGE, OFFSET, true, 0) >= 0);
  });

  it('F_ACCESS: the access flag is not set, unless nobody asks for it (AFFD)', () => {
    const { guest, tables, refuse, context, stream } = stage();
    tables.map(BigInt(VA), guest.page(), PAGE, { accessed: false });
    assert.deepEqual(refuse(true), [fault(ACCESS, INPUT)]);
    guest.context({ lower: { table: tables.root }, set: 1n << 35n }, context);
    stream.forgetContexts();
    assert(stream.translate(VA_PAGE, OFFSET, true, 0) >= 0);
  });

  it('F_ADDR_SIZE: an address is longer than the context allows, or the SMMU', () => {
    const { guest, tables, refuse } = stage();
    tables.map(BigInt(VA), 2 ** 40, PAGE);
    assert.deepEqual(refuse(false), [fault(ADDRESS_SIZE, INPUT | READ)]);
    const bypass = guest.stream(undefined, 2);
    bypass.install({ kind: 'bypass', stage2: guest.stage2 });
    guest.events.length = 0;
    assert.equal(bypass.translate(2 ** 36, 1, true, 0), -1);
    assert.deepEqual(guest.events, [record(ADDRESS_SIZE, 2, 0, INPUT, 1, 2 ** 16)]);
  });

  it('tells nothing of stage 1 where the context says so (CD.R), but of what is behind it', () => {
    const { guest, tables, refuse, stream } = stage({ records: false });
    assert.deepEqual(refuse(false), []);
    tables.map(BigInt(VA), guest.page(), PAGE, { writable: false });
    assert.deepEqual(refuse(true), []);
    tables.map(BigInt(VA), NOWHERE, PAGE);
    guest.smmu.invalidateVmid(guest.stage2.vmid);
    assert.equal(refuse(false).length, 1);
    assert.equal(stream.translate(VA_PAGE, 0, true, 0), -1);
  });

  describe('of stage 2', () => {
    const ipa = [NOWHERE, 0] as const;

    it('the address itself', () => {
      const { guest, tables, refuse } = stage();
      tables.map(BigInt(VA), NOWHERE, PAGE);
      assert.deepEqual(refuse(false), [fault(TRANSLATION, STAGE_2 | INPUT | READ, ...ipa)]);
      assert.deepEqual(refuse(true), [fault(TRANSLATION, STAGE_2 | INPUT, ...ipa)]);
      guest.map.frames.set(NOWHERE / PAGE, { frame: guest.ram.frame(0), readable: true, writable: false });
      assert.deepEqual(refuse(true), [fault(PERMISSION, STAGE_2 | INPUT, ...ipa)]);
    });

    it('a page table, which is read whatever the access does', () => {
      const { guest, tables, refuse, stream } = stage();
      const at = tables.descriptorAt(BigInt(VA), 2);
      guest.put64(at, BigInt(NOWHERE) | 3n);
      const expected = [fault(TRANSLATION, STAGE_2 | TABLE, NOWHERE, 0)];
      assert.deepEqual(refuse(true), expected);
      assert.deepEqual(refuse(true), expected);
      guest.map.frames.set(NOWHERE / PAGE, { frame: guest.ram.frame(0), readable: false, writable: true });
      assert.deepEqual(refuse(true), [fault(PERMISSION, STAGE_2 | TABLE, NOWHERE, 0)]);
      guest.map.frames.set(NOWHERE / PAGE, { frame: 5, readable: true, writable: true });
      const fetch = NOWHERE + ((VA >> 12) & 511) * 8;
      assert.deepEqual(refuse(true), [fault(0x0b, TABLE, fetch, 0)], 'F_WALK_EABT: there is no memory');
      assert.equal(stream.stalledTag, -1);
    });

    it('a context descriptor, or the table that leads to it', () => {
      const { guest, refuse, stream } = stage();
      const of = (pointer: number, fields: SteFields) => {
        stream.install({ kind: 'nested', stage2: guest.stage2, ste: steWords(pointer, fields) });
        return refuse(true);
      };
      const expected = [fault(TRANSLATION, STAGE_2 | CONTEXT | READ, ...ipa)];
      assert.deepEqual(of(NOWHERE + 64, {}), expected);
      const twoLevels = { format: 2, substreamBits: 11, withoutSubstream: 2 };
      assert.deepEqual(of(NOWHERE + 128, twoLevels), expected);
      const first = guest.page();
      guest.put64(first, BigInt(NOWHERE) | 1n);
      assert.deepEqual(of(first, twoLevels), expected);
      guest.map.frames.set(NOWHERE / PAGE, { frame: 5, readable: true, writable: true });
      assert.deepEqual(refuse(true), [record(0x09, STREAM, 0, 0, 0, 0, NOWHERE, 0)], 'F_CD_FETCH: there is no memory');
    });

    it('without stage 1', () => {
      const { guest, refuse, stream } = stage();
      stream.install({ kind: 'bypass', stage2: guest.stage2 });
      const page = 0xf_1234_5678;
      assert.deepEqual(refuse(true, 0, page), [
        record(TRANSLATION, STREAM, 0, STAGE_2 | INPUT, 0x4567_8678, 0xf123, 0x4567_8000, 0xf123),
      ]);
      assert.deepEqual(refuse(true, 9), [record(0x08 | (9 << 12), STREAM)], 'SubstreamIDs are for stage 1');
    });
  });

  it("of the kernel's own tables", () => {
    const { guest, refuse, stream } = stage();
    const readOnly = translationBy((page, write) => (write ? -1 : page));
    stream.install({ kind: 'table', table: { translation: readOnly } });
    assert.deepEqual(refuse(true), [fault(PERMISSION, INPUT)]);
    assert.deepEqual(refuse(true, 2), [record(0x08 | (2 << 12), STREAM)]);
    stream.install({ kind: 'table', table: { translation: translationBy(() => -1), stage: 2 } });
    assert.deepEqual(refuse(false), [fault(TRANSLATION, STAGE_2 | INPUT | READ, VA, 0)]);
    assert.equal(guest.events.length, 1);
  });

  it('have the StreamID and the PASID of their access, whichever came before', () => {
    const guest = new Smmuv3Guest();
    const tables = guest.tables();
    const at = guest.page();
    for (let i = 0; i < 4; i++) guest.context({ lower: { table: tables.root }, records: i !== 3 }, at + 64 * i);
    const ste = steWords(at, { substreamBits: 2, withoutSubstream: 2 });
    const streams = [guest.stream(ste, 1), guest.stream(ste, 2)];
    for (const [stream, pasid] of [
      [0, 0],
      [1, 2],
      [1, 3],
      [0, 1],
    ] as const) {
      assert.equal(streams[stream]?.translate(RAM / PAGE, 0, false, pasid), -1);
    }
    const of = (stream: number, word: number) => record(TRANSLATION | word, stream, 0, INPUT | READ, RAM);
    assert.deepEqual(guest.events, [of(1, 0), of(2, SSV | (2 << 12)), of(1, SSV | (1 << 12))]);
  });
});
