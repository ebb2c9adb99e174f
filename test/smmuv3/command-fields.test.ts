// Invalidation commands of a guest, bit by bit: which it may set, what means nothing, and whom it may name
// (arm_vsmmu_validate_user_cmd and arm_vsmmu_convert_user_cmd).
import assert from 'node:assert/strict';
import { smmuv3Cases } from '../rig/smmuv3-cases.js';
import { COMMANDS, type Command } from '../rig/smmuv3-commands.js';
import { Smmuv3Guest, VA } from '../rig/smmuv3-guest.js';
import { smmuv3Registers } from '../rig/smmuv3-rig.js';

const bit = (n: number): bigint => 1n << BigInt(n);
const bits = (high: number, low: number): bigint => bit(high + 1) - bit(low);

/** The fields that a guest may set, by command, where the SMMU has ranges, 16-bit ASIDs and VMIDs. */
const OPCODE = bits(7, 0);
const VMID = bits(47, 32);
const ASID = bits(63, 48);
const ADDRESS = bits(63, 12);
const LEAF = bit(0);
const NUM = bits(16, 12);
const SCALE = bits(24, 20);
const TTL = bits(9, 8);

interface Allowed {
  readonly id: string;
  readonly command: Command;
  readonly allowed: Command;
}
/** Ranges are checked for their sense too: without a granule there are none, and a granule wants one. */
const ALLOWED: readonly Allowed[] = [
  { id: 'nh-all', command: COMMANDS.nhAll(), allowed: [VMID, 0n] },
  { id: 'nsnh-all', command: COMMANDS.nsnhAll(), allowed: [0n, 0n] },
  { id: 'nh-asid', command: COMMANDS.nhAsid(), allowed: [VMID | ASID, 0n] },
  { id: 'nh-va', command: COMMANDS.nhVa(VA), allowed: [VMID | ASID, ADDRESS | LEAF] },
  { id: 'nh-vaa', command: COMMANDS.nhVaa(VA), allowed: [VMID, ADDRESS | LEAF] },
  {
    ...{ id: 'nh-va-range', command: COMMANDS.nhVa(VA, { tg: 1, num: 1, ttl: 1 }) },
    allowed: [VMID | ASID | NUM | SCALE, ADDRESS | LEAF | TTL | bit(11)],
  },
  {
    ...{ id: 'nh-vaa-range', command: COMMANDS.nhVaa(VA, { tg: 1, scale: 2, ttl: 2 }) },
    allowed: [VMID | NUM | SCALE, ADDRESS | LEAF | TTL | bit(11)],
  },
];

smmuv3Cases('smmuv3-command-fields', (test) => {
  for (const { id, command, allowed } of ALLOWED) {
    test(`bits-${id}`, 'bits that the guest may set are taken, all others are EIO', { needs: ['ranges'] }, (t) => {
      const guest = new Smmuv3Guest(t);
      assert.deepEqual(guest.give(command), [1, 'ok']);
      for (const word of [0, 1] as const) {
        for (let n = 0; n < 64; n++) {
          if (word === 0 && (OPCODE & bit(n)) !== 0n) continue;
          const flipped: Command = word === 0 ? [command[0] ^ bit(n), command[1]] : [command[0], command[1] ^ bit(n)];
          const isAllowed = (allowed[word] & bit(n)) !== 0n;
          assert.deepEqual(guest.give(flipped), isAllowed ? [1, 'ok'] : [0, 'EIO'], `bit ${n} of word ${word}`);
        }
      }
    });
  }
  for (const [id, command] of [
    ['cfgi-cd', COMMANDS.cfgiCd()],
    ['cfgi-cd-all', COMMANDS.cfgiCdAll()],
  ] as const) {
    const options = { dependsOnHardware: id === 'cfgi-cd' };
    test(`bits-${id}`, 'a StreamID, and a SubstreamID where there are some', options, (t) => {
      const guest = new Smmuv3Guest(t);
      const substreams = id === 'cfgi-cd' && (smmuv3Registers()?.substreamBits ?? 0) > 0;
      assert.deepEqual(guest.give(command), [1, 'ok']);
      for (let n = 8; n < 128; n++) {
        const flipped: Command = n < 64 ? [command[0] ^ bit(n), command[1]] : [command[0], command[1] ^ bit(n - 64)];
        const isAllowed = (n === 64 && id === 'cfgi-cd') || (substreams && n >= 12 && n < 32);
        assert.deepEqual(guest.give(flipped), isAllowed ? [1, 'ok'] : [0, 'EIO'], `bit ${n}`);
      }
    });
  }
  test('ranges', 'ranges that mean nothing are EIO', { needs: ['ranges'] }, (t) => {
    const guest = new Smmuv3Guest(t);
    for (const range of [{ num: 1 }, { scale: 1 }, { ttl: 1 }, { tg: 1 }, { tg: 2 }, { tg: 3 }, { tg: 2, ttl: 1 }]) {
      assert.deepEqual(guest.give(COMMANDS.nhVa(VA, range)), [0, 'EIO'], JSON.stringify(range));
      assert.deepEqual(guest.give(COMMANDS.nhVaa(VA, range)), [0, 'EIO'], JSON.stringify(range));
    }
    assert.deepEqual(guest.give(COMMANDS.nhVa(VA, { tg: 1, num: 1, scale: 32 })), [0, 'EIO']);
    for (const range of [
      { tg: 1, num: 31, scale: 31 },
      { tg: 2, ttl: 2 },
      { tg: 3, ttl: 1 },
      { tg: 3, scale: 1 },
    ]) {
      assert.deepEqual(guest.give(COMMANDS.nhVa(VA, range)), [1, 'ok'], JSON.stringify(range));
    }
  });
  test('opcodes', 'a guest gives eight commands, and no others', (t) => {
    const guest = new Smmuv3Guest(t);
    const taken: number[] = [];
    for (let opcode = 0; opcode < 256; opcode++) {
      const [completed, code] = guest.give([BigInt(opcode), 0n]);
      if (code === 'ok') taken.push(opcode);
      else assert.deepEqual([completed, code], [0, 'EIO'], `opcode ${opcode}`);
    }
    // Those that name a StreamID name 0 here, which is nobody's.
    assert.deepEqual(taken, [0x10, 0x11, 0x12, 0x13, 0x30]);
    assert.deepEqual(guest.give(COMMANDS.cfgiCd(), COMMANDS.cfgiCdAll()), [2, 'ok']);
  });
  test('no-atc', 'what devices keep is not invalidated where they keep nothing', { needs: ['no-ats'] }, (t) => {
    const guest = new Smmuv3Guest(t);
    for (const size of [0, 9, 52, 53]) assert.deepEqual(guest.give(COMMANDS.atcInv(0n, size)), [0, 'EIO']);
  });
  test('atc', 'what a device keeps is invalidated, whether it keeps any', { needs: ['ats'] }, (t) => {
    const guest = new Smmuv3Guest(t);
    for (const size of [0, 9, 52]) assert.deepEqual(guest.give(COMMANDS.atcInv(VA, size)), [1, 'ok']);
    for (const size of [53, 63]) assert.deepEqual(guest.give(COMMANDS.atcInv(VA, size)), [0, 'EIO']);
    assert.deepEqual(guest.give(COMMANDS.atcInv(VA, 0, 6)), [0, 'EIO']);
  });
  test('streams', 'a StreamID that no vDEVICE has is EIO', (t) => {
    const guest = new Smmuv3Guest(t);
    const { viommu, nic } = guest;
    for (const id of [6, 8, 0, 0xffff_ffff]) {
      assert.deepEqual(guest.give(COMMANDS.cfgiCd({ id })), [0, 'EIO']);
      assert.deepEqual(guest.give(COMMANDS.nhAll(), COMMANDS.cfgiCdAll(id)), [1, 'EIO']);
    }
    guest.vdevice.destroy();
    assert.deepEqual(guest.give(COMMANDS.cfgiCd()), [0, 'EIO']);
    viommu.allocVdevice(nic.device, { virtId: 8 });
    assert.deepEqual(guest.give(COMMANDS.cfgiCd({ id: 8 }), COMMANDS.cfgiCd()), [1, 'EIO']);
  });
});
