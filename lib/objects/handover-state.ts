// What one process tells another about an iommufd that goes on there: data that survives JSON, and its checks. It came from
// another process, maybe of another version: nothing in it is taken on trust.
import { toU64, U64_MAX } from '../host/arguments.js';
import { invalidType, outOfRange, show, UsageError } from '../host/errors.js';
import type { HostKind } from '../host/seam.js';

/** Changes with every change that an older reader would misunderstand. */
const VERSION = 1;
const U32_MAX = 0xffff_ffff;

/** Memory, whose file is among the fds. */
export interface MemoryState {
  /** Which of the fds. */
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
  readonly backing: 'memfd' | 'imported';
}

export interface MappingState {
  /** 64-bit values are hexadecimal text. */
  readonly iova: string;
  readonly length: string;
  /** Which of the memories; null where it is not this library's. */
  readonly memory: number | null;
  /** Bytes from the start of the memory. */
  readonly offset: number;
  /** The kernel's flags of mapping. */
  readonly access: number;
  /** False where an unmapping failed half-way and may have taken it. */
  readonly sure: boolean;
}

export interface AttachmentState {
  /** Null for the device's plain DMA. */
  readonly pasid: number | null;
  /** Id of the page table, or of the address space. */
  readonly to: number;
}

/** An object by its id; others it names come before it, but for what devices are attached to. */
export type ObjectState =
  | {
      readonly type: 'ioas';
      readonly id: number;
      readonly complete: boolean;
      readonly mappings: readonly MappingState[];
    }
  | {
      readonly type: 'device';
      readonly id: number;
      readonly name: string;
      /** Which of the fds; null for a device that somebody else bound. */
      readonly fd: number | null;
      readonly attachments: readonly AttachmentState[];
    }
  | {
      readonly type: 'hwpt-paging';
      readonly id: number;
      readonly ioas: number;
      readonly auto: boolean;
      readonly nestParent: boolean;
      readonly faultQueue: number | null;
    }
  | { readonly type: 'hwpt-nested'; readonly id: number; readonly parent: number; readonly faultQueue: number | null }
  | { readonly type: 'fault-queue'; readonly id: number; readonly fd: number }
  | {
      readonly type: 'viommu';
      readonly id: number;
      readonly hwpt: number;
      readonly kind: number;
      readonly data: readonly number[];
      readonly mmap: { readonly offset: string; readonly length: string } | null;
    }
  | {
      readonly type: 'vdevice';
      readonly id: number;
      readonly viommu: number;
      readonly device: number;
      readonly virtId: string;
    }
  | {
      readonly type: 'veventq';
      readonly id: number;
      readonly viommu: number;
      readonly fd: number;
      readonly kind: number;
      /** Bytes of an event's payload. */
      readonly payload: number;
      readonly depth: number;
      /** The number that the next event should have. */
      readonly expected: number;
    }
  | {
      readonly type: 'hw-queue';
      readonly id: number;
      readonly viommu: number;
      readonly kind: number;
      readonly index: number;
      readonly iova: string;
      readonly length: string;
    };

/** What `host.adoptIommufd` needs to know beside the fds. JSON keeps all of it. */
export interface HandoverState {
  readonly version: number;
  readonly host: HostKind;
  readonly memories: readonly MemoryState[];
  /** In the order of their making. */
  readonly objects: readonly ObjectState[];
}

export function newState(
  host: HostKind,
  memories: readonly MemoryState[],
  objects: readonly ObjectState[],
): HandoverState {
  return { version: VERSION, host, memories, objects };
}

/** A 64-bit value as text. */
export function hex(value: bigint): string {
  return `0x${value.toString(16)}`;
}

/** One value of the state, by the way that leads there: 'state.objects[3].id'. */
export class StateReader {
  constructor(
    readonly value: unknown,
    readonly name: string,
  ) {}

  field(name: string): StateReader {
    const { value } = this;
    if (typeof value !== 'object' || value === null) throw invalidType(this.name, 'an object', value);
    return new StateReader(Object.getOwnPropertyDescriptor(value, name)?.value, `${this.name}.${name}`);
  }
  list(): StateReader[] {
    if (!Array.isArray(this.value)) throw invalidType(this.name, 'an array', this.value);
    return Array.from(this.value, (item, i) => new StateReader(item, `${this.name}[${i}]`));
  }
  integer(most: number): number {
    const { value, name } = this;
    if (typeof value !== 'number') throw invalidType(name, 'a number', value);
    if (!Number.isInteger(value) || value < 0 || value > most) throw outOfRange(name, `between 0 and ${most}`, value);
    return value;
  }
  u32(): number {
    return this.integer(U32_MAX);
  }
  size(): number {
    return this.integer(Number.MAX_SAFE_INTEGER);
  }
  u64(): bigint {
    const { value, name } = this;
    if (typeof value !== 'string') throw invalidType(name, 'text', value);
    if (!/^0x[0-9a-f]{1,16}$/.test(value)) throw outOfRange(name, `hexadecimal, up to ${show(U64_MAX)}`, value);
    return toU64(BigInt(value), name);
  }
  text(): string {
    const { value, name } = this;
    if (typeof value !== 'string') throw invalidType(name, 'text', value);
    return value;
  }
  boolean(): boolean {
    const { value, name } = this;
    if (typeof value !== 'boolean') throw invalidType(name, 'a boolean', value);
    return value;
  }
  /** What `read` makes of it; undefined for null. */
  optional<T>(read: (value: StateReader) => T): T | undefined {
    return this.value === null ? undefined : read(this);
  }
  fails(expected: string): RangeError {
    return outOfRange(this.name, expected, this.value);
  }
}

/** The state as a reader, where this version and this kind of host can take it. */
export function readState(state: unknown, host: HostKind): StateReader {
  const reader = new StateReader(state, 'state');
  const version = reader.field('version').u32();
  if (version !== VERSION) {
    throw new UsageError(
      'ERR_IOMMUFD_UNAVAILABLE',
      `the state has version ${version}, this library knows ${VERSION}: both processes need libraries that understand each other`,
    );
  }
  const from = reader.field('host').text();
  if (from === host) return reader;
  throw new UsageError(
    'ERR_IOMMUFD_FOREIGN_HOST',
    `the state is of a host of kind ${show(from)}, this one is ${show(host)}`,
  );
}
