// What a program without types, or with ill will, may pass: each made anew, some with code that runs when it is looked at.
import { runInNewContext } from 'node:vm';

/** What hostile values themselves throw: nobody else's error. */
export class Hostile extends Error {}

/** What values may do to the objects that are under test. */
export interface Victims {
  /** Objects of the library. */
  readonly pool: readonly object[];
  /** Ends some of them, in the midst of a call. */
  meddle(): void;
}

type Make = (victims: Victims) => unknown;

function constants(...values: readonly unknown[]): Make[] {
  return values.map((value) => () => value);
}

const PRIMITIVES = constants(
  ...[undefined, null, true, false, '', 'x', '0000:01:00.0', '/dev/null\0x', '__proto__', 'toString', 'memfd'],
  ...[0, -0, 1, 2, 3, -1, 1.5, 8, 4096, 8192, 65536, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 + 2, 2 ** 63, 1e300],
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.MIN_VALUE],
  ...[0n, 1n, -1n, 4096n, 0x100_0000n, 1n << 52n, (1n << 64n) - 4096n, (1n << 64n) - 1n, 1n << 64n, 1n << 9000n],
  ...[Symbol('s'), Symbol.iterator],
);

function detached(): Uint8Array {
  const bytes = new Uint8Array(8);
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
  return bytes;
}

/** A view of a buffer that has shrunk since. */
function beyond(): unknown {
  return runInNewContext(
    'const b = new ArrayBuffer(16, { maxByteLength: 16 }); const u = new Uint8Array(b, 8, 8); b.resize(4); u',
  );
}

function lying<T extends new (length: number) => object>(Base: T, length: unknown): object {
  const array = new Base(8);
  for (const name of ['length', 'byteLength', 'byteOffset']) Object.defineProperty(array, name, { value: length });
  return array;
}

const BYTES: readonly Make[] = [
  ...[0, 1, 8, 16, 64, 4096].map((length) => () => new Uint8Array(length)),
  () => Buffer.alloc(16),
  detached,
  beyond,
  () => new Uint8Array(new SharedArrayBuffer(16)),
  () => lying(Uint8Array, 2 ** 40),
  () => lying(Uint8Array, Number.NaN),
  () => lying(BigUint64Array, -2),
  () => Object.create(Uint8Array.prototype),
  () => new Proxy(new Uint8Array(8), {}),
  () => runInNewContext('new Uint8Array(8)'),
  () => new BigUint64Array(2),
  () => new Float64Array(2),
  () => new DataView(new ArrayBuffer(8)),
  () => new ArrayBuffer(8),
];

function throwing(): never {
  throw new Hostile('mine');
}

function cyclic(): unknown[] {
  const array: unknown[] = [];
  array.push(array, { array });
  return array;
}

/** An array of that length without elements. */
function sparse(length: number): unknown[] {
  const array: unknown[] = [];
  array.length = length;
  return array;
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
}

const trap = new Proxy({}, { get: () => throwing });

const OBJECTS: readonly Make[] = [
  () => ({}),
  () => [],
  () => [0n, 1n],
  () => [3, 4, 5],
  cyclic,
  () => sparse(2 ** 32 - 1),
  revoked,
  () => new Proxy({}, trap),
  () => new Proxy([], trap),
  () => new Proxy(() => {}, trap),
  () => Object.create(null),
  () => new Map([[1, 2]]),
  () => Promise.resolve(1),
  () => () => {},
  () => throwing,
  () => class {},
  () => Object.defineProperty(() => {}, 'name', { value: Symbol('name') }),
  () => ({ constructor: { name: Symbol('name') } }),
  () => ({
    get constructor() {
      return throwing();
    },
  }),
  () => ({ constructor: null }),
  ({ meddle }) => ({ valueOf: meddle, toString: meddle, [Symbol.toPrimitive]: meddle, toJSON: meddle }),
  ({ meddle }) =>
    () =>
      meddle(),
  ({ meddle }) => new Proxy({}, { ownKeys: () => [String(meddle())] }),
  // biome-ignore lint/suspicious/noThenProperty: that is what is hostile about it
  () => ({ then: throwing }),
];

/** Options that some call takes, right ones too. */
const OPTIONS: readonly object[] = [
  ...[{ iova: 0x100_0000n }, { iova: 0x200_0000n, length: 4096 }, { length: 4096, writable: false }, { offset: 4096 }],
  ...[{ start: 0n, last: 0xfffn }, { iova: 0n, length: 65536n }, { backing: 'anonymous' }, { hugePageSize: 2 ** 21 }],
  ...[{ sourceIova: 0x100_0000n, length: 4096 }, { nestParent: true }, { dirtyTracking: true }, { pasid: 1 }],
  ...[{ virtId: 7n }, { depth: 4 }, { index: 1, iova: 0x100_0000n, length: 4096 }, { ste: [1n, 0n] }, { all: true }],
  ...[{ smmuv3: new BigUint64Array(2) }, { vtd: [{ all: true }] }, { entries: new Uint8Array(16), entryLength: 16 }],
  ...[{ path: 5 }, { memories: [null] }, { memories: 5 }, { ranges: [null] }, { ranges: 5 }, { kind: 5 }, { all: 5 }],
  ...[{ type: 'tegra241-cmdqv' }, { chunk: 4096 }, { ownership: 'borrowed' }, { trigger: [null] }, { count: 1 }],
];

function meddling(options: object, meddle: () => unknown): object {
  const result = {};
  for (const [key, value] of Object.entries(options)) {
    const get = () => {
      meddle();
      return value;
    };
    Object.defineProperty(result, key, { enumerable: true, get });
  }
  return result;
}

/** A signal of which a part is not what it should be. */
function evilSignal(name: string): AbortSignal {
  return Object.defineProperty(new AbortController().signal, name, { value: throwing });
}

function abortedLater(): AbortSignal {
  const controller = new AbortController();
  setImmediate(() => controller.abort(new Hostile('aborted')));
  return controller.signal;
}

const SIGNALS: readonly Make[] = [
  () => ({ signal: AbortSignal.abort(new Hostile('aborted')) }),
  () => ({ signal: abortedLater() }),
  () => ({ signal: Object.create(AbortSignal.prototype) }),
  () => ({ signal: new Proxy(new AbortController().signal, {}) }),
  () => ({ signal: evilSignal('addEventListener') }),
  () => ({ signal: evilSignal('throwIfAborted') }),
];

function anyOf<T>(all: readonly T[]): T | undefined {
  return all[Math.floor(all.length / 2)];
}

/** Every kind of value; those of the library itself come from `pickFrom`. */
export const VALUES: readonly Make[] = [
  ...PRIMITIVES,
  ...BYTES,
  ...OBJECTS,
  ...SIGNALS,
  ...OPTIONS.map((options) => () => options),
  ...OPTIONS.map(
    (options): Make =>
      ({ meddle }) =>
        meddling(options, meddle),
  ),
  ...OPTIONS.slice(0, 4).map((options) => () => Object.create(options)),
  ...OPTIONS.slice(0, 4).map((options) => () => meddling(options, throwing)),
  ({ pool }) => [anyOf(pool)],
];

/** Ways to pass an object of the library, or something that only looks like one. */
export const DISGUISES: readonly ((object: object) => object)[] = [
  (object) => object,
  (object) => object,
  (object) => new Proxy(object, {}),
  (object) => Object.create(object),
  (object) => Object.create(Object.getPrototypeOf(object)),
  (object) => ({ ...object }),
];
