// A region of a device.
import type { DeviceCore } from './core.js';

export type RegionName = 'bar0' | 'bar1' | 'bar2' | 'bar3' | 'bar4' | 'bar5' | 'rom' | 'config' | 'vga';
export function regionIndex(_which: RegionName | number): number {
  throw new Error('to be written');
}
export class VfioRegion {
  readonly size: number = 0;
  constructor(
    readonly core: DeviceCore,
    readonly index: number,
  ) {}
}
