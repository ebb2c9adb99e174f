// What the driver knows of a device, and how it attaches it: struct arm_smmu_master. Attaching has two halves: what may fail,
// and then what is changed (arm_smmu_attach_prepare, arm_smmu_attach_commit; arm-smmu-v3.c).
import { ERRNO } from '../../../../uapi/errno.js';
import { NO_PASID } from '../../../kernel/iommu-group.js';
import { forgetPageRequests } from '../../../kernel/page-requests.js';
import type { Stream, StreamConfig } from '../stream.js';
import { forgetInDevice } from './commands.js';
import { ContextTables } from './context-tables.js';
import type { Smmuv3Device } from './device.js';
import type { Smmuv3Iommu } from './iommu.js';
import type { Smmuv3NestedDomain } from './nested-domain.js';
import type { Smmuv3PagingDomain } from './paging-domain.js';
import { StreamTable } from './stream-table.js';
import { nestedEntry } from './stream-table-entry.js';
import type { Smmuv3Viommu } from './viommu.js';

type Attachable = Smmuv3PagingDomain | Smmuv3NestedDomain;

/** Whose guest hears of a device's events, and what it calls the device: struct arm_smmu_vmaster. */
export interface Vmaster {
  readonly viommu: Smmuv3Viommu;
  readonly virtId: bigint;
}

/** What `prepare` has found: with it, nothing fails any more. */
interface Prepared {
  readonly domain: Attachable | undefined;
  readonly ats: boolean;
  readonly vmaster: Vmaster | undefined;
  /** Page requests are handled as long as this is attached. */
  readonly handlesFaults: boolean;
}

/** The kernel's page table that DMA ends in. */
function pagingOf(domain: Attachable): Smmuv3PagingDomain {
  return domain.kind === 'nested' ? domain.viommu.parent : domain;
}

export class Master {
  readonly stream: Stream;
  vmaster: Vmaster | undefined;
  readonly #device: Smmuv3Device;
  readonly #iommu: Smmuv3Iommu;
  readonly #contexts: ContextTables;
  readonly #atsSupported: boolean;
  /** By PASID. */
  readonly #attached = new Map<number, Prepared>();
  /** The kernel's own table of context descriptors is installed. */
  #hasContexts = false;
  #ats = false;
  #faultHandlers = 0;

  constructor(device: Smmuv3Device, stream: Stream, options: { readonly ats: boolean; readonly ssidBits: number }) {
    const { iommu } = device;
    this.#device = device;
    this.#iommu = iommu;
    this.stream = stream;
    this.#atsSupported = options.ats && iommu.features.ats;
    this.#contexts = new ContextTables(iommu.kernel, options.ssidBits, iommu.features.twoLevelContexts);
  }

  /** The device keeps translations, and the SMMU lets it. */
  get ats(): boolean {
    return this.#ats;
  }
  /** Whether it can have translations to keep at all. */
  get atsSupported(): boolean {
    return this.#atsSupported;
  }

  /** To a page table of the kernel's (arm_smmu_attach_dev). */
  attach(domain: Smmuv3PagingDomain): number {
    if (domain.iommu !== this.#iommu) return -ERRNO.EINVAL;
    const hasContexts = domain.stage === 1;
    if (hasContexts && !this.#contexts.makeRoom(NO_PASID)) return -ERRNO.ENOMEM;
    if (!hasContexts && this.#usesPasids) return -ERRNO.EBUSY;
    const prepared = this.#prepare(domain, this.#atsSupported);
    if (typeof prepared === 'number') return prepared;
    this.#install({ kind: 'table', table: this.#tableOf(domain) }, hasContexts);
    this.#commit(NO_PASID, prepared);
    return 0;
  }

  /** To a guest's (arm_smmu_attach_dev_nested). */
  attachNested(domain: Smmuv3NestedDomain): number {
    const { viommu, entry } = domain;
    if (viommu.smmu !== this.#iommu.smmu) return -ERRNO.EINVAL;
    if (this.#usesPasids) return -ERRNO.EBUSY;
    // The guest says whether it will invalidate what the device keeps; where it translates nothing, the kernel does.
    const prepared = this.#prepare(domain, this.#atsSupported && (entry.config !== 'stage1' || entry.ats));
    if (typeof prepared === 'number') return prepared;
    this.#install(this.#nestedConfig(domain, prepared.ats), false);
    this.#commit(NO_PASID, prepared);
    return 0;
  }
  #nestedConfig({ viommu, entry }: Smmuv3NestedDomain, ats: boolean): StreamConfig {
    const stage2 = this.#tableOf(viommu.parent);
    if (entry.config === 'abort') return { kind: 'abort' };
    if (entry.config === 'bypass') return { kind: 'bypass', stage2 };
    return { kind: 'nested', stage2, ste: nestedEntry(entry, this.#iommu.features, ats) };
  }

  /** To nothing (arm_smmu_attach_dev_blocked): PASIDs that are attached stay so. */
  block(): void {
    this.vmaster = undefined;
    this.#install({ kind: 'abort' }, this.#usesPasids);
    const ats = this.#usesPasids && this.#atsSupported;
    this.#commit(NO_PASID, { domain: undefined, ats, vmaster: undefined, handlesFaults: false });
  }

  /** A PASID (arm_smmu_s1_set_dev_pasid): not beside a stage 2 or a guest's table, which have no place for it. */
  attachPasid(domain: Smmuv3PagingDomain, pasid: number): number {
    if (domain.iommu !== this.#iommu || domain.stage !== 1) return -ERRNO.EINVAL;
    if (!this.#hasContexts && this.#attached.has(NO_PASID)) return -ERRNO.EINVAL;
    if (!this.#contexts.makeRoom(pasid)) return -ERRNO.ENOMEM;
    const prepared = this.#prepare(domain, this.#atsSupported);
    if (typeof prepared === 'number') return prepared;
    this.#hasContexts = true;
    this.stream.setPasid(pasid, this.#tableOf(domain));
    this.#commit(pasid, prepared);
    return 0;
  }
  /** The reverse (arm_smmu_blocking_set_dev_pasid). */
  detachPasid(pasid: number): void {
    const old = this.#attached.get(pasid);
    this.stream.setPasid(pasid, undefined);
    if (this.#ats) forgetInDevice(this.#iommu.smmu, this.stream.id, pasid);
    this.#attached.delete(pasid);
    this.#release(old);
    if (!this.#usesPasids && !this.#attached.has(NO_PASID)) this.block();
  }

  #tableOf(domain: Smmuv3PagingDomain): StreamTable {
    return new StreamTable(domain, this.#device.stalls);
  }
  get #usesPasids(): boolean {
    return this.#attached.size > (this.#attached.has(NO_PASID) ? 1 : 0);
  }

  /** All that can fail, in the driver's order; -errno. */
  #prepare(domain: Attachable, ats: boolean): Prepared | number {
    const { kernel } = this.#iommu;
    // The list of what to invalidate grows.
    if (!kernel.allocates()) return -ERRNO.ENOMEM;
    const vmaster = domain.kind === 'nested' ? this.#vmasterFor(domain) : undefined;
    if (typeof vmaster === 'number') return vmaster;
    if (!kernel.allocates()) return -ERRNO.ENOMEM;
    const handlesFaults = domain.fault !== undefined && this.#device.stalls;
    if (handlesFaults && this.#faultHandlers === 0 && !kernel.allocates()) return -ERRNO.ENOMEM;
    return { domain, ats, vmaster, handlesFaults };
  }
  /** A guest that translates must have a name for the device; another may (arm_smmu_attach_prepare_vmaster). */
  #vmasterFor({ viommu, entry }: Smmuv3NestedDomain): Vmaster | number | undefined {
    const virtId = viommu.core.virtIdOf(this.#device);
    if (virtId === undefined) return entry.config === 'stage1' ? -ERRNO.ENOENT : undefined;
    return this.#iommu.kernel.allocates() ? { viommu, virtId } : -ERRNO.ENOMEM;
  }

  #install(config: StreamConfig, hasContexts: boolean): void {
    this.stream.install(config);
    this.#hasContexts = hasContexts;
  }

  #commit(pasid: number, prepared: Prepared): void {
    const { domain, ats, vmaster, handlesFaults } = prepared;
    this.vmaster = vmaster;
    // All that a device keeps goes when it begins or ceases to keep anything; of a change in between, what it is about.
    if (ats || this.#ats) forgetInDevice(this.#iommu.smmu, this.stream.id, ats && this.#ats ? pasid : NO_PASID);
    const old = this.#attached.get(pasid);
    if (domain === undefined) {
      this.#attached.delete(pasid);
    } else {
      pagingOf(domain).addUser(this);
      if (handlesFaults) this.#faultHandlers++;
      this.#attached.set(pasid, prepared);
    }
    this.#release(old);
    this.#ats = ats;
  }
  /** What was attached is no more. */
  #release(old: Prepared | undefined): void {
    if (old?.domain === undefined) return;
    if (old.handlesFaults && --this.#faultHandlers === 0) forgetPageRequests(this.#device);
    pagingOf(old.domain).removeUser(this);
  }
}
