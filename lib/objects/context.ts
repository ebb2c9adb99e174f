// What every object of one iommufd shares: the host's seam, the fd, and the list of what is alive. Only this folder
// sees it: the classes keep it private, since the seam carries raw pointers.
import { U64_MAX } from '../host/arguments.js';
import { destroyed, UsageError } from '../host/errors.js';
import type { EventSource } from '../host/event-reader.js';
import type { Seam } from '../host/seam.js';
import { IOMMU_IOAS_UNMAP } from '../uapi/iommufd.js';
import { tryCall } from './call.js';
import type { Ioas } from './ioas.js';
import type { KernelObject } from './kernel-object.js';
import type { MappingTable } from './mappings.js';

/** What is open, by its host: several objects may have the same file. */
const open = new WeakMap<Seam, Set<ContextResources>>();

/** What outlives the Iommufd object if it is collected without close: enough to give everything back. */
export class ContextResources {
  /** Event fds; they hold objects of the iommufd, so they go first. */
  readonly eventSources = new Set<EventSource>();
  /** What the kernel may remember addresses of, and the id of the address space. */
  readonly mappings = new Map<MappingTable, number>();
  #released = false;
  /** Another object of this process, or another process, may have the same file. */
  #known = false;
  /** Another process goes on with what the iommufd has: nothing of that may be undone here. */
  shared = false;
  constructor(
    readonly seam: Seam,
    readonly fd: number,
    readonly owned: boolean,
  ) {
    const others = open.get(seam);
    if (others === undefined) open.set(seam, new Set([this]));
    else others.add(this);
  }

  /** A table of what is mapped in the address space of this id. */
  addTable(table: MappingTable, id: number): void {
    this.mappings.set(table, id);
    if (this.#known) table.keepAddresses();
  }

  /** From now on somebody else may have the file too: whoever has it here notes that. */
  fileIsKnown(): void {
    for (const one of open.get(this.seam) ?? []) if (one.fd === this.fd) one.#noteKnown();
  }
  #noteKnown(): void {
    this.#known = true;
    for (const table of this.mappings.keys()) table.keepAddresses();
  }

  /**
   * Closes event fds and, where it is ours, the iommufd. Another process may share it, so what is still mapped is
   * unmapped first; where that is refused, or the iommufd is not ours, the memory stays reserved for ever: the kernel may
   * yet pin it.
   */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    open.get(this.seam)?.delete(this);
    for (const source of this.eventSources) source.close();
    this.eventSources.clear();
    if (!this.owned) return;
    if (this.shared) {
      this.seam.close(this.fd);
      return;
    }
    const unmapped = [...this.mappings].filter(([, id]) => this.#unmapAll(id)).map(([table]) => table);
    this.seam.close(this.fd);
    for (const table of unmapped) table.releaseAll();
    this.mappings.clear();
  }

  #unmapAll(id: number): boolean {
    return tryCall(this, IOMMU_IOAS_UNMAP, { ioas_id: id, iova: 0n, length: U64_MAX }).result >= 0;
  }
}

export class Context {
  #state: 'open' | 'handing-over' | 'closed' = 'open';
  #pending = 0;
  #idle: (() => void)[] = [];
  /** Everything alive, in the order of its making. */
  readonly objects = new Set<KernelObject>();
  /** The address spaces among them: one object an id, since what an id has mapped must be known in one place. */
  readonly ioases = new Map<number, Ioas>();
  readonly resources: ContextResources;
  readonly seam: Seam;
  readonly fd: number;

  constructor(seam: Seam, fd: number, owned: boolean) {
    this.seam = seam;
    this.fd = fd;
    this.resources = new ContextResources(seam, fd, owned);
  }

  get closed(): boolean {
    return this.#state === 'closed';
  }
  /** Whether the kernel may be asked: not while another process is about to go on with all of it. */
  get usable(): boolean {
    return this.#state === 'open';
  }

  /** Throws unless the iommufd is open. */
  check(): void {
    if (this.usable) return;
    if (this.closed) throw destroyed('this iommufd');
    throw new UsageError('ERR_IOMMUFD_BUSY', 'this iommufd is being handed over: complete() or abort() that first');
  }

  /** Lets nothing ask the kernel any more, until it is `thaw`ed or closed. */
  freeze(): void {
    this.#state = 'handing-over';
  }
  thaw(): void {
    if (!this.closed) this.#state = 'open';
  }

  /** Runs work on the thread pool; `close` refuses while any is left. */
  async track<T>(work: () => Promise<T>): Promise<T> {
    this.check();
    this.#pending++;
    try {
      return await work();
    } finally {
      this.#pending--;
      if (this.#pending === 0) for (const done of this.#idle.splice(0)) done();
    }
  }

  /** Resolves when no work is left on the thread pool. */
  whenIdle(): Promise<void> {
    if (this.#pending === 0) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  checkIdle(): void {
    if (this.#pending === 0) return;
    throw new UsageError(
      'ERR_IOMMUFD_BUSY',
      `${this.#pending} asynchronous operation(s) are in flight: await them, or use closeAsync()`,
    );
  }

  markClosed(): void {
    this.#state = 'closed';
  }
}
