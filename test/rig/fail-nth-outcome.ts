// What an operation of the library may answer when an allocation of the kernel failed in it.
import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import { IommufdError } from '../../lib/index.js';
import { errnoName } from '../../lib/uapi/index.js';
import type { Failed, FailureKind } from './fail-nth.js';

/** What the points answer that iommufd has for failures (main.c, pages.c, io_pagetable.c). */
const POINTS = ['ENOENT', 'EFAULT', 'EINVAL', 'ENOMEM'];

/** Where Linux itself says something else than ENOMEM when memory is short. */
const OTHERS: readonly { readonly syscall: string; readonly code: string; readonly why: string }[] = [
  { syscall: 'memfd_create', code: 'ENOSPC', why: 'mm/shmem.c: no inode can be had' },
  {
    syscall: 'VFIO_DEVICE_SET_IRQS',
    code: 'ENOSPC',
    why: 'pci/msi: what a domain of interrupts refuses is a lack of room',
  },
  {
    syscall: 'VFIO_DEVICE_GET_GFX_DMABUF',
    code: 'EINVAL',
    why: 'samples/vfio-mdev/mbochs.c: a buffer could not be made',
  },
];

export function told({ kinds, call, result }: Failed): string {
  if (typeof result !== 'number') return `${kinds.join()} in ${call}, which answered ${inspect(result, { depth: 0 })}`;
  return `${kinds.join()} in ${call}, which answered ${result < 0 ? errnoName(result) : result}`;
}

function codesOf(kind: FailureKind, syscall: string): readonly string[] {
  if (kind === 'fail_iommufd') return POINTS;
  return ['ENOMEM', ...OTHERS.filter((other) => other.syscall === syscall).map(({ code }) => code)];
}

/** The library's own error, with all that it says of refusals, and the code that the kernel's failure has. */
export function checkError(what: string, { kinds }: Failed, error: unknown): void {
  assert(error instanceof IommufdError, `${what}: ${inspect(error)}`);
  const codes = kinds.flatMap((kind) => codesOf(kind, error.syscall));
  assert(codes.includes(error.code), `${what}: ${error.message}`);
  assert(error.message.startsWith(`${error.syscall}: ${error.code}, `) && error.errno < 0, error.message);
}

/** Whether a value is nothing but data: no object of the library, whose ids and fds are its own. */
function isData(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return typeof value === 'string' || typeof value === 'boolean';
  if (Array.isArray(value)) return value.length > 0 && value.every(isPlain);
  return Object.getPrototypeOf(value) === Object.prototype && Object.values(value).every(isPlain);
}
function isPlain(value: unknown): boolean {
  return typeof value !== 'object' || value === null || isData(value) || (Array.isArray(value) && value.length === 0);
}

/** What was answered in spite of a failure is what is answered without one. */
export function checkResult(what: string, value: unknown, expected: unknown): void {
  if (isData(expected)) assert.deepEqual(value, expected, `${what}, and it worked all the same`);
}
