// VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS: their structs, from and to what the rest speaks of.
import { type Outcome, type Port, refusal, tryCall } from '../objects/call.js';
import * as uapi from '../uapi/vfio.js';
import { tryTailCall } from './tail-call.js';

const { VFIO_DEVICE_GET_IRQ_INFO: GET_INFO, VFIO_DEVICE_SET_IRQS: SET } = uapi;
const INFO = uapi.vfio_irq_info_flags.values;
const FLAGS = uapi.vfio_irq_set_flags.values;

const ACTIONS = {
  trigger: FLAGS.VFIO_IRQ_SET_ACTION_TRIGGER,
  mask: FLAGS.VFIO_IRQ_SET_ACTION_MASK,
  unmask: FLAGS.VFIO_IRQ_SET_ACTION_UNMASK,
} as const;

export type IrqAction = keyof typeof ACTIONS;

export interface IrqInfo {
  readonly count: number;
  readonly eventfd: boolean;
  readonly maskable: boolean;
  readonly automasked: boolean;
  readonly resizable: boolean;
}

/** What an index can do; throws IommufdError EINVAL for one that the device does not know. */
export function readIrqInfo(port: Port, index: number, extra?: string): IrqInfo {
  const input = { index };
  const { result, out } = tryCall(port, GET_INFO, input);
  if (result < 0) throw refusal(port, GET_INFO, result, input, extra);
  return {
    count: out.count,
    eventfd: (out.flags & INFO.VFIO_IRQ_INFO_EVENTFD) !== 0,
    maskable: (out.flags & INFO.VFIO_IRQ_INFO_MASKABLE) !== 0,
    automasked: (out.flags & INFO.VFIO_IRQ_INFO_AUTOMASKED) !== 0,
    resizable: (out.flags & INFO.VFIO_IRQ_INFO_NORESIZE) === 0,
  };
}

/** Which interrupts a call is about. */
export interface IrqRange {
  readonly index: number;
  readonly start: number;
  readonly count: number;
}

/** What was asked, and what came of it; a positive `result` is how many vectors there could have been. */
export interface IrqAnswer extends Outcome<typeof uapi.vfio_irq_set.fields> {
  readonly input: IrqRange & { readonly flags: number };
}

/** Does something now. Triggering none turns the whole index off. */
export function actOnIrqs(port: Port, action: IrqAction, range: IrqRange): IrqAnswer {
  const input = { ...range, flags: FLAGS.VFIO_IRQ_SET_DATA_NONE | ACTIONS[action] };
  return { input, ...tryTailCall(port, SET, input, new Uint8Array(0)) };
}

/** Binds something to eventfds, one an interrupt; -1 unbinds. */
export function bindIrqs(port: Port, action: IrqAction, range: IrqRange, fds: readonly number[]): IrqAnswer {
  const input = { ...range, flags: FLAGS.VFIO_IRQ_SET_DATA_EVENTFD | ACTIONS[action] };
  const words = Int32Array.from(fds);
  return { input, ...tryTailCall(port, SET, input, new Uint8Array(words.buffer)) };
}
