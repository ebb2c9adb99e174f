// A device's notes of its DMA on the stub seam: what the kernel is given, what is made of the bits, and that nothing is left.
import assert from 'node:assert/strict';
import { bitRuns } from '../../lib/objects/bit-runs.js';
import { featureStage, only } from './feature-stage.js';
import { codeOf, generator, leftovers } from './stage.js';

const K = 4096n;
const EINVAL = -22;

/** A device that notes the pages a test marks. */
function logging() {
  const machine = { pageSize: 0n, ranges: [] as [bigint, bigint][], dirty: new Set<bigint>(), result: 0 };
  const base = featureStage({
    VFIO_DEVICE_FEATURE_DMA_LOGGING_START: only('set', ({ view, memory }) => {
      if (machine.result < 0) return machine.result;
      const count = view.getUint32(8, true);
      const bytes = memory(view.getBigUint64(16, true), count * 16);
      const ranges = new DataView(bytes.buffer, bytes.byteOffset);
      machine.ranges = Array.from({ length: count }, (_, i) => [
        ranges.getBigUint64(i * 16, true),
        ranges.getBigUint64(i * 16 + 8, true),
      ]);
      machine.pageSize = view.getBigUint64(0, true);
      view.setBigUint64(0, 8192n, true);
      return 0;
    }),
    VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: only('get', ({ view, memory }) => {
      const [iova, length, pageSize] = [0, 8, 16].map((at) => view.getBigUint64(at, true)) as [bigint, bigint, bigint];
      const pages = Number(length / pageSize);
      const bits = memory(view.getBigUint64(24, true), Math.ceil(pages / 64) * 8);
      for (const page of machine.dirty) {
        const bit = Number((page * K - iova) / pageSize);
        bits[bit >>> 3] = (bits[bit >>> 3] ?? 0) | (1 << (bit & 7));
      }
      return machine.result;
    }),
  });
  return { ...base, machine, log: base.nic.dmaLogging };
}

describe('DMA logging', () => {
  it('gives the kernel the ranges, and tells the page size that the device chose', () => {
    const { log, machine, seam } = logging();
    const before = leftovers(seam);
    const ranges = [
      { iova: 0n, length: K },
      { iova: 0x1_0000_0000_0000n, length: 0x4000 },
    ];
    assert.equal(log.start({ ranges: ranges.values() }), 8192n);
    assert.equal(machine.pageSize, K);
    assert.deepEqual(machine.ranges, [
      [0n, K],
      [0x1_0000_0000_0000n, 0x4000n],
    ]);
    assert.deepEqual(leftovers(seam), before);
  });

  it('leaves nothing where it is refused', () => {
    const { log, machine, seam } = logging();
    const before = leftovers(seam);
    machine.result = EINVAL;
    assert.equal(
      codeOf(() => log.start({ ranges: [{ iova: 0n, length: K }] })),
      'EINVAL',
    );
    assert.throws(() => log.report({ iova: 0n, length: K }), /EINVAL.*take all pages of the range as written/s);
    seam.fail('allocateBlock', -12);
    assert.equal(
      codeOf(() => log.start({ ranges: [{ iova: 0n, length: K }] })),
      'ENOMEM',
    );
    seam.fail('allocateBlock', -12);
    assert.equal(
      codeOf(() => log.report({ iova: 0n, length: K })),
      'ENOMEM',
    );
    assert.deepEqual(leftovers(seam), before);
  });

  it('makes ranges of the bits', () => {
    const { log, machine, seam } = logging();
    const before = leftovers(seam);
    for (const page of [16n, 17n, 31n, 32n, 100n]) machine.dirty.add(page);
    const report = log.report({ iova: 16n * K, length: 100n * K });
    // What was told is kept: the device has forgotten it.
    machine.dirty.clear();
    assert.deepEqual(
      [...report].map(({ iova, length }) => [iova / K, length / K]),
      [
        [16n, 2n],
        [31n, 2n],
        [100n, 1n],
      ],
    );
    assert.deepEqual([...log.report({ iova: 0n, length: K })], []);
    assert.deepEqual(leftovers(seam), before);
  });

  it('reports in pages of the size asked for', () => {
    const { log, machine } = logging();
    machine.dirty.add(513n);
    const [range] = log.report({ iova: 0n, length: 2n ** 22n, pageSize: 2n ** 21n });
    assert.deepEqual(range, { iova: 2n ** 21n, length: 2n ** 21n });
  });

  it('asks nothing of a device that was closed while the options were read', () => {
    const { log, nic, seam } = logging();
    const closing = {
      get iova() {
        nic.close();
        return 0n;
      },
      length: K,
    };
    assert.equal(
      codeOf(() => log.start({ ranges: [closing] })),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(
      codeOf(() => log.report(closing)),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(seam.made('VFIO_DEVICE_FEATURE').length, 0);
  });

  it('refuses more pages than a bitmap can have', () => {
    const { log, seam } = logging();
    assert.throws(() => log.report({ iova: 0n, length: 2n ** 60n }), RangeError);
    assert.equal(seam.made('VFIO_DEVICE_FEATURE').length, 0);
  });
});

describe('runs of bits', () => {
  it('are what a look at every bit finds', () => {
    const below = generator(7);
    for (let round = 0; round < 200; round++) {
      const words = Uint32Array.from({ length: 6 }, () => [0, 0xffff_ffff, below(2 ** 32)][below(3)] ?? 0);
      const word = below(2);
      const bits = below(129);
      const found: number[] = [];
      for (const { first, count } of bitRuns(words, word, bits)) {
        assert(count > 0 && !found.includes(first - 1), 'neighbours are one run');
        for (let i = 0; i < count; i++) found.push(first + i);
      }
      const set = (bit: number) => (((words[word + (bit >>> 5)] ?? 0) >>> (bit & 31)) & 1) === 1;
      assert.deepEqual(found, Array.from({ length: bits }, (_, bit) => bit).filter(set));
    }
  });
});
