// An emulated machine for a life at random.
import { createEmulatedHost, type MachineName } from '../../lib/emulated-host.js';
import type { Random } from './life.js';
import { PAGE } from './places.js';
import type { World } from './world.js';

const ADDRESSES = ['0000:01:00.0', '0000:01:00.1', '0000:02:00.0'] as const;

export function emulatedWorld(machine: MachineName): (random: Random) => World {
  return (random) => {
    const capable = machine !== 'selftest';
    const model = { model: 'test', pasid: true, ats: capable, recoverableFaults: capable } as const;
    const emulated = createEmulatedHost({
      machine,
      devices: ADDRESSES.map((address) => ({ address, ...model })),
      limits: { privileged: random.chance(50), lockedMemory: random.chance(20) ? 600 * PAGE : 2 ** 30 },
      memory: { scatter: random.chance(50) },
    });
    return {
      ...{ machine, host: emulated, emulated, addresses: ADDRESSES },
      ...{ base: 0x4000_0000n, sharedBar: 'bar2', operations: [] },
      inspect: () => emulated.inspect(),
    };
  };
}
