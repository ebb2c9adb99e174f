// Which features of VFIO_DEVICE_FEATURE a device has, and those that need no object of their own.
import { oneOf, toSize } from '../host/arguments.js';
import { invalidType, outOfRange } from '../host/errors.js';
import { allocateBlock, freeBlock } from '../objects/call.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import { callFeature, type Feature, getFeature, probeFeature, setFeature } from './feature-call.js';
import { toVfToken } from './vf-token.js';

const FEATURES = {
  'pci-vf-token': 'VFIO_DEVICE_FEATURE_PCI_VF_TOKEN',
  migration: 'VFIO_DEVICE_FEATURE_MIGRATION',
  'mig-device-state': 'VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE',
  'low-power-entry': 'VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY',
  'low-power-entry-with-wakeup': 'VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP',
  'low-power-exit': 'VFIO_DEVICE_FEATURE_LOW_POWER_EXIT',
  'dma-logging-start': 'VFIO_DEVICE_FEATURE_DMA_LOGGING_START',
  'dma-logging-stop': 'VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP',
  'dma-logging-report': 'VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT',
  'mig-data-size': 'VFIO_DEVICE_FEATURE_MIG_DATA_SIZE',
  'bus-master': 'VFIO_DEVICE_FEATURE_BUS_MASTER',
  'dma-buf': 'VFIO_DEVICE_FEATURE_DMA_BUF',
  'mig-precopy-info-v2': 'VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2',
  'zpci-error': 'VFIO_DEVICE_FEATURE_ZPCI_ERROR',
} as const satisfies Record<string, Feature>;

/** The features of Linux 7.3, by the kernel's names. */
export type FeatureName = keyof typeof FEATURES;

const NAMES = Object.keys(FEATURES) as readonly FeatureName[];

export interface FeatureSupport {
  readonly name: FeatureName;
  /** Whether it can be read. */
  readonly get: boolean;
  /** Whether it can be changed, or done. */
  readonly set: boolean;
}

const { VFIO_DEVICE_FEATURE_SET_MASTER: SET_MASTER, VFIO_DEVICE_FEATURE_CLEAR_MASTER: CLEAR_MASTER } =
  uapi.vfio_bus_master_op.values;

/** The kernel writes as much as its record has, whoever asked for less: so it gets far more room than that is. */
const ZPCI_ROOM = 65_536;

/** Made by `nic.features`. */
export class DeviceFeatures {
  readonly #core: DeviceCore;

  /** Not for callers: use `nic.features`. */
  constructor(core: DeviceCore) {
    this.#core = core;
  }

  /** The features that the device has (VFIO_DEVICE_FEATURE with PROBE, Linux 5.7). Nothing is changed by asking. */
  list(): FeatureSupport[] {
    return NAMES.map((name) => this.#support(name)).filter(({ get, set }) => get || set);
  }

  /** One of them. Neither `get` nor `set` where the device does not have it. */
  probe(name: FeatureName): FeatureSupport {
    return this.#support(oneOf(name, NAMES, 'name'));
  }

  #support(name: FeatureName): FeatureSupport {
    // ENOTTY for a feature that is not there, EINVAL for one that cannot be asked so; some drivers say other things.
    const works = (operation: 'get' | 'set') => probeFeature(this.#core, FEATURES[name], operation) >= 0;
    return { name, get: works('get'), set: works('set') };
  }

  /**
   * Sets the token that openers of the virtual functions of this physical function must know: see `BindOptions.vfToken`
   * (Linux 5.7). The kernel never tells it.
   * @param token 16 bytes in the order a UUID's text has, or that text
   * @throws IommufdError ENOTTY (not a physical function with virtual ones to be had)
   */
  setVfToken(token: Uint8Array | string): void {
    const uuid = toVfToken(token, 'token');
    // Not among the error's arguments: it is a secret.
    callFeature(this.#core, 'VFIO_DEVICE_FEATURE_PCI_VF_TOKEN', 'set', uuid);
  }

  /**
   * Whether a CDX device may do DMA (Linux 6.6).
   * @throws IommufdError ENOTTY (no CDX device: PCI devices have a bit for it, `nic.config.enable({ busMaster: true })`)
   */
  setBusMaster(enabled: boolean): void {
    if (typeof enabled !== 'boolean') throw invalidType('enabled', 'a boolean', enabled);
    const op = enabled ? SET_MASTER : CLEAR_MASTER;
    setFeature(this.#core, 'VFIO_DEVICE_FEATURE_BUS_MASTER', uapi.vfio_device_feature_bus_master, { op });
  }

  /**
   * The record of an error that the firmware of s390 reported for the device (Linux 7.3).
   * @param length bytes of it, 1 to 65536: the device info's zPCI base capability tells how many there are
   * @throws IommufdError ENOMSG (no error is pending), ENOTTY (no s390)
   */
  zpciError(length: number): Uint8Array {
    const bytes = toSize(length, 'length');
    if (bytes === 0 || bytes > ZPCI_ROOM) throw outOfRange('length', `between 1 and ${ZPCI_ROOM}`, length);
    this.#core.check();
    const block = allocateBlock(this.#core.seam, ZPCI_ROOM);
    try {
      const data = block.address;
      getFeature(this.#core, 'VFIO_DEVICE_FEATURE_ZPCI_ERROR', uapi.vfio_device_feature_zpci_err, { data });
      return block.window(0, bytes).slice();
    } finally {
      freeBlock(block);
    }
  }
}
