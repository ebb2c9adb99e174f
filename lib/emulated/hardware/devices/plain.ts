// A device that does nothing by itself: what it does, its own side is told to (`host.device`).
import type { DeviceModel } from '../pci/model.js';

export class PlainDevice implements DeviceModel {
  readonly identity = { vendorId: 0x1234, deviceId: 0x0001, classCode: 0xff0000 };
  connect(): void {}
  read(): number {
    return 0xffff_ffff;
  }
  write(): void {}
}
