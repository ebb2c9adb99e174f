// A device without an IOMMU: its DMA goes to physical addresses, whatever is mapped. iommufd keeps a page table for it all
// the same, for nobody but IOMMU_IOAS_NOIOMMU_GET_PA (iommufd/hwpt_noiommu.c).
import { ERRNO } from '../../uapi/errno.js';
import { Domain, type Iommu, type IommuDevice, PagingDomain } from '../kernel/driver.js';
import { IommuGroup } from '../kernel/iommu-group.js';

class UnusedDomain extends Domain {
  readonly kind = 'blocked';
  attach(): number {
    return 0;
  }
  attachPasid(): number {
    return -ERRNO.EOPNOTSUPP;
  }
  free(): void {}
}

/** The table in software: the AMD format with every power of two from 4 KiB to half of what it can span. */
class SoftwareDomain extends PagingDomain {
  readonly pageSizes = (1n << 64n) - 4096n;
  readonly aperture = { start: 0n, last: 0xffff_ffff_ffff_ffffn };
  readonly dirty = undefined;
  override readonly tellsPhysical = true;
  attach(): number {
    return 0;
  }
  attachPasid(): number {
    return -ERRNO.EOPNOTSUPP;
  }
  free(): void {}
}

class NoIommu implements Iommu {
  readonly name = 'noiommu';
  readonly translates = false;
  readonly blocked = new UnusedDomain();
  readonly userPasidTable = false;
  hwInfo(): number {
    return -ERRNO.EOPNOTSUPP;
  }
  allocPaging(_device: IommuDevice, flags: number, data: unknown): PagingDomain | number {
    return flags !== 0 || data !== undefined ? -ERRNO.EOPNOTSUPP : new SoftwareDomain();
  }
  hasViommu(): boolean {
    return false;
  }
  initViommu(): number {
    return -ERRNO.EOPNOTSUPP;
  }
}

export class NoiommuDevice implements IommuDevice {
  readonly iommu = new NoIommu();
  readonly group = new IommuGroup(this.iommu.blocked);
  readonly maxPasids = 0;
  readonly reservedRegions = [];
  readonly pciPasid = undefined;
  constructor(readonly name: string) {
    this.group.add(this);
  }
  capable(what: string): boolean {
    return what === 'cache-coherency';
  }
}
