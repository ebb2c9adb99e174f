// An event reader on a stub seam.
import assert from 'node:assert/strict';
import { EventReader, EventSource } from '../../lib/host/event-reader.js';
import type { StubWatch } from './stub-parts.js';
import { StubSeam } from './stub-seam.js';

export interface Reading {
  readonly seam: StubSeam;
  readonly fd: number;
  readonly reader: EventReader<number>;
  readonly watch: StubWatch;
}

/** A reader whose events are the bytes read. */
export function reading(): Reading {
  const seam = new StubSeam();
  const fd = seam.makeFd(true);
  const reader = new EventReader<number>(new EventSource(seam, fd), 512, 'the queue', (view, at, length) =>
    Array.from({ length }, (_, i) => view.getUint8(at + i)),
  );
  const [watch] = seam.watches;
  assert(watch);
  return { seam, fd, reader, watch };
}

/** What a read gives. */
export const some = (...bytes: number[]): Uint8Array => Uint8Array.from(bytes);

export const DONE = { done: true, value: undefined };
