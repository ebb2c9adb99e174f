// Errors that people meet. A kernel refusal is an IommufdError; wrong arguments are TypeError and RangeError, thrown
// before the kernel is asked; use of something that is gone is a UsageError.
import { errnoMeaning, errnoName } from '../uapi/errno.js';
import { hintFor } from './hints.js';
import { tellUnsupported, type Unsupported, unsupported } from './unsupported.js';

/** Arguments of a refused call, by the names of the kernel's struct. */
export type CallArguments = Readonly<Record<string, unknown>>;

/** The kernel refused a call. */
export class IommufdError extends Error {
  override readonly name = 'IommufdError';
  /** The errno's name: 'EBUSY'. */
  readonly code: string;
  /** Negative, as Node's own errors have it: -16. */
  readonly errno: number;
  /** The ioctl or system call: 'IOMMU_DESTROY', 'mmap'. */
  readonly syscall: string;
  /** What was asked, by the names of the kernel's struct. */
  readonly args: CallArguments;
  /** What usually causes this, and what to do about it. */
  readonly hint: string | undefined;
  /** Set where the reason is known to be the kernel's age: what it lacks, and which Linux brought it. */
  readonly unsupported: Unsupported | undefined;

  /** `release`: what the kernel that refused says it is. */
  constructor(syscall: string, errno: number, args: CallArguments = {}, extra?: string, release = '') {
    const code = errnoName(-errno);
    const lacking = unsupported(release, { syscall, code, args });
    const hint = lacking === undefined ? hintFor(syscall, code) : tellUnsupported(lacking);
    const detail = describe(args);
    const parts = [`${syscall}: ${code}, ${errnoMeaning(-errno)}`];
    if (detail !== '') parts.push(`(${detail})`);
    if (extra !== undefined) parts.push(`- ${extra}`);
    super(parts.join(' ') + (hint === undefined ? '' : `\n  hint: ${hint}`));
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    this.args = args;
    this.hint = hint;
    this.unsupported = lacking;
  }

  toJSON(): Record<string, unknown> {
    const { name, code, errno, syscall, hint, unsupported: lacking, message } = this;
    return { name, code, errno, syscall, args: jsonSafe(this.args), hint, unsupported: lacking, message };
  }
}

/** Codes of errors that are the caller's own doing. */
export type UsageCode =
  /** The object, memory, mapping or host is gone: destroyed, freed, unmapped, closed. */
  | 'ERR_IOMMUFD_DESTROYED'
  /** Something of another host was passed in. */
  | 'ERR_IOMMUFD_FOREIGN_HOST'
  /** Something of another iommufd was passed in. */
  | 'ERR_IOMMUFD_FOREIGN_CONTEXT'
  /** Still in use by this process itself: an operation in flight, an iterator that runs. */
  | 'ERR_IOMMUFD_BUSY'
  /** What was asked for does not belong to the caller: a page table that the kernel made. */
  | 'ERR_IOMMUFD_BORROWED'
  /** This object has no such thing: a vIOMMU without MMIO. */
  | 'ERR_IOMMUFD_UNAVAILABLE'
  /** There is no /dev/iommu here. */
  | 'ERR_IOMMUFD_NO_HOST'
  /** A replay: no transcript, or the program does something else than what was recorded. */
  | 'ERR_IOMMUFD_REPLAY';

/** The caller's own doing, not the kernel's. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  constructor(
    readonly code: UsageCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

function withCode<E extends Error>(error: E, code: string): E {
  return Object.assign(error, { code });
}

export function invalidType(name: string, expected: string, value: unknown): TypeError {
  return withCode(new TypeError(`${name} must be ${expected}, not ${show(value)}`), 'ERR_INVALID_ARG_TYPE');
}

export function outOfRange(name: string, expected: string, value: unknown): RangeError {
  return withCode(new RangeError(`${name} must be ${expected}, not ${show(value)}`), 'ERR_OUT_OF_RANGE');
}

export function destroyed(what: string): UsageError {
  return new UsageError('ERR_IOMMUFD_DESTROYED', `${what} is gone: it cannot be used any more`);
}

/** How an argument is shown in messages: addresses and other large numbers in hex. */
export function show(value: unknown): string {
  try {
    return describeValue(value);
  } catch {
    // A getter or a proxy of the caller's: what is wrong with the argument is told all the same.
    return 'something that cannot be looked at';
  }
}

/** Digits of the largest number that is shown whole. */
const DIGITS = 40;

function describeValue(value: unknown, within = false): string {
  if (typeof value === 'bigint') return shorten(value > 255n ? `0x${value.toString(16)}` : value.toString());
  if (typeof value === 'string') return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}...` : value);
  if (typeof value === 'function') return value.name === '' ? 'a function' : `the function ${String(value.name)}`;
  if (value === null || typeof value !== 'object') return String(value);
  if (Array.isArray(value)) return within ? 'an array' : describeArray(value);
  return `an instance of ${String(value.constructor?.name ?? 'Object')}`;
}

function shorten(digits: string): string {
  return digits.length > DIGITS ? `${digits.slice(0, DIGITS)}...` : digits;
}

/** Its first elements; arrays within are not looked into, since they may lead back. */
function describeArray(array: readonly unknown[]): string {
  const elements = array.slice(0, 8).map((element) => describeValue(element, true));
  return `[${elements.join(', ')}${array.length > 8 ? ', ...' : ''}]`;
}

function describe(args: CallArguments): string {
  return Object.entries(args)
    .map(([key, value]) => `${key} ${show(value)}`)
    .join(', ');
}

/** JSON has no bigint: hex strings stand for them. */
export function jsonSafe(value: unknown): unknown {
  if (typeof value === 'bigint') return `0x${value.toString(16)}`;
  if (Array.isArray(value)) return value.map(jsonSafe);
  if (value !== null && typeof value === 'object') {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, jsonSafe(inner)]));
  }
  return value;
}
