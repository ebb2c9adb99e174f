// Programs that mean ill on an emulated machine: every member of every object, called with whatever there is.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { Attack, calls } from '../rig/hostile.js';

const IOVA = 0x100_0000n;

/** One of everything that a VMM makes. */
function graph() {
  const host = createEmulatedHost({ memory: { size: 2 ** 24 } });
  const before = host.inspect();
  const iommufd = host.openIommufd();
  const nic = host.openDevice('0000:01:00.0');
  const device = nic.bind(iommufd);
  const ram = host.allocateMemory(65536);
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: IOVA });
  const faultQueue = iommufd.allocFaultQueue();
  const parent = ioas.allocHwpt(device, { nestParent: true });
  const viommu = parent.allocViommu(device, { type: 'tegra241-cmdqv' });
  const vdevice = viommu.allocVdevice(device, { virtId: 0x99n });
  const veventq = viommu.allocVeventq({ depth: 4 });
  const queue = viommu.allocHwQueue({ index: 0, iova: IOVA, length: 4096 });
  const mmio = viommu.mmap();
  const eventfd = host.createEventfd(1);
  const roots = [
    host,
    iommufd,
    nic,
    device,
    ram,
    ioas,
    faultQueue,
    parent,
    viommu,
    vdevice,
    veventq,
    queue,
    mmio,
    eventfd,
  ];
  return { host, before, roots };
}

describe('programs that mean ill on an emulated machine', function () {
  this.timeout(300_000);

  it('hear what is wrong, and leave nothing when they close what they have', async () => {
    const property = fc.asyncProperty(calls, async (made) => {
      const { host, before, roots } = graph();
      const attack = new Attack(roots);
      for (const call of made) attack.make(call);
      await attack.end();
      assert.deepEqual(attack.unclear, [], attack.told.join('; '));
      const { openFiles, iommufds, charged } = host.inspect();
      assert.deepEqual(
        { openFiles, iommufds, charged },
        { openFiles: before.openFiles, iommufds: [], charged: before.charged },
        attack.told.join('; '),
      );
    });
    await fc.assert(property, {
      numRuns: Number(process.env.RUNS ?? 300),
      ...(process.env.SEED ? { seed: Number(process.env.SEED) } : {}),
    });
  });
});
