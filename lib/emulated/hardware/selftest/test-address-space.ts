// Test operations on address spaces themselves (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { Command } from '../../kernel/command.js';
import { Ioas } from '../../kernel/ioas.js';
import { test_add_reserved, test_memory_limit } from './uapi.js';

const RESERVED = test_add_reserved.at;
const U64_MAX = 2n ** 64n - 1n;
/** Bytes of scratch memory that describe one run of pages. */
const ONE_RUN = 12;

/** ADD_RESERVED: reserves IOVAs, for as long as the IOAS lives. */
export function addReserved(command: Command): number {
  const start = command.get64(RESERVED.start);
  const length = command.get64(RESERVED.length);
  if (length === 0n) return -ERRNO.EINVAL;
  const last = start + length - 1n;
  if (last > U64_MAX) return -ERRNO.EOVERFLOW;
  const ioas = command.context.objects.get(command.get(RESERVED.id), Ioas);
  return ioas === undefined ? -ERRNO.ENOENT : ioas.iopt.reserve(start, last, undefined);
}

/** SET_TEMP_MEMORY_LIMIT: how much is pinned at a time, which here makes no difference. */
export function setMemoryLimit(command: Command): number {
  return command.get(test_memory_limit.at.limit) < ONE_RUN ? -ERRNO.EINVAL : 0;
}
