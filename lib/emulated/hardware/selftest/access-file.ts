// An access as the mock hands it out (iommufd/selftest.c): a file that holds it, and the IOVAs pinned through it.
import type { Access } from '../../kernel/access.js';
import { OpenFile } from '../../kernel/file.js';
import type { Ioas } from '../../kernel/ioas.js';

/** IOVAs that were pinned together. */
interface PinnedItem {
  readonly id: number;
  readonly iova: bigint;
  readonly length: bigint;
}

export class AccessFile extends OpenFile {
  /** Set once there is one: the file comes first. */
  access: Access | undefined;
  /** What the access is attached to. */
  ioas: Ioas | undefined;
  readonly #items: PinnedItem[] = [];
  #nextId = 0;

  constructor(readonly pins: boolean) {
    super();
  }

  /** Remembers what was pinned; answers its number. */
  add(iova: bigint, length: bigint): number {
    const id = this.#nextId++;
    this.#items.push({ id, iova, length });
    return id;
  }
  /** Gives pinned pages back; false where there are none of this number. */
  remove(id: number): boolean {
    const index = this.#items.findIndex((item) => item.id === id);
    return index >= 0 && this.#removeAt(index);
  }
  #removeAt(index: number): boolean {
    for (const { iova, length } of this.#items.splice(index, 1)) this.access?.unpinPages(iova, length);
    return true;
  }

  /** IOVAs are to be unmapped: what is pinned of them is given back. */
  unmap(iova: bigint, length: bigint): void {
    const last = iova + length - 1n;
    for (let index = this.#items.length - 1; index >= 0; index--) {
      const item = this.#items[index];
      if (item !== undefined && iova <= item.iova + item.length - 1n && item.iova <= last) this.#removeAt(index);
    }
  }

  protected override closed(): void {
    if (this.access === undefined) return;
    this.unmap(0n, 2n ** 64n);
    this.access.destroyUser();
  }
}
