// A real kernel for a life at random: with its mock IOMMU, or with QEMU's devices behind an Intel IOMMU.
import assert from 'node:assert/strict';
import { test_check_map, test_trigger_iopf, test_trigger_vevent } from '../../lib/emulated/hardware/selftest/uapi.js';
import type { HwptPaging, Iommufd } from '../../lib/index.js';
import { kernelCensus } from '../rig/kernel-census.js';
import { MockDevice, tryTestCmd } from '../rig/mock.js';
import { type Rig, rig } from '../rig/rig.js';
import { vfioRig } from '../rig/vfio-rig.js';
import { eduDma, settle } from './edu-dma.js';
import type { Life, Operation } from './life.js';
import { PAGE } from './places.js';
import type { World } from './world.js';

const MOST_DEVICES = 6;

/** Where IOMMUFD_RIG says so, the emulated host stands in for the kernel: for whoever changes these lives. */
const inspectOn = (here: Rig) => () => here.emulated?.inspect() ?? { ...kernelCensus(here.seam), ...here.census() };

/** A mock device, until the machine has a few. */
function bindMock(life: Life, iommufd: Iommufd): void {
  if (life.all('device').length >= MOST_DEVICES) return;
  new MockDevice(iommufd, rig().seam, { pasid: life.random.chance(70), noDirty: life.random.chance(20) });
}

/** The kernel's own page tables have what is mapped, page by page, and nothing where nothing is. */
const check: Operation = (life) => {
  const hwpt = life.object<HwptPaging>('hwpt-paging');
  const placed = hwpt && life.random.pick(life.places.of(hwpt.ioas));
  if (hwpt === undefined || placed === undefined || placed.ram.memory.freed) return;
  const offset = life.random.below(Number(placed.length) / PAGE) * PAGE;
  const there = placed.iova + BigInt(offset);
  const uptr = placed.ram.memory.address + BigInt(placed.offset + offset);
  const answer = (iova: bigint) => {
    const input = { id: hwpt.id, iova, length: BigInt(PAGE), uptr };
    const port = { seam: rig().seam, fd: hwpt.iommufd.fd };
    return tryTestCmd(port, 'IOMMU_TEST_OP_MD_CHECK_MAP', test_check_map, input).result;
  };
  assert.equal(answer(there), 0, `${hwpt.describe()}: not mapped at 0x${there.toString(16)}`);
  const nowhere = life.world.base + BigInt(1024 * PAGE);
  assert(answer(nowhere) < 0, `${hwpt.describe()}: mapped at 0x${nowhere.toString(16)}`);
  life.dmas++;
};
const event: Operation = (life) => {
  const device = life.device();
  if (device === undefined) return;
  const port = { seam: rig().seam, fd: device.iommufd.fd };
  if (life.random.chance(50))
    tryTestCmd(port, 'IOMMU_TEST_OP_TRIGGER_VEVENT', test_trigger_vevent, { dev_id: device.id });
  else tryTestCmd(port, 'IOMMU_TEST_OP_TRIGGER_IOPF', test_trigger_iopf, { dev_id: device.id, addr: life.world.base });
};
/** A device goes from its iommufd. */
const unplug: Operation = (life) => life.device()?.[Symbol.dispose]();

export function mockWorld(): World {
  return {
    ...{ machine: 'selftest', host: rig().host, addresses: ['mock'], base: 0x4000_0000n, sharedBar: 'bar0' },
    bind: bindMock,
    operations: [
      [60, 'check', check],
      [6, 'event', event],
      [3, 'unplug', unplug],
    ],
    inspect: inspectOn(rig()),
  };
}

export function vtdWorld(): World {
  const addresses = (['edu', 'nvme', 'pair0'] as const).flatMap((role) => vfioRig().find(role) ?? []);
  return {
    ...{ machine: 'intel-vtd', host: vfioRig().host, addresses, sharedBar: 'bar0' },
    // As far as edu's 28 address bits reach.
    base: 0x400_0000n,
    operations: [
      [12, 'settle', settle],
      [20, 'eduDma', eduDma],
    ],
    inspect: inspectOn(vfioRig()),
  };
}
