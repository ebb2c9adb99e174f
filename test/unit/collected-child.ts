// Run with --expose-gc by collected.test.ts: makes something, drops it, collects, and prints what came of it.
import type { EventEmitter } from 'node:events';
import { Host } from '../../lib/host-object.js';
import type { Ioas } from '../../lib/objects/ioas.js';
import { agreeable, deviceStage, leftovers, type Stage, stage, turn, viommuStage } from './stage.js';
import type { StubSeam } from './stub-seam.js';

/** What a scenario did not drop: the seam to look at, and objects that must outlive the collection. */
interface Kept {
  readonly seam: StubSeam;
  readonly keep?: readonly object[];
  /** Run after the first collection; then all is collected again. */
  readonly later?: () => void;
}

export interface Report {
  readonly warnings: readonly string[];
  readonly after: ReturnType<typeof leftovers>;
  readonly dropped: number;
  /** How many objects were kept throughout. */
  readonly kept: number;
  /** `after`, once `later` was run. */
  readonly end: ReturnType<typeof leftovers>;
}

/** Each in a frame of its own, so that nothing of it stays on the stack. */
const SCENARIOS: Readonly<Record<string, () => Kept>> = {
  iommufd: () => {
    const { seam, iommufd } = stage();
    iommufd.allocIoas();
    return { seam };
  },
  closed: () => {
    const { seam, iommufd, host } = stage();
    iommufd.allocIoas();
    iommufd.close();
    host.allocateMemory(4096).free();
    return { seam };
  },
  kept: () => {
    const { seam, iommufd } = stage();
    return { seam, keep: [iommufd.allocIoas()] };
  },
  'fault queue': () => {
    const { seam, iommufd } = stage();
    iommufd.allocFaultQueue().drain();
    return { seam };
  },
  'left iterator': () => {
    const { seam, iommufd } = stage();
    void iommufd.allocFaultQueue().read().return?.();
    return { seam };
  },
  'waiting for an event': () => {
    const { seam, viommu } = viommuStage();
    void viommu.allocVeventq({ depth: 1 }).read().next();
    return { seam };
  },
  'waiting for a fault': () => {
    const { seam, iommufd } = stage();
    void iommufd.allocFaultQueue().read().next();
    return { seam };
  },
  memory: () => {
    const seam = agreeable();
    new Host(seam).allocateMemory(4096);
    return { seam };
  },
  'memory with a window': () => {
    const seam = agreeable();
    return { seam, keep: [new Host(seam).allocateMemory(4096).window()] };
  },
  'mapped memory': () => mapped(stage()),
  'memory of a dropped iommufd': () => {
    const { seam, host, iommufd } = stage();
    const ram = host.allocateMemory(4096);
    iommufd.allocIoas().map(ram);
    return { seam, keep: [ram], later: () => ram.free() };
  },
  vfio: () => {
    const { seam, host, iommufd } = stage();
    host.openDevice('/dev/vfio/devices/vfio0');
    return { seam, keep: [iommufd] };
  },
  'bound vfio': () => {
    const { seam, iommufd } = deviceStage();
    return { seam, keep: [iommufd] };
  },
  mmio: () => {
    const { seam, viommu } = viommuStage();
    viommu.mmap().write32(0, 1);
    return { seam };
  },
  eventfd: () => {
    const { seam, host } = stage();
    host.createEventfd();
    host.createEventfd().close();
    return { seam };
  },
  'waiting for an eventfd': () => {
    const { seam, host } = stage();
    void host.createEventfd().wait();
    return { seam };
  },
  'dirty bitmap': () => {
    const { seam, parent, ioas } = viommuStage();
    ioas.unsafeMapAddress(0x1000n, { length: 4096n });
    parent.dirtyBitmap({ iova: 0n, length: 4096n }).read();
    return { seam, keep: [parent] };
  },
};

function mapped({ seam, host, iommufd }: Stage): Kept {
  const ioas: Ioas = iommufd.allocIoas();
  ioas.map(host.allocateMemory(4096), { iova: 0n });
  return { seam, keep: [iommufd], later: () => void ioas.unmap(0n, 4096) };
}

async function collect(): Promise<void> {
  if (typeof globalThis.gc !== 'function') throw new Error('run with --expose-gc');
  for (let i = 0; i < 6; i++) {
    globalThis.gc();
    await turn(2);
  }
}

async function main(name: string): Promise<void> {
  const warnings: string[] = [];
  (process as EventEmitter).on('warning', (warning: Error & { code?: string }) => {
    warnings.push(`${warning.code}: ${warning.message}`);
  });
  const scenario = SCENARIOS[name];
  if (scenario === undefined) throw new Error(`there is no scenario ${name}`);
  const kept = scenario();
  const regions = [...kept.seam.regions];
  await collect();
  const after = leftovers(kept.seam);
  const dropped = regions.filter((region) => region.dropped).length;
  kept.later?.();
  await collect();
  const report: Omit<Report, 'kept'> = { warnings, after, dropped, end: leftovers(kept.seam) };
  console.log(JSON.stringify({ ...report, kept: kept.keep?.length ?? 0 }));
}

await main(process.argv[2] ?? '');
