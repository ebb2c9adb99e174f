// Letting a device sleep (drivers/vfio/pci/vfio_pci_core.c). Whether it does is the business of Linux's runtime power
// management, and nothing tells; any access through its file wakes it for as long as that takes.
import { checkEventfd, type EventfdLike, eventfdNumber } from '../host/eventfd.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import { callFeature, encodeData, type Feature, featureRefusal, tryFeature } from './feature-call.js';

const EINVAL = -22;

/** Made by `nic.lowPower`. */
export class LowPower {
  readonly #core: DeviceCore;

  /** Not for callers: use `nic.lowPower`. */
  constructor(core: DeviceCore) {
    this.#core = core;
  }

  /**
   * Allows the device to sleep until `exit` (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, Linux 6.1). Mapped regions and
   * mappings of dma-bufs are dead from then on: map anew after `exit`.
   * @throws IommufdError EINVAL (allowed already), ENOTTY (no PCI device)
   */
  enter(): void {
    this.#enter('VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY', new Uint8Array(0), {});
  }

  /**
   * As `enter`, and signals an eventfd when the device has woken up, which also ends it: it sleeps again only after
   * another call. A device that did not sleep meanwhile signals nothing
   * (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, Linux 6.1).
   * @throws IommufdError as `enter`; EBADF, EINVAL (no eventfd)
   */
  enterWithWakeup(eventfd: EventfdLike): void {
    const wakeup = checkEventfd(eventfd, 'eventfd');
    const input = { wakeup_eventfd: eventfdNumber(wakeup, this.#core.seam, 'eventfd') };
    const data = encodeData(uapi.vfio_device_low_power_entry_with_wakeup, input);
    this.#enter('VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP', data, input);
  }

  #enter(feature: Feature, data: Uint8Array, args: Readonly<Record<string, unknown>>): void {
    const result = tryFeature(this.#core, feature, 'set', data);
    // A second entry is refused only after dma-bufs were revoked and mappings taken away.
    if (result >= 0 || result === EINVAL) this.#core.memoryLost('low power');
    if (result < 0) throw featureRefusal(this.#core, feature, result, { operation: 'set', ...args });
  }

  /** Keeps the device awake (VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, Linux 6.1). Awake already is fine. */
  exit(): void {
    callFeature(this.#core, 'VFIO_DEVICE_FEATURE_LOW_POWER_EXIT', 'set');
  }
}
