// An eventfd: a counter with a file descriptor. VFIO adds to it when a device interrupts, KVM injects an interrupt when it
// is added to (irqfd), and writes to it when a guest touches an address (ioeventfd).
import { toFd, toU32, toU64, type U64 } from './arguments.js';
import { destroyed, IommufdError, invalidType, outOfRange, UsageError } from './errors.js';
import { EventReader, EventSource, type ReadEventsOptions } from './event-reader.js';
import { isMade, noteMade } from './made.js';
import type { Seam } from './seam.js';

/** The counter, as read. */
const COUNTER_SIZE = 8;
/** The largest sum that a counter may come to. */
const MOST = 0xffff_ffff_ffff_fffen;

const collected = new FinalizationRegistry<{ source: EventSource; owner: Owner }>(({ source, owner }) => {
  if (owner === 'caller') {
    process.emitWarning('an Eventfd was collected without close()', { code: 'IOMMUFD_COLLECTED' });
  }
  source.close();
});

/** Who closes it: whoever made it, or the device whose interrupt it is. */
type Owner = 'caller' | 'device';

let seamOf: (eventfd: Eventfd) => Seam;
let fdOf: (eventfd: Eventfd) => number;

/** A counter that the kernel adds to, and a program waits for: made by `host.createEventfd`, owned by this object. */
export class Eventfd {
  readonly #source: EventSource;
  readonly #reader: EventReader<bigint>;
  readonly #what: string;

  static {
    seamOf = (eventfd) => eventfd.#source.seam;
    fdOf = (eventfd) => eventfd.#reader.fd;
  }

  /** Not for callers: use `host.createEventfd`. */
  constructor(source: EventSource, what: string, owner: Owner) {
    this.#source = source;
    this.#what = what;
    const parse = (view: DataView, at: number) => [view.getBigUint64(at, true)];
    this.#reader = new EventReader<bigint>(source, COUNTER_SIZE, what, parse, this);
    collected.register(this, { source, owner }, this);
    noteMade(this);
  }

  /** The file descriptor, non-blocking: for KVM's irqfd and ioeventfd, or another event loop. Owned by this object. */
  get fd(): number {
    return this.#reader.fd;
  }
  /** Whether it is closed. */
  get closed(): boolean {
    return !this.#source.open;
  }

  /**
   * Adds to the counter, as a device or KVM does.
   * @param count 1 to 2^64 - 2
   * @throws IommufdError EAGAIN (the counter would go beyond 2^64 - 2)
   */
  signal(count: U64 = 1n): void {
    const more = toU64(count, 'count');
    if (more < 1n || more > MOST) throw outOfRange('count', 'between 1 and 2^64 - 2', count);
    const { fd } = this.#reader;
    const { seam } = this.#source;
    const mark = seam.arena.mark();
    let result: number;
    try {
      const at = seam.arena.take(COUNTER_SIZE);
      seam.arena.view.setBigUint64(at, more, true);
      result = seam.write(fd, at, COUNTER_SIZE);
    } finally {
      seam.arena.release(mark);
    }
    if (result < 0) throw new IommufdError('write', result, { fd, count: more }, 'an eventfd counts up to 2^64 - 2');
  }

  /** What was counted since it was last read, without waiting; 0n for nothing. */
  drain(): bigint {
    return this.#reader.drain().reduce((sum, count) => sum + count, 0n);
  }

  /**
   * Waits until something was counted, and answers how much. Keeps the process alive unless `unref`'d.
   * @throws the signal's reason; UsageError ERR_IOMMUFD_BUSY while somebody reads it already, ERR_IOMMUFD_DESTROYED when it
   * is closed
   */
  async wait(options: ReadEventsOptions = {}): Promise<bigint> {
    const iterator = this.#reader.iterate(options);
    const { done, value } = await iterator.next();
    await iterator.return?.();
    if (done === true) throw destroyed(this.#what);
    return value;
  }

  /**
   * Waits again and again: `for await (const count of eventfd.read({ signal }))`. One iterator at a time; it ends when the
   * eventfd is closed; leaving it loses nothing. Keeps the process alive unless `unref`'d.
   */
  read(options: ReadEventsOptions = {}): AsyncIterableIterator<bigint> {
    return this.#reader.iterate(options);
  }
  [Symbol.asyncIterator](): AsyncIterableIterator<bigint> {
    return this.read();
  }

  /** Lets a wait keep the process alive, as it does at first. */
  ref(): void {
    this.#check();
    this.#reader.ref();
  }
  /** Lets the process end while a wait is under way. */
  unref(): void {
    this.#check();
    this.#reader.unref();
  }

  /** Closes it; who waits for it is told. What the kernel connected to it stays connected, to nothing. Twice is fine. */
  close(): void {
    if (this.closed) return;
    collected.unregister(this);
    this.#reader.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }

  toJSON(): Record<string, unknown> {
    return { type: 'Eventfd', fd: this.closed ? undefined : this.#source.fd, closed: this.closed };
  }

  #check(): void {
    if (this.closed) throw destroyed(this.#what);
  }
}

/** `host.createEventfd`. */
export function createEventfd(seam: Seam, initial: number): Eventfd {
  return make(seam, toU32(initial, 'initial'), 'this eventfd', 'caller');
}

/** One of a device's own, which is closed with it. */
export function deviceEventfd(seam: Seam, what: string): Eventfd {
  return make(seam, 0, what, 'device');
}

function make(seam: Seam, initial: number, what: string, owner: Owner): Eventfd {
  const fd = seam.createEventfd(initial);
  if (fd < 0) throw new IommufdError('eventfd', fd, { initial });
  return new Eventfd(new EventSource(seam, fd, 'when-waited-for'), what, owner);
}

/** Where calls take an eventfd: one of this library's, or the fd of one that was made elsewhere. */
export type EventfdLike = Eventfd | number;

/** Throws unless it is an Eventfd or may be the fd of one; the fd itself is asked for later. */
export function checkEventfd(value: EventfdLike, name: string): EventfdLike {
  if (isMade(value, Eventfd)) return value;
  if (typeof value !== 'number') throw invalidType(name, 'an Eventfd or a file descriptor', value);
  return toFd(value, name);
}

/** The fd to give the kernel. @throws UsageError ERR_IOMMUFD_DESTROYED, ERR_IOMMUFD_FOREIGN_HOST */
export function eventfdNumber(eventfd: EventfdLike, seam: Seam, name: string): number {
  if (typeof eventfd === 'number') return eventfd;
  if (seamOf(eventfd) !== seam) {
    throw new UsageError('ERR_IOMMUFD_FOREIGN_HOST', `${name} belongs to another host`);
  }
  return fdOf(eventfd);
}
