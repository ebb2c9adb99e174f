// The operations of a host, of memory and of devices' own sides, each with what it needs.
import { calm, looks, type Operation, takes } from './memory-operation.js';
import { IOVA, PAGE, SIZE, type Site } from './memory-site.js';

export function registers({ nic }: Site) {
  nic.config.enable({ memory: true, busMaster: true });
  return nic.region('bar0');
}

/** One eventfd, closed with the site. */
export function eventfd(site: Site) {
  const made = site.host.createEventfd();
  site.later(() => made.close());
  return made;
}

const HOST: readonly Operation[] = [
  calm(
    'Host.openIommufd',
    ({ host }) =>
      () =>
        host.openIommufd().close(),
  ),
  takes('Host.openDevice', (site) => {
    const name = site.name('sibling');
    return () => site.host.openDevice(name).close();
  }),
  takes(
    'Host.unsafeOpenDevice',
    (site) => {
      const name = site.name('no-iommu');
      return () => site.host.unsafeOpenDevice(name).close();
    },
    ['selftest'],
  ),
  calm(
    'Host.createEventfd',
    ({ host }) =>
      () =>
        host.createEventfd().close(),
  ),
  looks('Host.findDevice', (site) => {
    const name = site.name('sibling');
    return () => site.host.findDevice(name);
  }),
  looks(
    'Host.listDevices',
    ({ host }) =>
      () =>
        host.listDevices({ all: true }),
  ),
  calm(
    'Host.allocateMemory',
    ({ host }) =>
      () =>
        host.allocateMemory(PAGE).free(),
  ),
  calm(
    'Host.unsafeImportMemory',
    ({ host, ram }) =>
      () =>
        host.unsafeImportMemory(ram.fd, SIZE).free(),
  ),
  calm('Host.adoptIommufd', ({ host }) => () => {
    const iommufd = host.openIommufd();
    try {
      const handover = iommufd.handOver();
      host.adoptIommufd(handover.state, handover.fds).iommufd.close();
      handover.abort();
    } finally {
      iommufd.close();
    }
  }),
  calm(
    'DmaMemory.prefault',
    ({ ram }) =>
      () =>
        ram.prefault(),
  ),
  calm('DmaMemory.free', ({ host }) => {
    const memory = host.allocateMemory(PAGE);
    return () => memory.free();
  }),
  calm('MmioRegion.unmap', (site) => {
    const window = registers(site).mmap();
    return () => window.unmap();
  }),
];

const ITSELF: readonly Operation[] = [
  calm('EmulatedDevice.dmaRead', ({ own, nic, ioas }) => {
    nic.attach(ioas);
    return () => own.dmaRead(IOVA, 16);
  }),
  calm('EmulatedDevice.dmaWrite', ({ own, nic, ioas }) => {
    nic.attach(ioas);
    return () => own.dmaWrite(IOVA, new Uint8Array(16));
  }),
  takes(
    'EmulatedDevice.raiseEvent',
    (site) => {
      const { own } = site;
      const viommu = site.furnished();
      site.veventq(viommu);
      site.device.attach(viommu.allocNestedHwpt(site.device, site.nestedOptions));
      return () => own.raiseEvent();
    },
    ['selftest'],
  ),
  calm('EmulatedHost.requestDevice', (site) => {
    const [host, name] = [site.place.emulated(), site.name('sibling')];
    return async () => {
      await host.requestDevice(name);
      host.returnDevice(name);
    };
  }),
];

export const HOST_OPERATIONS: readonly Operation[] = [...HOST, ...ITSELF];
