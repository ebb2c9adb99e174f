// What a sequence of calls on devices has open so far, and the values that its next calls are likely to use.
import { createHash } from 'node:crypto';
import type { Region } from '../../../lib/unsafe.js';
import type { Random } from '../random.js';
import type { Handle, VfioMachine } from './machine.js';

/** Devices that both kernels have. */
export type PciRole = 'edu' | 'pair0' | 'pair1';
export type DeviceRole = PciRole | 'serial' | 'serial1';
export const PCI_ROLES: readonly PciRole[] = ['edu', 'pair0', 'pair1'];
export const SERIAL_ROLES: readonly DeviceRole[] = ['serial', 'serial1'];

export const PAGE = 4096;
export const U32_MAX = 0xffff_ffff;
/** How far regions lie from each other in the file of a device. */
export const REGION_SPAN = 2 ** 40;

/** A device's file. */
export interface DeviceFile extends Handle {
  readonly role: DeviceRole;
  /** Whether it bound the device. */
  bound: boolean;
}
export function isSerial({ role }: DeviceFile): boolean {
  return role === 'serial' || role === 'serial1';
}

export interface Context extends Handle {
  readonly ids: { readonly id: number; readonly kind: 'ioas' | 'device' | 'hwpt' }[];
}
/** Registers that are mapped. */
export interface Window {
  readonly name: string;
  readonly region: Region;
  /** Where it starts in BAR 0. */
  readonly offset: number;
}
/** A stream of migration data. */
export interface Stream extends Handle {
  readonly kind: 'saving' | 'resuming';
  readonly role: DeviceRole;
  /** How much was written to it. */
  position: number;
}
export interface DmaBuf extends Handle {
  readonly length: number;
}

/** What an eventfd is for. One that wakes the kernel must not be what the kernel then signals: that would go on for ever. */
export type EventKind = 'trigger' | 'unmask' | 'io';

export class VfioSession {
  readonly contexts: Context[] = [];
  readonly files: DeviceFile[] = [];
  readonly windows: Window[] = [];
  readonly streams: Stream[] = [];
  readonly dmaBufs: DmaBuf[] = [];
  /** Of migration streams, what was saved. */
  readonly saved: Uint8Array[] = [];
  readonly memory: Region;
  readonly #events: readonly (Handle & { readonly kind: EventKind })[];
  #named = 0;

  constructor(
    readonly machine: VfioMachine,
    /** What the step makes its choices of. */
    public random: Random,
    readonly roles: readonly DeviceRole[],
    memory: Region,
  ) {
    this.memory = memory;
    memory.window(0, memory.length).forEach((_, i, bytes) => {
      bytes[i] = i ^ (i >> 8);
    });
    const kinds: readonly EventKind[] = ['trigger', 'trigger', 'trigger', 'unmask', 'io', 'io'];
    this.#events = kinds.map((kind, i) => ({ kind, name: `${kind}${i}`, fd: machine.seam.createEventfd(0) }));
  }

  /** A name that no other file of the sequence has. */
  name(what: string): string {
    return `${what}#${this.#named++}`;
  }

  // Eventfds.

  event(kind: EventKind): Handle {
    const event = this.random.pick(this.#events.filter((one) => one.kind === kind));
    if (event === undefined) throw new Error(`there is no eventfd for ${kind}`);
    return event;
  }
  /** Mostly an eventfd; sometimes none, or what is none. */
  eventFd(kind: EventKind): Handle | number {
    return this.random.weighted<() => Handle | number>([
      [80, () => this.event(kind)],
      [12, () => -1],
      [2, () => -2],
      [3, () => 0x3fff_0000],
      [3, () => this.contexts[0] ?? -1],
    ])();
  }
  /** A program adds to an eventfd, mostly 1, and may look what is left of it. */
  signal(event: Handle): void {
    const bytes = new Uint8Array(this.random.percent(96) ? 8 : this.random.pick([4, 16]));
    bytes[0] = this.random.pick([1, 1, 1, 2, 0]);
    this.machine.write(event, bytes);
    if (this.random.percent(30)) this.machine.note(`  ${event.name} holds ${this.machine.drain(event)}`);
  }
  /** Notes what was signalled. */
  collectEvents(): void {
    const told = this.#events
      .filter(({ kind }) => kind === 'trigger')
      .flatMap((event) => {
        const count = this.machine.drain(event);
        return count === 0n ? [] : [`${event.name} ${count}`];
      });
    if (told.length > 0) this.machine.note(`  signalled: ${told.join(', ')}`);
  }
  closeEvents(): void {
    for (const { fd } of this.#events) this.machine.seam.close(fd);
  }

  // Files.

  file(which: (file: DeviceFile) => boolean = () => true): DeviceFile | undefined {
    const { random } = this;
    const files = this.files.filter(which);
    const bound = files.filter((file) => file.bound);
    return (random.percent(95) ? random.pick(bound) : undefined) ?? random.pick(files);
  }
  pci(): DeviceFile | undefined {
    return this.file((file) => !isSerial(file));
  }
  serial(): DeviceFile | undefined {
    return this.file(isSerial);
  }

  // Numbers.

  /** Mostly as long as the struct is; sometimes as an older or a newer program would have it. */
  argsz(size: number): number | undefined {
    const { random } = this;
    if (random.percent(80)) return undefined;
    const length = random.pick([0, 4, 8, size - 8, size - 4, size - 1, size + 1, size + 4, size + 8, size + 64, 1000]);
    return random.percent(3) ? U32_MAX : Math.max(length, 0);
  }
  /** Zeros behind a struct, or something. */
  behind(): number {
    return this.random.percent(50) ? 0 : 0xa5;
  }
  index(likely: number, others: number): number {
    return this.random.weighted<() => number>([
      [60, () => likely],
      [35, () => this.random.below(others)],
      [5, () => this.random.pick([9, 10, 40, U32_MAX])],
    ])();
  }
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.random.pick([0, 1, 2, 4, 0x10, 0x80, 0xff, this.random.below(256)]));
  }
  id(context: Context, ...kinds: readonly ('ioas' | 'device' | 'hwpt')[]): number {
    const { random } = this;
    const likely = random.percent(88) ? random.pick(context.ids.filter(({ kind }) => kinds.includes(kind))) : undefined;
    return (likely ?? random.pick(context.ids))?.id ?? random.pick([0, 1, 7, 100, U32_MAX]);
  }

  /** How memory ended up. */
  noteMemory(): void {
    const bytes = this.memory.window(0, this.memory.length);
    this.machine.note(`  memory ${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`);
  }
}
