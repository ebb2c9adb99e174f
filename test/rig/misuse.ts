// Wrong arguments: what is wrong with each kind of value, and the proof that the kernel was not asked.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { CallTrace } from '../../lib/index.js';

export const WRONG_TYPE = 'ERR_INVALID_ARG_TYPE';
export const OUT_OF_RANGE = 'ERR_OUT_OF_RANGE';
export const UNKNOWN_OPTION = 'ERR_UNKNOWN_OPTION';

export type MisuseCode = typeof WRONG_TYPE | typeof OUT_OF_RANGE | typeof UNKNOWN_OPTION;
/** A bad value and what it is called. */
export type BadValue = readonly [value: unknown, code: MisuseCode];

const types = (...values: unknown[]): BadValue[] => values.map((value) => [value, WRONG_TYPE]);
const ranges = (...values: unknown[]): BadValue[] => values.map((value) => [value, OUT_OF_RANGE]);

/** For a 64-bit number. */
export const BAD_U64 = [
  ...types('1', null, {}, true),
  ...ranges(-1, 1.5, Number.NaN, 2 ** 53, Number.POSITIVE_INFINITY, -1n, 1n << 64n),
];
/** For a size of something that this process holds. */
export const BAD_SIZE = [...types('1', null, {}, true), ...ranges(-1, 1.5, Number.NaN, 2 ** 53, -1n, 1n << 53n)];
/** For a 32-bit number. */
export const BAD_U32 = [...types('1', null, {}, true, 1n), ...ranges(-1, 1.5, Number.NaN, 2 ** 32)];
/** For a kind of hardware, by name or number. */
export const BAD_KIND = [
  ...types(null, {}, true, 1n),
  ...ranges('', 'tegra241', 'toString', '__proto__', -1, 1.5, 2 ** 32),
];
export const BAD_BYTES = types(
  'x',
  null,
  [1, 2],
  new ArrayBuffer(8),
  new Uint16Array(4),
  new DataView(new ArrayBuffer(8)),
);
export const BAD_BOOLEAN = types(0, 1, 'true', null, {});
export const BAD_OBJECT = types(null, 'x', 5, true, () => undefined);
/** For an object of a class of this package. */
export const BAD_INSTANCE = types(undefined, null, {}, 'x', 5);

/** Runs work and answers the calls that were made meanwhile. */
export function callsOf(work: () => void): CallTrace[] {
  const calls: CallTrace[] = [];
  const note = (message: unknown): void => {
    calls.push(message as CallTrace);
  };
  subscribe('iommufd:call', note);
  try {
    work();
  } finally {
    unsubscribe('iommufd:call', note);
  }
  return calls;
}

/** Asserts that each bad value is refused with its code and the argument's name, and the kernel not asked. */
export function assertMisuse(name: string, bad: readonly BadValue[], call: (value: never) => unknown): void {
  for (const [value, code] of bad) {
    const calls = callsOf(() => {
      assert.throws(
        () => call(value as never),
        (error) => {
          assert(error instanceof Error);
          const what = `${name} ${String(value)}: ${error.stack}`;
          assert.equal((error as { code?: unknown }).code, code, what);
          assert.equal(error.name, code === OUT_OF_RANGE ? 'RangeError' : 'TypeError', what);
          assert(error.message.includes(name), what);
          return true;
        },
      );
    });
    assert.deepEqual(calls, [], `${name} ${String(value)}`);
  }
}

/** Asserts that an option that is not known is refused by name. */
export function assertUnknown(option: string, call: (options: never) => unknown, rest: object = {}): void {
  assertMisuse(option, [[{ ...rest, [option]: 1 }, UNKNOWN_OPTION]], call);
}
