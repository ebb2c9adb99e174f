// `npm run bench`: everything that can run here, side by side, with the ratios it is meant to reach.
import { parseArgs } from 'node:util';
import { compileLoops } from './c-loops.js';
import { bytesPerMapping, crowds } from './emulated.js';
import { events } from './events.js';
import { inMachine, lacksMachine } from './machine.js';
import { detachOneBuffer, type Plan } from './measure.js';
import { mmio } from './mmio.js';
import { nativeIoctl } from './native-ioctl.js';
import { conditions, type Line, missed, printer, rows } from './report.js';
import { translations } from './translation.js';

const USAGE = `options:
  --format text|json   json: one object a line
  --native             only what needs no /dev/iommu
  --emulated           only the emulated kernel
  --lane               only what runs in a test machine, on a real /dev/iommu
  --kernel IMAGE       boot this kernel image instead of building one
  --check              exit with an error where a target is missed`;

const CALLS: Plan = { rounds: 101, iterations: 5_000, warmUp: 20 };
const ACCESSES: Plan = { rounds: 101, iterations: 50_000, warmUp: 10 };
const CROWDS: Plan = { rounds: 51, iterations: 5_000, warmUp: 10 };
const BATCHES: Plan = { rounds: 51, iterations: 10, warmUp: 10 };

function options() {
  try {
    return parseArgs({
      options: {
        format: { type: 'string', default: 'text' },
        native: { type: 'boolean', default: false },
        emulated: { type: 'boolean', default: false },
        lane: { type: 'boolean', default: false },
        kernel: { type: 'string' },
        check: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(2);
  }
}

async function* native(): AsyncGenerator<Line> {
  detachOneBuffer();
  const { benchmark, skips } = await nativeIoctl();
  yield conditions('calls', CALLS);
  yield* rows(benchmark, CALLS);
  yield* skips;
  yield conditions('register accesses', ACCESSES);
  for (const one of mmio()) yield* rows(one, ACCESSES);
  yield conditions('decoding', BATCHES);
  yield* rows(events(), BATCHES);
}

function* emulated(): Generator<Line> {
  detachOneBuffer();
  yield conditions('emulated kernel', CROWDS);
  // Before anything else is alive.
  yield bytesPerMapping();
  yield* rows(crowds(), CROWDS);
  yield* translations();
}

async function* lane(kernel: string | undefined): AsyncGenerator<Line> {
  const reason = lacksMachine();
  if (reason === undefined) yield* await inMachine(kernel);
  else yield { skipped: 'real kernel', reason };
}

interface Parts {
  readonly native: boolean;
  readonly emulated: boolean;
  readonly lane: boolean;
  readonly kernel?: string | undefined;
}

async function* all({ kernel, ...only }: Parts): AsyncGenerator<Line> {
  const everything = !only.native && !only.emulated && !only.lane;
  if (everything || only.emulated) yield* emulated();
  if (!everything && !only.native && !only.lane) return;
  const reason = compileLoops();
  if (reason !== undefined) {
    yield { skipped: 'everything compared with C', reason };
    return;
  }
  if (everything || only.native) yield* native();
  if (everything || only.lane) yield* lane(kernel);
}

async function main(): Promise<number> {
  const { format, check, ...only } = options();
  if (format !== 'text' && format !== 'json') {
    console.error(`--format must be text or json, not ${format}\n${USAGE}`);
    return 2;
  }
  const print = printer(format);
  let failures = 0;
  for await (const line of all(only)) {
    print(line);
    if (missed(line)) failures++;
  }
  return check && failures > 0 ? 1 : 0;
}

process.exitCode = await main();
