// The regions of one device: one object each, made when it is first asked for.
import type { DeviceCore } from './core.js';
import type { DeviceInfo } from './info.js';
import { VfioRegion } from './region.js';
import { type RegionName, readRegionInfo, regionIndex, tryReadRegionInfo } from './region-info.js';

export class DeviceRegions {
  readonly #core: DeviceCore;
  readonly #info: () => DeviceInfo;
  readonly #known = new Map<number, VfioRegion>();

  /** `info`: asks the device what it is. */
  constructor(core: DeviceCore, info: () => DeviceInfo) {
    this.#core = core;
    this.#info = info;
  }

  /** Throws where the device does not know the index. */
  get(which: RegionName | number): VfioRegion {
    const index = regionIndex(which);
    this.#core.check();
    return this.#known.get(index) ?? this.#make(readRegionInfo(this.#core, index));
  }

  /** Those that have a size. Indexes have holes: the VGA region, for one. */
  all(): VfioRegion[] {
    const found: VfioRegion[] = [];
    for (let index = 0; index < this.#info().regionCount; index++) {
      const region = this.#known.get(index) ?? this.#makeIfThere(index);
      if (region !== undefined && region.size > 0) found.push(region);
    }
    return found;
  }

  #makeIfThere(index: number): VfioRegion | undefined {
    const info = tryReadRegionInfo(this.#core, index);
    return typeof info === 'number' ? undefined : this.#make(info);
  }

  #make(info: ReturnType<typeof readRegionInfo>): VfioRegion {
    const region = new VfioRegion(this.#core, info, this.#info().kind === 'pci');
    this.#known.set(info.index, region);
    return region;
  }
}
