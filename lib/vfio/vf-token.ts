// The secret between the driver of a physical function and those of its virtual functions: a UUID.
import { toBytes } from '../host/arguments.js';
import { outOfRange } from '../host/errors.js';

const LENGTH = 16;
const TEXT = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** A token's 16 bytes, in the order that a UUID's text has, from those bytes or that text. */
export function toVfToken(value: Uint8Array | string, name: string): Uint8Array {
  if (typeof value === 'string') {
    if (!TEXT.test(value)) throw outOfRange(name, "a UUID ('83b8f4f2-509f-382f-3c1e-e6bfe0fa1001')", value);
    const digits = value.replaceAll('-', '');
    return Uint8Array.from({ length: LENGTH }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
  }
  const token = toBytes(value, name);
  if (token.length !== LENGTH) throw outOfRange(name, `${LENGTH} bytes`, token.length);
  return token;
}
