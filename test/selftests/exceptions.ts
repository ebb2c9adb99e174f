// Where the emulated kernel need not answer as the real one does, each with the reason.

export interface Exception {
  /** Names of cases. */
  readonly cases: RegExp;
  readonly reason: string;
}

/** Cases that the real kernel fails, by a defect of its own; the emulated one passes them. */
export const MENDED: readonly Exception[] = [
  {
    cases: /^iommufd_ioas\.\w+\.dmabuf_(simple|revoke)$/,
    reason: 'DMABUF_GET of the mock makes a dma-buf, and answers 0 in place of its fd (iommufd/selftest.c)',
  },
];

/** Cases that the real kernel passes, and the emulated one cannot. */
export const IMPOSSIBLE: readonly Exception[] = [
  {
    cases: /\.(vfio_type1|iommufd_compat_type1)/,
    reason: "it opens its device through a group of VFIO's, which emulated machines do not have",
  },
  {
    cases: /^vfio_dma_mapping_mmio_test\.iommufd\.map_/,
    reason: 'it maps registers of a VFIO device, which programs on emulated machines read and write only',
  },
];

/** Cases that ask the system for huge pages: skipped where it has none to give. */
export const NEED_HUGE_PAGES = /huge(?!tlb_1gb)|access_domain_destory/;

/** Cases that ask debugfs whether the kernel injects faults, and are skipped if not. */
export const NEED_FAULTS = /_fail_nth\./;

export function reasonFor(name: string, exceptions: readonly Exception[]): string | undefined {
  return exceptions.find(({ cases }) => cases.test(name))?.reason;
}
