// Memory that the controller reaches, given out page by page.
import type { DmaMemory, Host, Ioas } from 'iommufd';

/** NVMe's page: this driver tells the controller 4 KiB. */
export const PAGE_SIZE = 4096;

/** One page or more, in one piece for the controller. */
export class Page {
  readonly #memory: DmaMemory;
  readonly #offset: number;

  constructor(
    memory: DmaMemory,
    offset: number,
    /** Where the controller finds it. */
    readonly iova: bigint,
  ) {
    this.#memory = memory;
    this.#offset = offset;
  }

  read(offset: number, length: number): Uint8Array {
    return this.#memory.read(this.#offset + offset, length);
  }
  write(offset: number, bytes: Uint8Array): void {
    this.#memory.write(this.#offset + offset, bytes);
  }
}

export class Pages {
  readonly #memory: DmaMemory;
  readonly #iova: bigint;
  #used = 0;

  /** Maps this many pages, at IOVAs that the kernel chooses. */
  constructor(host: Host, ioas: Ioas, count: number) {
    this.#memory = host.allocateMemory(count * PAGE_SIZE);
    this.#iova = ioas.map(this.#memory);
  }

  take(count = 1): Page {
    const offset = this.#used;
    this.#used += count * PAGE_SIZE;
    return new Page(this.#memory, offset, this.#iova + BigInt(offset));
  }

  free(): void {
    this.#memory.free();
  }
}
