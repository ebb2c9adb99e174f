// A page table that the kernel fills, of stage 1 or of stage 2: struct arm_smmu_domain (arm-smmu-v3.c, io-pgtable-arm.c).
import { type Domain, type IommuDevice, PagingDomain, type Translation } from '../../../kernel/driver.js';
import { forgetInDevice } from './commands.js';
import { smmuDeviceOf } from './device.js';
import { DirtyTable } from './dirty-table.js';
import type { Smmuv3Iommu } from './iommu.js';
import type { Master } from './master.js';
import { Stage1Table } from './stage1-table.js';

/** With the smallest pages of 4 KiB, an entry may stand for 2 MiB and 1 GiB. */
const PAGE_SIZES = (2n ** 12n) | (2n ** 21n) | (2n ** 30n);

export interface PagingDomainOptions {
  readonly stage: 1 | 2;
  /** Tells stage 2 apart; 0 for stage 1. */
  readonly vmid: number;
  readonly tracksDirty: boolean;
}

export class Smmuv3PagingDomain extends PagingDomain {
  readonly pageSizes = PAGE_SIZES;
  readonly aperture: { readonly start: bigint; readonly last: bigint };
  readonly dirty: DirtyTable | undefined;
  /** What the hardware walks. */
  readonly table: { readonly translation: Translation | undefined };
  readonly stage: 1 | 2;
  readonly vmid: number;
  /** Who has it attached, and how often: as itself, for PASIDs, or below a guest's. */
  readonly #users = new Map<Master, number>();

  constructor(
    readonly iommu: Smmuv3Iommu,
    { stage, vmid, tracksDirty }: PagingDomainOptions,
  ) {
    super();
    const { stage1Bits, stage2Bits } = iommu.features;
    this.aperture = { start: 0n, last: 2n ** BigInt(stage === 1 ? stage1Bits : stage2Bits) - 1n };
    this.stage = stage;
    this.vmid = vmid;
    this.dirty = tracksDirty ? new DirtyTable(this) : undefined;
    this.table = this.dirty ?? (stage === 1 ? new Stage1Table(this) : this);
  }

  /** Devices may keep accesses coherent with the CPU's caches: firmware says so of every one. */
  override enforceCacheCoherency(): boolean {
    return true;
  }
  attach(device: IommuDevice): number {
    return smmuDeviceOf(device).master.attach(this);
  }
  attachPasid(device: IommuDevice, pasid: number, _old: Domain): number {
    return smmuDeviceOf(device).master.attachPasid(this, pasid);
  }
  free(): void {
    if (this.vmid !== 0) this.iommu.vmids.give(this.vmid);
  }

  addUser(master: Master): void {
    this.#users.set(master, (this.#users.get(master) ?? 0) + 1);
  }
  /** Who uses it no more is not told of changes either: nothing of it may stay cached (arm_smmu_install_old_domain_invs). */
  removeUser(master: Master): void {
    const left = (this.#users.get(master) ?? 0) - 1;
    if (left > 0) this.#users.set(master, left);
    else this.#users.delete(master);
    if (this.stage === 2 && this.#users.size === 0) this.#forgetInSmmu();
  }

  override mapped(iova: bigint, length: bigint): void {
    this.dirty?.mapped(iova, length);
  }
  /**
   * Of a guest's stage 2 everything goes: nobody knows what stage 1 made of it, in the SMMU or in a device
   * (INV_TYPE_S2_VMID_S1_CLEAR and ATS_FULL).
   */
  override unmapped(iova: bigint, length: bigint): void {
    this.dirty?.unmapped(iova, length);
    if (this.stage === 1 || this.#users.size === 0) return;
    this.#forgetInSmmu();
    for (const master of this.#users.keys()) if (master.ats) forgetInDevice(this.iommu.smmu, master.stream.id, 0);
  }
  /** Of stage 1 nothing is cached: hardware asks the kernel's table each time. */
  #forgetInSmmu(): void {
    this.iommu.smmu.invalidateVmid(this.vmid);
  }
}
