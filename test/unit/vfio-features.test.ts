// Features, and graphics planes, on the stub seam: what is asked, what is made of the answers, and that nothing is left.
import assert from 'node:assert/strict';
import { IommufdError } from '../../lib/index.js';
import { VFIO_DEVICE_GET_GFX_DMABUF, VFIO_DEVICE_QUERY_GFX_PLANE } from '../../lib/uapi/vfio.js';
import { toVfToken } from '../../lib/vfio/vf-token.js';
import { featureStage, only } from './feature-stage.js';
import { codeOf, deviceStage, leftovers, NOTHING } from './stage.js';

const EINVAL = -22;
const ENODEV = -19;
const EOPNOTSUPP = -95;
const ENOMSG = -42;

describe('features', () => {
  it('lists what a probe agrees to, whatever refusals there are', () => {
    const { nic } = featureStage({
      VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: () => 0,
      VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: only('set'),
      VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: () => EINVAL,
      VFIO_DEVICE_FEATURE_DMA_BUF: () => EOPNOTSUPP,
      VFIO_DEVICE_FEATURE_ZPCI_ERROR: () => ENODEV,
    });
    assert.deepEqual(nic.features.list(), [
      { name: 'mig-device-state', get: true, set: true },
      { name: 'low-power-exit', get: false, set: true },
    ]);
  });

  it('only probes, and sends no data', () => {
    const seen = new Set<string>();
    const { nic, seam } = featureStage({
      VFIO_DEVICE_FEATURE_DMA_BUF: ({ operation, probe, data }) => {
        seen.add(`${operation} ${probe} ${data.length}`);
        return 0;
      },
    });
    nic.features.list();
    assert.deepEqual([...seen], ['get true 0', 'set true 0']);
    assert.equal(seam.made('VFIO_DEVICE_FEATURE').length, 28, 'each of 14 features, both ways');
    assert.throws(() => nic.features.probe('nonsense' as 'dma-buf'), RangeError);
  });

  it('names the feature in a refusal, with its hint', () => {
    const { nic } = featureStage({});
    assert.throws(
      () => nic.features.setBusMaster(true),
      (error: unknown) =>
        error instanceof IommufdError &&
        error.syscall === 'VFIO_DEVICE_FEATURE_BUS_MASTER' &&
        error.code === 'ENOTTY' &&
        error.hint?.includes('CDX') === true,
    );
  });

  it('sets bus mastering', () => {
    const asked: number[] = [];
    const { nic } = featureStage({
      VFIO_DEVICE_FEATURE_BUS_MASTER: only('set', ({ view }) => {
        asked.push(view.getUint32(0, true));
        return 0;
      }),
    });
    nic.features.setBusMaster(true);
    nic.features.setBusMaster(false);
    assert.deepEqual(asked, [1, 0]);
    assert.throws(() => nic.features.setBusMaster(1 as unknown as boolean), TypeError);
  });

  it('gives the kernel far more room for a zPCI record than was asked for', () => {
    const { nic, seam } = featureStage({
      VFIO_DEVICE_FEATURE_ZPCI_ERROR: only('get', ({ view, memory }) => {
        // As long as the kernel pleases: it is not told how much room there is.
        memory(view.getBigUint64(0, true), 60_000).fill(0xee);
        return 0;
      }),
    });
    const before = leftovers(seam);
    assert.deepEqual(nic.features.zpciError(3), Uint8Array.of(0xee, 0xee, 0xee));
    assert.equal(nic.features.zpciError(65_536).length, 65_536);
    for (const wrong of [0, 65_537, 1.5]) assert.throws(() => nic.features.zpciError(wrong), RangeError);
    assert.deepEqual(leftovers(seam), before);
  });

  it('leaves no block where there is no zPCI record', () => {
    const { nic, seam } = featureStage({ VFIO_DEVICE_FEATURE_ZPCI_ERROR: () => ENOMSG });
    const before = leftovers(seam);
    assert.equal(
      codeOf(() => nic.features.zpciError(40)),
      'ENOMSG',
    );
    seam.fail('allocateBlock', -12);
    assert.equal(
      codeOf(() => nic.features.zpciError(40)),
      'ENOMEM',
    );
    assert.deepEqual(leftovers(seam), before);
  });
});

describe('VF tokens', () => {
  const TEXT = '00112233-4455-6677-8899-AAbbccddeeff';
  const BYTES = Uint8Array.from({ length: 16 }, (_, i) => i * 0x11);

  it('have the order of their text', () => {
    assert.deepEqual(toVfToken(TEXT, 'token'), BYTES);
    assert.deepEqual(toVfToken(BYTES, 'token'), BYTES);
    assert.notEqual(toVfToken(BYTES, 'token'), BYTES, 'a copy');
  });

  it('reach the kernel, and no error message', () => {
    let got: Uint8Array | undefined;
    const { nic } = featureStage({
      VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: only('set', ({ data }) => {
        got = data.slice();
        return ENODEV;
      }),
    });
    assert.throws(
      () => nic.features.setVfToken(TEXT),
      (error: unknown) => error instanceof IommufdError && !JSON.stringify(error).toLowerCase().includes('ccdd'),
    );
    assert.deepEqual(got, BYTES);
  });
});

describe('graphics', () => {
  it('asks for a plane, and says what it is told', () => {
    const base = deviceStage();
    base.seam.on(VFIO_DEVICE_QUERY_GFX_PLANE, ({ argsz, flags, drm_plane_type }, { set }) => {
      assert.equal(argsz, VFIO_DEVICE_QUERY_GFX_PLANE.layout.size);
      assert.deepEqual([flags, drm_plane_type], [4, 2]);
      set({
        drm_format: 7,
        width: 2,
        height: 3,
        stride: 8,
        size: 4096,
        x_hot: 5,
        y_hot: 6,
        region_index: 9,
        dmabuf_id: 9,
      });
      return 0;
    });
    const plane = base.nic.graphics.plane({ plane: 'cursor', via: 'region' });
    assert.deepEqual(plane?.hotspot, { x: 5, y: 6 });
    assert.equal(plane?.region, 9);
    assert.equal(plane?.dmabufId, undefined);
  });

  it('knows a plane that is off, and a cursor without a hotspot', () => {
    const base = deviceStage();
    let size = 0;
    base.seam.on(VFIO_DEVICE_QUERY_GFX_PLANE, (_, { set }) => {
      set({ size, x_hot: 0xffff_ffff, y_hot: 0xffff_ffff, dmabuf_id: 11 });
      return 0;
    });
    assert.equal(base.nic.graphics.plane({ via: 'dmabuf' }), undefined);
    size = 4096;
    const plane = base.nic.graphics.plane({ via: 'dmabuf' });
    assert.deepEqual([plane?.hotspot, plane?.dmabufId, plane?.region], [undefined, 11, undefined]);
  });

  it('owns the dma-buf of a plane', () => {
    const { nic, iommufd, seam } = deviceStage();
    seam.on(VFIO_DEVICE_GET_GFX_DMABUF, () => seam.makeFd());
    const file = nic.graphics.dmabuf(11);
    assert.equal(seam.files.get(file.fd)?.owned, true);
    file.close();
    file.close();
    const left = nic.graphics.dmabuf(11);
    nic.close();
    assert.equal(left.closed, true);
    iommufd.close();
    assert.deepEqual(leftovers(seam), NOTHING);
  });
});
