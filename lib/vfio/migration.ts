// To be written.
import type { DeviceCore } from './core.js';

export class Migration {
  constructor(readonly core: DeviceCore) {}
}
