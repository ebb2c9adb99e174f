// The way from one migration state to another: one arc after the other, around states that a device does not have
// (vfio_mig_get_next_state in drivers/vfio/vfio_main.c).
import { ERRNO } from '../../../uapi/errno.js';
import { vfio_device_mig_state, vfio_migration_flags } from '../../../uapi/vfio-constants.js';
import type { OpenFile } from '../file.js';

const {
  VFIO_DEVICE_STATE_ERROR: ERROR,
  VFIO_DEVICE_STATE_STOP: STOP,
  VFIO_DEVICE_STATE_RUNNING: RUNNING,
  VFIO_DEVICE_STATE_STOP_COPY: STOP_COPY,
  VFIO_DEVICE_STATE_RESUMING: RESUMING,
  VFIO_DEVICE_STATE_RUNNING_P2P: RUNNING_P2P,
  VFIO_DEVICE_STATE_PRE_COPY: PRE_COPY,
  VFIO_DEVICE_STATE_PRE_COPY_P2P: PRE_COPY_P2P,
} = vfio_device_mig_state.values;
const {
  VFIO_MIGRATION_STOP_COPY: HAS_STOP_COPY,
  VFIO_MIGRATION_P2P: HAS_P2P,
  VFIO_MIGRATION_PRE_COPY: HAS_PRE_COPY,
} = vfio_migration_flags.values;

/** What a device must be able to do to have a state. Nobody asks for the error state. */
const NEEDS: ReadonlyMap<number, number> = new Map([
  [STOP, HAS_STOP_COPY],
  [RUNNING, HAS_STOP_COPY],
  [STOP_COPY, HAS_STOP_COPY],
  [RESUMING, HAS_STOP_COPY],
  [RUNNING_P2P, HAS_STOP_COPY | HAS_P2P],
  [PRE_COPY, HAS_STOP_COPY | HAS_PRE_COPY],
  [PRE_COPY_P2P, HAS_STOP_COPY | HAS_P2P | HAS_PRE_COPY],
]);

function isKnown(state: number, flags: number): boolean {
  const needs = NEEDS.get(state);
  return needs !== undefined && (needs & flags) === needs;
}

/** The first state on the way of a device that has all of them. */
function firstStep(from: number, to: number): number {
  if (from === to) return to;
  switch (from) {
    case STOP:
      return to === STOP_COPY || to === RESUMING ? to : RUNNING_P2P;
    case RUNNING:
      return to === PRE_COPY ? PRE_COPY : RUNNING_P2P;
    case RUNNING_P2P:
      if (to === RUNNING || to === PRE_COPY) return RUNNING;
      return to === PRE_COPY_P2P ? PRE_COPY_P2P : STOP;
    case PRE_COPY:
      return to === PRE_COPY_P2P || to === STOP_COPY ? PRE_COPY_P2P : RUNNING;
    case PRE_COPY_P2P:
      return to === PRE_COPY || to === STOP_COPY ? to : RUNNING_P2P;
    case STOP_COPY:
      // What was stopped for copying does not go back to copying before.
      return to === PRE_COPY || to === PRE_COPY_P2P ? ERROR : STOP;
    case RESUMING:
      return STOP;
    default:
      return ERROR;
  }
}

/**
 * The next state on the way.
 * @param flags bits of vfio_migration_flags: what the device has
 * @returns -EINVAL where there is no way
 */
export function nextState(flags: number, from: number, to: number): number {
  if (!isKnown(from, flags) || !isKnown(to, flags)) return -ERRNO.EINVAL;
  let next = firstStep(from, to);
  while (next !== ERROR && !isKnown(next, flags)) next = firstStep(next, to);
  return next === ERROR ? -ERRNO.EINVAL : next;
}

/** A device on its way through the states. */
export interface Traveller {
  readonly flags: number;
  state: number;
  /** One arc; answers an open migration file where that makes one, or -errno: the device stays in `from` then. */
  step(from: number, to: number): OpenFile | undefined | number;
}

/** What drivers do about MIG_DEVICE_STATE: on a refusal the device stays where it had come. */
export function goThroughStates(traveller: Traveller, to: number): OpenFile | undefined | number {
  let file: OpenFile | undefined;
  while (traveller.state !== to) {
    const next = nextState(traveller.flags, traveller.state, to);
    if (next < 0) return next;
    const made = traveller.step(traveller.state, next);
    if (typeof made === 'number') return made;
    traveller.state = next;
    file = made;
    // Arcs that make files only end ways.
    if (file !== undefined && next !== to) {
      file.release();
      return -ERRNO.EINVAL;
    }
  }
  return file;
}
