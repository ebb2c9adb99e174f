// What devices write into memory passes no system call. So memory that was mapped for devices is compared with what it was
// before: at the start and the end of every call, and at every event. What changed is told there, by content: in `before` what
// changed since the line before, the program's own writes among it, since nobody can tell them apart; in `memory` what
// changed during the call, or by the event. A replay puts it there at the same points, and what is `before` a call one turn
// of the event loop after the line before, for programs that wait for memory by timers. One that polls memory
// without ever leaving its turn cannot be replayed.
import type { Region } from '../host/seam.js';
import { bytesText, type NameAt } from './bytes.js';
import type { Line } from './transcript.js';

const PAGE = 4096;
/** Changes that are closer are told as one. */
const GAP = 32;
/** Changes are told in whole words: addresses are some. */
const WORD = 8;

interface Followed {
  readonly name: string;
  readonly region: Region;
  readonly before: Buffer;
  now: Uint8Array;
}

export interface FollowLimit {
  /** Larger pieces than so many bytes are not followed: comparing takes time by the byte. */
  readonly followed: number;
  /** Hears of each that is not. */
  leaveOut(length: number): void;
}

export class FollowedMemory {
  readonly #limit: FollowLimit;
  readonly #nameAt: NameAt;
  readonly #followed = new Map<string, Followed>();

  constructor(limit: FollowLimit, nameAt: NameAt) {
    this.#limit = limit;
    this.#nameAt = nameAt;
  }

  /** From now on; of memory that came from elsewhere what it holds is told too. */
  follow(name: string, region: Region, isForeign: boolean): void {
    if (this.#followed.has(name) || !region.live) return;
    const { followed, leaveOut } = this.#limit;
    if (region.length > followed) {
      leaveOut(region.length);
      return;
    }
    const now = region.window(0, region.length);
    const before = isForeign ? Buffer.alloc(region.length) : Buffer.from(now);
    this.#followed.set(name, { name, region, before, now });
  }
  forget(name: string): void {
    this.#followed.delete(name);
  }

  /** What changed since this was asked last, by place. */
  changes(): Line | undefined {
    const found: Record<string, string> = {};
    for (const followed of this.#followed.values()) compare(followed, found, this.#nameAt);
    return Object.keys(found).length === 0 ? undefined : found;
  }
}

function compare(followed: Followed, found: Record<string, string>, nameAt: NameAt): void {
  const { name, region, before } = followed;
  if (!region.live) return;
  // Windows go when memory is freed while mappings are left; the memory is still there.
  if (followed.now.length === 0) followed.now = region.window(0, region.length);
  const { now } = followed;
  if (before.equals(now)) return;
  for (let page = 0; page < now.length; page += PAGE) {
    const fresh = now.subarray(page, page + PAGE);
    const old = before.subarray(page, page + PAGE);
    if (old.equals(fresh)) continue;
    for (const [start, end] of differences(old, fresh)) {
      found[`${name}+0x${(page + start).toString(16)}`] = bytesText(fresh.subarray(start, end), nameAt);
    }
    old.set(fresh);
  }
}

function differences(old: Uint8Array, fresh: Uint8Array): [number, number][] {
  const runs: [number, number][] = [];
  for (let i = 0; i < fresh.length; i++) {
    if (old[i] === fresh[i]) continue;
    const last = runs.at(-1);
    const start = i - (i % WORD);
    const end = Math.min(start + WORD, fresh.length);
    if (last !== undefined && start - last[1] < GAP) last[1] = Math.max(last[1], end);
    else runs.push([start, end]);
  }
  return runs;
}
