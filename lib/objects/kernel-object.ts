// What all objects of an iommufd have in common: an id, the things that keep each other alive, and an end.
import { destroyed, IommufdError, UsageError } from '../host/errors.js';
import { noteMade } from '../host/made.js';
import { IOMMU_DESTROY } from '../uapi/iommufd.js';
import { tryCall } from './call.js';
import type { Context } from './context.js';
import type { Iommufd } from './iommufd.js';

/** Something that keeps an object from being destroyed: an object made from it, an attached device, a live mmap. */
export interface Holder {
  describe(): string;
  /** Lets go; whatever holds the holder goes first. */
  release(): void;
}

/** What a kind of object does at its end; a kind leaves out what it has no need of. */
export interface Ending {
  /** Throws where the object must not be destroyed by its owner. */
  check?(): void;
  /** What must go before the kernel will let go: event fds. */
  before?(): void;
  /** In place of IOMMU_DESTROY: answers 0 or -errno. */
  inKernel?(): number;
  /** After the kernel has forgotten it. */
  after?(): void;
  /** In place of all that: another process goes on with it, so only what this process has of it goes. */
  abandon?(): void;
}

const ENOENT = -2;
/** The key of Node's `util.inspect` and console.log for an object's own idea of itself. */
const INSPECT = Symbol.for('nodejs.util.inspect.custom');

let idOfObject: (object: KernelObject) => number;
let contextOf: (object: KernelObject) => Context;
let holdersOf: (object: KernelObject) => Set<Holder>;
let isGone: (object: KernelObject) => boolean;
let use: (object: KernelObject, by: 1 | -1) => void;
let forget: (object: KernelObject) => void;
let abandonObject: (object: KernelObject) => void;
let isUsable: (object: KernelObject) => boolean;

export abstract class KernelObject implements Holder {
  /** The kernel's name for its kind: 'ioas', 'hwpt-paging', 'viommu', 'hw-queue'... */
  abstract readonly type: string;
  readonly #id: number;
  readonly #iommufd: Iommufd;
  readonly #context: Context;
  readonly #holds: readonly KernelObject[];
  readonly #holders = new Set<Holder>();
  readonly #ending: Ending;
  /** Calls on the thread pool that name its id. */
  #inFlight = 0;
  #state: 'alive' | 'going' | 'gone' = 'alive';

  static {
    idOfObject = (object) => object.#id;
    contextOf = (object) => object.#context;
    holdersOf = (object) => object.#holders;
    isGone = (object) => object.#state !== 'alive' || object.#context.closed;
    isUsable = (object) => object.#state === 'alive' && object.#context.usable;
    abandonObject = (object) => {
      try {
        object.#ending.abandon?.();
      } finally {
        object.#finish();
      }
    };
    use = (object, by) => {
      object.#inFlight += by;
    };
    forget = (object) => object.#finish();
  }

  /** `holds`: what it was made from, and what else it keeps alive. */
  protected constructor(
    iommufd: Iommufd,
    context: Context,
    id: number,
    holds: readonly KernelObject[],
    ending: Ending = {},
  ) {
    this.#id = id;
    this.#iommufd = iommufd;
    this.#context = context;
    this.#holds = holds;
    this.#ending = ending;
    for (const held of holds) held.#holders.add(this);
    context.objects.add(this);
    noteMade(this);
  }

  /** The kernel's id for it, unique within the iommufd. */
  get id(): number {
    return this.#id;
  }
  /** The iommufd it belongs to. */
  get iommufd(): Iommufd {
    return this.#iommufd;
  }
  /** Whether it is gone: destroyed, or its iommufd closed. */
  get destroyed(): boolean {
    return isGone(this);
  }

  /** What keeps it from being destroyed, as far as this process knows. */
  get heldBy(): readonly string[] {
    return [...this.#holders].map((holder) => holder.describe());
  }

  /** What it was made from, and what else it keeps alive. */
  get parents(): readonly KernelObject[] {
    return [...this.#holds];
  }

  describe(): string {
    return `${this.type} ${this.#id}`;
  }

  /**
   * Destroys the object (IOMMU_DESTROY). Twice is fine.
   * @throws IommufdError EBUSY while something holds it: the message names what this process knows of; ENOENT where
   * somebody else destroyed it; UsageError ERR_IOMMUFD_BUSY while a call on the thread pool uses it
   */
  destroy(): void {
    if (isGone(this)) return;
    this.#context.check();
    if (this.#inFlight > 0) {
      // The kernel would give its id to the next object, and the call would be about that.
      throw new UsageError(
        'ERR_IOMMUFD_BUSY',
        `${this.describe()} is used by an asynchronous operation: await it first`,
      );
    }
    this.#ending.check?.();
    this.#ending.before?.();
    // Its id may be another object's as soon as the kernel has forgotten it, and listeners to traces run before we know.
    this.#state = 'going';
    let result = 0;
    try {
      result = this.#ending.inKernel?.() ?? tryCall(this.#context, IOMMU_DESTROY, { id: this.#id }).result;
    } finally {
      if (this.#state === 'going') this.#state = 'alive';
    }
    if (result >= 0 || result === ENOENT) this.#finish();
    if (result < 0) {
      const holders = this.heldBy;
      const extra = holders.length > 0 ? `held by ${holders.join(', ')}` : undefined;
      throw new IommufdError('IOMMU_DESTROY', result, { id: this.#id, type: this.type }, extra);
    }
  }

  /** Destroys it after everything that holds it, newest first. */
  [Symbol.dispose](): void {
    if (this.destroyed) return;
    for (const holder of [...this.#holders].reverse()) holder.release();
    try {
      // A page table that the kernel made goes with its last device: it may be gone by now.
      this.destroy();
    } catch (error) {
      // Where somebody else destroyed it, all is as it should be.
      if (!this.destroyed) throw error;
    }
  }

  /** As a holder of its parents. */
  release(): void {
    this[Symbol.dispose]();
  }

  /** What console.log shows: also of what only looks like an object, such as a prototype or a proxy. */
  [INSPECT](): unknown {
    const isObject = #id in (this as object);
    return isObject ? this.toJSON() : `[no ${this.constructor.name}]`;
  }

  toJSON(): Record<string, unknown> {
    const { type, id, destroyed: gone, heldBy } = this;
    return { type, id, destroyed: gone, madeFrom: this.#holds.map((held) => held.describe()), heldBy };
  }

  /** Marks it gone; the kernel has forgotten it. */
  #finish(): void {
    if (this.#state === 'gone') return;
    this.#state = 'gone';
    this.#context.objects.delete(this);
    for (const held of this.#holds) held.#holders.delete(this);
    this.#holders.clear();
    this.#ending.after?.();
  }
}

/**
 * The id to ask the kernel about an object by. Not the property: a program may shadow that, and what the kernel is asked
 * about and what is kept for it must stay the same thing.
 */
export function idOf(object: KernelObject): number {
  return idOfObject(object);
}

/** The shared state behind an object: for this package's own files. */
export function context(object: KernelObject): Context {
  return contextOf(object);
}

/** Whether it is gone, or going: its id may be another object's. */
export function gone(object: KernelObject): boolean {
  return isGone(object);
}

/** Throws unless the object can be used. */
export function checkAlive(object: KernelObject): void {
  if (isUsable(object)) return;
  if (isGone(object)) throw destroyed(object.describe());
  contextOf(object).check();
}

/** Runs work on the thread pool that names these objects by their ids: until it is done they cannot be destroyed. */
export async function whileUsed<T>(objects: readonly KernelObject[], work: () => Promise<T>): Promise<T> {
  for (const object of objects) checkAlive(object);
  for (const object of objects) use(object, 1);
  try {
    return await work();
  } finally {
    for (const object of objects) use(object, -1);
  }
}

/** The kernel has forgotten the object: so does this process. */
export function forgetObject(object: KernelObject): void {
  forget(object);
}

/** Another process goes on with the object: it is gone here, and the kernel is not asked. */
export function abandon(object: KernelObject): void {
  abandonObject(object);
}

/** Throws unless `other` is alive and belongs to the same iommufd as `object`. */
export function checkSame(object: KernelObject, other: KernelObject, name: string): void {
  checkAlive(other);
  if (contextOf(object) === contextOf(other)) return;
  if (contextOf(object).seam !== contextOf(other).seam) {
    throw new UsageError('ERR_IOMMUFD_FOREIGN_HOST', `${name} (${other.describe()}) belongs to another host`);
  }
  throw new UsageError('ERR_IOMMUFD_FOREIGN_CONTEXT', `${name} (${other.describe()}) belongs to another iommufd`);
}

export function addHolder(object: KernelObject, holder: Holder): void {
  holdersOf(object).add(holder);
}

export function removeHolder(object: KernelObject, holder: Holder): void {
  holdersOf(object).delete(holder);
}

/** What holds an object: for the object graph. */
export function holders(object: KernelObject): readonly Holder[] {
  return [...holdersOf(object)];
}
