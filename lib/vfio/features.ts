// To be written.
import type { DeviceCore } from './core.js';

export class DeviceFeatures {
  constructor(readonly core: DeviceCore) {}
}
