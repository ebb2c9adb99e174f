// Who writes a transcript: every call is made, and then told with its answer.
import type { Region, Seam, Watch } from '../host/seam.js';
import { FollowedMemory, type FollowLimit } from './memory.js';
import { Names } from './names.js';
import type { Call, Side } from './side.js';
import { type Line, resultText } from './transcript.js';

export class RecordingSide implements Side {
  readonly names = new Names();
  readonly #inner: Seam;
  readonly #write: (line: Line) => void;
  readonly #memory: FollowedMemory;

  constructor(inner: Seam, limit: FollowLimit, write: (line: Line) => void) {
    this.#inner = inner;
    this.#write = write;
    this.#memory = new FollowedMemory(limit, (bytes, offset) => this.names.physicalIn(bytes, offset));
  }

  #note(line: Line): void {
    const memory = this.#memory.changes();
    this.#write(memory === undefined ? line : { ...line, memory });
  }

  exchange<T>(asked: Line, { perform, tell }: Call<T>): T {
    const before = this.#memory.changes();
    const line = before === undefined ? asked : { ...asked, before };
    let result: T;
    try {
      result = perform(this.#inner);
    } catch (error) {
      this.#note({ ...line, throws: thrown(error) });
      throw error;
    }
    this.#note({ ...line, ...tell(result) });
    return result;
  }

  exchangeLater(asked: Line, { perform, tell }: Call<number | Promise<number>>): Promise<number> {
    const job = this.names.next('job');
    const line = { ...asked, job };
    const done = this.exchange<number | Promise<number>>(line, { perform, tell: () => ({}), apply: () => 0 });
    return Promise.resolve(done).then((result) => {
      this.#note({ event: 'done', job, ...tell(result) });
      return result;
    });
  }

  watch(asked: Line, fd: number, onReadable: () => void): Watch | number {
    const watch = this.names.next('watch');
    const tellAndCall = () => {
      this.#note({ event: 'readable', watch });
      onReadable();
    };
    return this.exchange<Watch | number>(asked, {
      perform: (inner) => inner.watch(fd, tellAndCall),
      tell: (made) => ({ result: typeof made === 'number' ? resultText(made) : watch }),
      apply: () => 0,
    });
  }

  follow(name: string, region: Region, isForeign: boolean): void {
    this.#memory.follow(name, region, isForeign);
  }
  forget(name: string): void {
    this.#memory.forget(name);
  }
  place(): never {
    throw new Error('only a replay has memory of its own');
  }
}

/** What a host threw: misuse, or registers that did not answer. */
function thrown(error: unknown): Line {
  if (!(error instanceof Error)) return { name: 'Error', message: String(error) };
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  return { name: error.name, message: error.message, ...code };
}
