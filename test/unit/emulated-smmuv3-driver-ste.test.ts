// Stream table entries that guests may have, and commands that they may give: everything that the driver refuses, against rules
// written down a second time (arm_smmu_validate_vste and arm_vsmmu_validate_user_cmd, arm-smmu-v3-iommufd.c).
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type Features, featuresOf } from '../../lib/emulated/hardware/smmuv3/driver/features.js';
import { UserCommands } from '../../lib/emulated/hardware/smmuv3/driver/user-commands.js';
import {
  ADDRESS,
  closeAll,
  command,
  Guest,
  IPA,
  PAGE,
  pattern,
  STREAM,
  stage,
  VA,
} from './emulated-smmuv3-driver-stage.js';

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

/** Bits `high` to `low` of a word. */
function field(word: bigint, high: number, low: number): bigint {
  return (word >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
}
/** A word with nothing but these fields. */
function only(word: bigint, ...fields: readonly (readonly [number, number])[]): boolean {
  let rest = word;
  for (const [high, low] of fields) rest -= field(word, high, low) << BigInt(low);
  return rest === 0n;
}

function isEntry([first, second]: readonly [bigint, bigint]): boolean {
  if (field(first, 0, 0) === 0n) return true;
  if (!only(first, [0, 0], [3, 1], [5, 4], [51, 6], [63, 59])) return false;
  if (!only(second, [1, 0], [3, 2], [5, 4], [7, 6], [27, 27], [29, 28])) return false;
  return [0n, 4n, 5n].includes(field(first, 3, 1)) && field(second, 29, 28) <= 1n;
}

/** With range invalidation, ATS, and 20 bits of substreams, and without DS. */
function isCommand([first, second]: readonly [bigint, bigint]): boolean {
  const op = field(first, 7, 0);
  switch (op) {
    case 0x30n:
      return only(first, [7, 0]) && second === 0n;
    case 0x10n:
      return only(first, [7, 0], [47, 32]) && second === 0n;
    case 0x11n:
      return only(first, [7, 0], [63, 32]) && second === 0n;
    case 0x12n:
    case 0x13n: {
      const asid: (readonly [number, number])[] = op === 0x12n ? [[63, 48]] : [];
      if (!only(first, [7, 0], [16, 12], [24, 20], [47, 32], ...asid)) return false;
      if (!only(second, [0, 0], [9, 8], [11, 10], [63, 12])) return false;
      const isRange = field(first, 16, 12) !== 0n || field(first, 24, 20) !== 0n;
      const [ttl, tg] = [field(second, 9, 8), field(second, 11, 10)];
      if (tg === 0n) return !isRange && ttl === 0n;
      return !(tg === 2n && ttl === 1n) && (isRange || ttl !== 0n);
    }
    case 0x05n:
      return only(first, [7, 0], [31, 12], [63, 32]) && only(second, [0, 0]);
    case 0x06n:
      return only(first, [7, 0], [63, 32]) && second === 0n;
    case 0x40n:
      if (!only(first, [7, 0], [9, 9], [11, 11], [31, 12], [63, 32])) return false;
      return only(second, [5, 0], [63, 12]) && field(second, 5, 0) <= 52n;
    default:
      return false;
  }
}

/** Words that are mostly right: one that is, with up to three bits changed. */
function almost(words: readonly (readonly [bigint, bigint])[]) {
  const flips = fc.array(fc.bigInt({ min: 0n, max: 127n }), { maxLength: 3 });
  return fc.tuple(fc.constantFrom(...words), flips).map(([[first, second], bits]): [bigint, bigint] => {
    let both = first | (second << 64n);
    for (const bit of bits) both ^= 1n << bit;
    return [BigInt.asUintN(64, both), both >> 64n];
  });
}
const anything = fc.tuple(u64, u64);

const ENTRIES = [
  [0x1n, 0n],
  [0x9n, 0n],
  [0xbn, 0n],
  [0xbn | IPA | (1n << 59n), 2n | (1n << 28n) | (1n << 27n)],
] as const;

const RANGE = (3n << 12n) | (2n << 20n);
const VMID = 9n << 32n;
const COMMANDS = [
  [0x30n, 0n],
  [0x10n | VMID, 0n],
  [0x11n | VMID | (1n << 48n), 0n],
  [0x12n | VMID | (1n << 48n), VA | 1n],
  [0x12n | RANGE | (1n << 48n), VA | (1n << 10n)],
  [0x13n | RANGE, VA | (2n << 10n) | (2n << 8n)],
  [0x05n | (3n << 12n) | (STREAM << 32n), 1n],
  [0x06n | (STREAM << 32n), 0n],
  [0x40n | (1n << 11n) | (3n << 12n) | (STREAM << 32n), VA | 4n],
  [0x40n | (STREAM << 32n), 52n],
] as const;

/** QEMU's SMMUv3 with both stages, as its registers tell. */
const QEMU = { idr: [222564379, 41091088, 0, 5140, 0, 116], iidr: 0, aidr: 1 };
const NO_TRACKING = { dirtyTracking: false };

/** Whether a guest may give a command on an SMMU with these features. */
function allows(features: Features, [first, second]: readonly [bigint, bigint]): boolean {
  const words = [first, first >> 32n, second, second >> 32n].map((word) => Number(BigInt.asUintN(32, word)));
  const [word0 = 0, word1 = 0, word2 = 0, word3 = 0] = words;
  return new UserCommands(features).allows(word0, word1, word2, word3);
}

describe('what an SMMU has', () => {
  it('is in its registers, and in what firmware says', () => {
    const features = featuresOf(QEMU, NO_TRACKING);
    assert.deepEqual(features, {
      ...{ stage1: true, nesting: true, coherent: true, dirtyTracking: false, ats: false, stalls: false },
      ...{ rangeInvalidation: true, stage2ForcesWriteBack: false, overridesAttributes: false, ds: false },
      ...{ twoLevelContexts: false, asidBits: 16, vmidBits: 16, ssidBits: 0, stage1Bits: 48, stage2Bits: 44 },
    });
    assert.equal(featuresOf(QEMU, { dirtyTracking: true }).dirtyTracking, true);
    const incoherent = { ...QEMU, idr: QEMU.idr.map((word) => word & ~(1 << 4)) };
    assert.equal(featuresOf(incoherent, { dirtyTracking: true }).dirtyTracking, false);
  });

  it('decides which fields of commands mean anything', () => {
    const features = featuresOf(QEMU, NO_TRACKING);
    const range: readonly [bigint, bigint] = [0x12n | RANGE, VA | (1n << 10n)];
    const sixthScale: readonly [bigint, bigint] = [0x12n | RANGE | (1n << 25n), VA | (1n << 10n)];
    const smallGranule: readonly [bigint, bigint] = [0x13n, VA | (2n << 10n) | (1n << 8n)];
    const flush: readonly [bigint, bigint] = [0x40n | (STREAM << 32n), 52n];
    const asid: readonly [bigint, bigint] = [0x11n | (0x100n << 48n), 0n];
    const substream: readonly [bigint, bigint] = [0x05n | (1n << 12n), 0n];
    const seen = (with_: Partial<Features>) =>
      [range, sixthScale, smallGranule, flush, asid, substream].map((words) =>
        allows({ ...features, ...with_ }, words),
      );
    assert.deepEqual(seen({}), [true, false, false, false, true, false]);
    assert.deepEqual(seen({ ds: true }), [true, true, true, false, true, false]);
    assert.deepEqual(seen({ rangeInvalidation: false }), [false, false, false, false, true, false]);
    assert.deepEqual(seen({ ats: true, ssidBits: 4, asidBits: 8 }), [true, false, false, true, false, true]);
  });
});

describe("a guest's stream table entries and commands", () => {
  afterEach(closeAll);

  it('are taken or refused field by field: entries', () => {
    const { viommu, stage: on } = new Guest(stage());
    const counts = { good: 0, bad: 0 };
    fc.assert(
      fc.property(fc.oneof(almost(ENTRIES), anything), (ste) => {
        const good = isEntry(ste);
        counts[good ? 'good' : 'bad']++;
        if (good) viommu.allocNestedHwpt(on.device, { ste }).destroy();
        else assert.throws(() => viommu.allocNestedHwpt(on.device, { ste }), { code: 'EIO' });
      }),
      { numRuns: 1000 },
    );
    assert(counts.good > 50 && counts.bad > 50, JSON.stringify(counts));
  });

  it('are taken or refused field by field: commands', () => {
    const { viommu } = new Guest(stage());
    const counts = { good: 0, bad: 0 };
    fc.assert(
      fc.property(fc.oneof(almost(COMMANDS), anything), (words) => {
        const named = [0x05n, 0x06n, 0x40n].includes(field(words[0], 7, 0));
        const good = isCommand(words) && (!named || field(words[0], 63, 32) === STREAM);
        counts[good ? 'good' : 'bad']++;
        const { completed, refusal } = viommu.tryInvalidate({ smmuv3: BigUint64Array.from(words) });
        assert.deepEqual([completed, refusal?.code], good ? [1, undefined] : [0, 'EIO']);
      }),
      { numRuns: 2000 },
    );
    assert(counts.good > 50 && counts.bad > 50, JSON.stringify(counts));
  });

  it('want driver data of their own type and size', () => {
    const { viommu, stage: on } = new Guest(stage());
    const make = (type: number, length: number) =>
      viommu.allocNestedHwpt(on.device, { data: { type, bytes: new Uint8Array(length) } });
    for (const [type, length] of [
      [1, 16],
      [2, 8],
      [2, 24],
    ] as const) {
      assert.throws(() => make(type, length), { code: 'EINVAL' }, `${type}, ${length}`);
    }
    make(2, 16);
    const ste: readonly [bigint, bigint] = [1n, 0n];
    assert.throws(() => viommu.allocNestedHwpt(on.device, { ste, pasid: true }), { code: 'EOPNOTSUPP' });
  });

  it('come as an array of them, which is not empty', () => {
    const { viommu } = new Guest(stage());
    const words = new Uint8Array(BigUint64Array.from(command.tlbiNhAll()).buffer);
    const send = (type: number, entryLength: number, entries: Uint8Array) => {
      const { completed, refusal } = viommu.tryInvalidate({ type, entryLength, entries });
      return [completed, refusal?.code];
    };
    assert.deepEqual(send(1, 16, words), [1, undefined]);
    assert.deepEqual(send(0, 16, words), [0, 'EINVAL']);
    assert.deepEqual(send(1, 16, new Uint8Array(0)), [0, 'EINVAL']);
    // Shorter ones are filled up with zeros, longer ones must end with some.
    assert.deepEqual(send(1, 8, words.subarray(0, 8)), [1, undefined]);
    assert.deepEqual(send(1, 24, Uint8Array.of(...words, ...new Uint8Array(8))), [1, undefined]);
    assert.deepEqual(send(1, 24, Uint8Array.of(...words, ...new Uint8Array(8).fill(1))), [0, 'E2BIG']);
  });

  it('are no business of the nested page table', () => {
    const guest = new Guest(stage());
    const nested = guest.nested('translate');
    const { completed, refusal } = nested.tryInvalidate({ smmuv3: BigUint64Array.from(command.tlbiNhAll()) });
    assert.deepEqual([completed, refusal?.code], [0, 'EOPNOTSUPP']);
  });

  it('are issued in batches: what is in one with a bad command counts as done, and is not', () => {
    const guest = new Guest(stage());
    const { host, nic } = guest.stage;
    nic.attach(guest.nested('translate'));
    guest.map(0, 0);
    guest.write(0, pattern(16));
    guest.write(1, pattern(16, 2));
    const read = () => host.device(ADDRESS).dmaRead(VA, 16);
    assert.deepEqual(read(), pattern(16));
    guest.map(0, 1);
    const bad = [0xffn, 0n];
    const flood = (before: number) => {
      const harmless = Array.from({ length: before }, () => command.tlbiNhAsid(77n));
      return [...harmless, command.tlbiNhAll(), bad].flat();
    };
    const send = (words: bigint[]) => guest.viommu.tryInvalidate({ smmuv3: BigUint64Array.from(words) });
    const first = send(flood(0));
    assert.deepEqual([first.completed, first.refusal?.code], [1, 'EIO']);
    assert.deepEqual(read(), pattern(16), 'it was not issued');
    assert.equal(send(flood(61)).completed, 62);
    assert.deepEqual(read(), pattern(16), 'one short of a batch');
    assert.equal(send(flood(62)).completed, 63);
    assert.deepEqual(read(), pattern(16, 2), 'a batch of 63 was issued before the bad one was looked at');
    guest.map(0, 0);
    assert.equal(send(flood(63)).completed, 64);
    assert.deepEqual(read(), pattern(16, 2), 'the second batch was not');
  });

  it('reach no other guest', () => {
    const first = new Guest(stage({}, [{ address: '0000:01:00.1' }]));
    const { host, iommufd, ioas, nic } = first.stage;
    nic.attach(first.nested('translate'));
    const other = host.openDevice('0000:01:00.1');
    const device = other.bind(iommufd);
    const second = ioas.allocHwpt(device, { nestParent: true }).allocViommu(device, { type: 'arm-smmuv3' });
    second.allocVdevice(device, { virtId: STREAM + 1n });
    first.map(0, 0);
    first.write(0, pattern(16));
    const read = () => host.device(ADDRESS).dmaRead(VA, 16);
    read();
    first.map(0, 1);
    first.write(1, pattern(16, 2));
    for (const words of [command.tlbiNsnhAll(), command.tlbiNhAll(), command.tlbiNhVa(1n, VA)]) {
      // Even one that tells the other's VMID.
      second.invalidate({ smmuv3: BigUint64Array.from(words) });
    }
    assert.deepEqual(read(), pattern(16));
    const named = second.tryInvalidate({ smmuv3: BigUint64Array.from(command.cfgiCdAll(STREAM)) });
    assert.equal(named.refusal?.code, 'EIO');
    first.invalidate(command.tlbiNhVa(1n, VA));
    assert.deepEqual(read(), pattern(16, 2));
  });

  it('take the memory they need, or say that there is none', () => {
    const guest = new Guest(stage());
    const { host } = guest.stage;
    host.failAllocation(0);
    const { completed, refusal } = guest.viommu.tryInvalidate({ smmuv3: BigUint64Array.from(command.tlbiNhAll()) });
    assert.equal(refusal?.code, 'ENOMEM');
    assert.equal(completed, 0);
    for (const after of [0, 1]) {
      host.failAllocation(after);
      assert.throws(() => guest.nested('translate'), { code: 'ENOMEM' });
    }
    guest.nested('translate');
    assert.equal(PAGE, 4096);
  });
});
