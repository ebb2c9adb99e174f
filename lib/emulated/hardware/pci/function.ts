// A PCI function around a device model: its configuration space, its interrupts, and its way to memory.
import type { IommuDevice } from '../../kernel/driver.js';
import type { MigrationHardware, PciBar, PciBus, PciFunction } from '../../kernel/vfio-pci/function.js';
import type { ModelFaults } from '../../memory/faults.js';
import {
  addressTranslation,
  advancedFeatures,
  type Capability,
  errorReporting,
  express,
  msi,
  msix,
  pageRequests,
  pasids,
  powerManagement,
} from './capabilities.js';
import { DeviceClock } from './clock.js';
import { COMMAND, COMMAND_BUS_MASTER, ConfigSpace } from './config-space.js';
import { DmaLog } from './dma-log.js';
import type { DmaPort } from './dma-port.js';
import type { Firmware } from './firmware.js';
import { FunctionInterrupts } from './interrupts.js';
import { MessageTable, messageBarSize } from './message-table.js';
import type { BusDmaOptions, DeviceBus, DeviceIdentity, DeviceModel, ModelBar } from './model.js';

/** What a model says about itself, read once and checked. */
export interface FunctionSpec {
  readonly model: DeviceModel;
  readonly identity: DeviceIdentity;
  readonly bars: readonly Required<ModelBar>[];
  readonly intx: boolean;
  readonly msi: number;
  readonly msix: number;
  readonly pcie: boolean;
  readonly resettable: boolean;
  readonly scratch: boolean;
  readonly dmaLogging: boolean;
  /** Bits of its PASIDs; 0 for none. */
  readonly pasidWidth: number;
  /** It keeps translations, and asks for pages. */
  readonly ats: boolean;
  readonly pri: boolean;
}

/** Where it is plugged in. */
export interface Slot {
  readonly address: string;
  readonly dev: IommuDevice;
  readonly bus: PciBus;
  readonly dma: DmaPort;
  readonly firmware: Firmware;
  readonly faults: ModelFaults;
  /** Others are in the same slot. */
  readonly multifunction: boolean;
}

type Width = 1 | 2 | 4 | 8;

/** The first BAR that nothing uses. */
export function freeBar(bars: readonly ModelBar[]): number | undefined {
  const taken = new Set(bars.flatMap(({ index, kind }) => (kind === 'memory64' ? [index, index + 1] : [index])));
  return [0, 1, 2, 3, 4, 5].find((index) => !taken.has(index));
}

function capabilities(spec: FunctionSpec, tableBar: number | undefined, table: MessageTable | undefined): Capability[] {
  const all: Capability[] = [];
  if (spec.pcie) all.push(powerManagement());
  if (spec.msi > 0) all.push(msi(spec.msi));
  if (table !== undefined && tableBar !== undefined) all.push(msix(spec.msix, tableBar, table.pendingOffset));
  if (spec.pcie) all.push(express(spec.resettable));
  else if (spec.resettable) all.push(advancedFeatures());
  return all;
}

function extendedCapabilities({ ats, pri, pasidWidth }: FunctionSpec): Capability[] {
  const all = [errorReporting()];
  if (ats) all.push(addressTranslation());
  if (pri) all.push(pageRequests(pasidWidth > 0));
  if (pasidWidth > 0) all.push(pasids(pasidWidth));
  return all;
}

export class ModelFunction implements PciFunction {
  readonly address: string;
  readonly dev: IommuDevice;
  readonly bus: PciBus;
  readonly bars: readonly PciBar[];
  readonly configSize: 256 | 4096;
  readonly functionReset: (() => void) | undefined;
  readonly vectors: PciFunction['vectors'];
  readonly migration: MigrationHardware | undefined;
  readonly dmaLogging: DmaLog | undefined;
  onInterrupt: PciFunction['onInterrupt'];
  readonly #model: DeviceModel;
  readonly #dma: DmaPort;
  readonly #config: ConfigSpace;
  readonly #table: MessageTable | undefined;
  readonly #tableBar: number | undefined;
  readonly #interrupts: FunctionInterrupts;
  readonly #faults: ModelFaults;
  readonly #clock: DeviceClock;

  constructor(spec: FunctionSpec, slot: Slot) {
    this.address = slot.address;
    this.dev = slot.dev;
    this.bus = slot.bus;
    this.#dma = slot.dma;
    this.#faults = slot.faults;
    this.#clock = new DeviceClock(slot.faults);
    this.#model = spec.model;
    this.#table = spec.msix > 0 ? new MessageTable(spec.msix) : undefined;
    this.#tableBar = this.#table === undefined ? undefined : freeBar(spec.bars);
    this.bars = this.#allBars(spec);
    this.configSize = spec.pcie ? 4096 : 256;
    this.#config = new ConfigSpace({
      ...{ identity: spec.identity, bars: this.bars, intx: spec.intx, multifunction: slot.multifunction },
      ...{ size: this.configSize, scratch: spec.scratch },
      capabilities: capabilities(spec, this.#tableBar, this.#table),
      extended: extendedCapabilities(spec),
    });
    for (const bar of this.bars) this.#config.placeBar(bar, slot.firmware.place(bar));
    this.#interrupts = new FunctionInterrupts(this.#config, this.#table, (...how) => this.onInterrupt?.(...how));
    this.functionReset = spec.resettable ? () => this.busReset() : undefined;
    this.vectors = { intx: spec.intx ? 1 : 0, msi: spec.msi, msix: spec.msix };
    this.migration = this.#migration();
    this.dmaLogging = spec.dmaLogging ? new DmaLog() : undefined;
    this.#model.connect(this.#deviceBus());
  }

  #allBars({ bars, msix: vectors }: FunctionSpec): readonly PciBar[] {
    if (this.#tableBar === undefined) return bars;
    const table = {
      index: this.#tableBar,
      size: messageBarSize(vectors),
      kind: 'memory32',
      prefetchable: false,
    } as const;
    return [...bars, table].sort((one, other) => one.index - other.index);
  }

  readConfig(offset: number, width: 1 | 2 | 4): number {
    return this.#config.read(offset, width);
  }
  writeConfig(offset: number, width: 1 | 2 | 4, value: number): void {
    this.#config.write(offset, width, value);
    this.#interrupts.refresh();
  }

  readBar(index: number, offset: number, width: 1 | 2 | 4): number {
    const value = Number(this.#read(index, offset, width));
    return width === 4 ? value >>> 0 : value & (width === 2 ? 0xffff : 0xff);
  }
  readBar64(index: number, offset: number): bigint {
    return BigInt.asUintN(64, BigInt(this.#read(index, offset, 8)));
  }
  writeBar(index: number, offset: number, width: 1 | 2 | 4, value: number): void {
    this.#write(index, offset, width, value);
  }
  writeBar64(index: number, offset: number, value: bigint): void {
    this.#write(index, offset, 8, value);
  }
  #read(index: number, offset: number, width: Width): number | bigint {
    this.#clock.access();
    if (this.#table !== undefined && index === this.#tableBar) return this.#table.read(offset, width);
    return this.#faults.guard(() => this.#ask(index, offset, width), width === 8 ? -1n : -1);
  }
  #ask(index: number, offset: number, width: Width): number | bigint {
    const value: unknown = this.#model.read(index, offset, width);
    if (typeof value === 'bigint' || Number.isSafeInteger(value)) return value as number | bigint;
    const answer = typeof value === 'number' ? value : typeof value;
    throw new TypeError(`the device at ${this.address} answered ${answer} to a read, in place of an integer or bigint`);
  }
  #write(index: number, offset: number, width: Width, value: number | bigint): void {
    this.#clock.access();
    if (this.#table === undefined || index !== this.#tableBar) {
      this.#faults.guard(() => this.#model.write(index, offset, width, value), undefined);
      return;
    }
    this.#table.write(offset, width, value);
    this.#interrupts.refresh();
  }

  setVectors(kind: 'msi' | 'msix', count: number): void {
    this.#interrupts.setVectors(kind, count);
  }
  /** What does not come from the device itself: an error that its link reports, or the machine's wish to have it back. */
  signal(kind: 'error' | 'request'): void {
    this.onInterrupt?.(kind, 0, true);
  }

  /** All registers of the function are as at the start; what the device makes of it is its own. */
  busReset(): void {
    this.#config.reset();
    this.#interrupts.reset();
    this.#dma.reset();
    this.#clock.resume();
    if (this.#model.reset === undefined) return;
    this.#clock.forget();
    this.#faults.guard(() => this.#model.reset?.(), undefined);
  }

  #migration(): MigrationHardware | undefined {
    const { migration } = this.#model;
    if (migration === undefined) return undefined;
    return {
      p2p: migration.p2p === true,
      preCopy: migration.preCopy === true,
      stop: () => this.#clock.pause(),
      start: () => this.#clock.resume(),
      save: () => this.#faults.guard(() => Uint8Array.from(migration.save()), new Uint8Array(0)),
      load: (state) => {
        this.#clock.forget();
        return this.#faults.guard(() => migration.load(state) === true, false);
      },
    };
  }

  #deviceBus(): DeviceBus {
    return {
      dmaRead: (iova, length, options) => this.#dmaRead(iova, length, options),
      dmaWrite: (iova, bytes, options) => this.#dmaWrite(iova, bytes, options),
      interrupt: (vector = 0) => this.#interrupts.send(vector),
      setIntx: (level) => this.#interrupts.setLine(level === true),
      later: (work) => this.#clock.later(work),
      requestPage: ({ address, ...rest }) => this.#dma.requestPage({ address: BigInt.asUintN(64, address), ...rest }),
    };
  }
  get #isMaster(): boolean {
    return (this.#config.read(COMMAND, 2) & COMMAND_BUS_MASTER) !== 0;
  }
  #dmaRead(iova: bigint, length: number, { pasid = 0 }: BusDmaOptions = {}): Uint8Array | undefined {
    const bytes = new Uint8Array(length);
    return this.#isMaster && this.#dma.read(BigInt.asUintN(64, iova), bytes, pasid) ? bytes : undefined;
  }
  #dmaWrite(iova: bigint, bytes: Uint8Array, { pasid = 0 }: BusDmaOptions = {}): boolean {
    if (!this.#isMaster) return false;
    if (pasid === 0) this.wrote(iova, bytes.length);
    return this.#dma.write(BigInt.asUintN(64, iova), bytes, pasid);
  }
  /** Notes a write where the device keeps such notes. */
  wrote(iova: bigint, length: number): void {
    this.dmaLogging?.note(iova, length);
  }
}
