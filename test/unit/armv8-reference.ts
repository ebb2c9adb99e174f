// The walk of Armv8-A's stage 1 once more, in bigints and as plain as can be (Arm DDI 0487, D8): what the walker is held to.
import type { Regime } from '../../lib/emulated/hardware/armv8/regime.js';

export type Outcome =
  | { readonly ended: 'translation' | 'addressSize' | 'access'; readonly level: number }
  | { readonly ended: 'fetch'; readonly level: number; readonly address: bigint }
  | {
      readonly ended: 'done';
      readonly level: number;
      /** Where the leaf's first byte is translated to, and bytes. */
      readonly output: bigint;
      readonly length: bigint;
      readonly unprivileged: string;
      readonly privileged: string;
      readonly global: boolean;
    };

/** The bits last .. first of a value. */
function field(value: bigint, last: number, first: number): bigint {
  return (value >> BigInt(first)) & ((1n << BigInt(last - first + 1)) - 1n);
}
function bit(value: bigint, at: number): boolean {
  return field(value, at, at) === 1n;
}

/** The first bit of an address that a level's index is made of. */
const INDEX_AT = {
  12: [39, 30, 21, 12],
  14: [47, 36, 25, 14],
  16: [55, 42, 29, 16],
} as const;
/** Levels with blocks. */
const BLOCKS = { 12: [1, 2], 14: [2], 16: [2] } as const;

function inRange({ inputBits, topByteIgnored }: Regime, va: bigint, high: boolean): boolean {
  const top = topByteIgnored ? 55 : 63;
  for (let at = inputBits; at <= top; at++) if (bit(va, at) !== high) return false;
  return true;
}

/** The address field of a descriptor. */
function addressOf(word: bigint, { granule, outputBits }: Regime): bigint {
  const top = granule === 16 && outputBits === 52 ? field(word, 15, 12) << 48n : 0n;
  return top | (field(word, 47, granule) << BigInt(granule));
}

export function referenceWalk(
  regime: Regime,
  va: bigint,
  high: boolean,
  read: (ipa: bigint) => bigint | undefined,
): Outcome {
  const { granule, inputBits, outputBits } = regime;
  const limit = 1n << BigInt(outputBits);
  if (!inRange(regime, va, high)) return { ended: 'translation', level: 0 };
  if (BigInt(regime.table) >= limit) return { ended: 'addressSize', level: 0 };
  let level = INDEX_AT[granule].findIndex((at) => at < inputBits);
  if (level < 0) level = 3;
  let last = inputBits - 1;
  let table = BigInt(regime.table);
  table -= table % (8n << BigInt(Math.max(0, inputBits - (INDEX_AT[granule][level] ?? 0))));
  let readOnly = false;
  let privilegedOnly = false;
  for (; ; level++) {
    const at = INDEX_AT[granule][level] ?? 0;
    const address = table + 8n * (last >= at ? field(va, last, at) : 0n);
    const word = read(address);
    if (word === undefined) return { ended: 'fetch', level, address };
    const isBlock = level < 3 && !bit(word, 1);
    const large = granule === 16 && outputBits === 52 && level === 1;
    if (!bit(word, 0)) return { ended: 'translation', level };
    if (isBlock && !large && !BLOCKS[granule].some((blocks) => blocks === level))
      return { ended: 'translation', level };
    if (level === 3 && !bit(word, 1)) return { ended: 'translation', level };
    const output = addressOf(word, regime);
    if (output >= limit) return { ended: 'addressSize', level };
    if (level < 3 && !isBlock) {
      table = output;
      privilegedOnly ||= regime.hierarchical && bit(word, 61);
      readOnly ||= regime.hierarchical && bit(word, 62);
      last = at - 1;
      continue;
    }
    if (!bit(word, 10) && regime.accessFlagFaults) return { ended: 'access', level };
    readOnly ||= bit(word, 7);
    privilegedOnly ||= !bit(word, 6);
    const length = 1n << BigInt(at);
    const rights = readOnly ? 'r' : 'rw';
    const unprivileged = privilegedOnly ? '' : rights;
    const global = !bit(word, 11);
    return {
      ended: 'done',
      level,
      output: output - (output % length),
      length,
      unprivileged,
      privileged: rights,
      global,
    };
  }
}
