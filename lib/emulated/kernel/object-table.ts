// The ids of an iommufd: the lowest free one from 1 on, as the kernel's xarray gives them. An id is taken before its
// object can be found (so that a failure leaves nothing to find), and some stay taken after it.

/** Base of everything that has an id, those included that no caller ever learns of. */
export abstract class IommufdObject {
  id = 0;
  /** References; one is the table's own. An object that others refer to is not destroyed. */
  users = 1;
  /** What inspection calls it. */
  abstract readonly kind: string;
  /** Undoes all that creation did; the id is freed by the table. */
  abstract destroy(): void;
  /** Comes before the kernel itself destroys the object: lets go of what refers to it for its own sake only. */
  preDestroy(): void {}
}

/** An id whose object cannot be found: not yet, or no more. */
const TAKEN = Symbol('taken');

type Slot = IommufdObject | typeof TAKEN | undefined;

export type ObjectClass<T extends IommufdObject> = abstract new (...args: never[]) => T;

export class ObjectTable {
  /** By id; 0 is never given. */
  readonly #slots: Slot[] = [TAKEN];
  /** No id below this one is free. */
  #lowest = 1;

  /** Gives an object its id; it cannot be found until `publish`. */
  reserve(object: IommufdObject): void {
    let id = this.#lowest;
    while (this.#slots[id] !== undefined) id++;
    this.#slots[id] = TAKEN;
    this.#lowest = id + 1;
    object.id = id;
  }
  publish(object: IommufdObject): void {
    if (this.#slots[object.id] !== TAKEN) throw new Error(`id ${object.id} is not reserved`);
    this.#slots[object.id] = object;
  }
  /** Undoes `reserve`. */
  abort(object: IommufdObject): void {
    this.#free(object.id);
  }

  find(id: number): IommufdObject | undefined {
    const slot = this.#slots[id];
    return slot === TAKEN ? undefined : slot;
  }
  /** The object of this id and class. */
  get<T extends IommufdObject>(id: number, type: ObjectClass<T>): T | undefined {
    const object = this.#slots[id];
    return object instanceof type ? object : undefined;
  }

  /** Takes an object out that only the table refers to, and destroys it; false where others do. */
  remove(object: IommufdObject, options: { tombstone?: boolean } = {}): boolean {
    if (object.users !== 1) return false;
    object.users = 0;
    if (options.tombstone === true) this.#slots[object.id] = TAKEN;
    else this.#free(object.id);
    object.destroy();
    return true;
  }
  #free(id: number): void {
    this.#slots[id] = undefined;
    this.#lowest = Math.min(this.#lowest, id);
  }

  /** Whether every id is free. */
  get isEmpty(): boolean {
    return this.#slots.every((slot, id) => id === 0 || slot === undefined);
  }
  /** Everything that can be found, by id. */
  all(): IommufdObject[] {
    return this.#slots.filter((slot): slot is IommufdObject => slot !== undefined && slot !== TAKEN);
  }

  /** Closes: leaves first, again and again, since those let go of what they hang from. */
  destroyAll(): void {
    for (;;) {
      const leaves = this.all();
      if (leaves.length === 0) return;
      let destroyed = 0;
      for (const object of leaves) if (this.#slots[object.id] === object && this.remove(object)) destroyed++;
      if (destroyed === 0) throw new Error(`objects refer to each other: ${leaves.map(({ kind }) => kind).join(', ')}`);
    }
  }
}
