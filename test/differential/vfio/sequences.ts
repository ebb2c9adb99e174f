// Random sequences of calls on devices, the same for the same seed as long as the answers are. What they must not do, since
// it would differ or harm the machine, is said where it is avoided.
import type { Region } from '../../../lib/unsafe.js';
import { Random } from '../random.js';
import type { VfioMachine } from './machine.js';
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
import type { VfioStep, WeightedStep } from './steps/step.js';

interface Theme {
  readonly roles: readonly DeviceRole[];
  readonly steps: readonly WeightedStep[];
}

const EDU: readonly DeviceRole[] = ['edu'];
const PAIR: readonly DeviceRole[] = ['pair0', 'pair1'];

/** What a sequence is about: devices, and kinds of steps. A hot reset takes a second, a transfer a tenth of one. */
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

/** What most sequences have before they start in earnest: every device bound. */
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

async function run(s: VfioSession, step: VfioStep): Promise<void> {
  await step(s);
  await s.machine.settle();
  s.collectEvents();
}

function memoryOf({ seam }: VfioMachine): Region {
  const memory = seam.allocateMemory({ backing: 'memfd', hugePageSize: 0, size: 8 * PAGE });
  if (typeof memory === 'number') throw new Error(`memory answered ${memory}`);
  return memory;
}

/** Runs one of a seed's sequences; answers what was asked and answered. */
export async function runVfioSequence(machine: VfioMachine, seed: number, index: number): Promise<string[]> {
  const random = new Random(seed, index);
  const theme = random.weighted(THEMES);
  machine.take();
  const memory = memoryOf(machine);
  const session = new VfioSession(machine, random, theme.roles, memory);
  setUp(session);
  await machine.settle();
  const count = 10 + random.below(40);
  for (let i = 0; i < count; i++) await run(session, random.weighted(theme.steps));
  tearDown(session);
  await machine.settle();
  memory.free();
  return machine.take();
}
