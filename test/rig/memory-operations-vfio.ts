// The operations of a VFIO device, its regions and its interrupts, each with what it needs.
import { VfioDevice } from '../../lib/index.js';
import { calm, type Operation, takes } from './memory-operation.js';
import { eventfd, registers } from './memory-operations-host.js';
import { SIBLING } from './memory-site.js';

/** Registers of the test device (docs/emulated.md). */
const SCRATCH = 0x04;
const RAISE = 0x2c;

const DEVICE: readonly Operation[] = [
  takes('VfioDevice.bind', (site) => {
    const nic = site.open(SIBLING);
    return () => nic.bind(site.iommufd);
  }),
  takes(
    'VfioDevice.attach',
    ({ nic, ioas }) =>
      () =>
        nic.attach(ioas),
  ),
  takes('VfioDevice.tryAttach', ({ nic, ioas }) => () => {
    const { refusal } = nic.tryAttach(ioas);
    if (refusal !== undefined) throw refusal;
  }),
  takes(
    'VfioDevice.attachAsync',
    ({ nic, ioas }) =>
      () =>
        nic.attachAsync(ioas),
  ),
  calm('VfioDevice.detach', ({ nic, ioas }) => {
    nic.attach(ioas);
    return () => nic.detach();
  }),
  calm(
    'VfioDevice.fromFd',
    ({ nic, host }) =>
      () =>
        VfioDevice.fromFd(nic.fd, { host, ownership: 'borrowed' }).close(),
  ),
  calm('VfioDevice.adopt', ({ nic, iommufd }) => () => {
    VfioDevice.adopt(nic.fd, { iommufd, id: nic.device.id, ownership: 'borrowed' });
  }),
  calm(
    'VfioDevice.info',
    ({ nic }) =>
      () =>
        nic.info,
  ),
  calm(
    'VfioDevice.region',
    ({ nic }) =>
      () =>
        nic.region('bar0'),
  ),
  calm(
    'VfioDevice.regions',
    ({ nic }) =>
      () =>
        nic.regions,
  ),
  calm(
    'VfioDevice.config',
    ({ nic }) =>
      () =>
        nic.config,
  ),
  calm(
    'VfioDevice.interrupts',
    ({ nic }) =>
      () =>
        nic.interrupts('msix'),
  ),
  takes('VfioDevice.events', ({ nic }) => async () => {
    await nic.events().return?.();
  }),
  calm(
    'VfioDevice.reset',
    ({ nic }) =>
      () =>
        nic.reset(),
  ),
  calm(
    'VfioDevice.resetAsync',
    ({ nic }) =>
      () =>
        nic.resetAsync(),
  ),
  takes(
    'VfioDevice.hotResetInfo',
    ({ nic }) =>
      () =>
        nic.hotResetInfo(),
  ),
  takes('VfioDevice.hotReset', (site) => {
    site.bound(SIBLING);
    return () => site.nic.hotReset();
  }),
  calm('VfioDevice.close', (site) => {
    const nic = site.bound(SIBLING);
    return () => nic.close();
  }),
  calm(
    'PciConfig.enable',
    ({ nic }) =>
      () =>
        nic.config.enable({ memory: true, busMaster: true }),
  ),
  calm(
    'PciConfig.write16',
    ({ nic }) =>
      () =>
        nic.config.write16(4, 6),
  ),
  calm(
    'PciConfig.read16',
    ({ nic }) =>
      () =>
        nic.config.read16(0),
  ),
  calm(
    'PciConfig.capabilities',
    ({ nic }) =>
      () =>
        nic.config.capabilities(),
  ),
];

const REGION: readonly Operation[] = [
  calm('VfioRegion.read32', (site) => {
    const bar = registers(site);
    return () => bar.read32(SCRATCH);
  }),
  calm('VfioRegion.write32', (site) => {
    const bar = registers(site);
    return () => bar.write32(SCRATCH, 1);
  }),
  calm('VfioRegion.read', (site) => {
    const bar = registers(site);
    return () => bar.read(0, 16);
  }),
  calm('VfioRegion.write', (site) => {
    const bar = registers(site);
    return () => bar.write(SCRATCH, new Uint8Array(4));
  }),
  calm('VfioRegion.mmap', (site) => {
    const bar = registers(site);
    return () => bar.mmap();
  }),
  takes('VfioRegion.exportDmaBuf', (site) => {
    registers(site);
    const bar = site.nic.region('bar2');
    return () => bar.exportDmaBuf();
  }),
  calm('DmaBuf.close', (site) => {
    registers(site);
    const file = site.nic.region('bar2').exportDmaBuf();
    return () => file.close();
  }),
  takes('VfioRegion.ioeventfd', (site) => {
    const [bar, bell] = [registers(site), eventfd(site)];
    return () => bar.ioeventfd({ offset: SCRATCH, width: 4, value: 3, eventfd: bell });
  }),
  calm('Ioeventfd.close', (site) => {
    const [bar, bell] = [registers(site), eventfd(site)];
    const write = bar.ioeventfd({ offset: SCRATCH, width: 4, value: 3, eventfd: bell });
    return () => write.close();
  }),
];

const INTERRUPTS: readonly Operation[] = [
  takes('VfioInterrupts.enable', ({ nic }) => {
    const msix = nic.interrupts('msix');
    return () => msix.enable({ count: 4 });
  }),
  takes(
    'VfioInterrupts.enable: INTx',
    ({ nic }) =>
      () =>
        nic.interrupts('intx').enable(),
  ),
  takes(
    'VfioInterrupts.enable: request',
    ({ nic }) =>
      () =>
        nic.interrupts('request').enable(),
  ),
  takes('VfioInterrupts.enable: more', ({ nic }) => {
    const msix = nic.interrupts('msix');
    msix.enable({ count: 1 });
    return () => msix.enable({ start: 1, count: 3 });
  }),
  takes('VfioInterrupts.connect', (site) => {
    const [msi, first] = [site.nic.interrupts('msi'), eventfd(site)];
    return () => msi.connect([first]);
  }),
  takes('VfioInterrupts.unmaskOn', (site) => {
    const [intx, resample] = [site.nic.interrupts('intx'), eventfd(site)];
    intx.enable();
    return () => intx.unmaskOn(resample);
  }),
  calm('VfioInterrupts.trigger', ({ nic }) => {
    const msix = nic.interrupts('msix');
    msix.enable();
    return () => msix.trigger();
  }),
  calm('VfioInterrupts.mask', ({ nic }) => {
    const intx = nic.interrupts('intx');
    intx.enable();
    return () => intx.mask();
  }),
  calm('VfioInterrupts.unmask', ({ nic }) => {
    const intx = nic.interrupts('intx');
    intx.enable();
    return () => intx.unmask();
  }),
  calm('VfioInterrupts.disable', ({ nic }) => {
    const msix = nic.interrupts('msix');
    msix.enable();
    return () => msix.disable();
  }),
  calm('InterruptVector.drain', (site) => {
    const bar = registers(site);
    const [vector] = site.nic.interrupts('msix').enable();
    bar.write32(RAISE, 0);
    return () => vector?.drain();
  }),
];

export const VFIO_OPERATIONS: readonly Operation[] = [...DEVICE, ...REGION, ...INTERRUPTS];
