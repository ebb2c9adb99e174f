// The structs of linux/iommufd.h that belong to one kind of IOMMU: what it is, its nested page tables, invalidations,
// virtual interfaces and events. Little-endian words of the hardware are u64 here.
import { array, array64, struct, u8, u32, u64 } from './layout.js';

const ZERO = 'Must be 0';

export const iommu_hwpt_vtd_s1 = struct(
  'iommu_hwpt_vtd_s1',
  'A nested page table of Intel VT-d (IOMMU_HWPT_DATA_VTD_S1).',
  {
    flags: u64('Bits of iommu_hwpt_vtd_s1_flags'),
    pgtbl_addr: u64("The guest's root table: a guest physical address"),
    addr_width: u32('Address width of the table, in bits'),
    __reserved: u32(ZERO),
  },
);

export const iommu_hwpt_arm_smmuv3 = struct(
  'iommu_hwpt_arm_smmuv3',
  'A nested page table of an SMMUv3 (IOMMU_HWPT_DATA_ARM_SMMUV3): the stage-1 half of a stream table entry.',
  {
    ste: array64(
      2,
      "The entry's first two words: V, Cfg, S1Fmt, S1ContextPtr, S1CDMax; then S1DSS, S1CIR, S1COR, S1CSH, S1STALLD, " +
        'EATS. Another field, or a bad value: EIO',
    ),
  },
);

export const iommu_hwpt_amd_guest = struct(
  'iommu_hwpt_amd_guest',
  'A nested page table of an AMD IOMMU (IOMMU_HWPT_DATA_AMD_GUEST).',
  { dte: array64(4, "The guest's device table entry") },
);

export const iommu_hw_info_vtd = struct('iommu_hw_info_vtd', 'Intel VT-d (IOMMU_HW_INFO_TYPE_INTEL_VTD).', {
  flags: u32('Bits of iommu_hw_info_vtd_flags'),
  __reserved: u32('0'),
  cap_reg: u64('The capability register'),
  ecap_reg: u64('The extended capability register'),
});

export const iommu_hw_info_arm_smmuv3 = struct(
  'iommu_hw_info_arm_smmuv3',
  'SMMUv3 (IOMMU_HW_INFO_TYPE_ARM_SMMUV3): raw registers, of which a guest may rely on a few fields only.',
  {
    flags: u32('Bits of iommu_hw_info_arm_smmuv3_flags'),
    __reserved: u32('0'),
    idr: array(
      'u32',
      6,
      'IDR0 to IDR5. Usable are of IDR0 ST_LEVEL, TERM_MODEL, STALL_MODEL, TTENDIAN, CD2L, ASID16, TTF; of IDR1 SIDSIZE, ' +
        'SSIDSIZE; of IDR3 BBML, RIL; of IDR5 VAX, GRAN64K, GRAN16K, GRAN4K, DS',
    ),
    iidr: u32('IIDR: implementer and product'),
    aidr: u32('AIDR: version of the architecture'),
  },
);

export const iommu_hw_info_tegra241_cmdqv = struct(
  'iommu_hw_info_tegra241_cmdqv',
  'Tegra241 CMDQV (IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV): fields of its PARAM register.',
  {
    flags: u32('0'),
    version: u8('Version, PARAM[3:0]'),
    log2vcmdqs: u8('log2 of the number of VCMDQs, PARAM[7:4]'),
    log2vsids: u8('log2 of the number of stream id replacements, PARAM[15:12]'),
    __reserved: u8('0'),
  },
);

export const iommu_hw_info_amd = struct('iommu_hw_info_amd', 'AMD IOMMU (IOMMU_HW_INFO_TYPE_AMD): raw registers.', {
  efr: u64('Extended features; a guest may see GTSup, GASup, GioSup, PPRSup, EPHSup, GATS, GLX and PASmax'),
  efr2: u64('Extended features 2'),
});

export const iommu_hwpt_vtd_s1_invalidate = struct(
  'iommu_hwpt_vtd_s1_invalidate',
  'Pages to forget in a nested page table of VT-d (IOMMU_HWPT_INVALIDATE_DATA_VTD_S1); device TLBs are included.',
  {
    addr: u64('Where the range starts: a multiple of 4 KiB'),
    npages: u64('How many pages of 4 KiB; all bits set, with addr 0, for everything'),
    flags: u32('Bits of iommu_hwpt_vtd_s1_invalidate_flags'),
    __reserved: u32(ZERO),
  },
);

export const iommu_viommu_arm_smmuv3_invalidate = struct(
  'iommu_viommu_arm_smmuv3_invalidate',
  'A command for an SMMUv3 vIOMMU (IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3).',
  {
    cmd: array64(
      2,
      'The command as in a command queue: TLBI_NSNH_ALL, TLBI_NH_VA, TLBI_NH_VAA, TLBI_NH_ALL, TLBI_NH_ASID, ATC_INV, ' +
        'CFGI_CD or CFGI_CD_ALL. Anything else, or a field that is not supported: EIO',
    ),
  },
);

export const iommu_viommu_tegra241_cmdqv = struct(
  'iommu_viommu_tegra241_cmdqv',
  "A CMDQV vIOMMU's virtual interface (IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV), filled in by the kernel.",
  {
    out_vintf_mmap_offset: u64('Offset to mmap /dev/iommu at for page 0 of the interface: the doorbells'),
    out_vintf_mmap_length: u64('Bytes of it'),
  },
);

export const iommu_vevent_arm_smmuv3 = struct(
  'iommu_vevent_arm_smmuv3',
  'An event of an SMMUv3 (IOMMU_VEVENTQ_TYPE_ARM_SMMUV3), of a device that is a virtual device.',
  {
    evt: array64(
      4,
      "The record as in an event queue, with the guest's stream id: C_BAD_STE 0x04, F_STREAM_DISABLED 0x06, " +
        'C_BAD_SUBSTREAMID 0x08, C_BAD_CD 0x0a, F_TRANSLATION 0x10, F_ADDR_SIZE 0x11, F_ACCESS 0x12, F_PERMISSION 0x13',
    ),
  },
);

export const iommu_vevent_tegra241_cmdqv = struct(
  'iommu_vevent_tegra241_cmdqv',
  'An error of a CMDQV virtual interface (IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV).',
  { lvcmdq_err_map: array64(2, 'One bit a logical VCMDQ that has an error, from bit 0 of the first word') },
);
