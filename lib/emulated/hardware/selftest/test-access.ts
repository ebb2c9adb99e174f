// Test operations on accesses: what a driver does that emulates a device, and so has no IOMMU to go through
// (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import { createAccess as createKernelAccess } from '../../kernel/access.js';
import type { Command } from '../../kernel/command.js';
import type { PinnedPage } from '../../kernel/driver.js';
import { Ioas } from '../../kernel/ioas.js';
import type { AddressSpace } from '../../memory/address-space.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import { AccessFile } from './access-file.js';
import type { SelftestMachine } from './machine.js';
import { iovaInNthArea } from './nth-area.js';
import {
  iommu_test_cmd,
  mock_access_rw,
  mock_flags_access,
  mock_flags_access_create,
  test_access_pages,
  test_access_replace_ioas,
  test_access_rw,
  test_create_access,
  test_destroy_access_pages,
} from './uapi.js';
import { pageAt } from './user-pages.js';

const PINS = mock_flags_access_create.values.MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;
const { MOCK_FLAGS_ACCESS_WRITE: PIN_WRITE, MOCK_FLAGS_ACCESS_SYZ: SYZ } = mock_flags_access.values;
const { MOCK_ACCESS_RW_WRITE: WRITE, MOCK_ACCESS_RW_SLOW_PATH: SLOW } = mock_access_rw.values;
const CREATE = test_create_access.at;
const PAGES = test_access_pages.at;
const RW = test_access_rw.at;
/** Bytes that one operation may be about. */
const LONGEST = 16n * 1024n * 1024n;

/** CREATE_ACCESS: the kernel's access, and a file that stands for it. */
export function createAccess(command: Command, machine: SelftestMachine): number {
  const flags = command.get(CREATE.flags);
  if ((flags & ~PINS) !== 0) return -ERRNO.EOPNOTSUPP;
  if (!machine.kernel.allocates()) return -ERRNO.ENOMEM;
  const { context } = command;
  const file = new AccessFile((flags & PINS) !== 0);
  const access = createKernelAccess(context, {
    needsPinPages: file.pins,
    unmap: (iova, length) => file.unmap(iova, length),
  });
  if (typeof access === 'number') return access;
  file.access = access;
  const refusal = access.attach(command.get(CREATE.id));
  file.ioas = context.objects.get(command.get(CREATE.id), Ioas);
  const fd = refusal < 0 ? refusal : context.process.files.install(file);
  if (fd < 0) {
    file.release();
    return refusal < 0 ? refusal : -ERRNO.ENOMEM;
  }
  command.set(CREATE.out_access_fd, fd);
  return command.respond(iommu_test_cmd.size);
}

/** The access of a file, with that file. */
function find(command: Command) {
  const file = command.context.process.files.get(command.s32(iommu_test_cmd.at.id));
  if (!(file instanceof AccessFile) || file.access === undefined) return undefined;
  return { file, access: file.access };
}

/** ACCESS_REPLACE_IOAS. */
export function accessReplaceIoas(command: Command): number {
  const found = find(command);
  if (found === undefined) return -ERRNO.EBADFD;
  const id = command.get(test_access_replace_ioas.at.ioas_id);
  const refusal = found.access.replace(id);
  if (refusal === 0) found.file.ioas = command.context.objects.get(id, Ioas);
  return refusal;
}

/** ACCESS_PAGES: pins pages, which must be those at an address if one is given. */
export function accessPages(command: Command, machine: SelftestMachine): number {
  const length = command.get64(PAGES.length);
  const flags = command.get(PAGES.flags);
  if (length > LONGEST) return -ERRNO.ENOMEM;
  if ((flags & ~(PIN_WRITE | SYZ)) !== 0) return -ERRNO.EOPNOTSUPP;
  const found = find(command);
  if (found === undefined) return -ERRNO.EBADFD;
  const { file, access } = found;
  if (!file.pins) return -ERRNO.EOPNOTSUPP;
  const iova = (flags & SYZ) === 0 ? command.get64(PAGES.iova) : iovaInNthArea(file.ioas, command.get64(PAGES.iova));
  if (!machine.kernel.allocates()) return -ERRNO.ENOMEM;
  const pages = access.pinPages(iova, length, (flags & PIN_WRITE) !== 0);
  if (typeof pages === 'number') return pages;
  const address = command.get64(PAGES.uptr);
  let refusal = 0;
  if (address !== 0n) {
    const start = Number(address) - Number(iova % BigInt(PAGE_SIZE));
    refusal = checkPages(command.context.process.memory, start, pages);
  }
  if (refusal === 0 && !machine.kernel.allocates()) refusal = -ERRNO.ENOMEM;
  if (refusal < 0) {
    access.unpinPages(iova, length);
    return refusal;
  }
  command.set(PAGES.out_access_pages_id, file.add(iova, length));
  return command.respond(iommu_test_cmd.size);
}

/** Whether these pages lie one after another from an address on. */
function checkPages(memory: AddressSpace, start: number, pages: readonly PinnedPage[]): number {
  for (const [i, { backing, page }] of pages.entries()) {
    const there = pageAt(memory, start + i * PAGE_SIZE);
    if (there === undefined) return -ERRNO.EFAULT;
    if (there.backing !== backing || there.page !== page) return -ERRNO.EBADE;
  }
  return 0;
}

/** DESTROY_ACCESS_PAGES: gives pinned pages back. */
export function destroyAccessPages(command: Command): number {
  const found = find(command);
  if (found === undefined) return -ERRNO.EBADFD;
  return found.file.remove(command.get(test_destroy_access_pages.at.access_pages_id)) ? 0 : -ERRNO.ENOENT;
}

/** ACCESS_RW: copies to what an IOAS maps, or from it. */
export function accessRw(command: Command, machine: SelftestMachine): number {
  const length = command.get64(RW.length);
  const flags = command.get(RW.flags);
  if (length > LONGEST) return -ERRNO.ENOMEM;
  if ((flags & ~(WRITE | SLOW | SYZ)) !== 0) return -ERRNO.EOPNOTSUPP;
  const found = find(command);
  if (found === undefined) return -ERRNO.EBADFD;
  if (!machine.kernel.allocates()) return -ERRNO.ENOMEM;
  const { memory } = command.context.process;
  const address = command.address(RW.uptr);
  const data = new Uint8Array(Number(length));
  const write = (flags & WRITE) !== 0;
  if (write && !memory.read(address, data)) return -ERRNO.EFAULT;
  const iova = (flags & SYZ) === 0 ? command.get64(RW.iova) : iovaInNthArea(found.file.ioas, command.get64(RW.iova));
  const refusal = found.access.rw(iova, data, { write, slowPath: (flags & SLOW) !== 0 });
  if (refusal < 0 || write) return refusal;
  return memory.write(address, data) ? 0 : -ERRNO.EFAULT;
}
