// Resets of a device, and of the bus or slot it shares with others.
import type { Device } from '../objects/device.js';
import type { DeviceCore } from './core.js';

export interface HotResetInfo {
  readonly possible: boolean;
}
export function resetDevice(_core: DeviceCore): void {
  throw new Error('to be written');
}
export function readHotResetInfo(_core: DeviceCore, _device: Device): HotResetInfo {
  throw new Error('to be written');
}
export function hotReset(_core: DeviceCore, _device: Device): void {
  throw new Error('to be written');
}
