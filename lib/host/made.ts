// Whether an object was made by a class of this package: `instanceof` believes a prototype, which a proxy, a copy or a forgery
// has too, and such a thing has none of the object's private parts.
import { invalidType } from './errors.js';

type Class<T> = abstract new (...given: never[]) => T;

const all = new WeakSet<object>();
const prototypes = new WeakSet<object>();

/** Said by the constructors of what callers pass to calls. */
export function noteMade(object: object): void {
  all.add(object);
  prototypes.add(Object.getPrototypeOf(object));
}

/** Whether it has the members of such an object, be it one itself, a proxy or a copy. */
export function isLikeMade(value: object): boolean {
  let at: object | null = value;
  while (at !== null && at !== Object.prototype && !prototypes.has(at)) at = Object.getPrototypeOf(at);
  return at !== null && at !== Object.prototype;
}

/** Whether it is an object of that class itself. */
export function isMade<T>(value: unknown, by: Class<T>): value is T {
  return all.has(value as object) && value instanceof by;
}

/** Throws unless it is one. `expected`: 'a Device'. */
export function checkMade<T>(value: unknown, by: Class<T>, name: string, expected: string): asserts value is T {
  if (isMade(value, by)) return;
  throw invalidType(name, looksLike(value, by) ? `${expected} itself, no proxy or copy of one` : expected, value);
}

function looksLike(value: unknown, by: Class<unknown>): boolean {
  try {
    return value instanceof by;
  } catch {
    // A proxy may throw whatever it likes when it is asked for its prototype.
    return false;
  }
}
