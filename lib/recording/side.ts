// The two sides of a transcript: who writes it down while a host answers, and who answers from it. The calls themselves are
// described once for both (transcript-seam.ts), so that they cannot drift apart.
import type { Region, Seam, Watch } from '../host/seam.js';
import type { Names } from './names.js';
import type { Line } from './transcript.js';

/** One call: how it is made, how its answer is told, and how a told answer is given. */
export interface Call<T> {
  perform(inner: Seam): T;
  tell(result: T): Line;
  apply(answer: Line): T;
}

export interface Side {
  readonly names: Names;
  exchange<T>(asked: Line, call: Call<T>): T;
  /** A call on the thread pool: its answer comes as an event of its own, by the name of the job. */
  exchangeLater(asked: Line, call: Call<number | Promise<number>>): Promise<number>;
  /** Where a file is watched. */
  watch(asked: Line, fd: number, onReadable: () => void): Watch | number;
  /** Memory that a device may reach from now on. */
  follow(name: string, region: Region, isForeign: boolean): void;
  forget(name: string): void;
  /** For a replay: memory and addresses of its own. */
  place(kind: 'memory' | 'block' | 'mmio', length: number, fd: number, from: number | undefined): Region;
}
