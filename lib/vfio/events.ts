// What happens to the device itself: errors that its bus reported, and the host's wish to have it back. They are two
// interrupt indexes, each with an eventfd; here they are one iterator.
import { checkOptions, checkSignal } from '../host/arguments.js';
import { UsageError } from '../host/errors.js';
import type { ReadEventsOptions } from '../host/event-reader.js';
import type { InterruptVector } from './interrupt-vector.js';
import type { VfioInterrupts } from './interrupts.js';

/**
 * `error`: the bus reported an uncorrectable error of the device (PCIe AER), or the device is gone: what it does and what
 * its registers say is not to be trusted until it was reset. `request`: the host wants the device back, to give it to
 * another driver or to unplug it, and waits until it is closed; it asks again every few seconds.
 */
export interface DeviceEvent {
  readonly type: 'error' | 'request';
  /** How often it came since the last event of the type. */
  readonly count: bigint;
}

const TYPES = ['error', 'request'] as const;
const NEVER: AsyncIterableIterator<DeviceEvent>[] = [];

/** An index of the device, undefined where it has none. */
export type FindInterrupts = (type: DeviceEvent['type']) => VfioInterrupts | undefined;

/** The events of one device. They are listened to from the first `iterate` on, so that leaving a loop loses nothing. */
export class DeviceEvents {
  readonly #name: string;
  readonly #find: FindInterrupts;
  readonly #vectors = new Map<DeviceEvent['type'], InterruptVector>();
  /** Waits that are under way, or that came to an event which nobody has taken yet. */
  readonly #waits = new Map<DeviceEvent['type'], Promise<DeviceEvent | undefined>>();
  #iterating = false;
}
