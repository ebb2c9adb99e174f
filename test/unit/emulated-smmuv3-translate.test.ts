// The emulated SMMUv3's translation: from stream table entry and context descriptor through both stages to memory.
import assert from 'node:assert/strict';
import { keyOf } from '../../lib/emulated/hardware/smmuv3/input-address.js';
import { contextWords, PAGE, RAM, record, Smmuv3Guest, STREAM, steWords } from './emulated-smmuv3-guest.js';
import { translationBy } from './translation-by.js';

const VA = 0x1234_5000;
const page = (va: bigint | number) => Number(BigInt(va) >> 12n);

/** The guest's physical address that a virtual one leads to, or undefined. */
function translated(
  guest: Smmuv3Guest,
  stream: { translate(page: number, offset: number, write: boolean, pasid: number): number },
  va: bigint | number,
  { write = false, pasid = 0 } = {},
): number | undefined {
  const offset = Number(BigInt(va) & 0xfffn);
  const address = stream.translate(page(va), offset, write, pasid);
  if (address < 0) return undefined;
  const found = [...guest.map.frames].find(([, { frame }]) => frame === Math.floor(address / PAGE));
  assert(found !== undefined, 'it is memory of the guest');
  return found[0] * PAGE + (address % PAGE);
}

describe('emulated SMMUv3: translation', () => {
  it('goes through both stages, to the byte, as often as it is asked', () => {
    const guest = new Smmuv3Guest();
    const { tables, stream } = guest.simple();
    const target = guest.page();
    tables.map(BigInt(VA), target, PAGE);
    for (let i = 0; i < 3; i++) {
      assert.equal(translated(guest, stream, VA + 0x123), target + 0x123);
      assert.equal(translated(guest, stream, VA + 0xfff, { write: true }), target + 0xfff);
    }
    assert.deepEqual(guest.events, []);
  });

  for (const granule of [12, 14, 16] as const) {
    it(`knows pages of ${2 ** granule / 1024} KiB, in both halves of addresses`, () => {
      const guest = new Smmuv3Guest(2048);
      const lower = guest.tables(granule, 48);
      const upper = guest.tables(granule, 42);
      const context = guest.context({
        lower: { table: lower.root, granule, inputBits: 48 },
        upper: { table: upper.root, granule, inputBits: 42 },
      });
      const stream = guest.stream(steWords(context));
      const size = 2 ** granule;
      const [low, high] = [guest.allocate(size), guest.allocate(size)];
      lower.map(0x7000_0000_0000n, low, size);
      upper.map(0xffff_fff0_0000_0000n, high, size);
      const last = BigInt(size) - 1n;
      assert.equal(translated(guest, stream, 0x7000_0000_0000n + last), low + size - 1);
      assert.equal(translated(guest, stream, 0xffff_fff0_0000_0000n + last), high + size - 1);
      assert.equal(translated(guest, stream, 0xffff_fff0_0000_0000n + last), high + size - 1);
      assert.deepEqual(guest.events, []);
    });
  }

  it('finds blocks, and pages anywhere in them', () => {
    const guest = new Smmuv3Guest(2048);
    const { tables, stream } = guest.simple();
    const block = guest.allocate(2 ** 21);
    tables.map(0x4020_0000n, block, 2 ** 21);
    for (const offset of [0, 0x1ff_123, 0x8_0000]) {
      assert.equal(translated(guest, stream, 0x4020_0000 + offset), block + offset);
    }
    assert.equal(guest.smmu.tlb().length, 1);
  });

  it('takes the top byte for nothing where the context says so', () => {
    for (const [topByteIgnored, ignored] of [
      [1, true],
      [2, false],
    ] as const) {
      const guest = new Smmuv3Guest();
      const { tables, stream } = guest.simple({ topByteIgnored });
      const target = guest.page();
      tables.map(BigInt(VA), target, PAGE);
      assert.equal(translated(guest, stream, VA), target);
      assert.equal(translated(guest, stream, 0xab00_0000_1234_5000n), ignored ? target : undefined);
      assert.equal(guest.events.length, ignored ? 0 : 1);
    }
  });

  it('refuses addresses between the halves, and of a half that is switched off', () => {
    const guest = new Smmuv3Guest();
    const { stream } = guest.simple();
    for (const va of [1n << 39n, 1n << 55n, (1n << 64n) - 4096n, 1n << 56n]) {
      assert.equal(translated(guest, stream, va), undefined);
    }
    assert.deepEqual(
      guest.events.map((event) => event.slice(0, 2)),
      ['10', '10', '10', '10'],
    );
  });

  it('asks stage 2 for what is done: what it lets be read alone is not written', () => {
    const guest = new Smmuv3Guest();
    const { tables, stream } = guest.simple();
    const target = guest.page();
    tables.map(BigInt(VA), target, PAGE);
    const entry = guest.map.frames.get(target / PAGE);
    assert(entry !== undefined);
    entry.writable = false;
    assert.equal(translated(guest, stream, VA), target);
    assert.equal(translated(guest, stream, VA, { write: true }), undefined);
    assert.equal(translated(guest, stream, VA), target);
  });

  it('has all tables of the kernel refused while there are none', () => {
    const guest = new Smmuv3Guest();
    const { context } = guest.simple();
    const stream = guest.stream(undefined, 9);
    stream.install({ kind: 'nested', stage2: { vmid: 1, translation: undefined }, ste: steWords(context) });
    assert.equal(stream.translate(0, 0, false, 0), -1);
    stream.install({ kind: 'bypass', stage2: { vmid: 1, translation: undefined } });
    assert.equal(stream.translate(0, 0, false, 0), -1);
    stream.install({ kind: 'table', table: { translation: undefined } });
    assert.equal(stream.translate(0, 0, false, 0), -1);
    assert.equal(guest.events.length, 3);
  });

  describe('what is installed', () => {
    it('is nothing at first: everything is refused, and nothing told', () => {
      const guest = new Smmuv3Guest();
      const stream = guest.stream();
      assert.equal(guest.smmu.findStream(STREAM), stream);
      assert.equal(guest.smmu.findStream(STREAM + 1), undefined);
      assert.equal(translated(guest, stream, RAM), undefined);
      stream.install({ kind: 'abort' });
      assert.equal(translated(guest, stream, RAM), undefined);
      assert.deepEqual(guest.events, []);
    });

    it('may be stage 2 alone', () => {
      const guest = new Smmuv3Guest();
      const stream = guest.stream();
      stream.install({ kind: 'bypass', stage2: guest.stage2 });
      for (let i = 0; i < 2; i++) assert.equal(translated(guest, stream, RAM + 0x1008), RAM + 0x1008);
      assert.equal(translated(guest, stream, RAM - PAGE), undefined);
      assert.equal(guest.events.length, 1);
    });

    it("may be a table of the kernel's, which is asked every time, and others for PASIDs", () => {
      const guest = new Smmuv3Guest();
      const stream = guest.stream();
      const table = (base: number) => ({ translation: translationBy((page, write) => (write ? -1 : base + page)) });
      stream.install({ kind: 'table', table: table(1000) });
      stream.setPasid(3, table(2000));
      assert.equal(stream.translate(5, 7, false, 0), 1005 * PAGE + 7);
      assert.equal(stream.translate(5, 7, false, 3), 2005 * PAGE + 7);
      assert.equal(stream.translate(5, 7, false, 4), -1);
      stream.install({ kind: 'abort' });
      assert.equal(stream.translate(5, 7, false, 3), 2005 * PAGE + 7);
      assert.equal(stream.translate(5, 7, false, 0), -1);
      stream.setPasid(3, undefined);
      assert.equal(stream.translate(5, 7, false, 3), -1);
      assert.deepEqual(guest.events, [record(0x0a | (1 << 11) | (4 << 12), STREAM), record(0x06, STREAM)]);
    });

    it('holds at once: what was translated before does not count', () => {
      const guest = new Smmuv3Guest();
      const { tables, stream, context } = guest.simple();
      const target = guest.page();
      tables.map(BigInt(VA), target, PAGE);
      assert.equal(translated(guest, stream, VA), target);
      stream.install({ kind: 'bypass', stage2: guest.stage2 });
      assert.equal(translated(guest, stream, VA), undefined);
      assert.equal(translated(guest, stream, RAM), RAM);
      stream.install({ kind: 'abort' });
      assert.equal(translated(guest, stream, RAM), undefined);
      stream.install({ kind: 'nested', stage2: guest.stage2, ste: steWords(context) });
      assert.equal(translated(guest, stream, VA), target);
    });
  });

  describe('substreams', () => {
    /** Context descriptors 0 to 3, each of which leads VA to another page. */
    function withSubstreams(fields: Parameters<typeof steWords>[1], place: (guest: Smmuv3Guest) => [number, number]) {
      const guest = new Smmuv3Guest(1024);
      const [pointer, first] = place(guest);
      const targets = [0, 1, 2, 3].map((substream) => {
        const tables = guest.tables();
        const target = guest.page();
        tables.map(BigInt(VA), target, PAGE);
        guest.context({ lower: { table: tables.root }, asid: 100 + substream }, first + 64 * substream);
        return target;
      });
      return { guest, targets, stream: guest.stream(steWords(pointer, fields)) };
    }
    const linear = (guest: Smmuv3Guest): [number, number] => {
      const at = guest.page();
      return [at, at];
    };

    it('have context descriptors of their own, one after the other', () => {
      const { guest, targets, stream } = withSubstreams({ substreamBits: 4, withoutSubstream: 2 }, linear);
      for (let i = 0; i < 2; i++) {
        targets.forEach((target, pasid) => {
          assert.equal(translated(guest, stream, VA, { pasid }), target);
        });
      }
      assert.deepEqual(guest.events, []);
    });

    for (const [format, leafBits] of [
      [1, 6],
      [2, 10],
    ] as const) {
      it(`or in tables of ${2 ** leafBits}`, () => {
        const inLeaf = 2 ** leafBits - 4;
        const { guest, targets, stream } = withSubstreams({ substreamBits: 14, format }, (inner) => {
          const [first, second] = [inner.page(), inner.allocate(64 * 2 ** leafBits)];
          inner.put64(first + 8 * 3, BigInt(second) | 1n);
          return [first, second + 64 * inLeaf];
        });
        const base = 3 * 2 ** leafBits + inLeaf;
        targets.forEach((target, index) => {
          assert.equal(translated(guest, stream, VA, { pasid: base + index }), target);
        });
        assert.equal(translated(guest, stream, VA, { pasid: 5 }), undefined, 'its table is not there');
        assert.deepEqual(guest.events, [record(0x08 | (5 << 12), STREAM)]);
      });
    }

    it('are as many as the stream table entry says', () => {
      const { guest, targets, stream } = withSubstreams({ substreamBits: 2 }, linear);
      assert.equal(translated(guest, stream, VA, { pasid: 3 }), targets[3]);
      assert.equal(translated(guest, stream, VA, { pasid: 4 }), undefined);
      assert.deepEqual(guest.events, [record(0x08 | (4 << 12), STREAM)]);
    });

    it('are none without S1CDMax', () => {
      const { guest, targets, stream } = withSubstreams({ format: 1 }, linear);
      assert.equal(translated(guest, stream, VA), targets[0]);
      assert.equal(translated(guest, stream, VA, { pasid: 1 }), undefined);
      assert.deepEqual(guest.events, [record(0x08 | (1 << 12), STREAM)]);
    });

    it('leave what has none to be refused, to go by stage 2 alone, or to have the first', () => {
      const disabled = record(0x06, STREAM);
      for (const [withoutSubstream, va, expected, events] of [
        [0, VA, undefined, [disabled]],
        [1, RAM, RAM, []],
        [2, VA, 'first', []],
        [3, VA, undefined, [disabled]],
      ] as const) {
        const { guest, targets, stream } = withSubstreams({ substreamBits: 2, withoutSubstream }, linear);
        const address = expected === 'first' ? targets[0] : expected;
        assert.equal(translated(guest, stream, va), address, `S1DSS ${withoutSubstream}`);
        assert.equal(translated(guest, stream, VA, { pasid: 1 }), targets[1]);
        assert.equal(translated(guest, stream, va), address);
        assert.deepEqual(guest.events, [...events, ...events]);
      }
    });
  });

  it('tells what it is: what QEMU has, substreams, ATS, stalls and 48 bits', () => {
    const { identification } = new Smmuv3Guest().smmu;
    const qemu = [222564379, 41091088, 0, 5140, 0, 116] as const;
    const differs = identification.idr.map((register, index) => (register ^ (qemu[index] ?? 0)) >>> 0);
    const stallModel = 1 << 24;
    const oas = 4 ^ 5;
    const [idr0, idr1, , , , idr5] = differs;
    assert.equal(idr0, (1 << 10) | (1 << 19) | stallModel, 'IDR0: ATS, CD2L; STALL_MODEL 0 in place of 1');
    assert.equal(idr1, 20 << 6, 'IDR1.SSIDSIZE');
    assert.deepEqual(differs.slice(2, 5), [0, 0, 0]);
    assert.equal(idr5 ?? 0, ((128 << 16) | oas) >>> 0, 'IDR5: STALL_MAX, OAS');
    assert.deepEqual([identification.iidr, identification.aidr], [0, 1]);
  });

  it('keys addresses without their top byte', () => {
    assert.equal(keyOf(page(0xffff_8000_0000_0000n)), page(0x00ff_8000_0000_0000n));
    assert.equal(keyOf(page(0x12_0000_1234_5678n)), page(0x12_0000_1234_5678n));
  });

  it('refuses a context descriptor that asks for what there is not', () => {
    const guest = new Smmuv3Guest();
    const { tables, context, stream } = guest.simple();
    tables.map(BigInt(VA), guest.page(), PAGE);
    const half = { table: tables.root };
    const bad = [
      ['V', { valid: false }],
      ['AA64', { clear: 1n << 41n }],
      ['A', { aborts: false }],
      ['ENDI', { set: 1n << 15n }],
      ['HA', { set: 1n << 43n }],
      ['HD', { set: 1n << 42n }],
      ['TG0', { set: 3n << 6n }],
      ['TTB0', { lower: { table: 2 ** 40 } }],
      ['T0SZ below 16', { lower: { ...half, inputBits: 49 } }],
      ['T0SZ above 39', { lower: { ...half, inputBits: 24 } }],
      ['TG1', { upper: half, clear: 3n << 22n }],
      ['T1SZ', { upper: { ...half, inputBits: 24 } }],
      ['TTB1', { upper: { table: 2 ** 40 } }],
      ['IPS', { ips: 0, lower: { table: 2 ** 32 } }],
    ] as const;
    for (const [name, fields] of bad) {
      guest.context({ lower: half, ...fields }, context);
      stream.forgetContexts();
      guest.events.length = 0;
      assert.equal(translated(guest, stream, VA), undefined, name);
      assert.deepEqual(guest.events, [record(0x0a, STREAM)], name);
    }
    const good = [
      { ips: 7 },
      { upper: half },
      { set: 1n << 47n },
      { lower: { ...half, inputBits: 25 } },
      { lower: { ...half, inputBits: 48 } },
      { lower: undefined, set: 1n << 15n },
      { lower: { table: 2 ** 32 }, ips: 1 },
    ];
    for (const fields of good) {
      guest.context({ lower: half, ...fields }, context);
      stream.forgetContexts();
      guest.events.length = 0;
      stream.translate(0, 0, false, 0);
      assert.deepEqual(
        guest.events.map((event) => event.slice(0, 2)),
        ['10'],
        'it is a context, but nothing is mapped at 0',
      );
    }
    assert.equal(contextWords({})[0] & 0x3fn, 0n);
  });

  it('refuses a stream table entry with more substreams than there are, and contexts that stall where it forbids that', () => {
    const guest = new Smmuv3Guest();
    const { context, stream } = guest.simple();
    stream.install({ kind: 'nested', stage2: guest.stage2, ste: steWords(context, { substreamBits: 21 }) });
    assert.equal(stream.translate(0, 0, false, 0), -1);
    assert.equal(stream.translate(0, 0, false, 6), -1);
    assert.deepEqual(guest.events.splice(0), [record(0x04, STREAM), record(0x04 | (1 << 11) | (6 << 12), STREAM)]);
    const stalling = guest.context({ stalls: true });
    stream.install({ kind: 'nested', stage2: guest.stage2, ste: steWords(stalling, { stallDisabled: true }) });
    assert.equal(stream.translate(0, 0, false, 0), -1);
    assert.deepEqual(guest.events, [record(0x0a, STREAM)]);
  });
});
