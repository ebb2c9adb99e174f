// A write that the kernel does whenever an eventfd is signalled: with KVM's ioeventfd at the other end, a guest rings a
// doorbell of the device without this process (drivers/vfio/pci/vfio_pci_rdwr.c).
import { checkOptions, toSize, toU64, type U64 } from '../host/arguments.js';
import { invalidType, outOfRange } from '../host/errors.js';
import { checkEventfd, type EventfdLike, eventfdNumber } from '../host/eventfd.js';
import { call, type Port, tryCall } from '../objects/call.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';

const { VFIO_DEVICE_IOEVENTFD: IOEVENTFD } = uapi;
const WIDTH_FLAGS = uapi.vfio_device_ioeventfd_flags.values;

/** Bytes of a write. */
export type IoeventfdWidth = 1 | 2 | 4 | 8;

const FLAGS: Readonly<Record<IoeventfdWidth, number>> = {
  1: WIDTH_FLAGS.VFIO_DEVICE_IOEVENTFD_8,
  2: WIDTH_FLAGS.VFIO_DEVICE_IOEVENTFD_16,
  4: WIDTH_FLAGS.VFIO_DEVICE_IOEVENTFD_32,
  8: WIDTH_FLAGS.VFIO_DEVICE_IOEVENTFD_64,
};

export interface IoeventfdOptions {
  /** Where to write, in bytes from the start of the region; a multiple of `width`. */
  readonly offset: U64;
  /** Bytes to write: 1, 2, 4 or 8. */
  readonly width: IoeventfdWidth;
  /** What to write; it must fit into `width`. */
  readonly value: U64;
  /** The kernel takes what is signalled: nobody else can wait for it. It stays the caller's. */
  readonly eventfd: EventfdLike;
}

/** Where it lies: a region of a device. */
export interface IoeventfdPlace {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Where it starts in the device's file. */
  readonly offset: number;
}

interface Write {
  readonly flags: number;
  readonly offset: bigint;
  readonly data: bigint;
}

/** A write by eventfd, until it is closed or the device is: made by `region.ioeventfd`. */
export class Ioeventfd {
  readonly #core: DeviceCore;
  readonly #write: Write;
  /** The kernel forgets the write when the eventfd is closed, so it is kept from being collected. */
  #eventfd: EventfdLike | undefined;
  readonly #part = { close: () => this.#closed() };

  /** Not for callers: use `region.ioeventfd`. */
  constructor(core: DeviceCore, write: Write, eventfd: EventfdLike) {
    this.#core = core;
    this.#write = write;
    this.#eventfd = eventfd;
    core.add(this.#part);
  }

  /** Whether it was taken back, or its device closed. */
  get closed(): boolean {
    return this.#eventfd === undefined;
  }

  /** Takes the write back; the eventfd stays. Twice is fine. */
  close(): void {
    if (this.closed) return;
    this.#end();
    call(this.#core, IOEVENTFD, { ...this.#write, fd: -1 });
  }
  [Symbol.dispose](): void {
    this.close();
  }

  toJSON(): Record<string, unknown> {
    return { type: 'Ioeventfd', device: this.#core.name, closed: this.closed };
  }

  #end(): void {
    this.#eventfd = undefined;
    this.#core.remove(this.#part);
  }
  /** The device is being closed: that takes it back, unless the file is somebody else's and stays open. */
  #closed(): void {
    this.#end();
    if (this.#core.owned) return;
    const port: Port = { seam: this.#core.seam, fd: this.#core.fd };
    tryCall(port, IOEVENTFD, { ...this.#write, fd: -1 });
  }
}

/** `region.ioeventfd`. */
export function connectIoeventfd(core: DeviceCore, region: IoeventfdPlace, options: IoeventfdOptions): Ioeventfd {
  checkOptions(options, ['offset', 'width', 'value', 'eventfd']);
  const { offset: from, width: bytes, value, eventfd: given } = options ?? {};
  const width = toWidth(bytes);
  const offset = toSize(from, 'offset');
  if (offset > region.size - width)
    throw outOfRange('offset', `at most ${region.size - width} in ${region.name}`, from);
  if (offset % width !== 0) throw outOfRange('offset', `a multiple of ${width}`, from);
  const data = toU64(value, 'value');
  if (data >> BigInt(width * 8) !== 0n) throw outOfRange('value', `one of ${width} bytes`, value);
  const eventfd = checkEventfd(given, 'eventfd');
  // After the options: reading them may run code of the caller's.
  core.check();
  const fd = eventfdNumber(eventfd, core.seam, 'eventfd');
  const write: Write = { flags: FLAGS[width], offset: BigInt(region.offset) + BigInt(offset), data };
  call(core, IOEVENTFD, { ...write, fd });
  // A listener to traces may have closed the device meanwhile.
  core.check();
  return new Ioeventfd(core, write, eventfd);
}

function toWidth(value: IoeventfdWidth): IoeventfdWidth {
  if (typeof value !== 'number') throw invalidType('width', '1, 2, 4 or 8', value);
  if (!Object.hasOwn(FLAGS, value)) throw outOfRange('width', '1, 2, 4 or 8', value);
  return value;
}
