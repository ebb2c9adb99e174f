// What a device is and can do.
import type { DeviceCore } from './core.js';

export interface DeviceInfo {
  readonly regionCount: number;
  readonly interruptCount: number;
  readonly canReset: boolean;
}
export function readDeviceInfo(_core: DeviceCore): DeviceInfo {
  throw new Error('to be written');
}
