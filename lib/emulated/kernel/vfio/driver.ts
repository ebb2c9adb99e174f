// What VFIO asks of the drivers of its devices (vfio-pci, mediated devices): struct vfio_device_ops, vfio_migration_ops and
// vfio_log_ops of linux/vfio.h. Refusals are -errno.
import type { Access } from '../access.js';
import type { IommufdDevice } from '../device.js';
import type { MmioMapping, OpenFile } from '../file.js';
import type { IommufdContext } from '../iommufd-file.js';
import type { Process } from '../process.js';

/** The caller's memory behind an ioctl's argument. Offsets are bytes from the argument on. */
export interface UserBuffer {
  /** Who calls: pointers lie in its memory, fds are its files. */
  readonly process: Process;
  /** copy_from_user; false (with part of it copied) where some of it is not there. */
  copyIn(offset: number, into: Uint8Array): boolean;
  /** copy_to_user; false (with part of it copied) where some of it is not there. */
  copyOut(offset: number, from: Uint8Array): boolean;
}

/** What a device is bound to while it is open. */
export interface VfioBinding {
  readonly context: IommufdContext;
  /** Its id there. */
  readonly id: number;
  /** A device that does DMA. */
  readonly device: IommufdDevice | undefined;
  /** What a mediated device reaches memory through instead. */
  readonly access: Access | undefined;
}

/** Answers of VFIO_DEVICE_GET_REGION_INFO, before the core adds argsz and cap_offset. */
export interface RegionAnswer {
  readonly flags: number;
  readonly size: bigint;
  readonly offset: bigint;
  /** The capability chain as bytes: `next` counts from the start of these bytes, 0 in the last one. */
  readonly capabilities?: Uint8Array;
}

export interface VfioDriver {
  /** The device was bound, and can be used if this says so: 0 or -errno. */
  openDevice(binding: VfioBinding): number;
  /** The file is closed: interrupts off, memory unmapped, state forgotten. What it is bound to goes afterwards. */
  closeDevice(): void;
  /** VF tokens: whether this one (undefined for none given) lets the device be bound. 0 or -errno. */
  matchToken?(token: Uint8Array | undefined): number;
  /** A mediated device: IOVAs are about to be unmapped, and what was pinned of them must be given back. */
  dmaUnmap?(iova: bigint, length: bigint): void;
  /** The host wants the device back, and waits until it is closed: the `count`th time that it says so, from 0 on. */
  request?(count: number): void;
  /** Runtime power management: around every ioctl but bind. The device is woken (0 or -errno), and may sleep again. */
  powerGet?(): number;
  powerPut?(): void;
  regionInfo(index: number): RegionAnswer | number;
  /** Everything but bind, attach, detach, features and region info. */
  ioctl(request: number, argument: UserBuffer): number;
  /** VFIO_DEVICE_FEATURE for what the core does not do itself: `argument` starts at data, `size` are its bytes. */
  feature?(flags: number, argument: UserBuffer, size: number): number;
  read(into: Uint8Array, position: number): number;
  write(from: Uint8Array, position: number): number;
  /** The mapping alone: the core keeps the file open for it. */
  mmap(offset: number, length: number): MmioMapping | number;
  readonly migration?: MigrationOps | undefined;
  readonly dmaLogging?: DmaLoggingOps | undefined;
}

/** A driver's part of migration. */
export interface MigrationOps {
  /** Bits of vfio_migration_flags. */
  readonly flags: number;
  readonly state: number;
  /**
   * Goes to a state, through those between (`goThroughStates` in migration-states.ts). Answers an open migration file
   * where one was made, with a reference for the caller, else undefined; or -errno.
   */
  setState(state: number): OpenFile | undefined | number;
  /** Estimate of the bytes of its state. */
  dataSize(): bigint | number;
  /** The core's: MIG_PRECOPY_INFOv2 was set, so that flags of struct vfio_precopy_info count. */
  precopyInfoV2: boolean;
}

export interface DmaLoggingOps {
  /** Answers the page size that was chosen, or -errno. */
  start(ranges: readonly { readonly iova: bigint; readonly length: bigint }[], pageSize: bigint): bigint | number;
  stop(): number;
  /** Reports written IOVAs of a range, and forgets them. */
  readAndClear(iova: bigint, length: bigint, report: (start: bigint, length: bigint) => void): number;
}
