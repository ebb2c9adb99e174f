// Live update, in the process that goes on: the objects of an iommufd, made from what the process before told of them. The
// kernel is not asked to change anything.
import { checkOptions, oneOf, toFd } from '../host/arguments.js';
import { IommufdError, invalidType, UsageError } from '../host/errors.js';
import { EventSource } from '../host/event-reader.js';
import { type DmaMemory, holdMemory, importMemory } from '../host/memory.js';
import { kindOfFiles, type Seam } from '../host/seam.js';
import type { Context } from './context.js';
import { Device, noteAttached } from './device.js';
import { FaultQueue } from './fault-queue.js';
import { type HandoverState, readState, type StateReader } from './handover-state.js';
import { HwQueue } from './hw-queue.js';
import { HwptNested } from './hwpt-nested.js';
import { adoptHwpt, HwptPaging } from './hwpt-paging.js';
import { Ioas, restoreMapping } from './ioas.js';
import { giveUpIommufd, Iommufd, iommufdContext } from './iommufd.js';
import type { KernelObject } from './kernel-object.js';
import { Vdevice } from './vdevice.js';
import { Veventq } from './veventq.js';
import { Viommu } from './viommu.js';

/** Where to adopt it. */
export interface Place {
  readonly host: Iommufd['host'];
  readonly seam: Seam;
}

export interface AdoptIommufdOptions {
  /**
   * `owned` (default): the fds are closed once all is adopted. `borrowed`: whoever gave them closes them; another thread of
   * this process, for one.
   */
  readonly ownership?: 'owned' | 'borrowed';
}

/** What to adopt. */
export interface AdoptRequest {
  readonly state: HandoverState;
  readonly fds: readonly number[];
  readonly options?: AdoptIommufdOptions;
}

/** What adopting gave. */
export interface AdoptedObjects {
  readonly iommufd: Iommufd;
  readonly memories: readonly DmaMemory[];
  /** By their ids. */
  readonly objects: ReadonlyMap<number, KernelObject>;
}

/** Makes a bound device of its file, which it takes over unless it throws. */
export type AdoptDevice = (
  fd: number,
  bound: { readonly iommufd: Iommufd; readonly id: number; readonly name: string },
) => Device;

const MOST_PAYLOAD = 64 * 1024 - 8;
/** Kernel structs are far shorter. */
const MOST_DATA = 4096;

/**
 * Adopts all that `state` tells of. It works with duplicates of the fds: where it fails they are as they were, and
 * nothing else is left; where it works they are closed, but for borrowed ones, and those that have an owner here already
 * (the process before may be this one).
 */
export function adoptObjects(
  { host, seam }: Place,
  { state, fds, options = {} }: AdoptRequest,
  adoptDevice: AdoptDevice,
): AdoptedObjects {
  checkOptions(options, ['ownership']);
  const owned = oneOf(options.ownership ?? 'owned', ['owned', 'borrowed'], 'ownership') === 'owned';
  const reader = readState(state, kindOfFiles(seam));
  if (!Array.isArray(fds)) throw invalidType('fds', 'an array of file descriptors', fds);
  const given = new GivenFds(
    seam,
    Array.from(fds, (fd, i) => toFd(fd, `fds[${i}]`)),
  );
  const memories: DmaMemory[] = [];
  let iommufd: Iommufd | undefined;
  try {
    iommufd = given.use(0, 'fds[0]', (fd) => Iommufd.fromFd(fd, { host }));
    for (const memory of reader.field('memories').list()) memories.push(adoptMemory(seam, given, memory));
    const adopter = new Adopter(iommufd, given, memories, adoptDevice);
    adopter.run(reader.field('objects').list());
    if (owned) given.close();
    return { iommufd, memories, objects: adopter.objects };
  } catch (error) {
    if (iommufd !== undefined) giveUpIommufd(iommufd);
    for (const memory of memories) memory.free();
    throw error;
  }
}

/** The fds that came from the process before. */
class GivenFds {
  readonly #seam: Seam;
  readonly #fds: readonly number[];
  constructor(seam: Seam, fds: readonly number[]) {
    this.#seam = seam;
    this.#fds = fds;
  }

  /** Lets `take` take over a duplicate that nobody owns; where it throws, the duplicate is closed. */
  use<T>(place: number, name: string, take: (fd: number) => T): T {
    const fd = this.#fds[place];
    if (fd === undefined) {
      throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${name} is missing: there are ${this.#fds.length} fds`);
    }
    const seam = this.#seam;
    const copy = seam.duplicate(fd);
    if (copy < 0) throw new IommufdError('fcntl', copy, { fd });
    seam.disown(copy);
    try {
      return take(copy);
    } catch (error) {
      if (seam.own(copy) >= 0) seam.close(copy);
      throw error;
    }
  }

  /** Closes what is not this process's own. */
  close(): void {
    for (const fd of this.#fds) if (this.#seam.own(fd) >= 0) this.#seam.close(fd);
  }
}

function adoptMemory(seam: Seam, given: GivenFds, state: StateReader): DmaMemory {
  const size = state.field('size').size();
  const backing = state.field('backing').text();
  if (backing !== 'memfd' && backing !== 'imported') throw state.field('backing').fails("'memfd' or 'imported'");
  return given.use(state.field('fd').u32(), state.name, (fd) => {
    const memory = importMemory(seam, fd, size, backing);
    // The memory has a duplicate of its own.
    if (seam.own(fd) >= 0) seam.close(fd);
    return memory;
  });
}

class Adopter {
  readonly objects = new Map<number, KernelObject>();
  readonly #iommufd: Iommufd;
  readonly #context: Context;
  readonly #given: GivenFds;
  readonly #memories: readonly DmaMemory[];
  readonly #adoptDevice: AdoptDevice;

  constructor(iommufd: Iommufd, given: GivenFds, memories: readonly DmaMemory[], adoptDevice: AdoptDevice) {
    this.#iommufd = iommufd;
    this.#context = iommufdContext(iommufd);
    this.#given = given;
    this.#memories = memories;
    this.#adoptDevice = adoptDevice;
  }

  run(states: readonly StateReader[]): void {
    for (const state of states) {
      const id = state.field('id').u32();
      if (this.objects.has(id)) throw state.field('id').fails('an id that no object before has');
      this.objects.set(id, this.#make(id, state));
    }
    // Last: a device comes before the page tables that were made for it.
    for (const state of states) if (state.field('type').text() === 'device') this.#attach(state);
  }

  #make(id: number, state: StateReader): KernelObject {
    const kind = state.field('type');
    switch (kind.text()) {
      case 'ioas':
        return this.#ioas(id, state);
      case 'device':
        return this.#device(id, state);
      case 'hwpt-paging':
        return this.#hwptPaging(id, state);
      case 'hwpt-nested':
        return new HwptNested(this.#parent(state.field('parent')), id, this.#faultQueue(state));
      case 'fault-queue':
        return this.#events(state, (source) => new FaultQueue(this.#iommufd, this.#context, id, source));
      case 'viommu':
        return this.#viommu(id, state);
      case 'vdevice':
        return this.#vdevice(id, state);
      case 'veventq':
        return this.#veventq(id, state);
      case 'hw-queue':
        return this.#hwQueue(id, state);
      default:
        throw kind.fails('a kind of object that this library knows');
    }
  }

  /** The object of this kind that a field names by its id. */
  #known<T extends KernelObject>(field: StateReader, kind: abstract new (...args: never[]) => T): T {
    const object = this.objects.get(field.u32());
    if (object instanceof kind) return object;
    throw field.fails(`the id of a ${kind.name} that comes before`);
  }
  #parent(field: StateReader): HwptPaging | Viommu {
    const object = this.objects.get(field.u32());
    if (object instanceof HwptPaging || object instanceof Viommu) return object;
    throw field.fails('the id of a HwptPaging or Viommu that comes before');
  }
  #faultQueue(state: StateReader): FaultQueue | undefined {
    return state.field('faultQueue').optional((field) => this.#known(field, FaultQueue));
  }

  #ioas(id: number, state: StateReader): Ioas {
    const ioas = new Ioas(this.#iommufd, this.#context, id, state.field('complete').boolean() ? 'known' : 'unknown');
    for (const mapping of state.field('mappings').list()) this.#mapping(ioas, mapping);
    return ioas;
  }

  #mapping(ioas: Ioas, state: StateReader): void {
    const [iova, length] = [state.field('iova').u64(), state.field('length').u64()];
    const [offset, access] = [state.field('offset').size(), state.field('access').u32()];
    const sure = state.field('sure').boolean();
    const memory = state.field('memory').optional((field) => {
      const known = this.#memories[field.u32()];
      if (known === undefined) throw field.fails(`below ${this.#memories.length}`);
      if (BigInt(offset) + length > BigInt(known.size)) throw state.field('length').fails('within the memory');
      return known;
    });
    const hold = memory === undefined ? undefined : holdMemory(memory);
    restoreMapping(ioas, { iova, length, hold, offset, access, sure });
  }

  #device(id: number, state: StateReader): Device {
    const name = state.field('name').text();
    const place = state.field('fd').optional((field) => field.u32());
    if (place === undefined) return new Device(this.#iommufd, this.#context, id, undefined);
    const bound = { iommufd: this.#iommufd, id, name };
    return this.#given.use(place, `${state.name}.fd`, (fd) => this.#adoptDevice(fd, bound));
  }

  #attach(state: StateReader): void {
    const device = this.#known(state.field('id'), Device);
    for (const attachment of state.field('attachments').list()) {
      const pasid = attachment.field('pasid').optional((field) => field.u32());
      const to = attachment.field('to');
      const object = this.objects.get(to.u32());
      if (!(object instanceof Ioas || object instanceof HwptPaging || object instanceof HwptNested)) {
        throw to.fails('the id of an address space or a page table');
      }
      noteAttached(device, object, pasid === undefined ? {} : { pasid });
    }
  }

  #hwptPaging(id: number, state: StateReader): HwptPaging {
    const ioas = this.#known(state.field('ioas'), Ioas);
    return adoptHwpt(ioas, id, {
      auto: state.field('auto').boolean(),
      nestParent: state.field('nestParent').boolean(),
      faultQueue: this.#faultQueue(state),
    });
  }

  #viommu(id: number, state: StateReader): Viommu {
    const bytes = state.field('data').list();
    if (bytes.length > MOST_DATA) throw state.field('data').fails(`at most ${MOST_DATA} bytes`);
    return new Viommu(this.#known(state.field('hwpt'), HwptPaging), id, {
      type: state.field('kind').u32(),
      data: Uint8Array.from(bytes, (byte) => byte.integer(0xff)),
      region: state.field('mmap').optional((pair) => ({
        offset: pair.field('offset').u64(),
        length: pair.field('length').u64(),
      })),
    });
  }

  #vdevice(id: number, state: StateReader): Vdevice {
    const viommu = this.#known(state.field('viommu'), Viommu);
    return new Vdevice(viommu, this.#known(state.field('device'), Device), id, state.field('virtId').u64());
  }

  #veventq(id: number, state: StateReader): Veventq {
    const viommu = this.#known(state.field('viommu'), Viommu);
    const made = {
      type: state.field('kind').u32(),
      payload: state.field('payload').integer(MOST_PAYLOAD),
      depth: state.field('depth').u32(),
      expected: state.field('expected').u32(),
    };
    return this.#events(state, (source) => new Veventq(viommu, id, { source, ...made }));
  }

  #hwQueue(id: number, state: StateReader): HwQueue {
    return new HwQueue(this.#known(state.field('viommu'), Viommu), id, {
      type: state.field('kind').u32(),
      index: state.field('index').u32(),
      iova: state.field('iova').u64(),
      length: state.field('length').u64(),
    });
  }

  /** An object with an event fd, which it owns and watches. */
  #events<T>(state: StateReader, make: (source: EventSource) => T): T {
    const { seam, resources } = this.#context;
    return this.#given.use(state.field('fd').u32(), `${state.name}.fd`, (fd) => {
      const rc = seam.own(fd);
      if (rc < 0) throw new IommufdError('fcntl', rc, { fd });
      try {
        const source = new EventSource(seam, fd);
        resources.eventSources.add(source);
        return make(source);
      } catch (error) {
        seam.disown(fd);
        throw error;
      }
    });
  }
}
