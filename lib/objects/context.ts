// What every object of one iommufd shares: the host's seam, the fd, and the list of what is alive. Only this folder
// sees it: the classes keep it private, since the seam carries raw pointers.
import { destroyed, UsageError } from '../host/errors.js';
import type { Seam } from '../host/seam.js';
import type { EventSource } from './event-reader.js';
import type { KernelObject } from './kernel-object.js';
import type { MappingTable } from './mappings.js';

/** What outlives the Iommufd object if it is collected without close: enough to give everything back. */
export class ContextResources {
  /** Event fds; they hold objects of the iommufd, so they go first. */
  readonly eventSources = new Set<EventSource>();
  /** What the kernel may remember addresses of. */
  readonly mappings = new Set<MappingTable>();
  constructor(
    readonly seam: Seam,
    readonly fd: number,
    readonly owned: boolean,
  ) {}

  /** Closes event fds and, where it is ours, the iommufd. Memory is let go after that: nothing can pin it any more. */
  release(): void {
    for (const source of this.eventSources) source.close();
    this.eventSources.clear();
    if (!this.owned) return;
    this.seam.close(this.fd);
    for (const table of this.mappings) table.releaseAll();
    this.mappings.clear();
  }
}

export class Context {
  #closed = false;
  #pending = 0;
  #idle: (() => void)[] = [];
  /** Everything alive, in the order of its making. */
  readonly objects = new Set<KernelObject>();
  readonly resources: ContextResources;
  readonly seam: Seam;
  readonly fd: number;

  constructor(seam: Seam, fd: number, owned: boolean) {
    this.seam = seam;
    this.fd = fd;
    this.resources = new ContextResources(seam, fd, owned);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Throws unless the iommufd is open. */
  check(): void {
    if (this.#closed) throw destroyed('this iommufd');
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
    this.#closed = true;
  }
}
