// Test operations that make dma-bufs of ordinary memory, and take them away (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { Command } from '../../kernel/command.js';
import { DmaBufFile } from '../../kernel/dma-buf.js';
import { PAGE_SIZE } from '../../memory/backing.js';
import type { SelftestMachine } from './machine.js';
import { test_dmabuf_get, test_dmabuf_revoke } from './uapi.js';

const GET = test_dmabuf_get.at;
const REVOKE = test_dmabuf_revoke.at;
const MOST_PAGES = 512;

/** Tells those of the mock from those of devices. */
class TestDmaBuf extends DmaBufFile {}

/**
 * DMABUF_GET: answers the fd. Linux up to 7.3 makes it and then answers 0, so that its own selftest cannot use it; what is
 * done here is what was meant.
 */
export function getDmaBuf(command: Command, { kernel }: SelftestMachine): number {
  const pages = Math.ceil(command.get(GET.length) / PAGE_SIZE);
  if (pages === 0 || pages > MOST_PAGES) return -ERRNO.EINVAL;
  // The exporter's notes, its memory, and the dma-buf itself.
  for (let i = 0; i < 3; i++) if (!kernel.allocates()) return -ERRNO.ENOMEM;
  const memory = kernel.physical.allocate(pages * PAGE_SIZE);
  if (memory === undefined) return -ERRNO.ENOMEM;
  const file = new TestDmaBuf([{ frame: memory.base, pages }], false, () => memory.drop());
  const fd = command.context.process.files.install(file);
  if (fd < 0) file.release();
  return fd;
}

/** DMABUF_REVOKE: takes one away, or gives it back; whoever mapped it loses it either way. */
export function revokeDmaBuf(command: Command): number {
  const file = command.context.process.files.get(command.s32(REVOKE.dmabuf_fd));
  if (file === undefined) return -ERRNO.EBADF;
  if (!(file instanceof DmaBufFile)) return -ERRNO.EINVAL;
  if (!(file instanceof TestDmaBuf)) return -ERRNO.EOPNOTSUPP;
  file.setRevoked(command.get(REVOKE.revoked) !== 0);
  file.invalidate();
  return 0;
}
