// The operations of a VFIO device's features: low power, logging, migration, each with what it needs.
import type { MigrationTarget, VfioDevice } from '../../lib/index.js';
import { calm, type Operation, takes } from './memory-operation.js';
import { eventfd } from './memory-operations-host.js';
import { IOVA, SIZE, type Site } from './memory-site.js';

const WATCHED = { iova: IOVA, length: SIZE } as const;

function serial(site: Site, role: 'serial' | 'migrates' = 'serial'): VfioDevice {
  const nic = site.bound(role);
  nic.reset();
  // The sample forgets its streams when it is closed, but not its state (samples/vfio-mdev/mtty.c).
  site.later(() => nic.reset());
  return nic;
}
/** The device in a state, with the stream that led there. */
function streamTo(nic: VfioDevice, state: MigrationTarget) {
  const stream = nic.migration.setState(state);
  if (stream === undefined) throw new Error(`no stream on the way to ${state}`);
  return stream;
}
function saved(nic: VfioDevice): Uint8Array {
  const stream = streamTo(nic, 'stop-copy');
  const bytes = stream.read();
  stream.close();
  nic.migration.setState('stop');
  return bytes;
}

export const FEATURE_OPERATIONS: readonly Operation[] = [
  calm(
    'DeviceFeatures.list',
    ({ nic }) =>
      () =>
        nic.features.list(),
  ),
  calm(
    'DeviceFeatures.probe',
    ({ nic }) =>
      () =>
        nic.features.probe('migration'),
  ),
  calm(
    'LowPower.enter',
    ({ nic }) =>
      () =>
        nic.lowPower.enter(),
  ),
  calm('LowPower.enterWithWakeup', (site) => {
    const wake = eventfd(site);
    const { lowPower } = site.nic;
    return () => lowPower.enterWithWakeup(wake);
  }),
  calm('LowPower.exit', ({ nic }) => {
    nic.lowPower.enter();
    return () => nic.lowPower.exit();
  }),
  takes('DmaLogging.start', (site) => {
    const nic = site.bound('logs');
    return () => nic.dmaLogging.start({ ranges: [WATCHED] });
  }),
  takes('DmaLogging.report', (site) => {
    const nic = site.bound('logs');
    nic.dmaLogging.start({ ranges: [WATCHED] });
    return () => nic.dmaLogging.report(WATCHED);
  }),
  calm('DmaLogging.stop', (site) => {
    const nic = site.bound('logs');
    nic.dmaLogging.start({ ranges: [WATCHED] });
    return () => nic.dmaLogging.stop();
  }),
  calm(
    'Migration.supported',
    ({ nic }) =>
      () =>
        nic.migration.supported,
  ),
  calm('Migration.state', (site) => {
    const nic = site.bound('migrates');
    return () => nic.migration.state;
  }),
  takes('Migration.setState', (site) => {
    const nic = serial(site);
    return () => nic.migration.setState('stop-copy');
  }),
  takes('Migration.setStateAsync', (site) => {
    const nic = serial(site);
    nic.migration.setState('stop');
    return () => nic.migration.setStateAsync('resuming');
  }),
  calm('Migration.setState: the test device', (site) => {
    const { nic } = site;
    site.place.emulated();
    return () => nic.migration.setState('stop-copy');
  }),
  calm('Migration.estimatedStopCopyBytes', (site) => {
    const nic = site.bound('migrates');
    return () => nic.migration.estimatedStopCopyBytes();
  }),
  calm('Migration.enablePrecopyInfoV2', (site) => {
    const nic = site.bound('migrates');
    return () => nic.migration.enablePrecopyInfoV2();
  }),
  calm('MigrationStream.read', (site) => {
    const stream = streamTo(serial(site), 'stop-copy');
    return () => stream.read();
  }),
  calm('MigrationStream.chunks', (site) => {
    const stream = streamTo(serial(site), 'stop-copy');
    return async () => {
      for await (const chunk of stream.chunks()) void chunk;
    };
  }),
  calm('MigrationStream.precopyInfo', (site) => {
    const stream = streamTo(serial(site, 'migrates'), 'pre-copy');
    return () => stream.precopyInfo();
  }),
  calm('MigrationStream.write', (site) => {
    const nic = serial(site);
    const state = saved(nic);
    const stream = streamTo(nic, 'resuming');
    return () => stream.write(state);
  }),
  calm('MigrationStream.close', (site) => {
    const stream = streamTo(serial(site), 'stop-copy');
    return () => stream.close();
  }),
];
