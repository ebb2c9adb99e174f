// A guest behind the emulated machine's SMMUv3, for tests of its driver: memory, page tables of three levels (4 KiB granule,
// 39-bit addresses), context descriptors in a table of one level, stream table entries and commands (Arm IHI 0070).
import { createEmulatedHost, type EmulatedHost, type EmulatedHostOptions } from '../../lib/emulated-host.js';
import type {
  Device,
  DmaMemory,
  FaultQueue,
  HwptNested,
  HwptPaging,
  Ioas,
  Iommufd,
  Vdevice,
  Vevent,
  Veventq,
  VfioDevice,
  Viommu,
} from '../../lib/index.js';

export const ADDRESS = '0000:01:00.0';
/** Its requester id. */
export const PHYSICAL_STREAM = 0x100;
/** What the guest calls it. */
export const STREAM = 7n;
export const PAGE = 4096;
/** Where the guest's memory lies for it. */
export const IPA = 0x4000_0000n;
/** The first address that its page tables are about. */
export const VA = 0x1000_0000n;
export const MiB = 2 ** 20;

/** Offsets in the guest's memory. */
const CONTEXTS = 0;
const TABLES = [PAGE, 2 * PAGE, 3 * PAGE] as const;
const DATA = 16 * PAGE;

const TABLE = 3n;
/** A page: shareable, accessed, not global, for unprivileged accesses. */
const LEAF = TABLE | (3n << 8n) | (1n << 10n) | (1n << 11n) | (1n << 6n);
const READ_ONLY = 1n << 7n;
/** T0SZ 25, cacheable, no TTB1, valid, 40-bit output, AArch64, faults recorded and aborted, ASID set apart. */
const CONTEXT =
  25n | (1n << 8n) | (1n << 10n) | (3n << 12n) | (1n << 30n) | (1n << 31n) | (2n << 32n) | (1n << 41n) | (7n << 45n);
const CONTEXT_STALLS = 1n << 44n;

export const CFG = { abort: 0n, bypass: 4n, translate: 5n } as const;
export const EATS = 1n << 28n;
const S1CDMAX_SHIFT = 59n;
/** PASID 0 is a context like the others (S1DSS). */
const S1DSS_SSID0 = 2n;

/** Commands, two words each. */
export const command = {
  tlbiNhAll: () => [0x10n, 0n],
  tlbiNsnhAll: () => [0x30n, 0n],
  tlbiNhAsid: (asid: bigint) => [0x11n | (asid << 48n), 0n],
  tlbiNhVa: (asid: bigint, va: bigint) => [0x12n | (asid << 48n), va],
  cfgiCd: (stream: bigint, ssid = 0n) => [0x05n | (ssid << 12n) | (stream << 32n), 1n],
  cfgiCdAll: (stream: bigint) => [0x06n | (stream << 32n), 0n],
  atcInvAll: (stream: bigint) => [0x40n | (stream << 32n), 52n],
} as const;

export interface Stage {
  readonly host: EmulatedHost;
  readonly iommufd: Iommufd;
  readonly nic: VfioDevice;
  readonly device: Device;
  readonly ioas: Ioas;
  readonly ram: DmaMemory;
}

export interface GuestOptions {
  readonly stalls?: boolean;
  readonly ssidBits?: number;
}

/** What a test has, in the order that it goes in after the test. */
const opened: (() => void)[] = [];
export function later(close: () => void): void {
  opened.push(close);
}
export function closeAll(): void {
  for (const close of opened.splice(0)) close();
}

type DeviceOptions = Exclude<NonNullable<EmulatedHostOptions['devices']>[number], { uuid: string }>;

/** A machine with one device, bound, and an address space with memory at IPA. */
export function stage(options: Partial<DeviceOptions> = {}, more: readonly DeviceOptions[] = []): Stage {
  const host = createEmulatedHost({ machine: 'arm-smmuv3', devices: [{ address: ADDRESS, ...options }, ...more] });
  const iommufd = host.openIommufd();
  const nic = host.openDevice(ADDRESS);
  const device = nic.bind(iommufd);
  const ioas = iommufd.allocIoas();
  const ram = host.allocateMemory(MiB);
  later(() => iommufd.close());
  later(() => ram.free());
  ioas.map(ram, { iova: IPA });
  return { host, iommufd, nic, device, ioas, ram };
}

export class Guest {
  readonly parent: HwptPaging;
  readonly viommu: Viommu;
  readonly vdevice: Vdevice;
  readonly events: Veventq;
  readonly #options: GuestOptions;

  constructor(
    readonly stage: Stage,
    options: GuestOptions = {},
  ) {
    const { device, ioas } = stage;
    this.#options = options;
    this.parent = ioas.allocHwpt(device, { nestParent: true });
    this.viommu = this.parent.allocViommu(device, { type: 'arm-smmuv3' });
    this.vdevice = this.viommu.allocVdevice(device, { virtId: STREAM });
    this.events = this.viommu.allocVeventq({ depth: 16 });
    const [first, second, third] = TABLES;
    this.put(first + Number(VA >> 30n) * 8, ipaOf(second) | TABLE);
    this.put(second + Number((VA >> 21n) & 0x1ffn) * 8, ipaOf(third) | TABLE);
    this.setContext(0, 1n);
  }

  put(offset: number, value: bigint): void {
    const word = new Uint8Array(8);
    new DataView(word.buffer).setBigUint64(0, value, true);
    this.stage.ram.write(offset, word);
  }
  /** A context descriptor over the page tables; without an ASID an invalid one. */
  setContext(ssid: number, asid: bigint | undefined): void {
    const at = CONTEXTS + ssid * 64;
    const stalls = this.#options.stalls === true ? CONTEXT_STALLS : 0n;
    this.put(at, asid === undefined ? 0n : CONTEXT | stalls | (asid << 48n));
    this.put(at + 8, ipaOf(TABLES[0]));
    this.put(at + 24, 0xffn);
  }
  /** Maps page `index` from VA on to data page `to`, or to nothing. */
  map(index: number, to: number | undefined, access: 'read-write' | 'read' = 'read-write'): void {
    const leaf = LEAF | (access === 'read' ? READ_ONLY : 0n);
    const at = TABLES[2] + (Number((VA >> 12n) & 0x1ffn) + index) * 8;
    this.put(at, to === undefined ? 0n : ipaOf(DATA + to * PAGE) | leaf);
  }
  /** What lies in a data page. */
  read(page: number, length: number): Uint8Array {
    return this.stage.ram.read(DATA + page * PAGE, length);
  }
  write(page: number, bytes: Uint8Array): void {
    this.stage.ram.write(DATA + page * PAGE, bytes);
  }

  ste(config: keyof typeof CFG, more: readonly [bigint, bigint] = [0n, 0n]): readonly [bigint, bigint] {
    const first = 1n | (CFG[config] << 1n) | more[0];
    if (config !== 'translate') return [first, more[1]];
    const { ssidBits = 0 } = this.#options;
    return [first | ipaOf(CONTEXTS) | (BigInt(ssidBits) << S1CDMAX_SHIFT), S1DSS_SSID0 | more[1]];
  }
  nested(config: keyof typeof CFG, more: readonly [bigint, bigint] = [0n, 0n], faultQueue?: FaultQueue): HwptNested {
    const { device } = this.stage;
    const ste = this.ste(config, more);
    return this.viommu.allocNestedHwpt(device, faultQueue === undefined ? { ste } : { ste, faultQueue });
  }
  invalidate(...commands: readonly (readonly bigint[])[]): void {
    this.viommu.invalidate({ smmuv3: BigUint64Array.from(commands.flat()) });
  }
  /** Events that are there, by name and address. */
  told(): unknown[] {
    return this.events.drain().map(inShort);
  }
}

function ipaOf(offset: number): bigint {
  return IPA + BigInt(offset);
}

function inShort(told: Vevent): unknown {
  if (told.type === 'lost') return 'lost';
  const { event } = told;
  if (event.kind !== 'arm-smmuv3') return event;
  return { name: event.name, stream: event.streamId, at: event.inputAddress };
}

/** Bytes that differ from one another, and from those of another seed. */
export function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 31) & 0xff);
}
