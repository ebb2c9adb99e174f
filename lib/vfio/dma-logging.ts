// To be written.
import type { DeviceCore } from './core.js';

export class DmaLogging {
  constructor(readonly core: DeviceCore) {}
}
