// Calls of everything that an object has, found by looking at it, with hostile values: what they throw must say what is
// wrong, and nothing may be left when all has been closed.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { DISGUISES, Hostile, VALUES, type Victims } from './hostile-values.js';

/** A call, by numbers that are taken modulo what there is. */
export interface Call {
  readonly object: number;
  readonly disguise: number;
  readonly member: number;
  readonly values: readonly number[];
}

const number = fc.nat(1 << 20);
const call: fc.Arbitrary<Call> = fc.record({
  object: number,
  // The receiver is what it seems in most calls.
  disguise: fc.oneof({ weight: 8, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: number }),
  member: number,
  values: fc.array(number, { maxLength: 3 }),
});
export const calls: fc.Arbitrary<readonly Call[]> = fc.array(call, { minLength: 1, maxLength: 30 });

/** Ends, the ones that end others first. */
const ENDS = ['abort', 'return', 'unmap', 'free', 'disconnect', 'close', 'destroy'];

function pick<T>(all: readonly T[], at: number): T {
  const picked = all[at % all.length];
  assert(picked !== undefined);
  return picked;
}

/** Names of all that an object of the library has beyond what any object has. */
function membersOf(object: object): (string | symbol)[] {
  const names = new Set<string | symbol>();
  for (let at: object | null = object; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const name of Reflect.ownKeys(at)) names.add(name);
  }
  names.delete('constructor');
  return [...names];
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

/** Whether it is of a class that is not JavaScript's own. */
function isOfLibrary(value: unknown): value is object {
  if (!isObject(value) || Array.isArray(value) || ArrayBuffer.isView(value)) return false;
  const name: unknown = Object.getPrototypeOf(value)?.constructor?.name;
  return typeof name === 'string' && !(name in globalThis);
}

/** What an argument was, told without looking at it too closely. */
function sketch(value: unknown): string {
  if (typeof value === 'bigint') return `${value}`.slice(0, 30);
  if (!isObject(value) && typeof value !== 'function') return String(value);
  try {
    return `${Object.prototype.toString.call(value)} {${Object.keys(value)}}`.slice(0, 60);
  } catch {
    return 'a trap';
  }
}

/** Errors that say what is wrong: with a code, or by who made them. */
function isClear(error: unknown, isReceiver: boolean): boolean {
  if (error instanceof Hostile) return true;
  if (error instanceof AggregateError) return error.errors.every((one) => isClear(one, isReceiver));
  if (!(error instanceof Error)) return false;
  if (typeof (error as { code?: unknown }).code === 'string') return true;
  // A method that is called on something else is told so by JavaScript, as is what a caller's own objects do when looked at.
  const isOfArgument = /on a proxy that has been revoked$|on incompatible receiver/.test(error.message);
  return error instanceof TypeError && (!isReceiver || isOfArgument);
}

/** One run: the objects that it begins with, those it comes by, and what is under way. */
export class Attack implements Victims {
  readonly pool: object[];
  readonly unclear: unknown[] = [];
  /** What was called, for whoever looks for the reason. */
  readonly told: string[] = [];
  readonly #pending: Promise<unknown>[] = [];
  #depth = 0;

  constructor(roots: readonly object[]) {
    this.pool = [...roots];
  }

  readonly meddle = (): void => {
    // One ends the next.
    if (++this.#depth < 3) this.#end(pick(this.pool, this.#depth * 7), ENDS);
    this.#depth--;
  };

  make({ object, disguise, member, values }: Call): void {
    const real = pick(this.pool, object);
    const receiver = pick(DISGUISES, disguise)(real);
    const name = pick(membersOf(real), member);
    const args = values.map((value) => this.#value(value));
    this.told.push(`${real.constructor.name}.${String(name)}(${args.map((value) => sketch(value))})`);
    this.#run(`${real.constructor.name}.${String(name)}`, disguise === 0, () => {
      const found: unknown = Reflect.get(real, name, receiver);
      return typeof found === 'function' ? Reflect.apply(found, receiver, args) : found;
    });
  }

  /** Closes everything, and waits until nothing is under way. */
  async end(): Promise<void> {
    // What waits ends by the first; what is at work, and keeps things busy, has ended before the second.
    this.#endAll();
    await Promise.all(this.#pending);
    this.#endAll();
    await Promise.all(this.#pending);
  }

  #endAll(): void {
    for (const object of [...this.pool].reverse()) this.#end(object, ENDS);
  }

  #value(number: number): unknown {
    const [kind, at] = [number % 4, Math.floor(number / 4)];
    if (kind > 0) return pick(VALUES, at)(this);
    return pick(DISGUISES, at)(pick(this.pool, Math.floor(at / DISGUISES.length)));
  }

  #end(object: object, names: readonly string[]): void {
    for (const name of names) {
      this.#run(`${name} at the end`, true, () => {
        const end: unknown = Reflect.get(object, name);
        return typeof end === 'function' ? Reflect.apply(end, object, []) : undefined;
      });
    }
  }

  #run(what: string, isReceiver: boolean, work: () => unknown): void {
    const judge = (error: unknown) => {
      if (!isClear(error, isReceiver)) this.unclear.push([what, error]);
    };
    try {
      const result = work();
      if (result instanceof Promise) this.#pending.push(result.then((value) => this.#keep(value), judge));
      else this.#keep(result);
    } catch (error) {
      judge(error);
    }
  }

  #keep(value: unknown): void {
    if (isOfLibrary(value) && !this.pool.includes(value)) this.pool.push(value);
    else if (isObject(value) && Symbol.asyncIterator in value) this.pool.push(value);
  }
}
