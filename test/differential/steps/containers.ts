// The calls of VFIO's containers on /dev/iommu, which work on one address space of it.
import {
  IOMMU_VFIO_IOAS,
  VFIO_CHECK_EXTENSION,
  VFIO_GET_API_VERSION,
  VFIO_IOMMU_GET_INFO,
  VFIO_IOMMU_MAP_DMA,
  VFIO_IOMMU_UNMAP_DMA,
  VFIO_SET_IOMMU,
  vfio_dma_map_flags,
  vfio_dma_unmap_flags,
} from '../../../lib/uapi/index.js';
import { type Session, U32_MAX, U64_MAX } from '../session.js';
import { place } from './address-spaces.js';
import type { Weighted } from './step.js';

const { VFIO_DMA_MAP_FLAG_READ: READ, VFIO_DMA_MAP_FLAG_WRITE: WRITE } = vfio_dma_map_flags.values;
const { VFIO_DMA_UNMAP_FLAG_ALL: ALL } = vfio_dma_unmap_flags.values;
const [GET, SET, CLEAR] = [0, 1, 2];

/** Which address space the calls work on, where this was told last. */
function compatIoas(s: Session): number {
  return s.compatIoas ?? 0;
}

function chooseIoas(s: Session): void {
  const op = s.random.weighted([
    [70, SET],
    [15, GET],
    [10, CLEAR],
    [5, 3],
  ]);
  const ioas_id = s.id('ioas');
  const { result } = s.ioctl(IOMMU_VFIO_IOAS, { ioas_id, op, __reserved: s.zero() });
  if (result === 0 && op === SET) s.compatIoas = ioas_id;
  if (result === 0 && op === CLEAR) s.compatIoas = undefined;
}

function ask(s: Session): void {
  const { random, machine } = s;
  const { request } = random.pick([VFIO_CHECK_EXTENSION, VFIO_SET_IOMMU, VFIO_GET_API_VERSION]);
  machine.ioctlAt(s.fd, request, random.percent(85) ? random.below(12) : random.pick([U32_MAX, 2 ** 40 + 1]));
}

function containerInfo(s: Session): void {
  const size = s.random.pick([256, 24, 16, 15, 40, 56, 72, 20, s.random.below(300), 4096]);
  s.machine.ioctl(s.fd, VFIO_IOMMU_GET_INFO, { flags: s.zero() }, { size, behind: s.random.pick([0, 0x5a]) });
}

function mapDma(s: Session): void {
  const { address, length, from, offset } = place(s);
  const iova = s.iova();
  // A mapping without rights has Linux's page tables warn (generic_pt/iommu_pt.h): vfio-compat/map-no-rights has it.
  const flags = s.flags(s.random.percent(75) ? READ | WRITE : s.random.below(4), [], 3) || READ;
  const { result } = s.ioctl(VFIO_IOMMU_MAP_DMA, { flags, vaddr: address, iova, size: length });
  if (result === 0) s.addMapping({ ioas: compatIoas(s), iova, length, from, offset });
}

function unmapDma(s: Session): void {
  const { random } = s;
  const mapping = s.mapping(s.compatIoas);
  const all = random.percent(10);
  const flags = s.flags(all ? ALL : 0, [], 3);
  const usual = { iova: s.mappedIova(mapping), size: s.length(mapping?.length) };
  const whole = random.percent(80) ? { iova: 0n, size: 0n } : random.pick([{ iova: 0n, size: U64_MAX }, usual]);
  const { iova, size } = all ? whole : usual;
  const { result } = s.ioctl(VFIO_IOMMU_UNMAP_DMA, { flags, iova, size });
  if (result === 0) s.forgetMappings(compatIoas(s), all ? 0n : iova, all ? U64_MAX : size);
}

export const containerSteps: readonly Weighted[] = [
  [4, chooseIoas, 'ioas'],
  [4, ask],
  [3, containerInfo],
  [14, mapDma, 'ioas'],
  [10, unmapDma, 'mapping'],
];
