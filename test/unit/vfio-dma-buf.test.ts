// dma-bufs and their mappings on the stub seam: what is exported, what revokes, and set-ups that fail half-way.
import assert from 'node:assert/strict';
import { IOMMU_HWPT_GET_DIRTY_BITMAP, IOMMU_IOAS_COPY, IOMMU_IOAS_MAP_FILE } from '../../lib/uapi/index.js';
import { during, featureStage, only } from './feature-stage.js';
import { codeOf, leftovers, NOTHING } from './stage.js';

const PAGE = 4096;
const SIZE = 0x10000;
const IOVA = 0x100_0000n;

/** A device whose BAR 0 can be exported, and that sleeps. */
function exporting() {
  const exports: { region: number; flags: number; ranges: [bigint, bigint][] }[] = [];
  const base = featureStage({
    VFIO_DEVICE_FEATURE_DMA_BUF: only('get', ({ view }) => {
      const count = view.getUint32(12, true);
      const ranges = Array.from({ length: count }, (_, i): [bigint, bigint] => [
        view.getBigUint64(16 + i * 16, true),
        view.getBigUint64(24 + i * 16, true),
      ]);
      exports.push({ region: view.getUint32(0, true), flags: view.getUint32(8, true), ranges });
      return base.seam.makeFd();
    }),
    VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: only('set'),
  });
  const ioas = base.iommufd.allocIoas();
  const bar = base.nic.region('bar0');
  const finish = () => {
    base.nic.close();
    base.iommufd.close();
    assert.deepEqual(leftovers(base.seam), NOTHING);
  };
  return { ...base, exports, ioas, bar, finish };
}

describe('dma-bufs', () => {
  it('are of the parts asked for', () => {
    const { bar, exports, seam, finish } = exporting();
    const whole = bar.exportDmaBuf();
    assert.equal(whole.length, SIZE);
    assert.equal(seam.files.get(whole.fd)?.owned, true);
    bar.exportDmaBuf({ offset: PAGE, length: 2 * PAGE });
    bar.exportDmaBuf({ ranges: [{ length: PAGE }, { offset: 8n * 4096n }] });
    assert.deepEqual(
      exports.map(({ ranges }) => ranges),
      [
        [[0n, BigInt(SIZE)]],
        [[4096n, 8192n]],
        [
          [0n, 4096n],
          [32768n, 32768n],
        ],
      ],
    );
    assert(exports.every(({ region, flags }) => region === 0 && flags === 0));
    finish();
  });

  it('are whole pages, and not too many parts', () => {
    const { bar, exports, finish } = exporting();
    for (const range of [{ offset: 1 }, { offset: SIZE }, { length: 1 }, { length: SIZE + PAGE }, { length: 0 }]) {
      assert.throws(() => bar.exportDmaBuf(range), RangeError);
      assert.throws(() => bar.exportDmaBuf({ ranges: [range] }), RangeError);
    }
    assert.throws(
      () => bar.exportDmaBuf({ ranges: Array.from({ length: 1025 }, () => ({ length: PAGE })) }),
      RangeError,
    );
    assert.throws(() => bar.exportDmaBuf({ ranges: [{ size: 1 } as object] }), TypeError);
    assert.equal(exports.length, 0);
    finish();
  });

  it('ask nothing of a device that was closed while the options were read', () => {
    const { bar, nic, exports, finish } = exporting();
    const options = {
      get offset() {
        nic.close();
        return 0;
      },
    };
    assert.equal(
      codeOf(() => bar.exportDmaBuf(options)),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(exports.length, 0);
    finish();
  });

  it('leave nothing where they cannot be owned, or a listener closes the device', () => {
    const { bar, nic, seam, finish } = exporting();
    const stop = during('VFIO_DEVICE_FEATURE', () => nic.close());
    try {
      assert.equal(
        codeOf(() => bar.exportDmaBuf()),
        'ERR_IOMMUFD_DESTROYED',
      );
    } finally {
      stop();
    }
    assert.equal(seam.badCloses, 0);
    finish();
  });
});

describe('mappings of dma-bufs', () => {
  it('map the whole of what was exported, and keep no file', () => {
    const { ioas, bar, exports, seam, finish } = exporting();
    const before = seam.files.size;
    const mapping = ioas.mapDmaBuf(bar, { iova: IOVA, offset: PAGE, length: PAGE, writable: false });
    assert.equal(seam.files.size, before);
    const [made] = seam.made('IOMMU_IOAS_MAP_FILE');
    assert.deepEqual(
      [made?.input.start, made?.input.length, made?.input.iova, made?.input.flags],
      [0n, 4096n, IOVA, 5],
    );
    assert.deepEqual(exports[0]?.ranges, [[4096n, 4096n]]);
    assert.deepEqual([mapping.iova, mapping.length, mapping.mapped, mapping.revoked], [IOVA, 4096n, true, false]);
    assert.equal(ioas.mappingCount, 1);
    finish();
    assert.equal(mapping.mapped, false);
  });

  it('leave nothing where they are refused', () => {
    const { ioas, bar, seam, nic, finish } = exporting();
    seam.on(IOMMU_IOAS_MAP_FILE, -19);
    const before = leftovers(seam);
    assert.throws(() => ioas.mapDmaBuf(bar, { iova: IOVA }), /ENODEV.*memory is off/s);
    assert.deepEqual(leftovers(seam), before);
    assert.equal(ioas.mappingCount, 0);
    nic.lowPower.enter();
    finish();
  });

  it('are revoked when the device loses its memory, once', async () => {
    const { ioas, bar, nic, finish } = exporting();
    const mapping = ioas.mapDmaBuf(bar, { iova: IOVA });
    nic.lowPower.enter();
    assert.equal(mapping.revoked, true);
    nic.close();
    assert.equal(await mapping.whenRevoked, 'low power');
    assert.equal(mapping.mapped, true);
    mapping.unmap();
    assert.equal(mapping.mapped, false);
    finish();
  });

  it('are revoked by what happens while they are made', async () => {
    const { ioas, bar, nic, finish } = exporting();
    const stop = during('IOMMU_IOAS_MAP_FILE', () => nic.lowPower.enter());
    try {
      const mapping = ioas.mapDmaBuf(bar, { iova: IOVA });
      assert.equal(mapping.revoked, true);
    } finally {
      stop();
    }
    finish();
  });

  it('are not made in an address space that a listener destroyed', () => {
    const { ioas, bar, seam, finish } = exporting();
    const before = seam.files.size;
    const stop = during('VFIO_DEVICE_FEATURE', () => ioas.destroy());
    try {
      assert.equal(
        codeOf(() => ioas.mapDmaBuf(bar, { iova: IOVA })),
        'ERR_IOMMUFD_DESTROYED',
      );
    } finally {
      stop();
    }
    assert.equal(seam.made('IOMMU_IOAS_MAP_FILE').length, 0);
    assert.equal(seam.files.size, before);
    finish();
  });

  it('hear nothing any more once they are unmapped, by whomever', () => {
    const { ioas, bar, nic, finish } = exporting();
    const mapping = ioas.mapDmaBuf(bar, { iova: IOVA });
    ioas.unmap(IOVA, SIZE);
    assert.equal(mapping.mapped, false);
    nic.lowPower.enter();
    assert.equal(mapping.revoked, false);
    const calls = ioas.mapDmaBuf(bar, { iova: IOVA });
    mapping.unmap();
    assert.equal(calls.mapped, true, 'what lies there now is another mapping');
    finish();
  });

  it('split the stretches that dirty tracking asks about: a hole in one would hide what lies behind it', () => {
    const { ioas, bar, device, host, seam, iommufd, finish } = exporting();
    seam.on(IOMMU_HWPT_GET_DIRTY_BITMAP, 0);
    const ram = host.allocateMemory(SIZE);
    const size = BigInt(SIZE);
    ioas.map(ram, { iova: IOVA });
    ioas.mapDmaBuf(bar, { iova: IOVA + size });
    ioas.map(ram, { iova: IOVA + 2n * size });
    const stretches = (space: typeof ioas) => {
      const before = seam.made('IOMMU_HWPT_GET_DIRTY_BITMAP').length;
      const hwpt = space.allocHwpt(device, { dirtyTracking: true });
      const bitmap = hwpt.dirtyBitmap({ iova: IOVA, length: 3n * size });
      bitmap.read();
      bitmap.free();
      return seam
        .made('IOMMU_HWPT_GET_DIRTY_BITMAP')
        .slice(before)
        .map(({ input }) => input.iova);
    };
    assert.deepEqual(stretches(ioas), [IOVA, IOVA + size, IOVA + 2n * size]);
    const copy = iommufd.allocIoas();
    seam.on(IOMMU_IOAS_COPY, (input, { set }) => {
      set({ dst_iova: input.dst_iova });
      return 0;
    });
    copy.copy(ioas, { sourceIova: IOVA, length: 3n * size, iova: IOVA });
    assert.deepEqual(stretches(copy), [IOVA, IOVA + size, IOVA + 2n * size]);
    ram.free();
    finish();
  });

  it('are of regions alone', () => {
    const { ioas, bar, seam, finish } = exporting();
    const memfd = seam.makeFd();
    const pretender = { ...bar, exportDmaBuf: () => ({ fd: memfd, length: PAGE, close: () => undefined }) };
    assert.throws(() => ioas.mapDmaBuf(pretender), TypeError);
    assert.throws(() => ioas.mapDmaBuf(Object.create(bar)), TypeError);
    Object.assign(bar, { exportDmaBuf: () => ({ fd: memfd, length: PAGE, close: () => undefined }) });
    ioas.mapDmaBuf(bar, { iova: IOVA });
    assert.notEqual(seam.made('IOMMU_IOAS_MAP_FILE')[0]?.input.fd, memfd, 'what a program shadows is not asked');
    seam.files.delete(memfd);
    finish();
  });
});
