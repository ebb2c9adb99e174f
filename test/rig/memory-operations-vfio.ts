// The operations of a VFIO device, its regions and its interrupts, each with what it needs.
import { VfioDevice } from '../../lib/index.js';
import { calm, type Operation, takes } from './memory-operation.js';
import { eventfd, registers } from './memory-operations-host.js';
import type { Site } from './memory-site.js';

/** A register of the emulated test device (docs/emulated.md), and of QEMU's edu, that can be written. */
const SCRATCH = 0x04;

const DEVICE: readonly Operation[] = [
  takes('VfioDevice.bind', (site) => {
    const nic = site.open('sibling');
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
  calm('VfioDevice.interrupts', (site) => {
    const nic = site.bound('msix');
    return () => nic.interrupts('msix');
  }),
  takes('VfioDevice.events', ({ nic }) => async () => {
    await nic.events().return?.();
  }),
  calm('VfioDevice.reset', (site) => {
    const nic = site.bound('resettable');
    return () => nic.reset();
  }),
  calm('VfioDevice.resetAsync', (site) => {
    const nic = site.bound('resettable');
    return () => nic.resetAsync();
  }),
  takes('VfioDevice.hotResetInfo', (site) => {
    const nic = site.bound('slot');
    return () => nic.hotResetInfo();
  }),
  takes('VfioDevice.hotReset', (site) => {
    const nic = site.bound('slot');
    site.bound('slot-mate');
    return () => nic.hotReset();
  }),
  calm('VfioDevice.close', (site) => {
    const nic = site.bound('sibling');
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

/** A region whose memory can be given away: mapped registers of the emulated test device cannot. */
function exported(site: Site) {
  const bar = registers(site);
  return site.place.host.kind === 'emulated' ? site.nic.region('bar2') : bar;
}

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
    const bar = exported(site);
    return () => bar.exportDmaBuf();
  }),
  calm('DmaBuf.close', (site) => {
    const file = exported(site).exportDmaBuf();
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
  takes('VfioInterrupts.enable', (site) => {
    const msix = site.bound('msix').interrupts('msix');
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
  takes('VfioInterrupts.enable: more', (site) => {
    const msix = site.bound('msix').interrupts('msix');
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
  calm('VfioInterrupts.trigger', (site) => {
    const msix = site.bound('msix').interrupts('msix');
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
  calm('VfioInterrupts.disable', (site) => {
    const msix = site.bound('msix').interrupts('msix');
    msix.enable();
    return () => msix.disable();
  }),
  calm('InterruptVector.drain', (site) => {
    const msix = site.bound('msix').interrupts('msix');
    const [vector] = msix.enable();
    msix.trigger();
    return () => vector?.drain();
  }),
];

export const VFIO_OPERATIONS: readonly Operation[] = [...DEVICE, ...REGION, ...INTERRUPTS];
