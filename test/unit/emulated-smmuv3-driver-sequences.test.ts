// Devices behind an SMMUv3 attached, detached, translated for and taken away in any order, with memory short at any time:
// calls are refused with an errno or work, and afterwards nothing is left.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { type HwptNested, type HwptPaging, IommufdError, UsageError, type VfioDevice } from '../../lib/index.js';
import {
  ADDRESS,
  closeAll,
  command,
  EATS,
  Guest,
  IPA,
  pattern,
  STREAM,
  stage,
  VA,
} from './emulated-smmuv3-driver-stage.js';

const OTHER = '0000:01:00.1';
const NEVER = 2 ** 30;
/** Mostly none. */
const PASIDS = [undefined, 1, undefined, 2, undefined, 1024, undefined] as const;
const ADDRESSES = [VA, VA + 4096n, IPA, IPA + 0x8000n, 0x800_0000n, 2n ** 48n, 2n ** 64n - 8n];

/** What is done, as often as it says, and numbers that say to what. */
const KINDS = { attach: 4, detach: 2, dma: 4, wait: 2, guest: 2, map: 1, answer: 1, fail: 1 } as const;
type Kind = keyof typeof KINDS;
const small = fc.nat({ max: 11 });
const operation = fc.record({
  kind: fc.oneof(...Object.entries(KINDS).map(([kind, weight]) => ({ weight, arbitrary: fc.constant(kind as Kind) }))),
  device: small,
  table: small,
  pasid: small,
});
interface Operation {
  readonly kind: Kind;
  readonly device: number;
  readonly table: number;
  readonly pasid: number;
}

function pick<T>(from: readonly T[], index: number): T {
  return from[index % from.length] as T;
}

/** Does something that may be refused, and says so then. */
function attempt(run: () => unknown): boolean {
  try {
    run();
    return true;
  } catch (error) {
    assert(error instanceof IommufdError || error instanceof UsageError, String(error));
    return false;
  }
}

/** Two devices, page tables of all kinds, and a guest. */
function bench() {
  const options = { pasid: true, ats: true, recoverableFaults: true };
  const guest = new Guest(stage(options, [{ address: OTHER, ...options }]), { stalls: true, ssidBits: 2 });
  const { host, iommufd, ioas, nic, device } = guest.stage;
  const other = host.openDevice(OTHER);
  guest.viommu.allocVdevice(other.bind(iommufd), { virtId: STREAM + 1n });
  for (const page of [0, 1]) guest.map(page, page);
  const faults = iommufd.allocFaultQueue();
  const tables: (HwptPaging | HwptNested)[] = [
    ioas.allocHwpt(device),
    guest.parent,
    ioas.allocHwpt(device, { pasid: true, faultQueue: faults }),
    ioas.allocHwpt(device, { pasid: true, dirtyTracking: true }),
    guest.nested('translate', [0n, EATS], faults),
    guest.nested('translate'),
    guest.nested('bypass', [0n, 0n], faults),
    guest.nested('abort'),
  ];
  const nics: VfioDevice[] = [nic, other];
  nic.attach(guest.nested('translate', [0n, EATS], faults));
  other.attach(ioas);
  return { guest, host, ioas, faults, tables, nics };
}
type Bench = ReturnType<typeof bench>;

/** Each answers whether it worked; accesses that wait are put into `waits`. */
const PERFORM: Readonly<Record<Kind, (on: Bench, operation: Operation, waits: Promise<boolean>[]) => boolean>> = {
  attach: ({ nics, tables, ioas }, { device, table, pasid }) =>
    attempt(() => pick(nics, device).attach(pick([...tables, ioas], table), optionsOf(pasid))),
  detach: ({ nics }, { device, pasid }) => attempt(() => pick(nics, device).detach(optionsOf(pasid))),
  dma: ({ host }, { device, table, pasid }) => {
    const [hardware, at] = [host.device(pick([ADDRESS, OTHER], device)), pick(ADDRESSES, table)];
    const write = device % 4 > 1;
    return attempt(() =>
      write ? hardware.dmaWrite(at, pattern(8), optionsOf(pasid)) : hardware.dmaRead(at, 8, optionsOf(pasid)),
    );
  },
  wait: ({ host }, { device, table, pasid }, waits) => {
    const hardware = host.device(pick([ADDRESS, OTHER], device));
    const read = hardware.dmaReadAsync(pick(ADDRESSES, table), 8, optionsOf(pasid));
    waits.push(
      read.then(
        () => true,
        (error) =>
          attempt(() => {
            throw error;
          }),
      ),
    );
    return true;
  },
  guest: ({ guest }, { device, table, pasid }) => {
    guest.map(device % 2, table === 0 ? undefined : table, pasid % 2 === 0 ? 'read' : 'read-write');
    return attempt(() => guest.invalidate(pick(Object.values(command), pasid)(STREAM, VA)));
  },
  map: ({ guest, ioas }, { table }) =>
    attempt(() => (table % 2 === 0 ? ioas.unmapAll() : ioas.map(guest.stage.ram, { iova: IPA }))),
  answer: ({ faults }, { table }) =>
    attempt(() => {
      for (const group of faults.drain()) faults.respond(group, table % 2 === 0 ? 'success' : 'invalid');
    }),
  fail: ({ host }, { table }) => attempt(() => host.failAllocation(table)),
};

function optionsOf(pasid: number): { pasid?: number } {
  const chosen = pick(PASIDS, pasid);
  return chosen === undefined ? {} : { pasid: chosen };
}

describe("sequences of calls on the emulated SMMUv3's driver", () => {
  afterEach(closeAll);

  it('work or are refused, and leave nothing', async () => {
    const worked = new Map<Kind, number>();
    await fc.assert(
      fc.asyncProperty(fc.array(operation, { minLength: 10, maxLength: 60 }), async (operations) => {
        const on = bench();
        const waits: Promise<boolean>[] = [];
        for (const each of operations) {
          if (PERFORM[each.kind](on, each, waits)) worked.set(each.kind, (worked.get(each.kind) ?? 0) + 1);
        }
        on.host.failAllocation(NEVER);
        closeAll();
        await Promise.all(waits);
        const { iommufds, tlb, memory, openFiles } = on.host.inspect();
        const fresh = createEmulatedHost({ machine: 'arm-smmuv3' }).inspect();
        assert.deepEqual({ iommufds, tlb, memory }, { iommufds: [], tlb: [], memory: fresh.memory });
        assert.equal(openFiles, fresh.openFiles);
      }),
      { numRuns: 100 },
    );
    for (const kind of Object.keys(KINDS) as Kind[])
      assert((worked.get(kind) ?? 0) > 5, `${kind}: ${worked.get(kind)}`);
  });
});
