// The operations of a host, of memory and of devices' own sides, each with what it needs.
import { calm, type Operation, takes } from './memory-operation.js';
import { IOVA, NO_IOMMU, PAGE, SIBLING, SIZE, type Site } from './memory-site.js';

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
  takes(
    'Host.openDevice',
    ({ host }) =>
      () =>
        host.openDevice(SIBLING).close(),
  ),
  takes(
    'Host.unsafeOpenDevice',
    ({ host }) =>
      () =>
        host.unsafeOpenDevice(NO_IOMMU).close(),
    ['selftest'],
  ),
  calm(
    'Host.createEventfd',
    ({ host }) =>
      () =>
        host.createEventfd().close(),
  ),
  takes(
    'Host.findDevice',
    ({ host }) =>
      () =>
        host.findDevice(SIBLING),
  ),
  takes(
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
    const handover = iommufd.handOver();
    host.adoptIommufd(handover.state, handover.fds).iommufd.close();
    handover.abort();
    iommufd.close();
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
  calm('EmulatedDevice.dmaRead', ({ nic, ioas, own }) => {
    nic.attach(ioas);
    return () => own.dmaRead(IOVA, 16);
  }),
  calm('EmulatedDevice.dmaWrite', ({ nic, ioas, own }) => {
    nic.attach(ioas);
    return () => own.dmaWrite(IOVA, new Uint8Array(16));
  }),
  takes(
    'EmulatedDevice.raiseEvent',
    (site) => {
      const viommu = site.furnished();
      site.veventq(viommu);
      site.device.attach(viommu.allocNestedHwpt(site.device, site.nestedOptions));
      return () => site.own.raiseEvent();
    },
    ['selftest'],
  ),
  calm('EmulatedHost.requestDevice', ({ host }) => async () => {
    await host.requestDevice(SIBLING);
    host.returnDevice(SIBLING);
  }),
];

export const HOST_OPERATIONS: readonly Operation[] = [...HOST, ...ITSELF];
