// IOMMU_HWPT_INVALIDATE (iommufd/hw_pagetable.c).
import { ERRNO } from '../../uapi/errno.js';
import { iommu_hwpt_invalidate } from '../../uapi/iommufd-structs.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { Command } from './command.js';
import { HwptNested } from './hwpt-nested.js';
import { UserArray } from './user-data.js';
import { Viommu } from './viommu.js';

const AT = iommu_hwpt_invalidate.at;
/** Entries that one call takes at most. */
const MOST_ENTRIES = 2 ** 19;

export function hwptInvalidate(command: Command): number {
  const { memory } = command.context.process;
  const entries = new UserArray(
    memory,
    command.get(AT.data_type),
    command.address(AT.data_uptr),
    command.get(AT.entry_len),
    command.get(AT.entry_num),
  );
  const work = workOf(command, entries);
  if (typeof work === 'number') entries.count = 0;
  const answer = typeof work === 'number' ? work : work(entries);
  // Whatever the answer, the caller learns how many entries were carried out.
  command.set(AT.entry_num, entries.count);
  command.respond(iommu_hwpt_invalidate.size);
  return answer;
}

/** Carries entries out in order, and leaves in `count` how many. */
type Work = (entries: UserArray) => number;

function workOf(command: Command, { address, entryLength, count }: UserArray): Work | number {
  if (command.get(AT.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const bounded = command.context.kernel.linux !== '6.12';
  const tooMuch = bounded && (entryLength > PAGE_SIZE || count > MOST_ENTRIES);
  const unusable = address === 0 || entryLength === 0 || tooMuch;
  if (count !== 0 && unusable) return -ERRNO.EINVAL;
  const target = command.context.objects.find(command.get(AT.hwpt_id));
  if (target === undefined) return -ERRNO.ENOENT;
  if (target instanceof HwptNested) return (entries) => target.domain.invalidate(entries);
  // Linux 6.12 looks for a nested page table, and for nothing else.
  if (!(target instanceof Viommu)) return bounded ? -ERRNO.EINVAL : -ERRNO.ENOENT;
  const { driver } = target;
  return driver.invalidate?.bind(driver) ?? -ERRNO.EOPNOTSUPP;
}
