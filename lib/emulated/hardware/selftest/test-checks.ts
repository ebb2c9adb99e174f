// Test operations that look behind the kernel's curtain: what is mapped, how often it is pinned, what caches hold
// (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { Command } from '../../kernel/command.js';
import { HwptNested } from '../../kernel/hwpt-nested.js';
import { HwptPaging } from '../../kernel/hwpt-paging.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import type { SelftestMachine } from './machine.js';
import { SelftestNestedDomain } from './nested-domain.js';
import { SelftestPagingDomain } from './paging-domain.js';
import { iommu_test_cmd, test_check_dev_cache, test_check_iotlb, test_check_map, test_check_refs } from './uapi.js';
import { pageAt } from './user-pages.js';

const MAP = test_check_map.at;
const REFS = test_check_refs.at;
const IOTLB = test_check_iotlb.at;
const CACHE = test_check_dev_cache.at;
const U64_MAX = 2n ** 64n - 1n;

/** A page table of the mock that the kernel fills. */
export function pagingDomain(command: Command): SelftestPagingDomain | number {
  const hwpt = command.context.objects.get(command.get(iommu_test_cmd.at.id), HwptPaging);
  if (hwpt === undefined) return -ERRNO.ENOENT;
  return hwpt.domain instanceof SelftestPagingDomain ? hwpt.domain : -ERRNO.EINVAL;
}

/** MD_CHECK_MAP: whether IOVAs lead to the memory at an address. */
export function checkMap(command: Command): number {
  const domain = pagingDomain(command);
  if (typeof domain === 'number') return domain;
  const size = domain.pageSizes & -domain.pageSizes;
  const iova = command.get64(MAP.iova);
  const length = command.get64(MAP.length);
  const address = command.get64(MAP.uptr);
  if (iova % size !== 0n || length % size !== 0n || address % size !== 0n) return -ERRNO.EINVAL;
  if (address + length > U64_MAX) return -ERRNO.EINVAL;
  const { memory } = command.context.process;
  for (let done = 0n; done < length; done += size) {
    const at = Number(address + done);
    const page = pageAt(memory, at);
    if (page === undefined) return -ERRNO.EFAULT;
    const physical = page.backing.frame(page.page) * PAGE_SIZE + (at % PAGE_SIZE);
    if (domain.physical(Number(iova + done)) !== physical) return -ERRNO.EINVAL;
  }
  return 0;
}

/** MD_CHECK_REFS: whether every page of memory is pinned this often. */
export function checkRefs(command: Command): number {
  const length = command.get64(REFS.length);
  const address = command.get64(REFS.uptr);
  const size = BigInt(PAGE_SIZE);
  if (length % size !== 0n || address % size !== 0n || address + length > U64_MAX) return -ERRNO.EINVAL;
  const { memory } = command.context.process;
  for (let done = 0n; done < length; done += size) {
    const page = pageAt(memory, Number(address + done));
    if (page === undefined) return -ERRNO.EFAULT;
    // Pins of huge pages are counted elsewhere: the mock does not look.
    if (!page.backing.compound && page.backing.pinsOf(page.page) !== command.get(REFS.refs)) return -ERRNO.EIO;
  }
  return 0;
}

/** MD_CHECK_IOTLB: what an entry of a nested page table's IOTLB holds. */
export function checkIotlb(command: Command): number {
  const nested = command.context.objects.get(command.get(IOTLB.id), HwptNested);
  if (nested === undefined) return -ERRNO.ENOENT;
  if (!(nested.domain instanceof SelftestNestedDomain)) return -ERRNO.EINVAL;
  return nested.domain.iotlb[command.get(IOTLB.check_iotlb_id)] === command.get(IOTLB.iotlb) ? 0 : -ERRNO.EINVAL;
}

/** DEV_CHECK_CACHE: what an entry of a device's cache holds. */
export function checkCache(command: Command, machine: SelftestMachine): number {
  const mock = machine.deviceById(command.context, command.get(CACHE.id));
  if (mock === undefined) return -ERRNO.ENOENT;
  return mock.cache[command.get(CACHE.check_dev_cache_id)] === command.get(CACHE.cache) ? 0 : -ERRNO.EINVAL;
}
