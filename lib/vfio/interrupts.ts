// The interrupts of a device.
import type { DeviceCore } from './core.js';

export type InterruptName = 'intx' | 'msi' | 'msix' | 'error' | 'request';
export function interruptIndex(_which: InterruptName | number): number {
  throw new Error('to be written');
}
export class VfioInterrupts {
  constructor(
    readonly core: DeviceCore,
    readonly index: number,
  ) {}
}
