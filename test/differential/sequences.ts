// Random sequences of calls on one iommufd, the same for the same seed as long as the answers are: later calls use ids that
// earlier ones answered. What they must not do, since it would differ or harm the kernel, is said where it is avoided:
// - of ordinary memory, page tables with large pages are not asked for dirty pages, nor hardware queues made over several
//   pages: both tell what lies next to what physically;
// - dma-bufs, which the emulated kernel does not have;
// - VFIO's own ioctls on /dev/iommu, which it does not have either.

import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import { iommufd_hwpt_alloc_flags } from '../../lib/uapi/index.js';
import type { Machine } from './machine.js';
import { Random } from './random.js';
import { Session } from './session.js';
import { accessSteps, createAccess } from './steps/accesses.js';
import { addressSpaceSteps, allocIoas, map, rlimitMode } from './steps/address-spaces.js';
import { detachPasids, deviceSteps, makeDevice, pasidAttach, replace } from './steps/devices.js';
import { fileSteps } from './steps/files.js';
import { allocNested, pageTableSteps, plainPaging, setTracking } from './steps/page-tables.js';
import type { Step, Weighted } from './steps/step.js';
import { stories } from './steps/stories.js';
import {
  allocFault,
  allocHwQueue,
  allocVdevice,
  allocVeventq,
  allocViommu,
  triggerEvent,
  virtualSteps,
} from './steps/virtual.js';

const {
  IOMMU_HWPT_ALLOC_NEST_PARENT: NEST_PARENT,
  IOMMU_HWPT_ALLOC_DIRTY_TRACKING: DIRTY,
  IOMMU_HWPT_ALLOC_PASID: PASID,
} = iommufd_hwpt_alloc_flags.values;

/** What a sequence is about: kinds of steps, and how much they count in it. */
const THEMES: readonly (readonly [weight: number, steps: readonly Weighted[]])[] = [
  [
    3,
    join(
      [1, addressSpaceSteps],
      [1, accessSteps],
      [1, fileSteps],
      [1, deviceSteps],
      [1, pageTableSteps],
      [1, virtualSteps],
      [1, stories],
    ),
  ],
  [3, join([2, stories], [1, addressSpaceSteps], [1, deviceSteps], [1, pageTableSteps], [1, fileSteps])],
  [3, join([4, addressSpaceSteps], [3, accessSteps], [1, deviceSteps], [1, fileSteps])],
  [2, join([3, deviceSteps], [2, pageTableSteps], [1, fileSteps], [1, addressSpaceSteps])],
  [2, join([3, virtualSteps], [2, pageTableSteps], [2, fileSteps], [1, deviceSteps], [1, addressSpaceSteps])],
  [2, join([1, addressSpaceSteps], [4, pageTableSteps], [1, deviceSteps])],
];

function join(...parts: readonly (readonly [number, readonly Weighted[]])[]): Weighted[] {
  return parts.flatMap(([times, steps]) =>
    steps.map(([weight, step, about]): Weighted => [times * weight, step, about]),
  );
}

function nestParent(s: Session): void {
  plainPaging(s, NEST_PARENT);
}

/** What most sequences have before they start in earnest. */
function setUp(s: Session): void {
  const { random } = s;
  if (random.percent(10)) rlimitMode(s);
  if (random.percent(3)) return;
  for (let i = 0; i <= random.below(3); i++) allocIoas(s);
  if (random.percent(70)) for (let i = 0; i <= random.below(3); i++) map(s);
  if (random.percent(75)) for (let i = 0; i <= random.below(2); i++) makeDevice(s);
  if (random.percent(35)) createAccess(s);
  if (random.percent(25)) allocFault(s);
  if (random.percent(35)) {
    s.calmly([makeDevice, nestParent, allocViommu, allocVdevice, allocNested, replace]);
    if (random.percent(60)) s.calmly([allocVeventq, triggerEvent]);
    if (random.percent(50)) s.calmly([map, map, allocHwQueue]);
  }
  if (random.percent(30)) s.calmly([(one) => plainPaging(one, DIRTY), setTracking, map]);
  if (random.percent(30)) s.calmly([makeDevice, (one) => plainPaging(one, PASID), replace, pasidAttach]);
}

/** Closes everything, in any order, and looks whether a page stayed pinned. */
function tearDown(s: Session): void {
  const { machine, random } = s;
  detachPasids(s);
  const close = (fd: number) => (): void => machine.note(`close ${machine.seam.close(fd)}`);
  const left = [
    close(s.fd),
    ...[...s.accesses, ...s.eventFiles].map(({ fd }) => close(fd)),
    ...s.windows.map((window) => (): void => machine.note(`unmap ${window.free()}`)),
  ];
  while (left.length > 0) left.splice(random.below(left.length), 1)[0]?.();
  const fd = machine.open();
  machine.test(fd, 'IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT', mock.test_memory_limit, { limit: 65536 });
  for (const { address } of [machine.memory, machine.file]) {
    machine.test(fd, 'IOMMU_TEST_OP_MD_CHECK_REFS', mock.test_check_refs, {
      uptr: address,
      length: BigInt(machine.size),
      refs: 0,
    });
  }
  machine.seam.close(fd);
}

/** Mostly one that is about something that there is. */
function nextStep(s: Session, steps: readonly Weighted[]): Step {
  for (let tries = 0; ; tries++) {
    const [, step, about] = s.random.weighted(steps.map((one) => [one[0], one] as const));
    if (s.has(about) || tries > 8 || s.random.percent(10)) return step;
  }
}

/** Runs one of a seed's sequences; answers what was asked and answered. */
export function runSequence(machine: Machine, seed: number, index: number): string[] {
  const random = new Random(seed, index);
  machine.useMemory(random.percent(30) ? 'huge' : 'ordinary');
  machine.take();
  const session = new Session(machine, random);
  const steps = random.weighted(THEMES);
  setUp(session);
  const count = 15 + random.below(50);
  for (let i = 0; i < count; i++) nextStep(session, steps)(session);
  tearDown(session);
  return machine.take();
}
