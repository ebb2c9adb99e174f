// A guest behind an SMMUv3: its memory, its page tables in the Armv8-A format (4 KiB granule, 39-bit addresses, three levels),
// its context descriptor and its stream table entry (Arm IHI 0070, 5.2 and 5.4; Arm DDI 0487, D8.3).
import type { DmaMemory, HwptPaging, Vdevice, Veventq, VfioDevice, Viommu } from '../../lib/index.js';
import { EDU_IOVA } from './edu.js';
import type { VfioBench } from './vfio.js';

const PAGE = 4096;
/** Where the guest's memory lies for it: intermediate physical addresses, which stage 2 translates, and edu reaches. */
const IPA = 0xc00_0000n;
const ASID = 1n;

/** Offsets in the guest's memory. */
const CONTEXT = 0;
const TABLES = [PAGE, 2 * PAGE, 3 * PAGE] as const;
const FIRST_PAGE = 16 * PAGE;
const SIZE = 64 * PAGE;

/** The virtual StreamID, which the guest knows the device by. */
export const STREAM = 7;
/** The first address that the guest's tables are about. */
export const VA = EDU_IOVA;

const TABLE = 3n;
const LEAF = TABLE | (3n << 8n) | (1n << 10n) | (1n << 11n);
const UNPRIVILEGED = 1n << 6n;
const READ_ONLY = 1n << 7n;

/** T0SZ 25, cacheable tables, no TTB1, 40-bit output, AArch64, faults recorded, ASID. */
const CONTEXT_WORD =
  25n | (1n << 8n) | (1n << 10n) | (3n << 12n) | (1n << 30n) | (1n << 31n) | (2n << 32n) | (1n << 41n) | (7n << 45n);

/** TLBI_NH_ASID of the guest's address space. */
export const FORGET_ALL = BigUint64Array.of(0x11n | (ASID << 48n), 0n);

export interface Smmuv3Guest {
  readonly nic: VfioDevice;
  readonly ram: DmaMemory;
  readonly parent: HwptPaging;
  readonly viommu: Viommu;
  readonly vdevice: Vdevice;
  readonly events: Veventq;
  /** A stream table entry of the guest's: translated, let through, or refused. */
  ste(config: 'translate' | 'bypass' | 'abort'): readonly [bigint, bigint];
  /** Maps the guest's page `index` from VA on to page `to` of those it has for data; undefined for nothing. */
  map(index: number, to: number | undefined, access?: 'read-write' | 'read'): void;
  /** Where page `index` lies in `ram`, and for the guest. */
  page(index: number): { readonly offset: number; readonly ipa: bigint };
}

const CONFIGS = { abort: 0n, bypass: 4n, translate: 5n } as const;

/** A guest with memory, a vIOMMU that knows edu, and empty page tables. */
export function smmuv3Guest(t: VfioBench): Smmuv3Guest {
  const nic = t.bound('edu');
  const { device } = nic;
  const ram = t.memory(SIZE);
  const ioas = t.iommufd.allocIoas();
  ioas.map(ram, { iova: IPA });
  const parent = ioas.allocHwpt(device, { nestParent: true });
  const viommu = parent.allocViommu(device, { type: 'arm-smmuv3' });
  const vdevice = viommu.allocVdevice(device, { virtId: STREAM });
  const events = viommu.allocVeventq({ depth: 16 });
  const put = (offset: number, value: bigint) => {
    const word = new Uint8Array(8);
    new DataView(word.buffer).setBigUint64(0, value, true);
    ram.write(offset, word);
  };
  const at = (offset: number) => IPA + BigInt(offset);
  const [first, second, third] = TABLES;
  put(CONTEXT, CONTEXT_WORD | (ASID << 48n));
  put(CONTEXT + 8, at(first));
  put(CONTEXT + 24, 0xffn);
  // Both levels above cover VA by one entry each.
  put(first + Number(VA >> 30n) * 8, at(second) | TABLE);
  put(second + Number((VA >> 21n) & 0x1ffn) * 8, at(third) | TABLE);
  const page = (index: number) => ({ offset: FIRST_PAGE + index * PAGE, ipa: at(FIRST_PAGE + index * PAGE) });
  return {
    ...{ nic, ram, parent, viommu, vdevice, events, page },
    ste: (config) => {
      const context = config === 'translate' ? at(CONTEXT) : 0n;
      const caching = config === 'translate' ? (1n << 2n) | (1n << 4n) | (3n << 6n) : 0n;
      return [1n | (CONFIGS[config] << 1n) | context, caching];
    },
    map: (index, to, access = 'read-write') => {
      const attributes = LEAF | UNPRIVILEGED | (access === 'read' ? READ_ONLY : 0n);
      put(third + (Number((VA >> 12n) & 0x1ffn) + index) * 8, to === undefined ? 0n : page(to).ipa | attributes);
    },
  };
}
