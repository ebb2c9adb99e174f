// An open /dev/iommu: the root of all objects.
import { checkOptions, oneOf, toFd, toList, toU32, toU64, type U64 } from '../host/arguments.js';
import { IommufdError, invalidType, UsageError } from '../host/errors.js';
import { checkMade, noteMade } from '../host/made.js';
import { defaultHost, Host, hostSeam } from '../host-object.js';
import * as uapi from '../uapi/iommufd.js';
import type { Ioctl } from '../uapi/layout.js';
import { call, refusal } from './call.js';
import { Context, type ContextResources } from './context.js';
import { Device } from './device.js';
import { allocFaultQueue, type FaultQueue } from './fault-queue.js';
import { drawGraph } from './graph.js';
import { abandonAll, type Handover, type HandoverOptions, handOver } from './handover.js';
import { Ioas, knownIoas, mistrust, noteMappings } from './ioas.js';
import type { KernelObject } from './kernel-object.js';
import { VfioCompat } from './vfio-compat.js';

export interface IommufdOptions {
  /** The node; '/dev/iommu' if left out. */
  readonly path?: string;
}

export interface AdoptOptions {
  /** The host it belongs to; `openHost()` if left out. */
  readonly host?: Host;
  /** `owned` (default): closed with the object. `borrowed`: it stays open, and whoever gave it closes it. */
  readonly ownership?: 'owned' | 'borrowed';
}

export interface AdoptIoasOptions {
  /** What is mapped in it, lengths in bytes. */
  readonly mappings?: Iterable<{ readonly iova: U64; readonly length: U64 }>;
}

/** Who pays for pinned memory: the user (all his processes together), or each process. */
export type RlimitMode = 'user' | 'process';

/** One ioctl, and whether this kernel has it. */
export interface IoctlSupport {
  readonly name: string;
  /** The Linux release that brought it. */
  readonly since: string;
  readonly supported: boolean;
}

const O_RDWR = 2;
const ENOTTY = -25;

let contextOf: (iommufd: Iommufd) => Context;

const collected = new FinalizationRegistry<ContextResources>((resources) => {
  const note = resources.owned ? 'its fd was closed' : 'its fd stays open';
  process.emitWarning(`an Iommufd was collected without close(): ${note}`, { code: 'IOMMUFD_COLLECTED' });
  resources.release();
});

/** An open /dev/iommu. Closing it closes and destroys everything that was made from it. */
export class Iommufd {
  /** The host it was opened on. */
  readonly host: Host;
  /** The old VFIO container interface's address space on this iommufd. */
  readonly vfioCompat: VfioCompat;
  readonly #context: Context;

  static {
    contextOf = (iommufd) => iommufd.#context;
  }

  /** Not for callers: use `Iommufd.open`, `Iommufd.fromFd` or `host.openIommufd`. */
  constructor(host: Host, context: Context) {
    this.host = host;
    this.#context = context;
    this.vfioCompat = new VfioCompat(this, context);
    collected.register(this, context.resources, this);
    noteMade(this);
  }

  /**
   * Opens /dev/iommu on this machine's host: short for `openHost().openIommufd()`.
   * @throws IommufdError EACCES (no permission), UsageError ERR_IOMMUFD_NO_HOST (there is none)
   */
  static open(options: IommufdOptions = {}): Iommufd {
    return defaultHost().openIommufd(options);
  }

  /**
   * An iommufd that somebody else opened: a launcher with the privilege to, or a process before a live update. Since others
   * may map and unmap with the same file, memory that is mapped by its address (anonymous memory, and all of it before
   * Linux 6.13) stays reserved to the end of the process.
   * @throws IommufdError EBADF (not open), ENOTTY (not an iommufd)
   */
  static fromFd(fd: number, options: AdoptOptions = {}): Iommufd {
    checkOptions(options, ['host', 'ownership']);
    const host = options.host ?? defaultHost();
    checkMade(host, Host, 'host', 'a Host');
    const number = toFd(fd, 'fd');
    const owned = oneOf(options.ownership ?? 'owned', ['owned', 'borrowed'], 'ownership') === 'owned';
    const seam = hostSeam(host);
    if (owned) {
      const rc = seam.own(number);
      if (rc < 0) throw new IommufdError('fcntl', rc, { fd });
    }
    const rc = probe({ seam, fd: number }, uapi.IOMMU_DESTROY);
    if (rc < 0) {
      if (owned) seam.disown(number);
      throw new IommufdError('IOMMU_DESTROY', rc, { fd }, 'is it an iommufd?');
    }
    const context = new Context(seam, number, owned);
    context.resources.fileIsKnown();
    return new Iommufd(host, context);
  }

  /** The fd, for a VMM that must hand it on (to KVM, to a device process). Owned by this object unless borrowed. */
  get fd(): number {
    this.#context.check();
    return this.#context.fd;
  }

  /** Whether `close` was called. */
  get closed(): boolean {
    return this.#context.closed;
  }

  /** Everything alive that this process made or adopted, in the order of its making. */
  get objects(): readonly KernelObject[] {
    return [...this.#context.objects];
  }

  /** A new I/O address space (IOMMU_IOAS_ALLOC, Linux 6.2). */
  allocIoas(): Ioas {
    this.#context.check();
    const { out_ioas_id: id } = call(this.#context, uapi.IOMMU_IOAS_ALLOC, {});
    // One that was adopted before it was there, or whose id somebody else destroyed, is this one from now on.
    const known = knownIoas(this.#context, id);
    return known === undefined ? new Ioas(this, this.#context, id) : mistrust(known);
  }

  /** A queue for page requests of devices (IOMMU_FAULT_QUEUE_ALLOC, Linux 6.11). */
  allocFaultQueue(): FaultQueue {
    this.#context.check();
    return allocFaultQueue(this, this.#context);
  }

  /** A device that somebody else bound to this iommufd, by its id; whoever bound it attaches and unbinds it. */
  adoptDevice(id: number): Device {
    this.#context.check();
    return new Device(this, this.#context, toU32(id, 'id'), undefined);
  }

  /**
   * An address space made by somebody else on this iommufd, by its id; one that is known here is answered as it is.
   * @param options.mappings what is mapped in it. Dirty bitmaps need it: the kernel stops at the first hole without
   * saying so. Where it is left out, ask for dirty bitmaps only over ranges that are mapped from end to end
   */
  adoptIoas(id: number, options: AdoptIoasOptions = {}): Ioas {
    const number = toU32(id, 'id');
    checkOptions(options, ['mappings']);
    const { mappings } = options;
    const list = mappings === undefined ? undefined : toList(mappings, 'mappings', '{ iova, length }', mapping);
    this.#context.check();
    const known = knownIoas(this.#context, number);
    if (known !== undefined) return known;
    const ioas = new Ioas(this, this.#context, number, list === undefined ? 'unknown' : 'known');
    if (list !== undefined) noteMappings(ioas, list);
    return ioas;
  }

  /** Who pays for pinned memory, 'user' at first (IOMMU_OPTION_RLIMIT_MODE, Linux 6.2). */
  get rlimitMode(): RlimitMode {
    this.#context.check();
    return this.#rlimitMode('IOMMU_OPTION_OP_GET', 0n) === 0n ? 'user' : 'process';
  }
  /** @throws IommufdError EPERM (without CAP_SYS_RESOURCE), EBUSY (once any object exists) */
  set rlimitMode(mode: RlimitMode) {
    this.#context.check();
    const value = oneOf(mode, ['user', 'process'], 'rlimitMode') === 'process' ? 1n : 0n;
    this.#rlimitMode('IOMMU_OPTION_OP_SET', value);
  }

  /**
   * Takes over the pinned memory of all mappings, after a live update put this process in the place of another
   * (IOMMU_IOAS_CHANGE_PROCESS, Linux 6.13).
   * @throws IommufdError EINVAL (a mapping was made by address, not by file), ENOMEM (RLIMIT_MEMLOCK)
   */
  changeProcess(): void {
    this.#context.check();
    call(this.#context, uapi.IOMMU_IOAS_CHANGE_PROCESS, {});
  }

  /**
   * Begins a live update: what another process needs to go on with all there is here, devices and mappings included, while
   * DMA goes on. It starts with `host.adoptIommufd(state, fds)` and `changeProcess()`. Until `complete` or `abort` nothing
   * here asks the kernel: calls throw ERR_IOMMUFD_BUSY. What devices raise meanwhile is not lost: interrupts count in the
   * eventfds that are connected now, and the other process connects its own.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE (something cannot be handed over: a mapping that is not of a file, events
   * that were read and not delivered, a borrowed device; Linux before 6.13), ERR_IOMMUFD_BUSY (work is on the thread
   * pool); nothing has changed then
   */
  handOver(options: HandoverOptions = {}): Handover {
    this.#context.check();
    // Before Linux 6.13 memory is mapped by its address in this process: another one could not go on with that.
    if (probe(this.#context, uapi.IOMMU_IOAS_MAP_FILE) !== 0) {
      const cause = refusal(this.#context, uapi.IOMMU_IOAS_MAP_FILE, ENOTTY, {});
      const message = `mappings cannot be handed over without IOMMU_IOAS_MAP_FILE: ${cause.hint}`;
      throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', message, { cause });
    }
    return handOver(this.#context, options, () => giveUpIommufd(this));
  }

  /** Which ioctls this kernel has, and which Linux brought them. Nothing is changed by asking. */
  probe(): readonly IoctlSupport[] {
    this.#context.check();
    return uapi.iommufdIoctls.map((op) => ({
      name: op.name,
      since: op.since,
      supported: probe(this.#context, op) === 0,
    }));
  }

  /** The live objects as a tree: each under what it was made from. */
  drawGraph(): string {
    return drawGraph(this.objects);
  }

  /**
   * Destroys all that was made here, in the order the kernel needs, and closes the fd. Twice is fine.
   * @throws UsageError ERR_IOMMUFD_BUSY while work is on the thread pool: `closeAsync` waits for it. AggregateError of
   * what could not be destroyed (an fd shared with another process keeps it alive); the fd is closed all the same
   */
  close(): void {
    const context = this.#context;
    if (context.closed) return;
    context.check();
    context.checkIdle();
    const errors = disposeAll([...context.objects].reverse());
    // A listener to traces may have closed it meanwhile.
    if (context.closed) return;
    context.markClosed();
    collected.unregister(this);
    context.resources.release();
    if (errors.length > 0) {
      throw new AggregateError(errors, `the iommufd is closed, but ${errors.length} object(s) would not be destroyed`);
    }
  }

  /** As `close`, after all work on the thread pool is done. */
  async closeAsync(): Promise<void> {
    await this.#context.whenIdle();
    this.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
  [Symbol.asyncDispose](): Promise<void> {
    return this.closeAsync();
  }

  toJSON(): Record<string, unknown> {
    const { closed, objects } = this;
    return { type: 'Iommufd', host: this.host.kind, closed, objects: objects.map((object) => object.toJSON()) };
  }

  #rlimitMode(op: keyof typeof uapi.iommufd_option_ops.values, value: bigint): bigint {
    return call(this.#context, uapi.IOMMU_OPTION, {
      option_id: uapi.iommufd_option.values.IOMMU_OPTION_RLIMIT_MODE,
      op: uapi.iommufd_option_ops.values[op],
      object_id: 0,
      val64: value,
    }).val64;
  }
}

/**
 * Disposes of objects in this order, and again of those that would not go, as long as others did meanwhile: devices of a group
 * move together, so that one may hold a page table which it is not known to be attached to. Answers what went wrong at last.
 */
function disposeAll(objects: readonly KernelObject[]): unknown[] {
  let left = objects;
  for (;;) {
    const errors: unknown[] = [];
    const refused = left.filter((object) => {
      try {
        object[Symbol.dispose]();
        return false;
      } catch (error) {
        errors.push(error);
        return true;
      }
    });
    if (refused.length === 0 || refused.length === left.length) return errors;
    left = refused;
  }
}

/** A mapping that somebody else made, as it was told. */
function mapping(given: { readonly iova: U64; readonly length: U64 }, i: number) {
  if (typeof given !== 'object' || given === null) throw invalidType(`mappings[${i}]`, '{ iova, length }', given);
  const { iova, length } = given;
  return { iova: toU64(iova, `mappings[${i}].iova`), length: toU64(length, `mappings[${i}].length`) };
}

/** Another process goes on with it: gives up all there is here, undoing nothing; answers what went wrong. */
export function giveUpIommufd(iommufd: Iommufd): readonly unknown[] {
  collected.unregister(iommufd);
  return abandonAll(contextOf(iommufd));
}

/** The shared state behind an iommufd: for this package's own files. */
export function iommufdContext(iommufd: Iommufd): Context {
  return contextOf(iommufd);
}

/**
 * Whether a file has an ioctl: 0, or the errno that says it has not. A struct shorter than the shortest is refused with
 * EINVAL before anything is looked at, and an unknown number with ENOTTY before that (drivers/iommu/iommufd/main.c).
 */
function probe({ seam, fd }: Pick<Context, 'seam' | 'fd'>, op: Ioctl): number {
  const { arena } = seam;
  const mark = arena.mark();
  const at = arena.take(8);
  arena.u64[at >>> 3] = 4n;
  const result = seam.ioctl(fd, op.request, at);
  arena.release(mark);
  const EINVAL = -22;
  return result === EINVAL ? 0 : result === 0 ? ENOTTY : result;
}

/** `host.openIommufd`. */
export function openIommufd(host: Host, options: IommufdOptions): Iommufd {
  checkOptions(options, ['path']);
  const seam = hostSeam(host);
  const path = options.path ?? '/dev/iommu';
  const fd = seam.open(path, O_RDWR);
  if (fd < 0) throw new IommufdError('open', fd, { path });
  const rc = probe({ seam, fd }, uapi.IOMMU_DESTROY);
  if (rc < 0) {
    seam.close(fd);
    throw new IommufdError('IOMMU_DESTROY', rc, { path }, 'is it an iommufd?');
  }
  return new Iommufd(host, new Context(seam, fd, true));
}
