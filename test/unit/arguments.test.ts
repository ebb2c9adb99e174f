// Argument checks: every refusal has a code and names the argument.
import assert from 'node:assert/strict';
import {
  checkOptions,
  checkSignal,
  oneOf,
  toBoolean,
  toBytes,
  toFd,
  toSize,
  toU32,
  toU64,
  U64_MAX,
} from '../../lib/host/arguments.js';
import { codeOf } from './stage.js';

const TYPE = 'ERR_INVALID_ARG_TYPE';
const RANGE = 'ERR_OUT_OF_RANGE';

/** What a caller without types may pass. */
function untyped<T>(value: unknown): T {
  return value as T;
}

describe('arguments', () => {
  it('takes a u64 as bigint or safe integer, and gives bigint', () => {
    assert.equal(toU64(0, 'x'), 0n);
    assert.equal(toU64(Number.MAX_SAFE_INTEGER, 'x'), 0x1f_ffff_ffff_ffffn);
    assert.equal(toU64(U64_MAX, 'x'), 0xffff_ffff_ffff_ffffn);
  });

  for (const [value, code] of [
    [-1n, RANGE],
    [U64_MAX + 1n, RANGE],
    [-1, RANGE],
    [0.5, RANGE],
    [2 ** 53, RANGE],
    [Number.NaN, RANGE],
    [Number.POSITIVE_INFINITY, RANGE],
    ['1', TYPE],
    [null, TYPE],
    [undefined, TYPE],
    [{}, TYPE],
  ] as const) {
    it(`refuses ${String(value)} (${typeof value}) as a u64 with ${code}`, () => {
      assert.equal(
        codeOf(() => toU64(untyped(value), 'x')),
        code,
      );
    });
  }

  it('takes sizes of what this process holds up to 2^53 - 1, and gives numbers', () => {
    assert.equal(toSize(0x1f_ffff_ffff_ffffn, 'x'), Number.MAX_SAFE_INTEGER);
    assert.equal(toSize(7, 'x'), 7);
    for (const value of [2n ** 53n, -1n, -1, 1.5]) {
      assert.equal(
        codeOf(() => toSize(value, 'x')),
        RANGE,
        String(value),
      );
    }
    assert.equal(
      codeOf(() => toSize(untyped('5'), 'x')),
      TYPE,
    );
  });

  it('takes a u32 to its last value', () => {
    assert.equal(toU32(0xffff_ffff, 'x'), 0xffff_ffff);
    for (const value of [2 ** 32, -1, 0.1, Number.NaN]) {
      assert.equal(
        codeOf(() => toU32(value, 'x')),
        RANGE,
        String(value),
      );
    }
    assert.equal(
      codeOf(() => toU32(untyped(1n), 'x')),
      TYPE,
    );
  });

  it('takes an fd as far as an int goes', () => {
    assert.equal(toFd(0x7fff_ffff, 'fd'), 0x7fff_ffff);
    assert.equal(
      codeOf(() => toFd(0x8000_0000, 'fd')),
      RANGE,
    );
    assert.equal(
      codeOf(() => toFd(-1, 'fd')),
      RANGE,
    );
    assert.equal(
      codeOf(() => toFd(untyped('3'), 'fd')),
      TYPE,
    );
  });

  it('takes no stand-in for a boolean', () => {
    assert.equal(toBoolean(undefined, 'x', true), true);
    assert.equal(toBoolean(false, 'x', true), false);
    for (const value of [0, 1, 'true', null]) {
      assert.equal(
        codeOf(() => toBoolean(untyped(value), 'x', false)),
        TYPE,
      );
    }
  });

  it('takes nothing for bytes that only looks like them', () => {
    for (const value of [Object.create(Uint8Array.prototype), new Proxy(new Uint8Array(1), {})]) {
      assert.equal(
        codeOf(() => toBytes(value, 'x')),
        TYPE,
      );
    }
  });

  it('takes a Buffer for bytes, and no other view or array', () => {
    const buffer = Buffer.from([1, 2]);
    const bytes = toBytes(buffer, 'x');
    buffer.fill(0);
    assert.deepEqual([...bytes], [1, 2], 'a copy');
    for (const value of [[1], new Uint16Array(1), new ArrayBuffer(1), 'ab']) {
      assert.equal(
        codeOf(() => toBytes(untyped(value), 'x')),
        TYPE,
      );
    }
  });

  it('names a misspelt option and what there is instead', () => {
    assert.throws(() => checkOptions({ iovaa: 1n }, ['iova', 'length']), {
      name: 'TypeError',
      code: 'ERR_UNKNOWN_OPTION',
      message: 'options has no "iovaa"; it takes iova, length',
    });
    checkOptions({ iova: undefined }, ['iova']);
    for (const value of [undefined, null, 3, 'text']) {
      assert.equal(
        codeOf(() => checkOptions(untyped(value), ['iova'])),
        TYPE,
      );
    }
  });

  it('says which names an argument may be', () => {
    assert.equal(oneOf('a', ['a', 'b'], 'x'), 'a');
    assert.throws(() => oneOf(untyped<'a'>('c'), ['a'], 'x'), { code: RANGE, message: 'x must be one of a, not "c"' });
    assert.equal(
      codeOf(() => oneOf(untyped<'a'>(1), ['a'], 'x')),
      TYPE,
    );
  });

  it('throws an aborted signal by its own reason', () => {
    const reason = new Error('enough');
    assert.throws(() => checkSignal(AbortSignal.abort(reason)), reason);
    checkSignal(undefined);
    checkSignal(new AbortController().signal);
    assert.equal(
      codeOf(() => checkSignal(untyped({ aborted: true }))),
      TYPE,
    );
  });
});
