// A mock device that waits for a page: nothing is done when it gets it.
import { test_trigger_iopf } from '../../lib/emulated/hardware/selftest/uapi.js';
import type { Seam } from '../../lib/unsafe.js';
import type { Site } from './memory-site.js';
import { testCmd } from './mock.js';

export async function requestMockPage(seam: Seam, site: Site, addr: bigint): Promise<void> {
  const input = { dev_id: site.device.id, addr };
  testCmd({ seam, fd: site.iommufd.fd }, 'IOMMU_TEST_OP_TRIGGER_IOPF', test_trigger_iopf, input);
}
