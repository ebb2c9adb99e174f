// Names of the kernel's headers that the tables leave out on purpose. check-uapi fails on a name that is in neither, and
// on an entry here that no header has any more.

export interface Exclusion {
  /** Matches whole names of structs, enumerators or #defines. */
  readonly pattern: RegExp;
  readonly reason: string;
}

export const IOMMUFD_EXCLUSIONS: readonly Exclusion[] = [{ pattern: /^_IOMMUFD_H$/, reason: 'include guard' }];

export const TEST_EXCLUSIONS: readonly Exclusion[] = [{ pattern: /^_UAPI_IOMMUFD_TEST_H$/, reason: 'include guard' }];

export const VFIO_EXCLUSIONS: readonly Exclusion[] = [
  { pattern: /^VFIO_H$/, reason: 'include guard' },
  { pattern: /^(vfio_group_status|VFIO_GROUP_.+)$/, reason: 'group interface: devices are opened as cdevs here' },
  { pattern: /^VFIO_SPAPR_TCE_(v2_)?IOMMU$/, reason: 'sPAPR container' },
  { pattern: /^vfio_iommu_spapr_.+$/, reason: 'sPAPR container' },
  { pattern: /^VFIO_IOMMU_SPAPR_.+$/, reason: 'sPAPR container' },
  { pattern: /^VFIO_IOMMU_(ENABLE|DISABLE)$/, reason: 'sPAPR container; type1 has no such calls' },
  { pattern: /^(vfio_eeh_.+|VFIO_EEH(_.+)?)$/, reason: 'EEH, of sPAPR' },
  { pattern: /^__VFIO_RESERVED_TYPE1_NESTING_IOMMU$/, reason: 'withdrawn' },
  { pattern: /^(vfio_iommu_type1_dirty_bitmap(_get)?|VFIO_IOMMU_DIRTY_PAGES.*)$/, reason: 'refused by /dev/iommu' },
  {
    pattern: /^(vfio_device_migration_info|VFIO_DEVICE_STATE_(V1_.+|MASK))$/,
    reason: 'migration version 1, withdrawn',
  },
  { pattern: /^VFIO_DEVICE_STATE_(VALID|IS_ERROR|SET_ERROR)$/, reason: 'function-like macro, of migration version 1' },
  { pattern: /^VFIO_REGION_(SUB)?TYPE_MIGRATION_DEPRECATED$/, reason: 'migration version 1, withdrawn' },
  { pattern: /^VFIO_DEVICE_API_.+_STRING$/, reason: 'string, for mediated devices in sysfs' },
  { pattern: /^VFIO_DEVICE_INFO_CAP_ZPCI_.+$/, reason: 'zPCI (s390), described in a header of its own' },
  { pattern: /^(vfio_region_info_cap_nvlink2_.+|VFIO_REGION_.*NVLINK2_.+)$/, reason: 'NVLink2, withdrawn' },
  { pattern: /^VFIO_CCW_.+$/, reason: 'channel devices (s390)' },
  { pattern: /^VFIO_REGION_SUBTYPE_CCW_.+$/, reason: 'channel devices (s390)' },
  { pattern: /^VFIO_AP_.+$/, reason: 'cryptographic adapters (s390)' },
];
