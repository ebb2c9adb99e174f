// What a device is made of, as its author writes it: registers, and what it does to the machine. The rest of a PCI function
// (configuration space, BARs, interrupts, DMA through the IOMMU) is function.ts around it.
/** What tells a driver which device it has; 0 for what is left out. */
export interface DeviceIdentity {
  /** 16 bits. */
  readonly vendorId: number;
  /** 16 bits. */
  readonly deviceId: number;
  /** 8 bits. */
  readonly revision?: number;
  /** 24 bits: class, subclass, programming interface. */
  readonly classCode?: number;
  /** 16 bits. */
  readonly subsystemVendorId?: number;
  /** 16 bits. */
  readonly subsystemId?: number;
}

/** A stretch of registers or memory of the device. */
export interface ModelBar {
  /** 0 to 5; a 64-bit one takes the next index too. */
  readonly index: number;
  /** Bytes, a power of two: 16 bytes to 2 GiB of memory, 4 to 256 bytes of I/O ports. */
  readonly size: number;
  /** 'memory32' if left out. */
  readonly kind?: 'memory32' | 'memory64' | 'io';
  /** False if left out. */
  readonly prefetchable?: boolean;
}

/** Which interrupts the device has. */
export interface ModelInterrupts {
  /** An INTx line; false if left out. */
  readonly intx?: boolean;
  /** MSI vectors: 1, 2, 4, 8, 16 or 32; none if left out. */
  readonly msi?: number;
  /** MSI-X vectors, up to 2048; none if left out. Their table takes the first free BAR, of 32 bits. */
  readonly msix?: number;
}

export interface BusDmaOptions {
  /** Which of its address spaces the device uses (20 bits); its own, without a PASID, if left out. */
  readonly pasid?: number;
}

export interface BusPageRequest {
  /** The IOVA that is not there. */
  readonly address: bigint;
  readonly pasid?: number;
  /** The number that the device gives the request (PRG index). */
  readonly group?: number;
  /** Bits of IOMMU_PGFAULT_PERM_*; 1, read, if left out. */
  readonly perm?: number;
}

/** How the state of a device gets out of it, and into another one of its kind. */
export interface DeviceMigration {
  /** Whether it can stop its own DMA first, and still be reached by other devices (VFIO_MIGRATION_P2P); false if left out. */
  readonly p2p?: boolean;
  /** Whether some of its state can be taken while it runs (VFIO_MIGRATION_PRE_COPY); false if left out. */
  readonly preCopy?: boolean;
  /** Everything that makes up its state. The device stands still: `later` work waits until it runs again. */
  save(): Uint8Array;
  /** Takes a state in, in place of its own, `later` work included; false where the bytes are no such state. */
  load(state: Uint8Array): boolean;
}

/** The machine, as the device sees it. */
export interface DeviceBus {
  /** Reads memory by DMA; undefined where it is refused: not mapped, not readable, or bus mastering is off. */
  dmaRead(iova: bigint, length: number, options?: BusDmaOptions): Uint8Array | undefined;
  /** Writes memory by DMA; false where it is refused, with what came before that page written. */
  dmaWrite(iova: bigint, bytes: Uint8Array, options?: BusDmaOptions): boolean;
  /** Sends the message of an MSI-X or MSI vector; false where neither is on, and only the line is left. */
  interrupt(vector?: number): boolean;
  /** Raises or lowers the INTx line. */
  setIntx(level: boolean): void;
  /**
   * Does some work a little later: in the next turn of the event loop, or when the device's BARs were accessed 8 more times,
   * whichever comes first. There is no other time on this machine.
   */
  later(work: () => void): void;
  /** Asks for a page to be mapped, in a group of this one request. */
  requestPage(request: BusPageRequest): void;
}

/**
 * A device to put into an emulated machine. What it says about itself is read once, when the machine is made; one object is
 * one device of one machine. What its methods throw comes out of the access that called them.
 */
export interface DeviceModel {
  readonly identity: DeviceIdentity;
  readonly bars?: readonly ModelBar[];
  readonly interrupts?: ModelInterrupts;
  /** A PCI Express device: 4096 bytes of configuration space in place of 256; false if left out. */
  readonly pcie?: boolean;
  /** Whether it can be reset alone (FLR); `reset` tells it. False if left out. */
  readonly resettable?: boolean;
  /** How a program takes the device's state out, and puts it into another one; without it the device does not migrate. */
  readonly migration?: DeviceMigration;
  /** Whether bytes of configuration space behind the header that no capability has keep what is written; false if left out. */
  readonly scratch?: boolean;
  /** Whether the device notes which IOVAs it writes to, when asked: the machine does that for it. False if left out. */
  readonly dmaLogging?: boolean;

  /** The first call: the device's way to its machine. */
  connect(bus: DeviceBus): void;
  /** A read of a BAR: 1, 2, 4 or 8 bytes, aligned. Answers a number, a bigint for 8 bytes. */
  read(bar: number, offset: number, width: 1 | 2 | 4 | 8): number | bigint;
  /** A write; `value` is a bigint for 8 bytes. */
  write(bar: number, offset: number, width: 1 | 2 | 4 | 8, value: number | bigint): void;
  /**
   * A reset, of the device alone or of its bus. `later` work is forgotten before. One that can be reset alone is reset by
   * vfio-pci too, each time it is bound and each time it is closed.
   */
  reset?(): void;
}
