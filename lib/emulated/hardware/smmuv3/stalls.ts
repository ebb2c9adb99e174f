// Accesses that wait for the fault they met to be mended (SMMUv3 manual, IHI 0070, 3.12.2): each has a tag, by which CMD_RESUME
// ends its wait.
import { STALL_MAX } from './identification.js';

/** No access waits, or can wait. */
export const NO_STALL = -1;

interface Stall {
  readonly stream: number;
  /** Whether to try again, once that was said. */
  answer: boolean | undefined;
  resolve: ((retry: boolean) => void) | undefined;
}

export class Stalls {
  readonly #stalls = new Map<number, Stall>();

  /** An access of a stream is to wait: its tag, or NO_STALL where there are as many as can be. */
  add(stream: number): number {
    for (let tag = 0; tag < STALL_MAX; tag++) {
      if (this.#stalls.has(tag)) continue;
      this.#stalls.set(tag, { stream, answer: undefined, resolve: undefined });
      return tag;
    }
    return NO_STALL;
  }

  /** Resolves when the wait ends: true where the access is to be tried again. Asked once for each tag. */
  waitFor(tag: number): Promise<boolean> {
    const stall = this.#stalls.get(tag);
    if (stall === undefined) return Promise.resolve(false);
    if (stall.answer !== undefined) {
      this.#stalls.delete(tag);
      return Promise.resolve(stall.answer);
    }
    return new Promise((resolve) => {
      stall.resolve = resolve;
    });
  }

  /** Ends a wait; a tag that is not of this stream's is ignored. */
  resume(stream: number, tag: number, retry: boolean): void {
    const stall = this.#stalls.get(tag);
    if (stall !== undefined && stall.stream === stream) this.#end(tag, stall, retry);
  }

  /** Ends all waits of a stream: what waits is refused. */
  terminate(stream: number): void {
    for (const [tag, stall] of this.#stalls) if (stall.stream === stream) this.#end(tag, stall, false);
  }

  #end(tag: number, stall: Stall, retry: boolean): void {
    // The first answer counts: the wait may be over before anybody asked for it.
    if (stall.answer !== undefined) return;
    stall.answer = retry;
    if (stall.resolve === undefined) return;
    this.#stalls.delete(tag);
    stall.resolve(retry);
  }
}
