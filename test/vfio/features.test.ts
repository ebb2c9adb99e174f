// VFIO_DEVICE_FEATURE: which features devices have, and what the call itself checks (drivers/vfio/vfio_main.c).
import assert from 'node:assert/strict';
import { UsageError } from '../../lib/index.js';
import { isOlder } from '../../lib/uapi/releases.js';
import { VFIO_DEVICE_FEATURE, vfio_device_feature_flags, vfio_device_feature_index } from '../../lib/uapi/vfio.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const FLAGS = vfio_device_feature_flags.values;
const FEATURES = vfio_device_feature_index.values;

/** The call without data. */
const feature = (t: VfioBench, fd: number, flags: number): string =>
  t.ioctl(VFIO_DEVICE_FEATURE, { flags }, {}, fd).code;

/** What a release brought; nothing on a kernel before it. */
function since<T>(t: VfioBench, release: string, what: T): T[] {
  return isOlder(t.rig.host.release, release) ? [] : [what];
}

vfioCases('features', (test) => {
  test('pci', 'a device of vfio-pci sleeps and exports its memory, and does not migrate', { needs: 'edu' }, (t) => {
    assert.deepEqual(t.bound('edu').features.list(), [
      { name: 'low-power-entry', get: false, set: true },
      { name: 'low-power-entry-with-wakeup', get: false, set: true },
      { name: 'low-power-exit', get: false, set: true },
      ...since(t, '6.19', { name: 'dma-buf', get: true, set: false }),
    ]);
  });

  test('mediated', 'the serial port migrates, and notes its DMA (it has none)', { needs: 'serial' }, (t) => {
    assert.deepEqual(t.bound('serial').features.list(), [
      { name: 'migration', get: true, set: false },
      { name: 'mig-device-state', get: true, set: true },
      { name: 'dma-logging-start', get: false, set: true },
      { name: 'dma-logging-stop', get: false, set: true },
      { name: 'dma-logging-report', get: true, set: false },
      { name: 'mig-data-size', get: true, set: false },
      ...since(t, '7.1', { name: 'mig-precopy-info-v2', get: false, set: true }),
    ]);
  });

  test('probe', 'one feature is asked about', { needs: 'edu' }, (t) => {
    const { features } = t.bound('edu');
    const [exports] = since(t, '6.19', true);
    assert.deepEqual(features.probe('dma-buf'), { name: 'dma-buf', get: exports ?? false, set: false });
    assert.deepEqual(features.probe('migration'), { name: 'migration', get: false, set: false });
  });

  test('unbound', 'nothing can be asked before the device is bound', { needs: 'edu' }, (t) => {
    const nic = t.open('edu');
    assert.throws(
      () => nic.features.list(),
      (error: unknown) => error instanceof UsageError && error.code === 'ERR_IOMMUFD_UNAVAILABLE',
    );
    assert.equal(
      feature(t, nic.fd, FEATURES.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT | FLAGS.VFIO_DEVICE_FEATURE_SET),
      'EINVAL',
    );
  });

  test('operations', 'get and set exclude each other, and one must be there', { needs: 'edu' }, (t) => {
    const { fd } = t.bound('edu');
    const exit = FEATURES.VFIO_DEVICE_FEATURE_LOW_POWER_EXIT;
    const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_SET: SET, VFIO_DEVICE_FEATURE_PROBE: PROBE } = FLAGS;
    assert.equal(feature(t, fd, exit), 'EINVAL');
    assert.equal(feature(t, fd, exit | GET | SET), 'EINVAL');
    assert.equal(feature(t, fd, exit | GET), 'EINVAL');
    assert.equal(feature(t, fd, exit | SET), 'ok');
    assert.equal(feature(t, fd, exit | PROBE), 'ok');
    assert.equal(feature(t, fd, exit | PROBE | SET), 'ok');
    assert.equal(feature(t, fd, exit | PROBE | GET), 'EINVAL');
    assert.equal(feature(t, fd, exit | PROBE | GET | SET), 'EINVAL');
    assert.equal(feature(t, fd, exit | SET | (1 << 19)), 'EINVAL');
  });

  test('short-data', 'a feature whose data is too short', { needs: 'edu' }, (t) => {
    const { fd } = t.bound('edu');
    const entry = FEATURES.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
    assert.equal(feature(t, fd, entry | FLAGS.VFIO_DEVICE_FEATURE_SET), 'EINVAL');
  });

  test('unknown', 'a number that no feature has', { needs: ['edu', 'serial'] }, (t) => {
    const flags = 0x7fff | FLAGS.VFIO_DEVICE_FEATURE_GET;
    for (const role of ['edu', 'serial'] as const) assert.equal(feature(t, t.bound(role).fd, flags), 'ENOTTY');
  });

  test('cdx', 'bus mastering of CDX devices is no feature of others', { needs: ['edu', 'serial'] }, (t) => {
    const error = refused('ENOTTY', () => t.bound('edu').features.setBusMaster(true));
    assert.match(error.message, /VFIO_DEVICE_FEATURE_BUS_MASTER: ENOTTY.*config\.enable/s);
    refused('ENOTTY', () => t.bound('serial').features.setBusMaster(false));
  });

  test('zpci', 'only s390 has error records', { needs: 'edu' }, (t) => {
    refused('ENOTTY', () => t.bound('edu').features.zpciError(40));
  });

  test('closed', 'a closed device has no features', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    const { features } = nic;
    nic.close();
    assert.throws(
      () => features.list(),
      (error: unknown) => error instanceof UsageError && error.code === 'ERR_IOMMUFD_DESTROYED',
    );
  });
});
