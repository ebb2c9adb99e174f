// The emulated kernel's other dialect: hardware queues as the patches before Linux's had them.
import assert from 'node:assert/strict';
import { HwQueue } from '../../lib/emulated/kernel/hw-queue.js';
import type { Viommu } from '../../lib/emulated/kernel/viommu.js';
import { createEmulatedHost, type EmulatedHostOptions } from '../../lib/emulated-host.js';
import { makeViommu, QUEUE_TYPE } from '../rig/guest.js';

const ADDRESS = '0000:01:00.0';
const PAGE = 4096;
/** The first IOVA the mock takes. */
const IOVA = 1n << 24n;

/** What undoes a stage. */
const undo: (() => void)[] = [];
afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

/** A guest with 16 pages of memory and a vIOMMU. */
function stage(uapi: EmulatedHostOptions['uapi'] = 'vqueue-v3') {
  const host = createEmulatedHost({ uapi });
  const ram = host.allocateMemory(16 * PAGE);
  const iommufd = host.openIommufd();
  const nic = host.openDevice(ADDRESS);
  undo.push(
    () => ram.free(),
    () => nic.close(),
    () => iommufd.close(),
  );
  const device = nic.bind(iommufd);
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: IOVA });
  const parent = ioas.allocHwpt(device, { nestParent: true });
  const viommu = makeViommu(parent, device, 0x1234);
  const queue = (iova: bigint, length: number) => viommu.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova, length });
  return { ioas, ram, parent, device, viommu, queue };
}

describe("the vQUEUE patches' dialect of the emulated kernel", () => {
  it('puts the first registers at offset 0, a page of them, and maps them', () => {
    const { viommu, parent, device } = stage();
    assert.deepEqual(viommu.mmapRegion, { offset: 0n, length: BigInt(PAGE) });
    assert.deepEqual(makeViommu(parent, device).mmapRegion, { offset: BigInt(PAGE), length: BigInt(PAGE) });
    const registers = viommu.mmap({ length: 64 });
    assert.equal(registers.read32(0), 0x1234);
    assert.throws(() => viommu.destroy(), { code: 'EBUSY' });
    registers.unmap();
    viommu.destroy();
  });

  it('refuses a queue at address 0, and one at memory that is not mapped, in its own words', () => {
    const { queue } = stage();
    assert.throws(() => queue(0n, PAGE), { code: 'EINVAL' });
    assert.throws(() => queue(IOVA + BigInt(16 * PAGE), PAGE), { code: 'ENXIO' });
    // Only the first byte is looked at so; what is missing further on is told as ever.
    assert.throws(() => queue(IOVA + BigInt(15 * PAGE), 2 * PAGE), { code: 'ENOENT' });
    queue(IOVA + BigInt(15 * PAGE), PAGE).destroy();
  });

  it('says EDEADLOCK where memory under a queue is unmapped, and Linux EBUSY', () => {
    for (const [uapi, code] of [
      ['vqueue-v3', 'EDEADLK'],
      ['linux', 'EBUSY'],
    ] as const) {
      const { queue, ioas, ram } = stage(uapi);
      const made = queue(IOVA, PAGE);
      assert.throws(() => ioas.unmap(IOVA, ram.size), { code });
      made.destroy();
      ioas.unmap(IOVA, ram.size);
    }
  });

  it("aligns a queue in the guest's physical memory, and Linux in the machine's", () => {
    for (const [dialect, guest, machine] of [
      ['vqueue-v3', true, false],
      ['linux', false, true],
    ] as const) {
      const viommu = { users: 1, context: { kernel: { dialect } } } as unknown as Viommu;
      const made = (base: number) => new HwQueue(viommu, QUEUE_TYPE, 0, BigInt(base), BigInt(2 * PAGE));
      assert.deepEqual([made(4 * PAGE).isAligned(PAGE), made(3 * PAGE).isAligned(8 * PAGE)], [guest, machine]);
    }
  });
});
