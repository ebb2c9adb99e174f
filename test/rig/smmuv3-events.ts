// Event records of an SMMUv3 in all of their bits (SMMUv3 manual, IHI 0070, 7.3), with the guest's own StreamID.
import assert from 'node:assert/strict';
import type { Vevent } from '../../lib/index.js';

export const EVENT = {
  badSte: 0x04,
  streamDisabled: 0x06,
  badSubstream: 0x08,
  badContext: 0x0a,
  translation: 0x10,
  addressSize: 0x11,
  access: 0x12,
  permission: 0x13,
} as const;
export type EventName = keyof typeof EVENT;

export interface ExpectedEvent {
  readonly event: EventName;
  readonly streamId: number;
  readonly substream?: number;
  /** Of a fault of translation: what was accessed. */
  readonly iova?: bigint;
  readonly access?: 'read' | 'write';
}

/** The record has a SubstreamID. */
const SSV = 1n << 11n;
const READ = 1n << 35n;
/** CLASS: what was accessed caused it, not a table or a descriptor. */
const CLASS_INPUT = 2n << 40n;

/** The words of a record. */
export function recordOf({ event, streamId, substream, iova, access }: ExpectedEvent): readonly bigint[] {
  const ssid = substream === undefined ? 0n : SSV | (BigInt(substream) << 12n);
  const first = BigInt(EVENT[event]) | ssid | (BigInt(streamId) << 32n);
  if (iova === undefined) return [first, 0n, 0n, 0n];
  return [first, CLASS_INPUT | (access === 'read' ? READ : 0n), iova, 0n];
}

const hex = (words: readonly bigint[]) => words.map((word) => word.toString(16).padStart(16, '0'));

/** Asserts that an event is this one, with this number. */
export function assertEvent(told: Vevent | undefined, sequence: number, expected: ExpectedEvent): void {
  assert(told !== undefined, `no event came: ${JSON.stringify(expected.event)} was to`);
  assert(told.type === 'event', `events were lost: ${told.type}`);
  const { event } = told;
  assert(event.kind === 'arm-smmuv3', `an event of ${event.kind}`);
  assert.deepEqual([told.sequence, ...hex(event.record)], [sequence, ...hex(recordOf(expected))]);
}
