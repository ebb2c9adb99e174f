// IOMMU_HWPT_INVALIDATE with SMMUv3 commands: what each makes forgotten, and how many are done
// (arm_vsmmu_cache_invalidate; SMMUv3 manual, IHI 0070, 4.3 and 4.4).
import assert from 'node:assert/strict';
import { IOMMU_HWPT_INVALIDATE, iommu_hwpt_invalidate_data_type } from '../../lib/uapi/index.js';
import { NOWHERE } from '../rig/mock-checks.js';
import { smmuv3Cases } from '../rig/smmuv3-cases.js';
import { COMMANDS, type Command, commandWords } from '../rig/smmuv3-commands.js';
import type { Feature } from '../rig/smmuv3-features.js';
import { LENGTH, Smmuv3Guest, VA } from '../rig/smmuv3-guest.js';
import { DESCRIPTOR, GuestTables, USUAL_LEAF } from '../rig/smmuv3-tables.js';
import { NO_ID, refused } from '../rig/suite.js';

const TYPES = iommu_hwpt_invalidate_data_type.values;
const TYPE = TYPES.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3;

/** Commands after which a page of the guest's is as its tables say. */
const FORGETTING: readonly { id: string; needs?: readonly Feature[]; commands: readonly Command[] }[] = [
  { id: 'nh-all', commands: [COMMANDS.nhAll()] },
  { id: 'nsnh-all', commands: [COMMANDS.nsnhAll()] },
  { id: 'nh-asid', commands: [COMMANDS.nhAsid()] },
  { id: 'nh-va', commands: [COMMANDS.nhVa(VA)] },
  { id: 'nh-va-leaf', commands: [COMMANDS.nhVa(VA, { leaf: true })] },
  { id: 'nh-vaa', commands: [COMMANDS.nhVaa(VA)] },
  { id: 'nh-vaa-leaf', commands: [COMMANDS.nhVaa(VA, { leaf: true })] },
  {
    id: 'several',
    commands: [COMMANDS.nhVa(VA + 0x10_0000n), COMMANDS.nhAsid(9), COMMANDS.nhVa(VA), COMMANDS.cfgiCd()],
  },
  { id: 'range-level', needs: ['ranges'], commands: [COMMANDS.nhVa(VA, { tg: 1, ttl: 3, leaf: true })] },
  { id: 'range-num', needs: ['ranges'], commands: [COMMANDS.nhVa(VA - 0x2000n, { tg: 1, num: 3, leaf: true })] },
  { id: 'range-scale', needs: ['ranges'], commands: [COMMANDS.nhVaa(VA, { tg: 1, scale: 3 })] },
  { id: 'range-far', needs: ['ranges'], commands: [COMMANDS.nhVa(0n, { tg: 1, num: 31, scale: 11, ttl: 3 })] },
];

smmuv3Cases('smmuv3-commands', (test) => {
  for (const { id, needs = [], commands } of FORGETTING) {
    test(`forgets-${id}`, 'what the guest changed counts after it', { needs }, async (t) => {
      const guest = new Smmuv3Guest(t).attach();
      guest.map(0, 1);
      await guest.reaches(VA, 1);
      guest.map(0, 2);
      guest.invalidate(...commands);
      guest.write(1, new Uint8Array(LENGTH));
      await guest.reaches(VA, 2, 2);
      assert.deepEqual(guest.read(1), new Uint8Array(LENGTH));
      guest.unmap(0);
      guest.invalidate(...commands);
      await guest.faults('translation', VA);
    });
  }
  for (const [id, granule, tg] of [
    ['16k', 14, 2],
    ['64k', 16, 3],
  ] as const) {
    test(
      `forgets-${id}`,
      `pages of ${id} are forgotten by their address, and by ranges`,
      { needs: [id, 'ranges'] },
      async (t) => {
        const guest = new Smmuv3Guest(t, { granule }).attach();
        guest.map(0, 1);
        await guest.arrives(guest.va(0, 0x2000), guest.page(1) + 0x2000n);
        guest.map(0, 2);
        guest.invalidate(COMMANDS.nhVa(VA, { leaf: true }));
        await guest.reaches(guest.va(0), 2, 2);
        guest.map(0, 3);
        guest.invalidate(COMMANDS.nhVa(VA, { leaf: true, tg, ttl: 3 }));
        await guest.reaches(guest.va(0), 3, 3);
        guest.unmap(0);
        guest.invalidate(COMMANDS.nhVaa(VA, { tg, num: 1 }));
        await guest.faults('translation', VA);
      },
    );
  }
  test('forgets-block', 'a block is forgotten by any address in it', async (t) => {
    const guest = new Smmuv3Guest(t, { huge: true }).attach();
    const { tables, ram } = guest;
    tables.map(VA, ram.ipa, USUAL_LEAF, 2);
    const within = guest.page(1) - ram.ipa;
    await guest.arrives(VA + within, guest.page(1));
    tables.unmap(VA, 2);
    guest.invalidate(COMMANDS.nhVa(VA + 0x3000n, { leaf: true }));
    await guest.faults('translation', VA + within);
  });
  test('forgets-table', 'a table that was exchanged is forgotten with what it led to', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(0, 1);
    await guest.reaches(VA, 1);
    const other = new GuestTables(guest.ram);
    other.map(VA, guest.page(4));
    guest.tables.store(VA, 2, other.load(VA, 2));
    guest.invalidate(COMMANDS.nhVa(VA));
    await guest.reaches(VA, 4, 2);
  });
  test('forgets-rights', 'rights that were taken are gone, and those that were given are there', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(0, 1);
    await guest.reaches(VA, 1);
    guest.map(0, 1, 'read');
    guest.invalidate(COMMANDS.nhVa(VA, { leaf: true }));
    await guest.faults('permission', VA);
    await guest.edu.load(VA, LENGTH);
    guest.map(0, 1);
    guest.invalidate(COMMANDS.nhVa(VA, { leaf: true }));
    await guest.reaches(VA, 1, 2);
  });
  test('forgets-global', 'a page of all address spaces is forgotten by its address, whatever the ASID', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.tables.map(VA, guest.page(1), USUAL_LEAF & ~DESCRIPTOR.notGlobal);
    await guest.reaches(VA, 1);
    guest.tables.map(VA, guest.page(2), USUAL_LEAF & ~DESCRIPTOR.notGlobal);
    guest.invalidate(COMMANDS.nhVaa(VA, { leaf: true }));
    await guest.reaches(VA, 2, 2);
    guest.tables.unmap(VA);
    guest.invalidate(COMMANDS.nhAll());
    await guest.faults('translation', VA);
  });
  test('vmid', "whatever VMID a guest gives, it is the guest's own", async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    for (const [i, command] of [COMMANDS.nhAll(), COMMANDS.nhAsid(), COMMANDS.nhVa(VA), COMMANDS.nhVaa(VA)].entries()) {
      guest.map(0, i);
      guest.invalidate([command[0] | (0xfffen << 32n), command[1]]);
      await guest.reaches(VA, i, i + 1);
    }
  });

  test('counts', 'as many are done as come before the one that is refused', (t) => {
    const guest = new Smmuv3Guest(t);
    const bad: Command = [0xffn, 0n];
    for (const before of [0, 1, 2, 62, 63, 64, 65, 126, 127, 128, 200, 1000]) {
      const good = Array.from({ length: before }, (_, i) => COMMANDS.nhVa(BigInt(i) << 12n));
      assert.deepEqual(guest.give(...good, bad, COMMANDS.nhAll()), [before, 'EIO']);
    }
    assert.deepEqual(guest.give(bad, bad), [0, 'EIO']);
  });
  test('many', 'more than fill the queue, and more than one call takes', (t) => {
    const guest = new Smmuv3Guest(t);
    for (const count of [63, 64, 65, 1024, 5000]) {
      const commands = Array.from({ length: count }, (_, i) => COMMANDS.nhVa(BigInt(i) << 12n));
      assert.deepEqual(guest.give(...commands), [count, 'ok']);
    }
  });
  test('many-effective', 'the last of many counts as the first', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(0, 1);
    await guest.reaches(VA, 1);
    for (const [i, place] of [0, 62, 63, 64, 99].entries()) {
      const page = 2 + i;
      guest.map(0, page);
      const commands = Array.from({ length: 100 }, (_, n) => COMMANDS.nhVa(VA + (BigInt(n + 1) << 12n)));
      commands[place] = COMMANDS.nhVa(VA, { leaf: true });
      guest.invalidate(...commands);
      await guest.reaches(VA, page, page);
    }
  });

  // Where one is refused, Linux (7.3) has given what came before it to the IOMMU in batches of 63: the rest is counted as done,
  // and was not.
  test('counted-again', 'what was counted before one that is refused is done if it is given again', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(0, 1);
    await guest.reaches(VA, 1);
    guest.map(0, 2);
    assert.deepEqual(guest.give(COMMANDS.nhVa(VA), [0xffn, 0n]), [1, 'EIO']);
    guest.invalidate(COMMANDS.nhVa(VA));
    await guest.reaches(VA, 2, 2);
  });
  test('none', 'no command at all is refused', (t) => {
    const guest = new Smmuv3Guest(t);
    assert.deepEqual(guest.give(), [0, 'EINVAL']);
  });
  test('type', "commands of another IOMMU's are refused", (t) => {
    const { viommu } = new Smmuv3Guest(t);
    const entries = new Uint8Array(16);
    for (const type of [TYPES.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, 2, 0xffff_ffff]) {
      const { completed, refusal } = viommu.tryInvalidate({ type, entryLength: 16, entries });
      assert.deepEqual([completed, refusal?.code], [0, 'EINVAL'], `type ${type}`);
    }
  });
  test('length', 'entries may be shorter, and longer where what is more is zero', (t) => {
    const { viommu } = new Smmuv3Guest(t);
    const send = (entryLength: number, ...words: readonly bigint[]) => {
      const entries = new Uint8Array(BigUint64Array.from(words).buffer);
      const { completed, refusal } = viommu.tryInvalidate({ type: TYPE, entryLength, entries });
      return [completed, refusal?.code ?? 'ok'];
    };
    assert.deepEqual(send(8, 0x10n, 0x30n), [2, 'ok']);
    assert.deepEqual(send(24, 0x10n, 0n, 0n, 0x11n, 0n, 0n), [2, 'ok']);
    assert.deepEqual(send(24, 0x10n, 0n, 0n, 0x11n, 0n, 1n), [0, 'E2BIG']);
    assert.deepEqual(send(4, 0x10n), [1, 'EIO']);
    assert.deepEqual(send(4096, 0x10n, ...Array.from({ length: 511 }, () => 0n)), [1, 'ok']);
  });
  test('raw', 'arguments of the call itself', (t) => {
    const { viommu, nic, ioas, parent } = new Smmuv3Guest(t);
    const whole = { hwpt_id: viommu.id, data_type: TYPE, entry_len: 16, entry_num: 1 };
    const ask = (input: object, entries?: Uint8Array) => {
      const attached = entries === undefined ? {} : { data_uptr: entries };
      const { code, out } = t.ioctl(IOMMU_HWPT_INVALIDATE, { ...whole, ...input }, attached);
      return [code, out.entry_num];
    };
    const good = new Uint8Array(commandWords(COMMANDS.nhAll()).buffer);
    assert.deepEqual(ask({}, good), ['ok', 1]);
    assert.deepEqual(ask({ data_uptr: 0n }), ['EINVAL', 0]);
    assert.deepEqual(ask({ data_uptr: NOWHERE }), ['EFAULT', 0]);
    assert.deepEqual(ask({ data_uptr: NOWHERE, entry_len: 24 }), ['EFAULT', 0]);
    assert.deepEqual(ask({ entry_num: 0 }, good), ['EINVAL', 0]);
    assert.deepEqual(ask({ entry_len: 0 }, good), ['EINVAL', 0]);
    assert.deepEqual(ask({ entry_len: 4097 }, good), ['EINVAL', 0]);
    assert.deepEqual(ask({ entry_num: 2 ** 19 + 1 }, good), ['EINVAL', 0]);
    assert.deepEqual(ask({ __reserved: 1 }, good), ['EOPNOTSUPP', 0]);
    assert.deepEqual(ask({ hwpt_id: NO_ID }, good), ['ENOENT', 0]);
    for (const { id } of [ioas, parent, nic.device]) assert.deepEqual(ask({ hwpt_id: id }, good), ['EINVAL', 0]);
  });
  test('nested-page-table', 'a nested page table takes no commands: its vIOMMU does', (t) => {
    const guest = new Smmuv3Guest(t);
    const nested = guest.nested();
    refused('EOPNOTSUPP', () => nested.invalidate({ smmuv3: commandWords(COMMANDS.nhAll()) }));
    refused('EOPNOTSUPP', () => nested.invalidate({ vtd: [{ all: true }] }));
  });
});
