// What a VMM may do to its VFIO devices, at random.
import type { Ioas, MigrationTarget } from '../../lib/index.js';
import { type Operation, turn } from './life.js';
import { PAGE } from './places.js';

export const interrupts: Operation = (life) => {
  const index = life.random.pick(['intx', 'msi', 'msix', 'request', 'error'] as const) ?? 'msix';
  const irqs = life.nic()?.interrupts(index);
  if (life.random.chance(50)) irqs?.enable();
  else irqs?.disable();
};
export const reset: Operation = (life) => {
  const nic = life.nic();
  if (life.random.chance(40)) nic?.hotReset();
  else if (life.random.chance(50)) return nic?.resetAsync();
  else nic?.reset();
  return undefined;
};
export const registers: Operation = (life) => {
  const nic = life.nic();
  const window = nic?.region(life.random.chance(50) ? 'bar0' : life.world.sharedBar).mmap();
  window?.write32(4, 7);
  if (life.random.chance(60)) window?.unmap();
};
export const mapBar: Operation = (life) => {
  const nic = life.nic();
  const ioas = nic && life.object<Ioas>('ioas', nic.device.iommufd);
  if (nic === undefined || ioas === undefined) return;
  const mapping = ioas.mapDmaBuf(nic.region(life.world.sharedBar), { iova: life.world.base + 0x2000_0000n });
  if (life.random.chance(60)) mapping.unmap();
};
export const power: Operation = (life) => {
  const lowPower = life.nic()?.lowPower;
  if (life.random.chance(50)) lowPower?.enter();
  else lowPower?.exit();
};
export const logging: Operation = (life) => {
  const log = life.nic()?.dmaLogging;
  const range = { iova: life.world.base, length: 256 * PAGE };
  if (life.random.chance(40)) log?.start({ ranges: [range] });
  else if (life.random.chance(50)) log?.report(range);
  else log?.stop();
};
const TARGETS: readonly MigrationTarget[] = ['stop', 'running', 'running', 'stop-copy', 'pre-copy', 'resuming'];
export const migrate: Operation = (life) => {
  const stream = life.nic()?.migration.setState(life.random.pick(TARGETS) ?? 'running');
  if (stream?.direction === 'save') stream.read();
  if (life.random.chance(80)) stream?.close();
};
export const requestDevice: Operation = async (life) => {
  const address = life.address();
  life.asked.add(address);
  life.wait(`request of ${address}`, life.emulated.requestDevice(address));
  await turn();
};
export const returnDevice: Operation = (life) => {
  const address = life.random.pick([...life.asked]);
  if (address === undefined) return;
  // Who has it open closes it, mostly.
  const nic = life.openNics().find(({ name }) => name === address);
  if (life.random.chance(70)) nic?.[Symbol.dispose]();
  life.emulated.returnDevice(address);
  life.asked.delete(address);
};
