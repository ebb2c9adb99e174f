// The operations of an iommufd and of its address spaces, each with what it needs.
import { Iommufd } from '../../lib/index.js';
import { calm, type Operation, takes } from './memory-operation.js';
import { FREE, IOVA, PAGE, SIZE, type Site } from './memory-site.js';

const MOCK = ['selftest'] as const;

const IOMMUFD: readonly Operation[] = [
  takes('Iommufd.allocIoas', (site) => () => site.iommufd.allocIoas()),
  takes('Iommufd.allocFaultQueue', (site) => () => site.iommufd.allocFaultQueue()),
  calm('Iommufd.adoptIoas', (site) => () => site.iommufd.adoptIoas(site.ioas.id)),
  calm('Iommufd.adoptDevice', (site) => () => site.iommufd.adoptDevice(site.device.id)),
  calm(
    'Iommufd.rlimitMode',
    (site) => () => {
      const other = site.host.openIommufd();
      other.rlimitMode = 'process';
      other.close();
      return site.iommufd.rlimitMode;
    },
    MOCK,
  ),
  calm('Iommufd.changeProcess', (site) => () => site.iommufd.changeProcess()),
  calm('Iommufd.probe', (site) => () => site.iommufd.probe()),
  calm('Iommufd.handOver', (site) => {
    site.needs('hand-over');
    const { iommufd, ram } = site;
    return () => iommufd.handOver({ memories: [ram] }).abort();
  }),
  calm('Iommufd.fromFd', ({ host, iommufd }) => () => {
    Iommufd.fromFd(iommufd.fd, { host, ownership: 'borrowed' }).close();
  }),
  takes('Iommufd.close', ({ host, ram }) => () => {
    const iommufd = host.openIommufd();
    try {
      iommufd.allocIoas().map(ram);
      iommufd.allocFaultQueue();
    } finally {
      iommufd.close();
    }
  }),
  takes('Iommufd.closeAsync', ({ host, ram }) => async () => {
    const iommufd = host.openIommufd();
    try {
      await iommufd.allocIoas().mapAsync(ram);
    } finally {
      await iommufd.closeAsync();
    }
  }),
  calm('Handover.complete', ({ host, ram }) => {
    const iommufd = host.openIommufd();
    iommufd.allocIoas().map(ram, { iova: IOVA });
    return () => {
      const handover = iommufd.handOver({ memories: [ram] });
      try {
        const adopted = host.adoptIommufd(handover.state, handover.fds);
        adopted.iommufd.handOver({ memories: adopted.memories }).complete();
      } finally {
        handover.abort();
      }
      iommufd.close();
    };
  }),
  calm('VfioCompat.ioas', ({ iommufd, ioas }) => () => {
    iommufd.vfioCompat.ioas = ioas;
    iommufd.vfioCompat.ioas = undefined;
    return iommufd.vfioCompat.ioas;
  }),
  calm('KernelObject.destroy', ({ iommufd }) => {
    const ioas = iommufd.allocIoas();
    return () => ioas.destroy();
  }),
];

/** Memory of a device, for another one. */
function peerMemory(site: Site) {
  const peer = site.bound('peer');
  peer.config.enable({ memory: true, busMaster: true });
  return site.place.name('peer') === site.place.name('nic') ? peer.region('bar2') : peer.region('bar0');
}

const IOASES: readonly Operation[] = [
  takes(
    'Ioas.map',
    ({ ioas, ram }) =>
      () =>
        ioas.map(ram),
  ),
  takes(
    'Ioas.map: fixed',
    ({ ioas, ram }) =>
      () =>
        ioas.map(ram, { iova: FREE, offset: PAGE, length: PAGE }),
  ),
  takes('Ioas.map: attached', ({ ioas, device, ram }) => {
    device.attach(ioas);
    return () => ioas.map(ram, { iova: FREE });
  }),
  takes(
    'Ioas.mapAsync',
    ({ ioas, ram }) =>
      () =>
        ioas.mapAsync(ram, { iova: FREE }),
  ),
  takes(
    'Ioas.mapFile',
    ({ ioas, ram }) =>
      () =>
        ioas.mapFile(ram, { iova: FREE }),
  ),
  takes(
    'Ioas.unsafeMapFd',
    ({ ioas, ram }) =>
      () =>
        ioas.unsafeMapFd(ram.fd, 0n, { iova: FREE, length: PAGE }),
  ),
  takes('Ioas.unsafeMapAddress', ({ ioas, ram }) => () => {
    return ioas.unsafeMapAddress(ram.address, { iova: FREE, length: PAGE });
  }),
  takes('Ioas.mapDmaBuf', (site) => {
    const bar = peerMemory(site);
    return () => site.ioas.mapDmaBuf(bar, { iova: FREE });
  }),
  takes('Ioas.copy', (site) => {
    const other = site.iommufd.allocIoas();
    return () => other.copy(site.ioas, { sourceIova: IOVA, length: SIZE, iova: FREE });
  }),
  calm('Ioas.unmap', ({ ioas, ram }) => {
    ioas.map(ram, { iova: FREE });
    return () => ioas.unmap(FREE, SIZE);
  }),
  calm('Ioas.unmapAll', (site) => {
    const other = site.iommufd.allocIoas();
    other.map(site.ram);
    return () => other.unmapAll();
  }),
  calm('DmaBufMapping.unmap', (site) => {
    const mapping = site.ioas.mapDmaBuf(peerMemory(site), { iova: FREE });
    return () => mapping.unmap();
  }),
  calm(
    'Ioas.iovaRanges',
    ({ ioas }) =>
      () =>
        ioas.iovaRanges(),
  ),
  takes(
    'Ioas.allowIovas',
    ({ ioas }) =>
      () =>
        ioas.allowIovas([{ start: IOVA, last: FREE }]),
  ),
  calm('Ioas.hugePages', ({ iommufd }) => {
    const ioas = iommufd.allocIoas();
    return () => {
      ioas.hugePages = !ioas.hugePages;
    };
  }),
  calm(
    'Ioas.physicalAddress',
    async (site) => {
      const nic = site.host.unsafeOpenDevice(site.name('no-iommu'));
      site.later(() => nic.close());
      nic.bind(site.iommufd);
      const ioas = site.iommufd.allocIoas();
      ioas.map(site.ram, { iova: IOVA });
      nic.attach(ioas);
      return () => ioas.physicalAddress(IOVA, PAGE).length;
    },
    MOCK,
  ),
  takes(
    'Ioas.allocHwpt',
    ({ ioas, device }) =>
      () =>
        ioas.allocHwpt(device),
  ),
  takes('Ioas.allocHwpt: for PASIDs, with faults', (site) => {
    site.needs('pasids');
    const { ioas, device } = site;
    const faultQueue = site.iommufd.allocFaultQueue();
    return () => ioas.allocHwpt(device, { pasid: true, faultQueue });
  }),
  takes(
    'Ioas.allocHwptAsync',
    ({ ioas, device }) =>
      () =>
        ioas.allocHwptAsync(device),
  ),
];

export const IOAS_OPERATIONS: readonly Operation[] = [...IOMMUFD, ...IOASES];
