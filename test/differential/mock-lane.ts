// Sessions on /dev/iommu with the mock's devices: two contexts at most, over the same memory. What they must not do, since it
// would differ or harm the kernel, is said where it is avoided:
// - of ordinary memory, page tables with large pages are not asked for dirty pages, nor hardware queues made over several
//   pages: both tell what lies next to what physically;
// - dma-bufs, of which the kernel's mock answers no file.
import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import { iommufd_hwpt_alloc_flags } from '../../lib/uapi/index.js';
import { hostSeam } from '../../lib/unsafe.js';
import { mockHost } from '../rig/rig.js';
import { type Lane, type Life, type Side, stepsByName } from './lane.js';
import { Machine } from './machine.js';
import type { Random } from './random.js';
import { Session } from './session.js';
import { accessSteps, createAccess } from './steps/accesses.js';
import { addressSpaceSteps, allocIoas, map, rlimitMode } from './steps/address-spaces.js';
import { containerSteps } from './steps/containers.js';
import { detachPasids, deviceSteps, makeDevice, pasidAttach, replace } from './steps/devices.js';
import { fileSteps } from './steps/files.js';
import { oddSteps } from './steps/odd-calls.js';
import { allocNested, pageTableSteps, plainPaging, setTracking } from './steps/page-tables.js';
import type { Weighted } from './steps/step.js';
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

/** What a session is about: kinds of steps, and how much they count in it. */
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
      [1, containerSteps],
      [1, oddSteps],
    ),
  ],
  [1, join([3, containerSteps], [1, addressSpaceSteps], [1, accessSteps], [1, deviceSteps], [1, pageTableSteps])],
  [3, join([2, stories], [1, addressSpaceSteps], [1, deviceSteps], [1, pageTableSteps], [1, fileSteps])],
  [3, join([4, addressSpaceSteps], [3, accessSteps], [1, deviceSteps], [1, fileSteps], [1, oddSteps])],
  [2, join([3, deviceSteps], [2, pageTableSteps], [1, fileSteps], [1, addressSpaceSteps])],
  [
    2,
    join(
      [3, virtualSteps],
      [2, pageTableSteps],
      [2, fileSteps],
      [1, deviceSteps],
      [1, addressSpaceSteps],
      [1, oddSteps],
    ),
  ],
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

/** What most sessions have before they start in earnest. */
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
function tearDown(sessions: readonly Session[], machine: Machine, random: Random): void {
  for (const session of sessions) detachPasids(session);
  const close = (fd: number) => (): void => machine.close(fd);
  const left = sessions.flatMap((s) => [
    close(s.fd),
    ...[...s.accesses, ...s.eventFiles].map(({ fd }) => close(fd)),
    ...s.windows.map((window) => (): void => machine.note(`unmap ${window.free()}`)),
  ]);
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
  machine.close(fd);
}

const STEPS = stepsByName([setUp, ...THEMES.flatMap(([, steps]) => steps.map(([, step]) => step))]);

class MockLife implements Life {
  readonly #machine: Machine;
  readonly #sessions: Session[] = [];
  readonly #steps: readonly (readonly [number, Weighted])[];

  constructor(machine: Machine, random: Random) {
    this.#machine = machine;
    machine.useMemory(random.percent(30) ? 'huge' : 'ordinary');
    machine.take();
    this.#steps = random.weighted(THEMES).map((one) => [one[0], one]);
    this.#sessions.push(new Session(machine, random));
    if (random.percent(25)) this.#sessions.push(new Session(machine, random));
  }

  /** Mostly one that is about something that there is. */
  choose(random: Random): string {
    const [session] = this.#sessions;
    for (let tries = 0; ; tries++) {
      const [, step, about] = random.weighted(this.#steps);
      if (session?.has(about) === true || tries > 8 || random.percent(10)) return step.name;
    }
  }
  run(name: string, random: Random): void | Promise<void> {
    const session = (random.percent(20) ? this.#sessions[1] : undefined) ?? this.#sessions[0];
    const step = STEPS.get(name);
    if (session === undefined || step === undefined) throw new Error(`there is no step ${name}`);
    session.random = random;
    return step(session);
  }
  end(random: Random): void {
    tearDown(this.#sessions, this.#machine, random);
  }
  take(): string[] {
    return this.#machine.take();
  }
}

export const mockLane: Lane = {
  steps: new Set(STEPS.keys()),
  first: setUp.name,
  longest: 70,
  emulatedHost: mockHost,
  side: (host): Side => {
    const machine = new Machine(hostSeam(host));
    return {
      begin: (random) => new MockLife(machine, random),
      get calls() {
        return machine.calls;
      },
    };
  },
};
