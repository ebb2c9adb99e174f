// Live update, in the process that goes: what another needs to go on with an iommufd, and the end here without an end there.
import { checkOptions, toList } from '../host/arguments.js';
import { invalidType, UsageError } from '../host/errors.js';
import { checkMade } from '../host/made.js';
import { DmaMemory, heldRegion, holdMemory, type MemoryHold, memoryRegion, memorySeam } from '../host/memory.js';
import { kindOfFiles, type Region } from '../host/seam.js';
import type { Context } from './context.js';
import { describeObject, eventsLeft } from './describe.js';
import { type HandoverState, hex, type MappingState, type MemoryState, newState } from './handover-state.js';
import { Ioas, mappingsOf } from './ioas.js';
import { abandon } from './kernel-object.js';
import { CALLERS_FILE, type Mapping } from './mappings.js';

export interface HandoverOptions {
  /**
   * Memory that the other process should have, in this order (its `memories`): the guest's RAM. What is mapped beside it
   * follows by itself.
   */
  readonly memories?: Iterable<DmaMemory>;
}

/** How much of what cannot be handed over is named at once. */
const NAMED = 5;

/** The fds that go to the other process, each once. */
export class FdList {
  readonly fds: number[] = [];
  /** Answers the place of the fd in the list. */
  add(fd: number): number {
    return this.fds.push(fd) - 1;
  }
}

/** The memory that goes along: what was named, then what is mapped beside it. */
class MemoryList {
  readonly states: MemoryState[] = [];
  readonly holds: MemoryHold[] = [];
  readonly #places = new Map<Region, number>();
  constructor(readonly fds: FdList) {}

  add(region: Region, backing: MemoryState['backing'], hold: MemoryHold): number {
    const known = this.#places.get(region);
    if (known !== undefined) return known;
    this.holds.push(hold.share());
    const place = this.states.push({ fd: this.fds.add(region.fd), size: region.length, backing }) - 1;
    this.#places.set(region, place);
    return place;
  }
  release(): void {
    for (const hold of this.holds.splice(0)) hold.release();
  }
}

/** `iommufd.handOver()`: everything is frozen here until `complete` or `abort`. */
export class Handover {
  /** What the other process needs to know, beside the fds: send it as JSON. */
  readonly state: HandoverState;
  /** The fds it needs, in this order: for `stdio` of `child_process.spawn`, or a message with SCM_RIGHTS. */
  readonly fds: readonly number[];
  readonly #context: Context;
  readonly #memories: readonly DmaMemory[];
  readonly #list: MemoryList;
  readonly #giveUp: () => readonly unknown[];
  #status: 'pending' | 'completed' | 'aborted' = 'pending';

  /** Not for callers: use `iommufd.handOver()`. */
  constructor(ctx: Context, made: HandoverParts) {
    this.state = made.state;
    this.fds = Object.freeze([...made.fds]);
    this.#context = ctx;
    this.#memories = made.memories;
    this.#list = made.list;
    this.#giveUp = made.giveUp;
  }

  /** How it stands. */
  get status(): 'pending' | 'completed' | 'aborted' {
    return this.#status;
  }

  /**
   * The other process goes on: gives up everything here. Nothing is unmapped, detached or destroyed; fds are closed (but
   * for a borrowed iommufd), MMIO of this process is unmapped, and the memory of the hand-over is freed. All objects are
   * `destroyed` afterwards.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE (completed or aborted already); AggregateError of what went wrong, with
   * everything given up all the same
   */
  complete(): void {
    this.#end('completed');
    const errors = [...this.#giveUp()];
    attempt(errors, () => this.#list.release());
    for (const memory of this.#memories) attempt(errors, () => memory.free());
    if (errors.length > 0) throw new AggregateError(errors, 'the hand-over is complete, but not all of it went well');
  }

  /**
   * Nobody goes on elsewhere: everything here is as it was. Where the other process had called `changeProcess` already,
   * call it here too.
   * @throws UsageError ERR_IOMMUFD_UNAVAILABLE (completed or aborted already)
   */
  abort(): void {
    this.#end('aborted');
    this.#context.resources.shared = false;
    this.#context.thaw();
    this.#list.release();
  }

  toJSON(): Record<string, unknown> {
    return { type: 'Handover', status: this.#status, state: this.state, fds: this.fds };
  }

  #end(how: 'completed' | 'aborted'): void {
    if (this.#status !== 'pending') {
      throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `this hand-over is ${this.#status} already`);
    }
    this.#status = how;
  }
}

interface HandoverParts {
  readonly state: HandoverState;
  readonly fds: readonly number[];
  readonly memories: readonly DmaMemory[];
  readonly list: MemoryList;
  /** Gives up the iommufd here; answers what went wrong. */
  readonly giveUp: () => readonly unknown[];
}

function attempt(errors: unknown[], step: () => void): void {
  try {
    step();
  } catch (error) {
    errors.push(error);
  }
}

/** Everything of an iommufd goes here, and goes on elsewhere; answers what went wrong. */
export function abandonAll(ctx: Context): unknown[] {
  const errors: unknown[] = [];
  ctx.resources.shared = true;
  for (const object of [...ctx.objects].reverse()) attempt(errors, () => abandon(object));
  ctx.markClosed();
  attempt(errors, () => ctx.resources.release());
  return errors;
}

/** `iommufd.handOver`. */
export function handOver(ctx: Context, options: HandoverOptions, giveUp: () => readonly unknown[]): Handover {
  checkOptions(options, ['memories']);
  const { memories: given = [] } = options;
  const memories = toList(given, 'memories', 'DmaMemory', checkMemory);
  // After the options: reading them may run code of the caller's.
  ctx.check();
  ctx.checkIdle();
  checkAll(ctx);
  const fds = new FdList();
  fds.add(ctx.fd);
  const list = new MemoryList(fds);
  try {
    memories.forEach((memory, i) => {
      addMemory(ctx, list, memory, `memories[${i}]`);
    });
    const objects = [...ctx.objects].map((object) =>
      describeObject(object, fds, (ioas) =>
        mappingsOf(ioas)
          .entries()
          .map((entry) => describeMapping(list, entry)),
      ),
    );
    const state = newState(kindOfFiles(ctx.seam), list.states, objects);
    const handover = new Handover(ctx, { state, fds: fds.fds, memories, list, giveUp });
    ctx.freeze();
    ctx.resources.shared = true;
    ctx.resources.fileIsKnown();
    return handover;
  } catch (error) {
    list.release();
    throw error;
  }
}

function checkMemory(memory: DmaMemory, i: number): DmaMemory {
  checkMade(memory, DmaMemory, `memories[${i}]`, 'a DmaMemory');
  return memory;
}

function addMemory(ctx: Context, list: MemoryList, memory: DmaMemory, name: string): void {
  if (memorySeam(memory) !== ctx.seam) {
    throw new UsageError('ERR_IOMMUFD_FOREIGN_HOST', `${name} belongs to another host`);
  }
  const region = memoryRegion(memory);
  if (region.fd < 0) throw invalidType(name, "memory with a file (backing 'memfd')", memory);
  const hold = holdMemory(memory);
  try {
    list.add(region, memory.backing === 'imported' ? 'imported' : 'memfd', hold);
  } finally {
    hold.release();
  }
}

function describeMapping(list: MemoryList, entry: { readonly mapping: Mapping; readonly sure: boolean }): MappingState {
  const { mapping, sure } = entry;
  const { hold } = mapping;
  const region = hold === undefined ? undefined : heldRegion(hold);
  const memory = hold === undefined || region === undefined ? null : list.add(region, 'memfd', hold);
  const { iova, length, offset, access } = mapping;
  return { iova: hex(iova), length: hex(length), memory, offset, access, sure };
}

/** Everything that stands in the way, named before anything is changed. */
function checkAll(ctx: Context): void {
  const reasons = [...ctx.objects].flatMap((object) => [
    ...eventsLeft(object),
    ...(object instanceof Ioas ? byAddress(object) : []),
  ]);
  if (reasons.length === 0) return;
  const more = reasons.length > NAMED ? `; and ${reasons.length - NAMED} more` : '';
  throw new UsageError(
    'ERR_IOMMUFD_UNAVAILABLE',
    `this iommufd cannot be handed over: ${reasons.slice(0, NAMED).join('; ')}${more}`,
  );
}

/**
 * What the kernel reaches through addresses of this process goes with it, and dma-bufs cannot change their process
 * (drivers/iommu/iommufd/ioas.c). What somebody else mapped may be of files: the kernel knows.
 */
function byAddress(ioas: Ioas): string[] {
  return mappingsOf(ioas)
    .entries()
    .filter(
      ({ mapping: { hold } }) => hold !== undefined && hold !== CALLERS_FILE && !((heldRegion(hold)?.fd ?? -1) >= 0),
    )
    .map(
      ({ mapping: { iova } }) => `${ioas.describe()} maps something at ${hex(iova)} that is not a file: unmap it first`,
    );
}
