// DIRTY: the mock's stand-in for devices that write (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { Command } from '../../kernel/command.js';
import { GRANULE } from './dirty-tracker.js';
import type { SelftestMachine } from './machine.js';
import { pagingDomain } from './test-checks.js';
import { iommu_test_cmd, test_dirty } from './uapi.js';

const AT = test_dirty.at;
/** Bits of the longest bitmap. */
const MAX_PAGES = 16n * 1024n * 1024n * 8n;

export function markDirty(command: Command, machine: SelftestMachine): number {
  const iova = command.get64(AT.iova);
  const length = command.get64(AT.length);
  const pageSize = command.get64(AT.page_size);
  const address = command.address(AT.uptr);
  if (pageSize === 0n || length === 0n || iova % pageSize !== 0n || length % pageSize !== 0n || address === 0) {
    return -ERRNO.EINVAL;
  }
  const pages = length / pageSize;
  if (pages > MAX_PAGES) return -ERRNO.EOVERFLOW;
  const domain = pagingDomain(command);
  if (typeof domain === 'number') return domain;
  const { dirty } = domain;
  if (dirty === undefined || !dirty.enabled) return -ERRNO.EINVAL;
  if (!machine.kernel.allocates()) return -ERRNO.ENOMEM;
  const bits = new Uint8Array(Math.ceil(Number(pages) / 8));
  if (!command.context.process.memory.read(address, bits)) return -ERRNO.EFAULT;
  const isOld = machine.kernel.linux === '6.12';
  let count = 0;
  for (let i = 0; i < Number(pages); i++) {
    if (((bits[i >>> 3] ?? 0) & (1 << (i & 7))) === 0) continue;
    const page = iova + BigInt(i) * pageSize;
    // Linux 6.12 takes the number of a page for that of one of its own.
    const written = Number(isOld ? (page / pageSize) * BigInt(GRANULE) : page);
    const isMapped = domain.physical(written) >= 0;
    if (isMapped) dirty.written(written, 1);
    if (isMapped || !isOld) count++;
  }
  command.set64(AT.out_nr_dirty, BigInt(count));
  return command.respond(iommu_test_cmd.size);
}
