// What the seam's numbers may be, by the rules of the addon: a wrong type is a TypeError, a wrong value a RangeError. What
// passes can neither damage the machine nor come back as NaN.
import { invalidType, outOfRange } from '../../host/errors.js';

const SAFE = Number.MAX_SAFE_INTEGER;

export function checkInteger(value: number, name: string, least: number, most: number): void {
  if (typeof value !== 'number') throw invalidType(name, 'a number', value);
  const fits = Number.isInteger(value) && value >= least && value <= most;
  if (!fits) throw outOfRange(name, `an integer from ${least} to ${most}`, value);
}
/** Any int: what is not an fd is the kernel's to refuse. */
export function checkInt32(value: number, name: string): void {
  checkInteger(value, name, -(2 ** 31), 2 ** 31 - 1);
}
export function checkU32(value: number, name: string): void {
  checkInteger(value, name, 0, 2 ** 32 - 1);
}
/** An offset, or a position. */
export function checkSize(value: number, name: string): void {
  checkInteger(value, name, 0, SAFE);
}
/** Bytes in whole units, and not none. */
export function checkWholeSize(value: number, name: string, unit: number): void {
  checkInteger(value, name, 1, SAFE);
  if (value % unit !== 0) throw outOfRange(name, `a multiple of ${unit}`, value);
}
/** An offset and a length that lie within so many bytes. */
export function checkSpan(at: number, atName: string, length: number, size: number): void {
  checkInteger(at, atName, 0, size);
  checkInteger(length, 'length', 0, size - at);
}
export function checkString(value: string, name: string): void {
  if (typeof value !== 'string') throw invalidType(name, 'a string', value);
}
/** An ioctl's numbers. Where its struct lies is the kernel's to judge: an address without memory is EFAULT. */
export function checkIoctl(fd: number, request: number, value: number, name: string): void {
  checkInt32(fd, 'fd');
  checkU32(request, 'request');
  checkInteger(value, name, -SAFE, SAFE);
}
