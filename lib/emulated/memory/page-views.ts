// Views of single physical pages, kept: a device's DMA copies page after page, and to make a view for each takes a quarter of
// the time that copying takes.

/** How many at most: a power of two. */
const KEPT = 4096;
const NO_FRAME = -1;

export class PageViews {
  /** A view's place is the lower bits of its page's number. */
  readonly #views: (Uint8Array<ArrayBuffer> | undefined)[] = new Array(KEPT).fill(undefined);
  readonly #frames = new Float64Array(KEPT).fill(NO_FRAME);

  /** Of a page; one that was detached has length 0. */
  find(frame: number): Uint8Array<ArrayBuffer> | undefined {
    const place = frame & (KEPT - 1);
    return this.#frames[place] === frame ? this.#views[place] : undefined;
  }

  keep(frame: number, view: Uint8Array<ArrayBuffer>): void {
    const place = frame & (KEPT - 1);
    this.#frames[place] = frame;
    this.#views[place] = view;
  }

  /** Pages from `first` on, and before `end`, are no more: nothing keeps their memory. */
  forget(first: number, end: number): void {
    for (let place = 0; place < KEPT; place++) {
      const frame = this.#frames[place] ?? NO_FRAME;
      if (frame < first || frame >= end) continue;
      this.#frames[place] = NO_FRAME;
      this.#views[place] = undefined;
    }
  }
}
