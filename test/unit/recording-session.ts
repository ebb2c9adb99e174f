// Sessions to record and to replay: whole programs, with the hardware's side apart, which a replay has none of.
import { createEmulatedHost, type EmulatedHost, mock } from '../../lib/emulated-host.js';
import type { Host } from '../../lib/index.js';
import { recordingHost, replayHost } from '../../lib/recording-host.js';

export const EDU = '0000:00:05.0';
export const TEST = '0000:00:06.0';
export const IOVA = 0x100_0000n;

/** What only a machine can do: none of it passes the seam. */
export type Hardware = (work: (machine: EmulatedHost) => void) => void;
export type Session = (host: Host, hardware: Hardware, seen: unknown[]) => void | Promise<void>;

export function machine(): EmulatedHost {
  return createEmulatedHost({
    machine: 'selftest',
    devices: [
      { address: EDU, model: 'edu' },
      { address: TEST, model: 'test' },
    ],
  });
}

export interface Recorded {
  readonly transcript: string;
  /** What the program saw. */
  readonly seen: readonly unknown[];
}

export async function record(session: Session): Promise<Recorded> {
  const emulated = machine();
  const host = recordingHost(emulated);
  const seen: unknown[] = [];
  await session(host, (work) => work(emulated), seen);
  return { transcript: host.transcript(), seen };
}

/** Replays to the end. */
export async function replay(transcript: string, session: Session): Promise<readonly unknown[]> {
  const host = replayHost(transcript);
  const seen: unknown[] = [];
  await session(host, () => undefined, seen);
  host.finish();
  return seen;
}

/** One object of every class, with DMA, a dirty bitmap, registers and refusals. */
export const wholeGraph: Session = async (host, hardware, seen) => {
  const iommufd = host.openIommufd();
  const device = host.openDevice(TEST).bind(iommufd);
  const ram = host.allocateMemory(0x10000);
  const ioas = iommufd.allocIoas();
  seen.push(ioas.map(ram, { iova: IOVA }), device.hwInfo().type);
  const faultQueue = iommufd.allocFaultQueue();
  const parent = await ioas.allocHwptAsync(device, { nestParent: true, dirtyTracking: true });
  const viommu = parent.allocViommu(device, mock.viommu(7));
  const vdevice = viommu.allocVdevice(device, { virtId: 0x99n });
  const veventq = viommu.allocVeventq({ depth: 4, ...mock.veventq() });
  const queue = viommu.allocHwQueue({ index: 0, iova: IOVA, length: 0x1000n, ...mock.hwQueue() });
  const nested = viommu.allocNestedHwpt(device, { ...mock.nested(), faultQueue });
  const registers = viommu.mmap();
  seen.push(registers.read32(0));
  registers.write32(8, 0x1234);
  seen.push(registers.read32(8), registers.read64(8));
  registers.unmap();
  device.attach(parent);
  seen.push(ioas.map(ram));
  parent.setDirtyTracking(true);
  hardware((emulated) => emulated.device(TEST).dmaWrite(IOVA + 0x1080n, Buffer.from('from the device')));
  const bitmap = parent.dirtyBitmap({ iova: IOVA, length: 0x10000n });
  seen.push([...bitmap.read().ranges()], Buffer.from(ram.read(0x1080, 15)).toString());
  bitmap.free();
  device.attach(nested);
  const events = veventq.read();
  const next = events.next();
  // It is waited for already.
  setImmediate(() => hardware((emulated) => emulated.device(TEST).raiseEvent()));
  seen.push((await next).value);
  seen.push(
    codeOf(() => ioas.map(ram, { iova: IOVA })),
    codeOf(() => ioas.destroy()),
  );
  device.detach();
  for (const object of [nested, queue, vdevice, veventq, viommu, parent, faultQueue, ioas]) object.destroy();
  iommufd.close();
  ram.free();
};

export function codeOf(work: () => unknown): unknown {
  try {
    work();
  } catch (error) {
    return error instanceof Error && 'code' in error ? error.code : error;
  }
  return 'ok';
}
