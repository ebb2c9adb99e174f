// A device's migration: the states of linux/vfio.h, and the stream that going to some of them opens.
import { oneOf } from '../host/arguments.js';
import { UsageError } from '../host/errors.js';
import type { Device } from '../objects/device.js';
import { context, whileUsed } from '../objects/kernel-object.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import {
  callFeature,
  decodeData,
  encodeData,
  featureRefusal,
  getFeature,
  tryFeature,
  tryFeatureAsync,
} from './feature-call.js';
import { expectPrecopyFlags, MigrationStream } from './migration-stream.js';

const S = uapi.vfio_device_mig_state.values;

const STATES = {
  error: S.VFIO_DEVICE_STATE_ERROR,
  stop: S.VFIO_DEVICE_STATE_STOP,
  running: S.VFIO_DEVICE_STATE_RUNNING,
  'stop-copy': S.VFIO_DEVICE_STATE_STOP_COPY,
  resuming: S.VFIO_DEVICE_STATE_RESUMING,
  'running-p2p': S.VFIO_DEVICE_STATE_RUNNING_P2P,
  'pre-copy': S.VFIO_DEVICE_STATE_PRE_COPY,
  'pre-copy-p2p': S.VFIO_DEVICE_STATE_PRE_COPY_P2P,
} as const;

/**
 * Where a device is in its migration. 'running' at first; 'stop': nothing of it changes, no DMA, no interrupts;
 * 'stop-copy': stopped, its state can be read; 'resuming': stopped, it takes in a state; 'pre-copy': at work, a first
 * version of its state can be read. In the '-p2p' states it starts no DMA to other devices. 'error': only
 * `nic.reset()` leads out.
 */
export type MigrationState = keyof typeof STATES;

/** A state to go to: 'error' cannot be asked for. */
export type MigrationTarget = Exclude<MigrationState, 'error'>;

const NAMES = Object.keys(STATES) as readonly MigrationState[];
const TARGETS = NAMES.filter((name): name is MigrationTarget => name !== 'error');

/** Which states a device has beside 'running'. */
export interface MigrationSupport {
  /** 'stop', 'stop-copy' and 'resuming': true for whatever can migrate. */
  readonly stopCopy: boolean;
  /** 'running-p2p'. */
  readonly p2p: boolean;
  /** 'pre-copy', and with p2p 'pre-copy-p2p'. */
  readonly preCopy: boolean;
}

const BITS = uapi.vfio_migration_flags.values;
const STATE = 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE';
const ENOTTY = -25;

/** Made by `nic.migration`. */
export class Migration {
  readonly #core: DeviceCore;
  readonly #device: Device;

  /** Not for callers: use `nic.migration`. */
  constructor(core: DeviceCore, device: Device) {
    this.#core = core;
    this.#device = device;
  }

  /** What the device can do (VFIO_DEVICE_FEATURE_MIGRATION, Linux 5.18); undefined where it cannot migrate. */
  get supported(): MigrationSupport | undefined {
    const feature = 'VFIO_DEVICE_FEATURE_MIGRATION';
    const data = encodeData(uapi.vfio_device_feature_migration, {});
    const result = tryFeature(this.#core, feature, 'get', data);
    if (result === ENOTTY) return undefined;
    if (result < 0) throw featureRefusal(this.#core, feature, result, { operation: 'get' });
    const flags = Number(decodeData(uapi.vfio_device_feature_migration, data).flags);
    return {
      stopCopy: (flags & BITS.VFIO_MIGRATION_STOP_COPY) !== 0,
      p2p: (flags & BITS.VFIO_MIGRATION_P2P) !== 0,
      preCopy: (flags & BITS.VFIO_MIGRATION_PRE_COPY) !== 0,
    };
  }

  /**
   * The state it is in (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, Linux 5.18).
   * @throws IommufdError ENOTTY (it cannot migrate)
   */
  get state(): MigrationState {
    const { device_state } = getFeature(this.#core, STATE, uapi.vfio_device_feature_mig_state, { data_fd: -1 });
    const name = NAMES.find((one) => STATES[one] === device_state);
    if (name !== undefined) return name;
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', `${this.#core.name} is in state ${device_state}, unknown here`);
  }

  /**
   * Goes to a state, through those between (VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, Linux 5.18). Going from a state without
   * a stream to 'pre-copy', 'pre-copy-p2p' or 'stop-copy' opens one to read the device's state from, going to 'resuming'
   * one to write it to. From 'pre-copy' to 'stop-copy' the same stream goes on. Leaving those states ends it: close it.
   * Leaving 'resuming' makes the device take what was written. Blocks until the device is there, which for large devices
   * takes long: see `setStateAsync`.
   * @returns the stream, where one was opened
   * @throws IommufdError ENOTTY (it cannot migrate), EINVAL (no way there, a state it does not have, or what was written
   * is no state for it), with the state that it is in now: 'error' is healed by `nic.reset()` alone
   */
  setState(state: MigrationTarget): MigrationStream | undefined {
    const data = targetData(state);
    return this.#arrived(state, data, tryFeature(this.#core, STATE, 'set', data));
  }

  /**
   * As `setState`, on the thread pool. Ask for the next state when this one is reached.
   * @throws what `setState` throws; UsageError ERR_IOMMUFD_DESTROYED (the device was closed meanwhile)
   */
  async setStateAsync(state: MigrationTarget): Promise<MigrationStream | undefined> {
    const data = targetData(state);
    this.#core.check();
    const ask = () => tryFeatureAsync(this.#core, STATE, 'set', data);
    const result = await context(this.#device).track(() => whileUsed([this.#device], ask));
    return this.#arrived(state, data, result);
  }

  #arrived(state: MigrationTarget, data: Uint8Array, result: number): MigrationStream | undefined {
    if (result < 0) {
      const args = { operation: 'set', device_state: state };
      throw featureRefusal(this.#core, STATE, result, args, this.#whereNow());
    }
    const { data_fd } = decodeData(uapi.vfio_device_feature_mig_state, data);
    if (data_fd < 0) return undefined;
    return new MigrationStream(this.#core, data_fd, state === 'resuming' ? 'load' : 'save');
  }

  /** Where a refused way ended: half-way is possible. */
  #whereNow(): string | undefined {
    try {
      return `the device is in state '${this.state}' now`;
    } catch {
      // It cannot migrate at all, or a listener to traces closed it.
      return undefined;
    }
  }

  /**
   * About how many bytes 'stop-copy' would give now (VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, Linux 6.2).
   * @throws IommufdError ENOTTY (it cannot migrate)
   */
  estimatedStopCopyBytes(): bigint {
    const feature = 'VFIO_DEVICE_FEATURE_MIG_DATA_SIZE';
    return getFeature(this.#core, feature, uapi.vfio_device_feature_mig_data_size).stop_copy_length;
  }

  /**
   * Makes `precopyInfo` of this device's streams tell when initial data starts anew
   * (VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, Linux 7.1), until the device is closed.
   * @throws IommufdError EINVAL (the device has no 'pre-copy'), ENOTTY (an older kernel)
   */
  enablePrecopyInfoV2(): void {
    callFeature(this.#core, 'VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2', 'set');
    expectPrecopyFlags(this.#core);
  }
}

function targetData(state: MigrationTarget): Uint8Array {
  const device_state = STATES[oneOf(state, TARGETS, 'state')];
  return encodeData(uapi.vfio_device_feature_mig_state, { device_state, data_fd: -1 });
}
