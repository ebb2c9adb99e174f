// Argument checks, before the kernel is asked. 64-bit values are bigint or safe integer in, bigint out.
import { invalidType, outOfRange } from './errors.js';
import { isLikeMade } from './made.js';

/** A 64-bit value as callers may give it: an IOVA, an address, a length. */
export type U64 = bigint | number;

export const U64_MAX = 0xffff_ffff_ffff_ffffn;
const U32_MAX = 0xffff_ffff;

/** A u64 as bigint. */
export function toU64(value: U64, name: string): bigint {
  if (typeof value === 'bigint') {
    if (value < 0n || value > U64_MAX) throw outOfRange(name, 'between 0 and 2^64 - 1', value);
    return value;
  }
  if (typeof value !== 'number') throw invalidType(name, 'a bigint or a safe integer', value);
  if (!Number.isSafeInteger(value) || value < 0) {
    throw outOfRange(name, 'a bigint or a non-negative safe integer', value);
  }
  return BigInt(value);
}

/** A u64 that must be a safe integer here (a size or offset of something this process holds). */
export function toSize(value: U64, name: string): number {
  const number = typeof value === 'bigint' ? Number(value) : value;
  if (typeof number !== 'number') throw invalidType(name, 'a bigint or a safe integer', value);
  if (!Number.isSafeInteger(number) || number < 0) {
    throw outOfRange(name, 'a non-negative integer up to 2^53 - 1', value);
  }
  return number;
}

export function toU32(value: number, name: string): number {
  if (typeof value !== 'number') throw invalidType(name, 'a number', value);
  if (!Number.isInteger(value) || value < 0 || value > U32_MAX) {
    throw outOfRange(name, 'an integer between 0 and 2^32 - 1', value);
  }
  return value;
}

export function toFd(value: number, name: string): number {
  if (typeof value !== 'number') throw invalidType(name, 'a file descriptor', value);
  if (!Number.isInteger(value) || value < 0 || value > 0x7fff_ffff) throw outOfRange(name, 'a file descriptor', value);
  return value;
}

export function toBoolean(value: boolean | undefined, name: string, otherwise: boolean): boolean {
  if (value === undefined) return otherwise;
  if (typeof value !== 'boolean') throw invalidType(name, 'a boolean', value);
  return value;
}

/** What all typed arrays inherit. Asked by way of it an array tells what it is, not what it says. */
const TYPED_ARRAY: object = Object.getPrototypeOf(Uint8Array.prototype);

/** Whether it is a typed array of that kind, of whatever realm: test runners run programs in realms of their own. */
export function isTypedArray(value: unknown, kind: 'Uint8Array' | 'BigUint64Array'): boolean {
  return Reflect.get(TYPED_ARRAY, Symbol.toStringTag, value) === kind;
}

/** How many bytes it really has: a subclass may tell another length each time it is asked. */
export function lengthOfBytes(value: Uint8Array, name: string): number {
  if (!isTypedArray(value, 'Uint8Array')) throw invalidType(name, 'a Uint8Array', value);
  const length: number = Reflect.get(TYPED_ARRAY, 'length', value);
  if (length === 0) checkAttached(value, name);
  return length;
}

function checkAttached(value: Uint8Array, name: string): void {
  try {
    new Uint8Array(value);
  } catch {
    throw invalidType(name, 'a Uint8Array that has its bytes', 'one whose buffer was given away or cut short');
  }
}

/** A copy: the original may be detached meanwhile. */
export function toBytes(value: Uint8Array, name: string): Uint8Array {
  lengthOfBytes(value, name);
  return new Uint8Array(value);
}

/** What a caller's iterable yields, each made into what is needed, by its place. */
export function toList<T, U>(value: Iterable<T>, name: string, of: string, each: (item: T, at: number) => U): U[] {
  if (!isIterable(value)) throw invalidType(name, `an iterable of ${of}`, value);
  return Array.from(value, each);
}

/** Numbers are none of the things listed here: an array of them is refused also where it has lost its bytes, or never had any. */
function isIterable(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (ArrayBuffer.isView(value) || Object.prototype.isPrototypeOf.call(TYPED_ARRAY, value)) return false;
  return typeof Reflect.get(value, Symbol.iterator) === 'function';
}

/** An options object with no names but the known ones: a misspelling is an error, not a default. */
export function checkOptions(value: object, known: readonly string[], name = 'options'): void {
  if (typeof value !== 'object' || value === null) throw invalidType(name, 'an object', value);
  // Its accessors would be taken for options, and throw where it is a proxy or a copy.
  if (isLikeMade(value)) throw invalidType(name, `an object with ${known.join(', ')}`, value);
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) throw unknownOption(key, known, name);
  }
}

export function unknownOption(key: string, known: readonly string[], name = 'options'): TypeError {
  return Object.assign(new TypeError(`${name} has no ${JSON.stringify(key)}; it takes ${known.join(', ')}`), {
    code: 'ERR_UNKNOWN_OPTION',
  });
}

export function oneOf<T extends string>(value: T, allowed: readonly T[], name: string): T {
  if (typeof value !== 'string') throw invalidType(name, `one of ${allowed.join(', ')}`, value);
  if (!allowed.includes(value)) throw outOfRange(name, `one of ${allowed.join(', ')}`, value);
  return value;
}

export function checkCallback(value: unknown, name: string): void {
  if (value !== undefined && typeof value !== 'function') throw invalidType(name, 'a function', value);
}

export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  if (!(signal instanceof AbortSignal)) throw invalidType('signal', 'an AbortSignal', signal);
  signal.throwIfAborted();
}
