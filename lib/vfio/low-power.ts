// To be written.
import type { DeviceCore } from './core.js';

export class LowPower {
  constructor(readonly core: DeviceCore) {}
}
