// The public package. The seam and the raw structs are not here: they carry raw pointers (see unsafe.ts).
export type { U64 } from './host/arguments.js';
export { type CallArguments, IommufdError, type UsageCode, UsageError } from './host/errors.js';
export type { ReadEventsOptions } from './host/event-reader.js';
export type { Eventfd, EventfdLike } from './host/eventfd.js';
export type { DmaMemory, MemoryOptions, PrefaultOptions } from './host/memory.js';
export type { MmioRegion } from './host/mmio.js';
export type { HostKind } from './host/seam.js';
export type { Unsupported } from './host/unsupported.js';
export { Host } from './host-object.js';
export type { AdoptIommufdOptions } from './objects/adopt.js';
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
export type { Attached, AttachOptions, AttachResult, Device, PageTable } from './objects/device.js';
export type { DirtyBitmap, DirtyBitmapOptions, DirtyRange, DirtyReadOptions } from './objects/dirty-bitmap.js';
export type {
  DmaBufFile,
  DmaBufMapping,
  DmaBufSource,
  MapDmaBufOptions,
  RevokedBy,
} from './objects/dma-buf-mapping.js';
export type { FaultQueue, FaultResponse } from './objects/fault-queue.js';
export type { Handover, HandoverOptions } from './objects/handover.js';
export type { HandoverState } from './objects/handover-state.js';
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
export type { DeviceFdOptions, FdOwnership } from './vfio/adopt.js';
export type { PciCommand, PciConfig } from './vfio/config.js';
export { type AdoptDeviceOptions, type BindOptions, VfioDevice } from './vfio/device.js';
export type { DeviceReport } from './vfio/device-report.js';
export type { ListDevicesOptions } from './vfio/discovery.js';
export type { DmaBuf, DmaBufOptions, DmaBufRange } from './vfio/dma-buf.js';
export type { DmaLogging, DmaLoggingOptions, DmaReportOptions } from './vfio/dma-logging.js';
export type { DeviceEvent } from './vfio/events.js';
export type { DeviceFeatures, FeatureName, FeatureSupport } from './vfio/features.js';
export type {
  Graphics,
  GraphicsDmabuf,
  GraphicsPlane,
  GraphicsPlaneOptions,
  GraphicsPlaneType,
  GraphicsWay,
} from './vfio/graphics.js';
export type { DeviceInfo, DeviceKind } from './vfio/info.js';
export type { InterruptVector } from './vfio/interrupt-vector.js';
export type {
  ConnectInterruptsOptions,
  EnableInterruptsOptions,
  InterruptName,
  VfioInterrupts,
} from './vfio/interrupts.js';
export type { Ioeventfd, IoeventfdOptions, IoeventfdWidth } from './vfio/ioeventfd.js';
export type { AdoptedIommufd } from './vfio/live-update.js';
export type { LowPower } from './vfio/low-power.js';
export type { Migration, MigrationState, MigrationSupport, MigrationTarget } from './vfio/migration.js';
export type { ChunkOptions, MigrationStream, PrecopyInfo } from './vfio/migration-stream.js';
export type { MissingThing } from './vfio/missing.js';
export type { PciCapability, PciCapabilityName } from './vfio/pci-capabilities.js';
export type { VfioRegion } from './vfio/region.js';
export type { RegionArea, RegionFlags, RegionName, RegionType } from './vfio/region-info.js';
export type { RegionMmapOptions } from './vfio/region-mmap.js';
export type { HotResetDevice, HotResetInfo } from './vfio/reset.js';
