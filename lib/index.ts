// The public package. The seam and the raw structs are not here: they carry raw pointers (see unsafe.ts).
export type { U64 } from './host/arguments.js';
export { type CallArguments, IommufdError, type UsageCode, UsageError } from './host/errors.js';
export type { ReadEventsOptions } from './host/event-reader.js';
export type { DmaMemory, MemoryOptions, PrefaultOptions } from './host/memory.js';
export type { MmioRegion } from './host/mmio.js';
export type { HostKind } from './host/seam.js';
export { Host } from './host-object.js';
export type { CallTrace } from './objects/call.js';
export type {
  EventDetail,
  FaultPermissions,
  PageFault,
  PageFaultGroup,
  RawEvent,
  Smmuv3Event,
  Tegra241Event,
  Vevent,
} from './objects/decode-events.js';
export type { AttachOptions, AttachResult, Device, PageTable } from './objects/device.js';
export type { DirtyBitmap, DirtyBitmapOptions, DirtyRange, DirtyReadOptions } from './objects/dirty-bitmap.js';
export type { FaultQueue, FaultResponse } from './objects/fault-queue.js';
export type { HardwareName, HwQueueTypeName, ViommuTypeName } from './objects/hardware-types.js';
export type { HwCapabilities, HwInfo, HwInfoTypeName } from './objects/hw-info.js';
export type { HwQueue, HwQueueOptions } from './objects/hw-queue.js';
export type {
  DteOptions,
  HwptNested,
  NestedDataOptions,
  NestedOptions,
  SteOptions,
  VtdOptions,
} from './objects/hwpt-nested.js';
export type { HwptOptions, HwptPaging } from './objects/hwpt-paging.js';
export type { InvalidateRequest, InvalidateResult, VtdInvalidation } from './objects/invalidation.js';
export type { CopyOptions, Ioas, IovaRange, IovaRanges, MapAsyncOptions, UnsafeMapOptions } from './objects/ioas.js';
export {
  type AdoptIoasOptions,
  type AdoptOptions,
  type IoctlSupport,
  Iommufd,
  type IommufdOptions,
  type RlimitMode,
} from './objects/iommufd.js';
export type { KernelObject } from './objects/kernel-object.js';
export type { MapOptions } from './objects/mapper.js';
export type { Vdevice, VdeviceOptions } from './objects/vdevice.js';
export type { Veventq, VeventqOptions } from './objects/veventq.js';
export type { VfioCompat } from './objects/vfio-compat.js';
export type { MmapOptions, MmapRegion, Viommu, ViommuOptions } from './objects/viommu.js';
export { type OpenHostOptions, openHost } from './open.js';
export type { VfioDevice } from './vfio/device.js';
