// Invalidations on the stub seam: the bytes of entries, batches, and the count of what was done.
import assert from 'node:assert/strict';
import type { IommufdError } from '../../lib/host/errors.js';
import { IOMMU_HWPT_INVALIDATE } from '../../lib/uapi/index.js';
import { codeOf, viommuStage } from './stage.js';

interface Batch {
  readonly type: number;
  readonly length: number;
  readonly count: number;
  readonly bytes: Uint8Array;
}

/** A vIOMMU whose invalidations are noted; `answer` says what each does: how many entries, and the result. */
function noting(
  answer: (batch: Batch, index: number) => { done: number; result: number } | undefined = () => undefined,
) {
  const base = viommuStage('arm-smmuv3');
  const batches: Batch[] = [];
  base.seam.on(IOMMU_HWPT_INVALIDATE, (input, { memory, set }) => {
    assert.equal(input.hwpt_id, base.viommu.id);
    const { data_type: type, entry_len: length, entry_num: count } = input;
    const batch = { type, length, count, bytes: memory(input.data_uptr, length * count).slice() };
    batches.push(batch);
    const { done, result } = answer(batch, batches.length - 1) ?? { done: count, result: 0 };
    set({ entry_num: done });
    return result;
  });
  return { ...base, batches };
}

const commands = (count: number): BigUint64Array =>
  BigUint64Array.from({ length: count * 2 }, (_, i) => BigInt(i) << 32n);

describe('invalidation', () => {
  it('passes SMMUv3 commands on as they are', () => {
    const { viommu, batches } = noting();
    const words = BigUint64Array.of(0x0102_0304_0506_0708n, 0xfn, 1n, 2n ** 64n - 1n);
    // A part of a larger buffer: neither its start nor its end may come along.
    assert.equal(viommu.invalidate({ smmuv3: words.subarray(2) }), 1);
    assert.deepEqual(batches, [
      { type: 1, length: 16, count: 1, bytes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0, ...Array<number>(8).fill(255)) },
    ]);
  });

  it('writes VT-d invalidations as the kernel reads them', () => {
    const { viommu, batches } = noting();
    const vtd = [
      { address: 0x7000_1000n, pages: 0x0102, leaf: true },
      { all: true as const },
      { address: 0, pages: 1n },
    ];
    assert.equal(viommu.invalidate({ vtd }), 3);
    const zeros = (count: number) => Array<number>(count).fill(0);
    assert.deepEqual(batches[0], {
      type: 0,
      length: 24,
      count: 3,
      bytes: Uint8Array.from([
        ...[0, 0x10, 0, 0x70, 0, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        ...[...zeros(8), ...Array<number>(8).fill(255), ...zeros(8)],
        ...[...zeros(8), 1, ...zeros(7), ...zeros(8)],
      ]),
    });
  });

  it('goes in batches that lose, repeat and reorder nothing', () => {
    for (const count of [4095, 4096, 4097, 10_000]) {
      const { viommu, batches, seam } = noting();
      const all = commands(count);
      assert.equal(viommu.invalidate({ smmuv3: all }), count);
      assert.equal(batches.length, Math.ceil(count / 4096));
      assert.deepEqual(Buffer.concat(batches.map(({ bytes }) => bytes)), Buffer.from(all.buffer));
      assert.equal(seam.arena.mark(), 0);
    }
  });

  it('never splits an entry, whatever its length', () => {
    const { viommu, batches } = noting();
    const entries = new Uint8Array(1000 * 300).map((_, i) => i * 7);
    assert.equal(viommu.invalidate({ type: 0xdead, entryLength: 1000, entries }), 300);
    assert.deepEqual(
      batches.map(({ count }) => count),
      [65, 65, 65, 65, 40],
    );
    assert.deepEqual(new Uint8Array(Buffer.concat(batches.map(({ bytes }) => bytes))), entries);
  });

  it('counts what was done in all batches when a later one is refused half-way', () => {
    const { viommu, batches } = noting((_, i) => (i === 1 ? { done: 10, result: -5 } : undefined));
    const result = viommu.tryInvalidate({ smmuv3: commands(10_000) });
    assert.equal(result.completed, 4106);
    assert.equal(result.refusal?.code, 'EIO');
    assert.equal(result.refusal?.args.completed, 4106);
    assert.equal(result.refusal?.args.entry_num, 10_000);
    assert.equal(batches.length, 2, 'nothing is sent after the refusal');
  });

  it('throws the same refusal from invalidate', () => {
    const { viommu } = noting(() => ({ done: 2, result: -22 }));
    assert.throws(
      () => viommu.invalidate({ smmuv3: commands(5) }),
      (error: IommufdError) => error.code === 'EINVAL' && error.args.completed === 2 && error.args.entry_num === 5,
    );
  });

  it('counts nothing as done where a driver had no memory and left the count alone', () => {
    const { viommu } = noting((batch, i) => (i === 1 ? { done: batch.count, result: -12 } : undefined));
    const { completed, refusal } = viommu.tryInvalidate({ smmuv3: commands(5000) });
    assert.deepEqual([completed, refusal?.code], [4096, 'ENOMEM']);
  });

  it('asks whether a type is known with no entries at all', () => {
    const { viommu, batches } = noting();
    assert.equal(viommu.invalidate({ type: 7, entryLength: 8, entries: new Uint8Array(0) }), 0);
    assert.deepEqual(
      batches.map(({ type, count }) => [type, count]),
      [[7, 0]],
    );
  });

  it('refuses what is no list of entries before the kernel is asked', () => {
    const { viommu, batches } = noting();
    const bad: [unknown, string][] = [
      [{ smmuv3: new BigUint64Array(3) }, 'ERR_OUT_OF_RANGE'],
      [{ smmuv3: [1n, 2n] }, 'ERR_INVALID_ARG_TYPE'],
      [{ vtd: [{ address: 1n, pages: 1n, lead: true }] }, 'ERR_UNKNOWN_OPTION'],
      [{ vtd: [{ address: -1n, pages: 1n }] }, 'ERR_OUT_OF_RANGE'],
      [{ vtd: {} }, 'ERR_INVALID_ARG_TYPE'],
      [{ vtd: [{ all: false }] }, 'ERR_INVALID_ARG_TYPE'],
      [{ type: 1, entryLength: 0, entries: new Uint8Array(0) }, 'ERR_OUT_OF_RANGE'],
      [{ type: 1, entryLength: 16, entries: new Uint8Array(17) }, 'ERR_OUT_OF_RANGE'],
      [{ type: 1, entryLength: 65537, entries: new Uint8Array(65537) }, 'ERR_OUT_OF_RANGE'],
      [{ smmuv3: new BigUint64Array(2), type: 1 }, 'ERR_UNKNOWN_OPTION'],
      [null, 'ERR_INVALID_ARG_TYPE'],
    ];
    for (const [request, code] of bad) {
      assert.equal(
        codeOf(() => viommu.tryInvalidate(request as { smmuv3: BigUint64Array })),
        code,
      );
    }
    assert.equal(batches.length, 0);
  });

  it('makes no endless loop of a kernel that does nothing and calls it success', () => {
    let calls = 0;
    const { viommu } = noting(() => {
      if (++calls > 10) throw new Error('asked without end');
      return { done: 0, result: 0 };
    });
    assert.doesNotThrow(() => viommu.tryInvalidate({ smmuv3: commands(2) }));
  });
});
