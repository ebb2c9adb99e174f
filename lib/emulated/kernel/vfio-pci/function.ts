// What vfio-pci asks of a PCI function, and the function of it: the boundary between kernel/vfio-pci and hardware/.
import type { IommuDevice } from '../driver.js';

export interface PciBar {
  /** 0 to 5; a 64-bit one takes the next index too. */
  readonly index: number;
  /** Bytes, a power of two. */
  readonly size: number;
  readonly kind: 'memory32' | 'memory64' | 'io';
  readonly prefetchable: boolean;
}

export type InterruptKind = 'intx' | 'msi' | 'msix' | 'error' | 'request';

/** Functions that are reset together when their bus is. */
export interface PciBus {
  readonly functions: readonly PciFunction[];
  /** Whether the bus has a bridge that can reset it; a root bus has none. */
  readonly resettable: boolean;
}

/** A PCI function as its bus sees it. Offsets and widths are checked before, and naturally aligned. */
export interface PciFunction {
  /** '0000:01:00.0' */
  readonly address: string;
  readonly dev: IommuDevice;
  readonly bus: PciBus;
  readonly bars: readonly PciBar[];
  readonly configSize: 256 | 4096;
  /** Configuration space as the hardware has it, BAR registers and capabilities included. */
  readConfig(offset: number, width: 1 | 2 | 4): number;
  writeConfig(offset: number, width: 1 | 2 | 4, value: number): void;
  readBar(index: number, offset: number, width: 1 | 2 | 4): number;
  readBar64(index: number, offset: number): bigint;
  writeBar(index: number, offset: number, width: 1 | 2 | 4, value: number): void;
  writeBar64(index: number, offset: number, value: bigint): void;
  /** Function-level reset; undefined for a function that cannot be reset alone. */
  readonly functionReset: (() => void) | undefined;
  /** What a reset of its bus does to it. */
  busReset(): void;
  /** How many vectors it can have; 0 for none. */
  readonly vectors: { readonly intx: 0 | 1; readonly msi: number; readonly msix: number };
  /**
   * What the kernel's interrupt core does to the hardware (pci/msi/msi.c): turns MSI or MSI-X on, with so many vectors
   * unmasked, or off with 0. Capabilities, and the table in a BAR, read accordingly. A reset turns both off.
   */
  setVectors(kind: 'msi' | 'msix', count: number): void;
  /**
   * The driver's: told of every interrupt. MSI and MSI-X come while they are on; `level` is the INTx line as the bus sees
   * it, told when it changes: it is low while the command register disables it, or MSI or MSI-X is on.
   */
  onInterrupt: ((kind: InterruptKind, vector: number, level: boolean) => void) | undefined;
  /** What a variant driver would do beyond vfio-pci: state that can be taken out and put back. */
  readonly migration: MigrationHardware | undefined;
  /** The same, for notes of which IOVAs it wrote to. */
  readonly dmaLogging: DmaLoggingHardware | undefined;
}

export interface MigrationHardware {
  readonly p2p: boolean;
  readonly preCopy: boolean;
  /** No DMA, no interrupts, no change of state from now on. */
  stop(): void;
  start(): void;
  /** Everything that makes up its state, at this moment. */
  save(): Uint8Array;
  /** Puts a state in; false where the bytes are none of such a device. */
  load(state: Uint8Array): boolean;
}

export interface DmaLoggingHardware {
  /** Page sizes it can note, bits. */
  readonly pageSizes: bigint;
  start(ranges: readonly { readonly iova: bigint; readonly length: bigint }[], pageSize: bigint): void;
  stop(): void;
  readAndClear(iova: bigint, length: bigint, report: (start: bigint, length: bigint) => void): void;
}
