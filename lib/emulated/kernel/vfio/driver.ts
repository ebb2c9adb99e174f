// What VFIO asks of the drivers of its devices (vfio-pci, mediated devices): struct vfio_device_ops, vfio_migration_ops and
// vfio_log_ops of linux/vfio.h. Refusals are -errno.
import type { MmioMapping } from '../file.js';

/** The caller's memory behind an ioctl's argument. Offsets are bytes from the argument on. */
export interface UserBuffer {
  /** copy_from_user; false (with part of it copied) where some of it is not there. */
  copyIn(offset: number, into: Uint8Array): boolean;
  /** copy_to_user; false (with part of it copied) where some of it is not there. */
  copyOut(offset: number, from: Uint8Array): boolean;
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
  /** The first open: 0 or -errno. */
  openDevice(): number;
  /** The file is closed: interrupts off, memory unmapped, state forgotten. */
  closeDevice(): void;
  /** VF tokens: whether this one (undefined for none given) lets the device be bound. 0 or -errno. */
  matchToken?(token: Uint8Array | undefined): number;
  regionInfo(index: number): RegionAnswer | number;
  /** Everything but bind, attach, detach, features and region info. */
  ioctl(request: number, argument: UserBuffer): number;
  /** VFIO_DEVICE_FEATURE for what the core does not do itself: `argument` starts at data, `size` are its bytes. */
  feature?(flags: number, argument: UserBuffer, size: number): number;
  read(into: Uint8Array, position: number): number;
  write(from: Uint8Array, position: number): number;
  mmap(offset: number, length: number): MmioMapping | number;
  readonly migration?: MigrationOps;
  readonly dmaLogging?: DmaLoggingOps;
}

/** A driver's part of migration: the core finds the way through the states (vfio_mig_get_next_state). */
export interface MigrationOps {
  /** Bits of vfio_migration_flags. */
  readonly flags: number;
  readonly state: number;
  /** Goes to a state, through those between; answers an open migration file where one was made, else undefined; or -errno. */
  setState(state: number): import('../file.js').OpenFile | undefined | number;
  dataSize(): bigint | number;
  /** MIG_PRECOPY_INFOv2 was set; absent where the driver does not know it. */
  precopyInfoV2?(): number;
}

export interface DmaLoggingOps {
  /** Answers the page size that was chosen, or -errno. */
  start(ranges: readonly { readonly iova: bigint; readonly length: bigint }[], pageSize: bigint): bigint | number;
  stop(): number;
  /** Reports written IOVAs of a range, and forgets them. */
  readAndClear(iova: bigint, length: bigint, report: (start: bigint, length: bigint) => void): number;
}
