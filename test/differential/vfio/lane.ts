// Sessions on devices of VFIO. What they must not do, since it would differ or harm the machine, is said where it is avoided.
import type { Region } from '../../../lib/unsafe.js';
import { vfioHost } from '../../rig/vfio-rig.js';
import { type Lane, type Life, type Side, stepsByName } from '../lane.js';
import type { Random } from '../random.js';
import { VfioMachine } from './machine.js';
import { type DeviceRole, isSerial, PAGE, PCI_ROLES, SERIAL_ROLES, VfioSession } from './session.js';
import { descriptionSteps, hotResetSteps } from './steps/descriptions.js';
import { dmaSteps } from './steps/dma.js';
import { featureSteps, lowPowerSteps } from './steps/features.js';
import {
  allocIoas,
  attachPlainly,
  bindPlainly,
  closeDevice,
  fileSteps,
  mapMemory,
  openDevice,
  openIommufd,
} from './steps/files.js';
import { interruptLifeSteps, serialInterruptLifeSteps } from './steps/interrupt-lives.js';
import { interruptSteps } from './steps/interrupts.js';
import { migrationSteps } from './steps/migration.js';
import { registerSteps, serialRegisterSteps } from './steps/registers.js';
import type { WeightedStep } from './steps/step.js';

interface Theme {
  readonly roles: readonly DeviceRole[];
  readonly steps: readonly WeightedStep[];
}

const EDU: readonly DeviceRole[] = ['edu'];
const PAIR: readonly DeviceRole[] = ['pair0', 'pair1'];

/** What a session is about: devices, and kinds of steps. A hot reset takes a second, a transfer a tenth of one. */
const THEMES: readonly (readonly [weight: number, theme: Theme])[] = [
  [4, { roles: EDU, steps: join([1, interruptLifeSteps]) }],
  [2, { roles: SERIAL_ROLES, steps: join([1, serialInterruptLifeSteps]) }],
  [4, { roles: EDU, steps: join([2, registerSteps], [2, interruptSteps], [1, descriptionSteps], [1, fileSteps]) }],
  [3, { roles: EDU, steps: join([2, registerSteps], [3, featureSteps], [1, fileSteps], [4, lowPowerSteps]) }],
  [2, { roles: EDU, steps: join([1, fileSteps], [1, registerSteps], [20, dmaSteps], [1, interruptSteps]) }],
  [
    3,
    { roles: PCI_ROLES, steps: join([4, fileSteps], [2, descriptionSteps], [1, registerSteps], [1, interruptSteps]) },
  ],
  [
    2,
    {
      roles: PAIR,
      steps: join([2, fileSteps], [1, descriptionSteps], [4, hotResetSteps], [1, registerSteps], [1, featureSteps]),
    },
  ],
  [
    4,
    {
      roles: SERIAL_ROLES,
      steps: join([2, serialRegisterSteps], [2, interruptSteps], [3, migrationSteps], [1, descriptionSteps]),
    },
  ],
  [
    2,
    {
      roles: SERIAL_ROLES,
      steps: join(
        [1, serialRegisterSteps],
        [2, fileSteps],
        [2, migrationSteps],
        [2, featureSteps],
        [1, descriptionSteps],
      ),
    },
  ],
];

function join(...parts: readonly (readonly [number, readonly WeightedStep[]])[]): WeightedStep[] {
  return parts.flatMap(([times, steps]) => steps.map(([weight, step]): WeightedStep => [times * weight, step]));
}

/** What most sessions have before they start in earnest: every device bound. */
function setUp(s: VfioSession): void {
  const { random } = s;
  openIommufd(s);
  if (random.percent(20)) openIommufd(s);
  for (let i = 0; i <= random.below(3); i++) allocIoas(s);
  if (random.percent(60)) mapMemory(s);
  for (const role of s.roles) {
    if (random.percent(3)) continue;
    openDevice(s, role);
    const file = s.files.at(-1);
    if (file === undefined || random.percent(7)) continue;
    bindPlainly(s, file);
    if (random.percent(60)) attachPlainly(s, file);
  }
}

function tearDown(s: VfioSession): void {
  const { machine, random } = s;
  // A serial device must be at none of its streams when it goes, and is reset by its own file alone.
  for (const file of s.files.filter(isSerial)) closeDevice(s, file);
  const left = [
    ...[...s.files, ...s.streams, ...s.dmaBufs, ...s.contexts].map((file) => (): void => machine.close(file)),
    ...s.windows.map(
      ({ name, region }) =>
        (): void =>
          machine.note(`${name} unmap ${region.free()}`),
    ),
  ];
  while (left.length > 0) left.splice(random.below(left.length), 1)[0]?.();
  s.closeEvents();
}

function memoryOf({ seam }: VfioMachine): Region {
  const memory = seam.allocateMemory({ backing: 'memfd', hugePageSize: 0, size: 8 * PAGE });
  if (typeof memory === 'number') throw new Error(`memory answered ${memory}`);
  return memory;
}

const STEPS = stepsByName([setUp, ...THEMES.flatMap(([, { steps }]) => steps.map(([, step]) => step))]);

class VfioLife implements Life {
  readonly #machine: VfioMachine;
  readonly #session: VfioSession;
  readonly #theme: Theme;

  constructor(machine: VfioMachine, random: Random) {
    this.#machine = machine;
    this.#theme = random.weighted(THEMES);
    machine.take();
    this.#session = new VfioSession(machine, random, this.#theme.roles, memoryOf(machine));
  }

  choose(random: Random): string {
    return random.weighted(this.#theme.steps).name;
  }
  async run(name: string, random: Random): Promise<void> {
    const step = STEPS.get(name);
    if (step === undefined) throw new Error(`there is no step ${name}`);
    this.#session.random = random;
    await step(this.#session);
    await this.#machine.settle();
    this.#session.collectEvents();
  }
  async end(random: Random): Promise<void> {
    this.#session.random = random;
    tearDown(this.#session);
    await this.#machine.settle();
    this.#session.memory.free();
  }
  take(): string[] {
    return this.#machine.take();
  }
}

export const vfioLane: Lane = {
  steps: new Set(STEPS.keys()),
  first: setUp.name,
  longest: 50,
  emulatedHost: vfioHost,
  side: (host, isKernel): Side => {
    const machine = new VfioMachine(host, isKernel);
    return {
      begin: (random) => new VfioLife(machine, random),
      get calls() {
        return machine.calls;
      },
    };
  },
};
