// What a transcript must know of ioctls beyond their structs: which one a number means on which file, where pointers lead and
// how far, and which of their numbers are file descriptors.
import { iommufdIoctls } from '../uapi/iommufd.js';
import type { Ioctl } from '../uapi/layout.js';
import {
  vfio_device_bind_flags,
  vfio_device_feature_dma_logging_control,
  vfio_device_feature_dma_logging_range,
  vfio_device_feature_dma_logging_report,
  vfio_device_feature_flags,
  vfio_device_feature_index,
  vfio_device_feature_mig_state,
  vfio_device_low_power_entry_with_wakeup,
  vfio_irq_set_flags,
  vfioIoctls,
} from '../uapi/vfio.js';
import type { FileKind } from './names.js';

const byNumber = (ops: readonly Ioctl[]): ReadonlyMap<number, Ioctl> => new Map(ops.map((op) => [op.request, op]));
const named = (start: RegExp): Ioctl[] => vfioIoctls.filter(({ name }) => start.test(name));

const BY_FILE: Readonly<Record<FileKind, ReadonlyMap<number, Ioctl>>> = {
  iommufd: byNumber([...named(/^VFIO_(IOMMU|GET|CHECK|SET)_/), ...iommufdIoctls]),
  vfio: byNumber(named(/^VFIO_DEVICE_/)),
  migration: byNumber(named(/^VFIO_MIG_/)),
  // An fd from elsewhere: what only an iommufd or a device knows.
  other: byNumber([...iommufdIoctls, ...named(/^VFIO_DEVICE_(BIND|ATTACH|DETACH|FEATURE|SET|GET_(INFO|REGION|IRQ))/)]),
};

/** The ioctl behind a number, where it is known. */
export function ioctlOf(kind: FileKind, request: number): Ioctl | undefined {
  return BY_FILE[kind].get(request);
}

/** A struct's numbers, by field. */
export type Numbers = Readonly<Record<string, unknown>>;
const number = (values: Numbers, name: string): number => Number(values[name] ?? 0);

function bitmapBytes(length: number, pageSize: number): number {
  return pageSize === 0 ? 0 : Math.ceil(length / pageSize / 8);
}

/** Bytes of an iommu_iova_range. */
const RANGE = 16;
const TOKEN = 16;

/** How many bytes lie behind pointer fields, by ioctl; what is not here is told as an address alone. */
const LENGTHS: Readonly<Record<string, (values: Numbers) => number>> = {
  IOMMU_IOAS_IOVA_RANGES: (v) => number(v, 'num_iovas') * RANGE,
  IOMMU_IOAS_ALLOW_IOVAS: (v) => number(v, 'num_iovas') * RANGE,
  IOMMU_HWPT_ALLOC: (v) => number(v, 'data_len'),
  IOMMU_GET_HW_INFO: (v) => number(v, 'data_len'),
  IOMMU_HWPT_GET_DIRTY_BITMAP: (v) => bitmapBytes(number(v, 'length'), number(v, 'page_size')),
  IOMMU_HWPT_INVALIDATE: (v) => number(v, 'entry_len') * number(v, 'entry_num'),
  IOMMU_VIOMMU_ALLOC: (v) => number(v, 'data_len'),
  VFIO_DEVICE_BIND_IOMMUFD: (v) =>
    (number(v, 'flags') & vfio_device_bind_flags.values.VFIO_DEVICE_BIND_FLAG_TOKEN) === 0 ? 0 : TOKEN,
};

export function pointedLength(op: Ioctl, values: Numbers): number {
  return LENGTHS[op.name]?.(values) ?? 0;
}

/** Fields that hold an fd of the caller's, and those in which the kernel answers one. */
export const takesFd = (field: string): boolean => field === 'fd' || field === 'iommufd';
export const givesFd = (field: string): boolean => /^out_\w*fd$/.test(field);
/** Fields in which the kernel answers a physical address. */
export const givesPhysical = (field: string): boolean => field === 'out_phys';

const FEATURES = vfio_device_feature_index.values;
const FEATURE_MASK = 0xffff;
const featureOf = (op: Ioctl, values: Numbers): number =>
  op.name === 'VFIO_DEVICE_FEATURE' ? number(values, 'flags') & FEATURE_MASK : -1;

/** What file an ioctl answers by its result; undefined where the result is no fd. */
export function answersFile(op: Ioctl, values: Numbers): FileKind | undefined {
  if (op.name === 'VFIO_DEVICE_GET_GFX_DMABUF') return 'other';
  const isGet = (number(values, 'flags') & vfio_device_feature_flags.values.VFIO_DEVICE_FEATURE_GET) !== 0;
  const isProbe = (number(values, 'flags') & vfio_device_feature_flags.values.VFIO_DEVICE_FEATURE_PROBE) !== 0;
  const isDmaBuf = featureOf(op, values) === FEATURES.VFIO_DEVICE_FEATURE_DMA_BUF;
  return isDmaBuf && isGet && !isProbe ? 'other' : undefined;
}

/** Where in the data behind a struct the caller's fds are: byte offsets. */
export function tailFds(op: Ioctl, values: Numbers, length: number): number[] {
  const isEventfds =
    op.name === 'VFIO_DEVICE_SET_IRQS' &&
    (number(values, 'flags') & vfio_irq_set_flags.values.VFIO_IRQ_SET_DATA_EVENTFD) !== 0;
  if (isEventfds) return Array.from({ length: length >> 2 }, (_, i) => i * 4);
  if (featureOf(op, values) === FEATURES.VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP) {
    return [vfio_device_low_power_entry_with_wakeup.at.wakeup_eventfd];
  }
  return [];
}

/** Where in the data behind a struct the kernel answers the fd of a new file. */
export function tailAnswersFd(op: Ioctl, values: Numbers): number | undefined {
  const isState = featureOf(op, values) === FEATURES.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
  return isState ? vfio_device_feature_mig_state.at.data_fd : undefined;
}

/** A pointer in the data behind a struct: where it is, and how many bytes it leads to. */
export interface TailPointer {
  readonly at: number;
  readonly length: number;
  readonly direction: 'in' | 'inout';
}

export function tailPointer(op: Ioctl, values: Numbers, view: DataView, at: number): TailPointer | undefined {
  const feature = featureOf(op, values);
  if (feature === FEATURES.VFIO_DEVICE_FEATURE_DMA_LOGGING_START) {
    const layout = vfio_device_feature_dma_logging_control;
    if (at + layout.size > view.byteLength) return undefined;
    const length = layout.decode(view, at).num_ranges * vfio_device_feature_dma_logging_range.size;
    return { at: layout.at.ranges, length, direction: 'in' };
  }
  if (feature === FEATURES.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT) {
    const layout = vfio_device_feature_dma_logging_report;
    if (at + layout.size > view.byteLength) return undefined;
    const { length, page_size } = layout.decode(view, at);
    return { at: layout.at.bitmap, length: bitmapBytes(Number(length), Number(page_size)), direction: 'inout' };
  }
  return undefined;
}
