// vEVENTs and page faults, decoded from bytes laid out by hand.
import assert from 'node:assert/strict';
import {
  decodeEvent,
  groupFaults,
  type PageFault,
  parseFaults,
  parseVevents,
  type Vevent,
} from '../../lib/objects/decode-events.js';
import { iommu_hwpt_pgfault } from '../../lib/uapi/index.js';
import { generator } from './stage.js';

const SMMUV3 = 1;
const TEGRA241 = 2;
const LAST = 0x7fff_ffff;
const LOST = 1;

/** One event as the kernel writes it: a header, and words unless it is a LOST header. */
function bytes(sequence: number, words: readonly bigint[] | 'lost'): number[] {
  const count = words === 'lost' ? 0 : words.length;
  const view = new DataView(new ArrayBuffer(8 + count * 8));
  view.setUint32(0, words === 'lost' ? LOST : 0, true);
  view.setUint32(4, sequence, true);
  if (words !== 'lost') for (const [i, word] of words.entries()) view.setBigUint64(8 + i * 8, word, true);
  return [...new Uint8Array(view.buffer)];
}

function parse(read: readonly number[], expected = 0, type = TEGRA241, payload = 16) {
  // The bytes lie somewhere inside a larger buffer, as in the arena.
  const room = new Uint8Array(read.length + 64).fill(0xee);
  room.set(read, 16);
  return parseVevents(new DataView(room.buffer), 16, read.length, { type, payload, expected });
}

/** Events as short text: '5' is event 5, '-3@4' are three lost, the last of them 4. */
const short = (events: readonly Vevent[]): string[] =>
  events.map((event) => (event.type === 'lost' ? `-${event.count}@${event.sequence}` : `${event.sequence}`));

describe('vEVENTs', () => {
  it('come several in one read, in order', () => {
    const { events, expected } = parse([...bytes(0, [1n, 0n]), ...bytes(1, [2n, 0n]), ...bytes(2, [4n, 0n])]);
    assert.deepEqual(short(events), ['0', '1', '2']);
    assert.equal(expected, 3);
    assert.deepEqual(
      events.map((event) => event.type === 'event' && event.event.kind === 'tegra241-cmdqv' && event.event.queues),
      [[0], [1], [2]],
    );
  });

  it('are counted as lost where the sequence steps over them', () => {
    const { events, expected } = parse([...bytes(0, [0n, 0n]), ...bytes(4, [0n, 0n]), ...bytes(5, [0n, 0n])]);
    assert.deepEqual(short(events), ['0', '-3@3', '4', '5']);
    assert.equal(expected, 6);
  });

  it('are counted as lost where a LOST header stands at the end', () => {
    const { events, expected } = parse([...bytes(7, [0n, 0n]), ...bytes(9, 'lost')], 7);
    assert.deepEqual(short(events), ['7', '-2@9']);
    assert.equal(expected, 10);
    assert.deepEqual(short(parse(bytes(10, [0n, 0n]), expected).events), ['10']);
  });

  it('count one lost for a LOST header without a step', () => {
    assert.deepEqual(short(parse(bytes(3, 'lost'), 3).events), ['-1@3']);
  });

  it('go on at 0 after 2^31 - 1', () => {
    const whole = parse([...bytes(LAST, [0n, 0n]), ...bytes(0, [0n, 0n])], LAST);
    assert.deepEqual(short(whole.events), [String(LAST), '0']);
    assert.equal(whole.expected, 1);
    assert.deepEqual(short(parse(bytes(0, [0n, 0n]), LAST).events), [`-1@${LAST}`, '0']);
    assert.deepEqual(short(parse(bytes(1, [0n, 0n]), LAST).events), ['-2@0', '1']);
    assert.equal(parse(bytes(LAST, 'lost'), LAST).expected, 0);
  });

  it('are none where nothing was read', () => {
    assert.deepEqual(parse([], 5), { events: [], expected: 5 });
  });

  it('keep account of every event through any losses', () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = generator(seed);
      let sequence = random(2) === 0 ? random(1000) : LAST - random(20);
      let expected = sequence;
      let happened = 0;
      let told = 0;
      for (let read = 0; read < 10; read++) {
        const content: number[] = [];
        for (let i = random(6); i > 0; i--) {
          const skip = random(3) === 0 ? random(5) : 0;
          const isLost = i === 1 && random(3) === 0;
          sequence = (sequence + skip) & LAST;
          content.push(...bytes(sequence, isLost ? 'lost' : [BigInt(happened), 0n]));
          sequence = (sequence + 1) & LAST;
          happened += skip + 1;
        }
        const parsed = parse(content, expected);
        expected = parsed.expected;
        for (const event of parsed.events) told += event.type === 'lost' ? event.count : 1;
        assert.equal(told, happened, `seed ${seed}, read ${read}`);
        assert.equal(expected, sequence, `seed ${seed}, read ${read}`);
      }
    }
  });
});

describe('event records', () => {
  const words = (list: readonly bigint[]) => new DataView(BigUint64Array.from(list).buffer);

  it('of an SMMUv3 tell stream, substream and address of a translation fault', () => {
    const record = [
      (0x1234n << 32n) | (0x5_6789n << 12n) | (1n << 11n) | 0x10n,
      0xabn,
      0xffff_0000_1000n,
      0x77n,
    ] as const;
    assert.deepEqual(decodeEvent(words(record), 0, SMMUV3, 32), {
      kind: 'arm-smmuv3',
      id: 0x10,
      name: 'F_TRANSLATION',
      streamId: 0x1234,
      substreamId: 0x5_6789,
      inputAddress: 0xffff_0000_1000n,
      record,
    });
  });

  it('of an SMMUv3 have no substream without SSV, and StreamIDs of 32 bits', () => {
    const event = decodeEvent(words([(0xffff_ffffn << 32n) | (0xf_ffffn << 12n) | 0x13n, 0n, 0n, 0n]), 0, SMMUV3, 32);
    assert(event.kind === 'arm-smmuv3');
    assert.deepEqual([event.streamId, event.substreamId, event.inputAddress], [0xffff_ffff, undefined, 0n]);
  });

  for (const [id, name, hasAddress] of [
    [0x04n, 'C_BAD_STE', false],
    [0x06n, 'F_STREAM_DISABLED', false],
    [0x08n, 'C_BAD_SUBSTREAMID', false],
    [0x0an, 'C_BAD_CD', false],
    [0x10n, 'F_TRANSLATION', true],
    [0x11n, 'F_ADDR_SIZE', true],
    [0x12n, 'F_ACCESS', true],
    [0x13n, 'F_PERMISSION', true],
    [0x20n, undefined, false],
  ] as const) {
    it(`of an SMMUv3 name record 0x${id.toString(16)} ${name ?? 'nothing'}`, () => {
      const event = decodeEvent(words([id, 0n, 5n, 0n]), 0, SMMUV3, 32);
      assert(event.kind === 'arm-smmuv3');
      assert.deepEqual([event.name, event.inputAddress], [name, hasAddress ? 5n : undefined]);
    });
  }

  it('of a Tegra241 CMDQV tell the queues of both words', () => {
    const event = decodeEvent(words([(1n << 63n) | 1n, (1n << 63n) | 2n]), 0, TEGRA241, 16);
    assert(event.kind === 'tegra241-cmdqv');
    assert.deepEqual(event.queues, [0, 63, 65, 127]);
    assert.deepEqual(event.errorMap, [(1n << 63n) | 1n, (1n << 63n) | 2n]);
  });

  it('of another kind are their bytes, copied', () => {
    const room = new Uint8Array([9, 1, 2, 3, 9]);
    const event = decodeEvent(new DataView(room.buffer), 1, 0xdead, 3);
    room.fill(0);
    assert.deepEqual(event, { kind: 'raw', data: new Uint8Array([1, 2, 3]) });
  });
});

describe('page faults', () => {
  function faults(...list: Parameters<typeof iommu_hwpt_pgfault.encode>[2][]): PageFault[] {
    const view = new DataView(new ArrayBuffer(8 + (list.length + 1) * iommu_hwpt_pgfault.size));
    for (const [i, fault] of list.entries()) iommu_hwpt_pgfault.encode(view, 8 + i * iommu_hwpt_pgfault.size, fault);
    return parseFaults(view, 8, list.length * iommu_hwpt_pgfault.size);
  }

  it('are decoded field by field', () => {
    const one = { flags: 3, dev_id: 4, pasid: 5, grpid: 6, perm: 0b0101, addr: 2n ** 63n, length: 4096, cookie: 9 };
    assert.deepEqual(faults(one), [
      {
        deviceId: 4,
        pasid: 5,
        group: 6,
        permissions: { read: true, write: false, exec: true, privileged: false },
        address: 2n ** 63n,
        length: 4096,
        last: true,
        cookie: 9,
      },
    ]);
  });

  it('have a PASID only where the flag says so', () => {
    const [without, zero] = faults({ pasid: 5, perm: 0b1010 }, { flags: 1, pasid: 0 });
    assert.equal(without?.pasid, undefined);
    assert.deepEqual(without?.permissions, { read: false, write: true, exec: false, privileged: true });
    assert.deepEqual([zero?.pasid, zero?.last], [0, false]);
  });

  it('are grouped by cookie, in order', () => {
    const groups = groupFaults(faults({ cookie: 7 }, { cookie: 7, flags: 2 }, { cookie: 0, flags: 2 }, { cookie: 7 }));
    assert.deepEqual(
      groups.map(({ cookie, faults: members }) => [cookie, members.length]),
      [
        [7, 2],
        [0, 1],
        [7, 1],
      ],
    );
    assert.deepEqual(groupFaults([]), []);
  });
});
