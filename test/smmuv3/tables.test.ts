// A guest's page tables as the SMMUv3 walks them: granules, levels, blocks, and what descriptors may and may not say
// (Arm DDI 0487, D8.3).
import assert from 'node:assert/strict';
import { pattern } from '../rig/edu.js';
import { smmuv3Cases } from '../rig/smmuv3-cases.js';
import { COMMANDS } from '../rig/smmuv3-commands.js';
import { type Feature, outputBits } from '../rig/smmuv3-features.js';
import { type GuestOptions, IPA, LENGTH, Smmuv3Guest, VA } from '../rig/smmuv3-guest.js';
import { GuestRam } from '../rig/smmuv3-ram.js';
import { smmuv3Registers } from '../rig/smmuv3-rig.js';
import { DESCRIPTOR, type Granule, GuestTables, USUAL_LEAF } from '../rig/smmuv3-tables.js';
import type { VfioBench } from '../rig/vfio.js';

const translated = (t: VfioBench, options?: GuestOptions) => new Smmuv3Guest(t, options).attach();

interface Format {
  readonly name: Feature;
  readonly granule: Granule;
  /** Widths of addresses, and the level that a walk of them begins at. */
  readonly widths: readonly (readonly [bits: number, firstLevel: number])[];
  /** Levels at which an entry may be a block. */
  readonly blocks: readonly number[];
}

const FORMATS: readonly Format[] = [
  {
    ...{ name: '4k', granule: 12, blocks: [1, 2] },
    widths: [48, 40, 39, 31, 30, 25].map((bits) => [bits, bits > 39 ? 0 : bits > 30 ? 1 : 2] as const),
  },
  {
    ...{ name: '16k', granule: 14, blocks: [2] },
    widths: [48, 47, 37, 36, 26, 25].map((bits) => [bits, bits > 47 ? 0 : bits > 36 ? 1 : bits > 25 ? 2 : 3] as const),
  },
  {
    ...{ name: '64k', granule: 16, blocks: [2] },
    widths: [48, 43, 42, 30, 29, 25].map((bits) => [bits, bits > 42 ? 1 : bits > 29 ? 2 : 3] as const),
  },
];

/** 32-bit output addresses, and the first address beyond. */
const IPS_32 = 0;
const BEYOND_32 = 1n << 32n;
const IPS_36 = 1;
const IPS_48 = 5;
/** What descriptors have beside what is heeded here: bits for software, and who may execute. */
const IGNORED = (0xfn << 55n) | (3n << 53n);

smmuv3Cases('smmuv3-tables', (test) => {
  for (const { name, granule, widths, blocks } of FORMATS) {
    const needs = [name];
    for (const [bits, firstLevel] of widths) {
      test(`${name}-${bits}-bits`, `walks ${name} tables of ${bits}-bit addresses`, { needs }, async (t) => {
        const guest = translated(t, { granule, bits });
        const { tables, pageSize } = guest;
        assert.equal(tables.firstLevel, firstLevel);
        const last = (1n << BigInt(bits)) - BigInt(pageSize);
        tables.map(0n, guest.page(0));
        tables.map(last, guest.page(1));
        await guest.reaches(0n, 0);
        const end = BigInt(pageSize - LENGTH);
        await guest.arrives(last + end, guest.page(1) + end, 2);
        await guest.faults('translation', BigInt(pageSize));
        await guest.faults('translation', last - BigInt(pageSize), 'read');
        await guest.faults('translation', last + BigInt(pageSize));
      });
    }
    for (const level of blocks) {
      test(
        `${name}-block-${level}`,
        `a block of ${name} tables at level ${level} is one translation`,
        { needs },
        async (t) => {
          const guest = translated(t, { granule, bits: 48 });
          const { tables } = guest;
          const size = 1n << BigInt(tables.shift(level));
          const within = (address: bigint) => address & (size - 1n);
          tables.map(5n * size, IPA - within(IPA), USUAL_LEAF, level);
          await guest.reaches(5n * size + within(guest.page(0)), 0);
          await guest.reaches(5n * size + within(guest.page(3)), 3, 2);
          await guest.faults('translation', 4n * size + within(guest.page(0)));
          await guest.faults('translation', 6n * size, 'read');
        },
      );
    }
    test(
      `${name}-no-page`,
      `at level 3 of ${name} tables, what looks like a block is nothing`,
      { needs },
      async (t) => {
        const guest = translated(t, { granule, bits: 48 });
        guest.tables.store(VA, 3, guest.page(0) | USUAL_LEAF);
        await guest.faults('translation', VA);
        await guest.faults('translation', VA, 'read');
      },
    );
    test(
      `${name}-invalid`,
      `an entry that is not valid ends the walk of ${name} tables at any level`,
      { needs },
      async (t) => {
        const guest = translated(t, { granule, bits: 48 });
        const { tables } = guest;
        guest.map(0, 0);
        await guest.reaches(guest.va(0), 0);
        for (let level = 3; level >= tables.firstLevel; level--) {
          const was = tables.load(VA, level);
          tables.store(VA, level, was & ~DESCRIPTOR.valid);
          guest.invalidate(COMMANDS.nhAll());
          await guest.faults('translation', guest.va(0), level === 2 ? 'read' : 'write');
          tables.store(VA, level, was);
        }
        await guest.reaches(guest.va(0), 0);
      },
    );
    test(`${name}-table-read-only`, `a table of ${name} pages forbids writing below it`, { needs }, async (t) => {
      const guest = translated(t, { granule, bits: 48 });
      const { tables } = guest;
      guest.map(0, 0);
      for (let level = 2; level >= tables.firstLevel; level--) {
        const was = tables.load(VA, level);
        tables.mark(VA, level, DESCRIPTOR.tableReadOnly);
        guest.invalidate(COMMANDS.nhAll());
        await guest.faults('permission', guest.va(0, 8));
        await guest.edu.load(guest.va(0), LENGTH);
        tables.store(VA, level, was);
        guest.invalidate(COMMANDS.nhAll());
        await guest.reaches(guest.va(0), 0, level);
      }
    });
    test(
      `${name}-crossing`,
      `DMA over the end of a ${name} page goes on in the next one, wherever that is`,
      { needs },
      async (t) => {
        const guest = translated(t, { granule });
        guest.map(0, 2);
        guest.map(1, 0);
        const half = LENGTH / 2;
        const [front, back] = [guest.page(2) + BigInt(guest.pageSize - half), guest.page(0)];
        guest.ram.write(front, pattern(half, 1));
        guest.ram.write(back, pattern(half, 2));
        const va = guest.va(1, -half);
        await guest.edu.load(va, LENGTH);
        guest.ram.write(front, new Uint8Array(half));
        guest.ram.write(back, new Uint8Array(half));
        await guest.edu.store(va, LENGTH);
        assert.deepEqual(guest.ram.read(front, half), pattern(half, 1));
        assert.deepEqual(guest.ram.read(back, half), pattern(half, 2));
        assert.deepEqual(guest.events.drain(), []);
      },
    );
  }

  test('into-nothing', 'what lies before a page that is not mapped is written', async (t) => {
    const guest = translated(t);
    guest.map(0, 0);
    guest.map(2, 2);
    guest.write(2, pattern(8));
    await guest.edu.load(guest.va(2), 8);
    await guest.edu.store(guest.va(1, -4), 8);
    await guest.told({ event: 'translation', iova: guest.va(1), access: 'write' });
    assert.deepEqual(guest.ram.read(guest.page(0) + BigInt(guest.pageSize - 4), 4), pattern(8).slice(0, 4));
  });

  test('aliases', 'one page may be at many addresses, with rights of their own', async (t) => {
    const guest = translated(t);
    guest.map(0, 0);
    guest.map(1, 0, 'read');
    await guest.reaches(guest.va(0), 0);
    guest.write(0, pattern(LENGTH, 2));
    await guest.edu.load(guest.va(1), LENGTH);
    guest.write(0, new Uint8Array(LENGTH));
    await guest.edu.store(guest.va(0), LENGTH);
    assert.deepEqual(guest.read(0), pattern(LENGTH, 2));
    await guest.faults('permission', guest.va(1));
  });

  test(
    'table-heeded-not',
    'what a table forbids is not heeded where the context says so',
    { needs: ['hierarchy'] },
    async (t) => {
      const guest = translated(t, { context: { had0: 1 } });
      guest.map(0, 0);
      guest.tables.mark(VA, 2, DESCRIPTOR.tableReadOnly);
      await guest.reaches(guest.va(0), 0);
      guest.map(1, 1, 'read');
      await guest.faults('permission', guest.va(1));
    },
  );

  test('access-flag', 'a page whose access flag is clear is not accessed, nor a block', async (t) => {
    const guest = translated(t);
    const { tables } = guest;
    tables.map(guest.va(0), guest.page(0), USUAL_LEAF & ~DESCRIPTOR.accessed);
    await guest.faults('access', guest.va(0, 16), 'read');
    await guest.faults('access', guest.va(0, 32));
    const block = 1n << BigInt(tables.shift(2));
    tables.map(VA + block, IPA, USUAL_LEAF & ~DESCRIPTOR.accessed, 2);
    await guest.faults('access', VA + block);
    tables.mark(guest.va(0), 3, DESCRIPTOR.accessed);
    guest.invalidate(COMMANDS.nhAll());
    await guest.reaches(guest.va(0), 0);
  });
  test('access-flag-first', 'the access flag is looked at before the right to write', async (t) => {
    const guest = translated(t);
    const attributes = (USUAL_LEAF & ~DESCRIPTOR.accessed) | DESCRIPTOR.readOnly;
    guest.tables.map(guest.va(0), guest.page(0), attributes);
    await guest.faults('access', guest.va(0));
    guest.tables.mark(guest.va(0), 3, DESCRIPTOR.accessed);
    guest.invalidate(COMMANDS.nhAll());
    await guest.faults('permission', guest.va(0));
  });
  test('access-flag-ignored', 'access flags do not matter where the context says so', async (t) => {
    const guest = translated(t, { context: { affd: 1 } });
    guest.tables.map(guest.va(0), guest.page(0), USUAL_LEAF & ~DESCRIPTOR.accessed);
    await guest.reaches(guest.va(0), 0);
  });

  test('output-size', 'a page beyond the output addresses is refused', async (t) => {
    const guest = translated(t, { context: { ips: IPS_32 } });
    guest.map(0, 0);
    await guest.reaches(guest.va(0), 0);
    guest.tables.map(guest.va(1), BEYOND_32);
    await guest.faults('addressSize', guest.va(1));
    await guest.faults('addressSize', guest.va(1, 64), 'read');
    guest.tables.map(VA + (1n << 21n), BEYOND_32, USUAL_LEAF, 2);
    await guest.faults('addressSize', VA + (1n << 21n) + 0x1234n);
  });
  // Which CLASS the record has is not compared: QEMU (10.0) says that a table's descriptor was fetched.
  test(
    'output-size-table',
    'a table beyond the output addresses is refused',
    { dependsOnHardware: true },
    async (t) => {
      const guest = translated(t, { context: { ips: IPS_32 } });
      guest.map(0, 0);
      guest.tables.mark(VA, 2, BEYOND_32);
      await guest.access(guest.va(0), 'write');
      const told = await guest.next();
      assert(told?.type === 'event' && told.event.kind === 'arm-smmuv3');
      assert.deepEqual([told.event.name, told.event.inputAddress], ['F_ADDR_SIZE', guest.va(0)]);
    },
  );
  test('output-size-enough', 'wider output addresses reach further', async (t) => {
    const guest = translated(t, { context: { ips: IPS_36 } });
    guest.ioas.map(guest.ram.memory, { iova: IPA + BEYOND_32 });
    guest.tables.map(guest.va(0), guest.page(0) + BEYOND_32);
    await guest.reaches(guest.va(0), 0);
    guest.tables.map(guest.va(1), 1n << 36n);
    await guest.faults('addressSize', guest.va(1));
  });
  // There are no descriptors of wider addresses than 48 bits for pages of 4 KiB.
  test(
    'output-size-hardware',
    "output addresses are no wider than the IOMMU's",
    { needs: ['narrow-output'], dependsOnHardware: true },
    async (t) => {
      const guest = translated(t, { context: { ips: IPS_48 } });
      guest.tables.map(guest.va(0), 1n << BigInt(outputBits(smmuv3Registers())));
      await guest.faults('addressSize', guest.va(0));
    },
  );

  test('disabled-half', 'no walks through tables that are switched off', async (t) => {
    const guest = translated(t, { context: { epd0: 1 } });
    guest.map(0, 0);
    await guest.faults('translation', guest.va(0));
    await guest.faults('translation', guest.va(0), 'read');
  });
  test('upper-half', 'addresses whose upper bits are ones go through tables of their own', async (t) => {
    const guest = new Smmuv3Guest(t);
    const upper = { epd1: 0, t1sz: 25, tg1: 2, ttb1: guest.tables.root, epd0: 1 };
    guest.describe(upper);
    guest.attach();
    const high = (va: bigint) => va | ((~0n << 39n) & 0xffff_ffff_ffff_ffffn);
    guest.map(0, 0);
    guest.map(1, 1, 'read');
    await guest.reaches(high(guest.va(0)), 0);
    await guest.faults('translation', guest.va(0));
    await guest.faults('translation', high(guest.va(5)), 'read');
    await guest.faults('permission', high(guest.va(1)));
    await guest.faults('translation', high(guest.va(0)) & ~(1n << 40n));
  });
  test('both-halves', 'both halves at once, of different granules', { needs: ['64k'] }, async (t) => {
    const guest = new Smmuv3Guest(t, { huge: true });
    const other = new GuestTables(guest.ram, { granule: 16, bits: 42 });
    guest.describe({ epd1: 0, t1sz: 64 - other.bits, tg1: 3, ttb1: other.root });
    guest.attach();
    const high = 0xffff_ffff_fff0_0000n;
    guest.map(0, 0);
    other.map(high, guest.ram.data(3, 1 << other.granule));
    await guest.reaches(guest.va(0), 0);
    await guest.arrives(high + 0xff00n, guest.ram.data(3, 1 << other.granule) + 0xff00n, 2);
    await guest.faults('translation', high - 4n);
    await guest.faults('translation', 0x7fff_ffff_f000n, 'read');
  });

  test('top-byte', 'the top byte of an address is heeded', async (t) => {
    const guest = translated(t);
    guest.map(0, 0);
    await guest.reaches(guest.va(0), 0);
    await guest.faults('translation', guest.va(0) | (0xabn << 56n));
  });
  test('top-byte-ignored', 'the top byte of an address is not heeded where the context says so', async (t) => {
    const guest = translated(t, { context: { tbi0: 1 } });
    guest.map(0, 0);
    await guest.reaches(guest.va(0), 0);
    await guest.reaches(guest.va(0) | (0xabn << 56n), 0, 2);
    await guest.faults('translation', guest.va(1) | (0xabn << 56n));
    await guest.faults('translation', guest.va(0) | (1n << 54n), 'read');
  });

  test('contiguous', 'pages that may be kept as one translation are what their entries say', async (t) => {
    const guest = translated(t);
    for (let page = 0; page < 16; page++) {
      guest.tables.map(guest.va(page), guest.page(page), USUAL_LEAF | DESCRIPTOR.contiguous);
    }
    for (const page of [0, 7, 15]) await guest.reaches(guest.va(page), page, page);
    await guest.faults('translation', guest.va(16));
  });
  test('global', 'a page of all address spaces is one of this', async (t) => {
    const guest = translated(t);
    guest.tables.map(guest.va(0), guest.page(0), USUAL_LEAF & ~DESCRIPTOR.notGlobal);
    await guest.reaches(guest.va(0), 0);
  });
  test('ignored', 'bits for software and for execution do not matter', async (t) => {
    const guest = translated(t);
    guest.tables.map(guest.va(0), guest.page(0), USUAL_LEAF | IGNORED);
    await guest.reaches(guest.va(0), 0);
  });
  test('huge-memory', "the guest's memory may be one block of the host's tables", async (t) => {
    const guest = translated(t, { huge: true });
    guest.map(0, 0);
    guest.map(1, 9, 'read');
    await guest.reaches(guest.va(0), 0);
    await guest.faults('permission', guest.va(1));
    await guest.faults('translation', guest.va(2));
    const block = 1n << BigInt(guest.tables.shift(2));
    guest.tables.map(VA + block, IPA, USUAL_LEAF, 2);
    await guest.arrives(VA + block + (guest.page(5) - IPA), guest.page(5), 2);
  });
  test('end-of-memory', "what lies behind the guest's memory is the host's to refuse, without an event", async (t) => {
    const guest = translated(t);
    guest.tables.map(guest.va(0), IPA + BigInt(GuestRam.size));
    await guest.refusesSilently(guest.va(0), 0);
    await guest.quiet();
  });
});
