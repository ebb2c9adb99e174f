// What a program is told by a kernel from before Linux 6.13: which call or flag it lacks, which Linux brought that, and which
// it runs on. On a newer kernel the cases are pending; on the emulated host they make one of Linux 6.12 for themselves.
import assert from 'node:assert/strict';
import { IommufdError, UsageError } from '../../lib/index.js';
import {
  IOMMU_HW_QUEUE_ALLOC,
  IOMMU_IOAS_CHANGE_PROCESS,
  IOMMU_IOAS_MAP_FILE,
  IOMMU_IOAS_NOIOMMU_GET_PA,
  IOMMU_VDEVICE_ALLOC,
  IOMMU_VEVENTQ_ALLOC,
  IOMMU_VIOMMU_ALLOC,
  type Ioctl,
} from '../../lib/uapi/index.js';
import { call } from '../../lib/unsafe.js';
import { IOVA, translation } from '../rig/address-space.js';
import { olderBench } from '../rig/dialect.js';
import { type Bench, conformance, portOf } from '../rig/suite.js';

const needs = 'older-kernel';

/** Asserts that work is refused since the kernel lacks something, and that the error says all there is to say. */
function lacks(t: Bench, code: string, what: string, since: string, work: () => unknown): IommufdError {
  const { release } = t.rig.host;
  let error: unknown;
  try {
    work();
  } catch (thrown) {
    error = thrown;
  }
  assert(error instanceof IommufdError, `it was not refused: ${what}`);
  assert.equal(error.code, code, error.message);
  assert.deepEqual(error.unsupported, { what, since, running: release });
  const told = `hint: this kernel is too old: ${what} came with Linux ${since}, this is Linux ${release}`;
  assert(error.message.includes(told), error.message);
  assert.match(error.message, new RegExp(`^${error.syscall}: ${code}, `));
  return error;
}

conformance('older-kernel', (test) => {
  test('release', 'the host tells which Linux it is', { needs }, (t) => {
    assert.match(olderBench(t).rig.host.release, /^6\.\d+[.-]/);
  });

  test('probe', 'every call is asked about, and those that came later are missing', { needs }, (t) => {
    const missing = olderBench(t)
      .iommufd.probe()
      .filter(({ supported }) => !supported)
      .map(({ name, since }) => `${name} ${since}`);
    assert.deepEqual(missing, [
      'IOMMU_IOAS_MAP_FILE 6.13',
      'IOMMU_VIOMMU_ALLOC 6.13',
      'IOMMU_VDEVICE_ALLOC 6.13',
      'IOMMU_IOAS_CHANGE_PROCESS 6.13',
      'IOMMU_VEVENTQ_ALLOC 6.15',
      'IOMMU_HW_QUEUE_ALLOC 6.17',
      'IOMMU_IOAS_NOIOMMU_GET_PA 7.3',
    ]);
  });

  for (const op of [
    IOMMU_IOAS_MAP_FILE,
    IOMMU_VIOMMU_ALLOC,
    IOMMU_VDEVICE_ALLOC,
    IOMMU_IOAS_CHANGE_PROCESS,
    IOMMU_VEVENTQ_ALLOC,
    IOMMU_HW_QUEUE_ALLOC,
    IOMMU_IOAS_NOIOMMU_GET_PA,
  ] as readonly Ioctl[]) {
    test(`call-${op.request.toString(16)}`, `${op.name} is told to be missing`, { needs }, (t) => {
      const older = olderBench(t);
      const error = lacks(older, 'ENOTTY', op.name, op.since, () => call(portOf(older), op, {}));
      assert.equal(error.syscall, op.name);
    });
  }

  test('viommu', 'a virtual IOMMU', { needs }, (t) => {
    const older = olderBench(t);
    const { device } = older.mockDevice();
    const parent = older.iommufd.allocIoas().allocHwpt(device, { nestParent: true });
    const work = () => parent.allocViommu(device, { type: 'arm-smmuv3' });
    assert.match(lacks(older, 'ENOTTY', 'IOMMU_VIOMMU_ALLOC', '6.13', work).message, /Instead: on VT-d/);
  });

  test('map-by-address', 'memory is mapped all the same, by its address', { needs }, (t) => {
    const older = olderBench(t);
    const { device } = older.mockDevice();
    const ioas = older.iommufd.allocIoas();
    const ram = older.memory();
    assert.equal(ioas.map(ram, { iova: IOVA }), IOVA);
    assert.equal(translation(older, ioas.allocHwpt(device), IOVA, ram, 0, ram.size), 'ok');
  });

  test('map-fd', 'a file by itself is not', { needs }, (t) => {
    const older = olderBench(t);
    const ioas = older.iommufd.allocIoas();
    const ram = older.memory();
    const work = () => ioas.unsafeMapFd(ram.fd, 0, { iova: IOVA, length: ram.size });
    const error = lacks(older, 'ENOTTY', 'IOMMU_IOAS_MAP_FILE', '6.13', work);
    assert.match(error.message, /Instead: ioas\.map/);
    assert.equal(ioas.unmapAll(), 0n);
  });

  test('change-process', 'pinned pages stay charged to whom they are', { needs }, (t) => {
    const older = olderBench(t);
    lacks(older, 'ENOTTY', 'IOMMU_IOAS_CHANGE_PROCESS', '6.13', () => older.iommufd.changeProcess());
  });

  test('hand-over', 'nothing is handed over, and all goes on', { needs }, (t) => {
    const older = olderBench(t);
    const ioas = older.iommufd.allocIoas();
    assert.throws(
      () => older.iommufd.handOver(),
      (error: unknown) => {
        assert(error instanceof UsageError && error.code === 'ERR_IOMMUFD_UNAVAILABLE', `${error}`);
        assert.match(error.message, /IOMMU_IOAS_MAP_FILE came with Linux 6\.13, this is Linux 6\./);
        assert(error.cause instanceof IommufdError);
        assert.equal(error.cause.unsupported?.since, '6.13');
        return true;
      },
    );
    ioas.map(older.memory(), { iova: IOVA });
  });

  test('pasid', 'a page table that PASIDs can use', { needs }, (t) => {
    const older = olderBench(t);
    const { device } = older.mockDevice();
    const ioas = older.iommufd.allocIoas();
    lacks(older, 'EOPNOTSUPP', 'IOMMU_HWPT_ALLOC_PASID', '6.15', () => ioas.allocHwpt(device, { pasid: true }));
    // Of several the newest is told.
    const both = () => ioas.allocHwpt(device, { pasid: true, dirtyTracking: true });
    lacks(older, 'EOPNOTSUPP', 'IOMMU_HWPT_ALLOC_PASID', '6.15', both);
    ioas.allocHwpt(device, { dirtyTracking: true });
  });

  test('fault-queue', 'page requests through a page table that is not nested', { needs }, (t) => {
    const older = olderBench(t);
    const { device } = older.mockDevice();
    const faultQueue = older.iommufd.allocFaultQueue();
    const ioas = older.iommufd.allocIoas();
    const what = 'IOMMU_HWPT_FAULT_ID_VALID for page tables that are not nested';
    lacks(older, 'EOPNOTSUPP', what, '6.13', () => ioas.allocHwpt(device, { faultQueue }));
  });

  test('hw-info-type', 'info of a type that is asked for', { needs }, (t) => {
    const older = olderBench(t);
    const { device } = older.mockDevice();
    lacks(older, 'EOPNOTSUPP', 'IOMMU_HW_INFO_FLAG_INPUT_TYPE', '6.17', () => device.hwInfo('tegra241-cmdqv'));
    assert.equal(device.hwInfo().capabilities.dirtyTracking, true);
  });

  test('not-its-age', 'what the hardware cannot do is not put down to the kernel', { needs }, (t) => {
    const older = olderBench(t);
    const { device } = older.mockDevice({ noDirty: true });
    const ioas = older.iommufd.allocIoas();
    assert.throws(
      () => ioas.allocHwpt(device, { dirtyTracking: true }),
      (error: unknown) => error instanceof IommufdError && error.code === 'EOPNOTSUPP' && !error.unsupported,
    );
  });
});
