// Stream table entries and context descriptors of a guest: what they may say, where they are, and when a changed one counts
// (SMMUv3 manual, IHI 0070, 5.2, 5.4 and 5.5).
import assert from 'node:assert/strict';
import { smmuv3Cases } from '../rig/smmuv3-cases.js';
import { COMMANDS } from '../rig/smmuv3-commands.js';
import type { Feature } from '../rig/smmuv3-features.js';
import { IPA, Smmuv3Guest, VA } from '../rig/smmuv3-guest.js';
import { GuestTables } from '../rig/smmuv3-tables.js';
import { CONFIG, CONTEXT_SIZE, type ContextFields } from '../rig/smmuv3-words.js';
import type { VfioBench } from '../rig/vfio.js';

/** A guest that has a page mapped. */
function mapped(t: VfioBench, context: Partial<ContextFields> = {}): Smmuv3Guest {
  const guest = new Smmuv3Guest(t, { context });
  guest.map(0, 0);
  return guest.attach();
}

interface Refused {
  readonly id: string;
  readonly what: string;
  readonly fields: Partial<ContextFields>;
  readonly needs?: readonly Feature[];
}

/** Context descriptors that are not valid. */
const BAD: readonly Refused[] = [
  { id: 'invalid', what: 'one that is not valid', fields: { valid: 0 } },
  { id: 'aarch32', what: "one of another architecture's tables", fields: { aarch64: 0 } },
  { id: 'too-wide', what: 'addresses of more than 48 bits', fields: { t0sz: 15 } },
  { id: 'no-width', what: 'addresses of all 64 bits', fields: { t0sz: 0 } },
  {
    ...{ id: 'too-narrow', what: 'addresses of less than 25 bits, where tables cannot be small' },
    ...{ fields: { t0sz: 40 }, needs: ['no-small-tables'] },
  },
  { id: 'no-granule', what: 'pages of no size', fields: { tg0: 3 } },
  { id: 'table-beyond', what: 'a table beyond the output addresses', fields: { ips: 0, ttb0: 1n << 32n } },
  { id: 'big-endian', what: 'big-endian tables', fields: { bigEndian: 1 }, needs: ['little-endian-only'] },
  {
    ...{ id: 'no-abort', what: 'faults that read as zero, where they can be aborts alone' },
    ...{ fields: { abort: 0 }, needs: ['aborts-only'] },
  },
  { id: 'stall', what: 'faults that wait, where none can', fields: { stall: 1 }, needs: ['no-stall'] },
  {
    ...{ id: 'sets-accessed', what: 'access flags that the IOMMU sets, where it sets none' },
    ...{ fields: { setsAccessed: 1 }, needs: ['no-access-flag-updates'] },
  },
  {
    ...{ id: 'sets-dirty', what: 'dirty flags that the IOMMU sets, where it sets none' },
    ...{ fields: { setsAccessed: 1, setsDirty: 1 }, needs: ['no-access-flag-updates'] },
  },
  { id: 'other-half', what: 'a bad upper half', fields: { epd1: 0, t1sz: 15, tg1: 2 } },
  { id: 'other-granule', what: 'pages of no size in the upper half', fields: { epd1: 0, t1sz: 25, tg1: 0 } },
];

/** Context descriptors that look bad, and are not. */
const GOOD: readonly Refused[] = [
  { id: 'silent-half', what: 'a bad upper half that is off', fields: { epd1: 1, t1sz: 15, tg1: 0 } },
  { id: 'largest-outputs', what: 'output addresses of more bits than there are', fields: { ips: 5 } },
  { id: 'asid', what: 'the largest ASID', fields: { asid: 0xffff } },
  { id: 'no-asid', what: 'ASID 0', fields: { asid: 0 } },
  { id: 'asid-shared', what: 'an ASID that is shared with processors', fields: { asidSet: 0 } },
  { id: 'uncached', what: 'tables that are not cached', fields: { ir0: 0, or0: 0, sh0: 0 } },
];

smmuv3Cases('smmuv3-contexts', (test) => {
  for (const { id, what, fields, needs = [] } of BAD) {
    test(`bad-${id}`, `a context descriptor is refused: ${what}`, { needs }, async (t) => {
      const guest = mapped(t);
      guest.describe(fields);
      guest.invalidate(COMMANDS.cfgiCd());
      await guest.access(guest.va(0), 'write');
      await guest.told({ event: 'badContext' });
      await guest.access(guest.va(0), 'read');
      await guest.told({ event: 'badContext' });
      guest.describe();
      guest.invalidate(COMMANDS.cfgiCd());
      await guest.reaches(guest.va(0), 0);
    });
  }
  for (const { id, what, fields } of GOOD) {
    test(`good-${id}`, `a context descriptor may have ${what}`, async (t) => {
      await mapped(t, fields).reaches(VA, 0);
    });
  }

  test('silent', 'where the context says so, faults are not told', async (t) => {
    const guest = mapped(t, { record: 0 });
    await guest.access(guest.va(1), 'write');
    await guest.access(guest.va(1), 'read');
    guest.describe({ record: 1 });
    guest.invalidate(COMMANDS.cfgiCd());
    await guest.faults('translation', guest.va(2));
  });
  test('told-all-the-same', 'a bad context descriptor is told, whatever it says of faults', async (t) => {
    const guest = mapped(t, { record: 0, valid: 0 });
    await guest.access(guest.va(0), 'write');
    await guest.told({ event: 'badContext' });
  });

  for (const [id, command] of [
    ['cfgi-cd', COMMANDS.cfgiCd()],
    ['cfgi-cd-leaf', COMMANDS.cfgiCd({ leaf: true })],
    ['cfgi-cd-all', COMMANDS.cfgiCdAll()],
  ] as const) {
    test(`changed-${id}`, 'a changed context descriptor counts once it was invalidated', async (t) => {
      const guest = mapped(t);
      await guest.reaches(guest.va(0), 0);
      const other = new GuestTables(guest.ram);
      other.map(guest.va(0), guest.page(5));
      guest.describe({ ttb0: other.root, asid: 2 });
      guest.invalidate(command);
      await guest.reaches(guest.va(0), 5, 2);
      guest.describe({ ttb0: other.root, asid: 2, epd0: 1 });
      guest.invalidate(command);
      await guest.faults('translation', guest.va(0));
    });
  }
  // Attached to another page table of the same entry, the stream's is not written anew, nor invalidated.
  test('changed-detach', 'detaching and attaching makes a changed context descriptor count', async (t) => {
    const guest = mapped(t);
    await guest.reaches(guest.va(0), 0);
    guest.describe({ valid: 0 });
    guest.nic.detach();
    guest.attach();
    await guest.access(guest.va(0), 'write');
    await guest.told({ event: 'badContext' });
  });
  test('elsewhere', 'a stream table entry names another context descriptor', async (t) => {
    const guest = mapped(t);
    await guest.reaches(guest.va(0), 0);
    const other = new GuestTables(guest.ram);
    other.map(guest.va(0), guest.page(5));
    // Not at the start of a page.
    guest.ram.take(CONTEXT_SIZE);
    const context = guest.ram.take(CONTEXT_SIZE);
    assert.notEqual(context & 0xfffn, 0n);
    guest.describe({ ttb0: other.root, asid: 2 }, context);
    guest.attach({ contexts: context });
    await guest.reaches(guest.va(0), 5, 2);
    guest.attach();
    await guest.reaches(guest.va(0), 0, 3);
  });
  test('asids', 'address spaces of their own ASIDs do not mix, without anything else being forgotten', async (t) => {
    const guest = mapped(t);
    const other = new GuestTables(guest.ram);
    other.map(guest.va(0), guest.page(5));
    for (let round = 0; round < 2; round++) {
      guest.describe();
      guest.invalidate(COMMANDS.cfgiCd());
      await guest.reaches(guest.va(0), 0, 2 * round + 1);
      guest.describe({ ttb0: other.root, asid: 2 });
      guest.invalidate(COMMANDS.cfgiCd());
      await guest.reaches(guest.va(0), 5, 2 * round + 2);
    }
  });
  test('two-widths', 'the same tables under a descriptor of narrower addresses', async (t) => {
    const guest = mapped(t);
    const narrow = new GuestTables(guest.ram, { bits: 30 });
    narrow.map(guest.va(0), guest.page(1));
    guest.describe({ ttb0: narrow.root, t0sz: 34, asid: 2 });
    guest.invalidate(COMMANDS.cfgiCd());
    await guest.reaches(guest.va(0), 1);
    await guest.faults('translation', guest.va(0) + (1n << 30n));
  });

  test('unmapped', "a context descriptor that the host did not map is the host's to tell of", async (t) => {
    const guest = mapped(t);
    guest.attach({ contexts: 0x7000_0000n });
    await guest.refusesSilently(guest.va(0), 0);
    await guest.quiet();
  });
  test('unmapped-later', 'so is one that it unmapped', async (t) => {
    const guest = mapped(t);
    await guest.reaches(guest.va(0), 0);
    guest.ioas.unmap(IPA, guest.ram.memory.size);
    guest.invalidate(COMMANDS.cfgiCd(), COMMANDS.nhAll());
    await guest.refusesSilently(guest.va(0), 0);
    guest.ioas.map(guest.ram.memory, { iova: IPA });
    await guest.quiet();
  });

  test('invalid-ste', 'a stream table entry that is not valid lets nothing through, and nobody is told', async (t) => {
    const guest = mapped(t);
    await guest.reaches(guest.va(0), 0);
    guest.attach({ valid: 0 });
    await guest.refusesSilently(guest.va(0), 0);
    await guest.quiet();
  });
  test('invalid-ste-anything', 'of one that is not valid nothing else is looked at', async (t) => {
    const guest = new Smmuv3Guest(t);
    const nested = guest.viommu.allocNestedHwpt(guest.nic.device, { ste: [~1n & 0xffff_ffff_ffff_ffffn, 1n << 63n] });
    guest.nic.attach(nested);
    await guest.refusesSilently(guest.page(0), 0);
    await guest.quiet();
  });
  test('bypass-caching', 'a stream that is let through may say what translated ones do', async (t) => {
    const guest = new Smmuv3Guest(t);
    guest.attach({ config: CONFIG.bypass, contexts: guest.context, innerCache: 1, withoutSubstream: 2 });
    await guest.reaches(guest.page(0), 0);
  });
  // What the guest's driver says besides is heeded or not, but never refused by Linux.
  test(
    'several-contexts',
    'many context descriptors, where there are no SubstreamIDs',
    { needs: ['no-substreams'] },
    async (t) => {
      const guest = mapped(t);
      guest.attach({ contextsLog2: 3, withoutSubstream: 2 });
      await guest.access(guest.va(0), 'write');
      await guest.told({ event: 'badSte' });
    },
  );
  test('stall-disabled', 'a stream that forbids waiting, where none can wait', { needs: ['no-stall'] }, async (t) => {
    const guest = mapped(t);
    guest.attach({ stallDisabled: 1 });
    await guest.access(guest.va(0), 'read');
    await guest.told({ event: 'badSte' });
  });
  test('ats', "a stream that allows translations of its device's own, and has none", async (t) => {
    const guest = mapped(t);
    guest.attach({ ats: 1 });
    await guest.reaches(guest.va(0), 0);
  });

  test(
    'without-substream-refused',
    'accesses without a SubstreamID are refused',
    { needs: ['substreams'] },
    async (t) => {
      const guest = mapped(t);
      guest.attach({ contextsLog2: 2, withoutSubstream: 0 });
      await guest.access(guest.va(0), 'write');
      await guest.told({ event: 'streamDisabled' });
    },
  );
  test(
    'without-substream-bypass',
    'accesses without a SubstreamID are let through',
    { needs: ['substreams'] },
    async (t) => {
      const guest = mapped(t);
      guest.attach({ contextsLog2: 2, withoutSubstream: 1 });
      await guest.reaches(guest.page(3), 3);
    },
  );
  test(
    'without-substream-first',
    'accesses without a SubstreamID are as those with 0',
    { needs: ['substreams'] },
    async (t) => {
      const guest = mapped(t);
      guest.attach({ contextsLog2: 2, withoutSubstream: 2 });
      await guest.reaches(guest.va(0), 0);
      await guest.faults('translation', guest.va(1));
    },
  );
  for (const [format, leaf] of [
    [1, 12],
    [2, 16],
  ] as const) {
    test(
      `two-levels-${leaf}`,
      `context descriptors in two levels, leaves of 2^${leaf} bytes`,
      { needs: ['two-level-contexts'] },
      async (t) => {
        const guest = mapped(t);
        const [table, contexts] = [guest.ram.take(1 << 12), guest.ram.take(1 << leaf)];
        guest.describe({}, contexts);
        guest.ram.store(table, contexts | 1n);
        guest.attach({ contexts: table, format, contextsLog2: 12, withoutSubstream: 2 });
        await guest.reaches(guest.va(0), 0);
        guest.ram.store(table, contexts);
        guest.invalidate(COMMANDS.cfgiCdAll());
        await guest.access(guest.va(0), 'write');
        await guest.told({ event: 'badSubstream' });
      },
    );
  }
});
