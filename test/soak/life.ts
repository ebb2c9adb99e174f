// A machine with VMMs that do what comes to mind: what there is of it, and one operation after the other.
import assert from 'node:assert/strict';
import type { EmulatedHost, MachineName } from '../../lib/emulated-host.js';
import type { DmaMemory } from '../../lib/index.js';
import {
  type Device,
  type Iommufd,
  IommufdError,
  type KernelObject,
  UsageError,
  type VfioDevice,
} from '../../lib/index.js';
import type { Host } from '../../lib/unsafe.js';
import { markedRam, PAGE, Places, type Ram } from './places.js';
import type { World } from './world.js';

/** Pages of the memory that VMMs take. */
const RAM_PAGES = 256;

/** What Linux answers, and what the library says, to calls that come at a wrong time. */
const LINUX =
  /^(E2BIG|EACCES|EADDRINUSE|EAGAIN|EBUSY|EEXIST|EFAULT|EINVAL|EIO|EMFILE|ENODEV|ENOENT|ENOMEM|ENOSPC|ENOTTY)$/;
const MORE = /^(ENXIO|EOPNOTSUPP|EPERM|EDEADLK|EDEADLOCK|EOVERFLOW)$/;
const LIBRARY = /^ERR_IOMMUFD_(BUSY|DESTROYED|UNAVAILABLE|FOREIGN_CONTEXT|BORROWED)$/;

export function isExpected(error: unknown): boolean {
  if (error instanceof IommufdError) return LINUX.test(error.code) || MORE.test(error.code);
  return error instanceof UsageError && LIBRARY.test(error.code);
}

/** Numbers from a seed: a failing run can be repeated. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }
}

/** What a VMM does. */
export type Operation = (life: Life) => unknown;

export class Life {
  readonly world: World;
  readonly before: unknown;
  readonly places = new Places();
  readonly iommufds: Iommufd[] = [];
  readonly nics: VfioDevice[] = [];
  readonly rams: Ram[] = [];
  /** What waits for an answer, or for a device to be closed. */
  readonly waits = new Map<Promise<unknown>, string>();
  /** Devices that were asked for, until they are given back. */
  readonly asked = new Set<string>();
  /**
   * Devices whose attaching was refused last: Intel's driver blocks a device first, and leaves it so (intel/iommu.c:
   * intel_iommu_attach_device), though it counts as attached to what it was attached to before.
   */
  readonly blocked = new WeakSet<Device>();
  /** Whether an allocation was told to fail. In every second life none is. */
  failed = false;
  readonly failing: boolean;
  /** DMA that arrived, and how much of it by a guest's tables. */
  dmas = 0;
  nested = 0;
  #serial = 0;

  constructor(
    make: (random: Random) => World,
    readonly random: Random,
  ) {
    this.failing = random.chance(50);
    this.world = make(random);
    this.before = this.world.inspect();
  }

  get machine(): MachineName {
    return this.world.machine;
  }
  get host(): Host {
    return this.world.host;
  }
  /** The emulated host: what needs one is drawn on emulated machines only. */
  get emulated(): EmulatedHost {
    assert(this.world.emulated !== undefined);
    return this.world.emulated;
  }
  /** The name of one of the devices. */
  address(): string {
    const name = this.random.pick(this.world.addresses);
    assert(name !== undefined);
    return name;
  }

  ram(pages = RAM_PAGES): Ram {
    const made = markedRam(this.host.allocateMemory(pages * PAGE), ++this.#serial);
    this.rams.push(made);
    return made;
  }
  someRam(): DmaMemory | undefined {
    return this.aRam()?.memory;
  }
  aRam(): Ram | undefined {
    return this.random.pick(this.rams.filter(({ memory }) => !memory.freed));
  }
  iommufd(): Iommufd | undefined {
    return this.random.pick(this.iommufds.filter(({ closed }) => !closed));
  }
  nic(): VfioDevice | undefined {
    return this.random.pick(this.openNics());
  }
  openNics(): VfioDevice[] {
    return this.nics.filter((nic) => nic.toJSON().closed !== true);
  }
  /** A bound device. */
  device(): Device | undefined {
    return this.random.pick(this.all('device')) as Device | undefined;
  }
  /** One of the objects of a kind, on any iommufd or on this one. */
  object<T extends KernelObject>(type: T['type'], iommufd?: Iommufd): T | undefined {
    return this.random.pick(this.all(type, iommufd)) as T | undefined;
  }
  all(type: KernelObject['type'], iommufd?: Iommufd): KernelObject[] {
    const from = iommufd === undefined ? this.iommufds.filter(({ closed }) => !closed) : [iommufd];
    return from.flatMap(({ objects }) => objects.filter((object) => object.type === type));
  }

  /** Something that ends later. What it throws must be to be expected. */
  wait(what: string, promise: Promise<unknown>): void {
    const settled = promise.then(
      () => undefined,
      (error: unknown) => {
        if (!isExpected(error)) throw error;
      },
    );
    this.waits.set(settled, what);
    const done = () => this.waits.delete(settled);
    settled.then(done, () => undefined);
  }

  /** All goes, in any order; then the machine is as it was. */
  async end(): Promise<void> {
    this.world.emulated?.failAllocation(-1);
    const closers: (() => void)[] = [
      ...this.openNics().map((nic) => () => nic[Symbol.dispose]()),
      ...this.iommufds.map((iommufd) => () => iommufd.close()),
      ...this.rams.map(
        ({ memory }) =>
          () =>
            memory.free(),
      ),
    ];
    while (closers.length > 0) {
      const [close] = closers.splice(this.random.below(closers.length), 1);
      close?.();
      if (this.random.chance(30)) await turn();
    }
    for (let i = 0; i < 50 && this.waits.size > 0; i++) await turn();
    assert.deepEqual([...this.waits.values()], [], 'something waits for ever');
    for (const address of this.asked) this.emulated.returnDevice(address);
    assert.deepEqual(this.world.inspect(), this.before);
  }
}

export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
