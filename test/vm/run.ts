// `npm run test:kernel`: builds (or finds) the kernel, boots it, and runs the suites on it: each on the machine it is for.
// `npm run start:vm`: one of these machines, running one program.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { RECORDED } from '../rig/transcripts.js';
import { checkout, compiled } from './checkout.js';
import { parseResults } from './compare.js';
import { type MachineName, setUp } from './hardware.js';
import { kernelImage, LINUXES, type Linux } from './kernel.js';
import { wronglyLeftOut } from './left-out.js';
import { boot, complaints } from './machine.js';
import { architectureOf } from './platform.js';
import { record } from './record.js';
import {
  CASES,
  type Choice,
  compareWithEmulated,
  countCases,
  isSuite,
  parametersOf,
  quote,
  type SuiteName,
  suiteCommand,
  unforgiven,
} from './suites.js';

const USAGE = `options:
  --kernel IMAGE     boot this kernel image instead of building one
  --machine NAME     only this machine. mock: the kernel's mock IOMMU, and QEMU's edu device at 0000:00:05.0 without one,
                     for test/conformance; vtd: edu and others behind an Intel IOMMU, for test/vfio; smmuv3: arm64, edu
                     behind an SMMUv3, for test/smmuv3. mock and vtd, one after the other, if none is named
  --linux RELEASE    7.3 (if left out) or 6.12
  --grep TEXT        run only cases whose name contains TEXT; none is an error
  --results FILE     write a line of JSON a case there
  --record           write what the cases asked and were answered to test/transcripts, in place of holding them against it
  --compare          run the cases on the emulated host too, and tell every difference: outcome, errno, returned fields
  --suite NAME       conformance (what is said above), fail-nth (test/fail-nth) or soak (test/soak), on mock and vtd
  --env NAME=VALUE   what the suite is told besides; any number of these
  --program FILE     run this program instead of the suites, on mock if no machine is named; what follows -- goes to it
  --transcript FILE  the program's, by \`iommufd record\`, is brought here
  --timeout SECONDS  stop a machine after this long (600)`;

function options() {
  try {
    return parseArgs({
      options: {
        kernel: { type: 'string' },
        machine: { type: 'string' },
        linux: { type: 'string', default: '7.3' },
        grep: { type: 'string' },
        results: { type: 'string' },
        record: { type: 'boolean', default: false },
        compare: { type: 'boolean', default: false },
        suite: { type: 'string', default: 'conformance' },
        env: { type: 'string', multiple: true, default: [] },
        program: { type: 'string' },
        transcript: { type: 'string' },
        timeout: { type: 'string', default: '600' },
      },
      allowPositionals: true,
    });
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(2);
  }
}

const MACHINES = ['mock', 'vtd', 'smmuv3'] as const satisfies MachineName[];

function machines(name: string | undefined): readonly MachineName[] {
  if (name === undefined) return ['mock', 'vtd'];
  const machine = MACHINES.find((one) => one === name);
  if (machine !== undefined) return [machine];
  console.error(`--machine must be ${MACHINES.join(' or ')}, not ${name}\n${USAGE}`);
  process.exit(2);
}

function suiteOf(name: string): SuiteName {
  if (isSuite(name)) return name;
  console.error(`--suite must be conformance, fail-nth or soak, not ${name}\n${USAGE}`);
  process.exit(2);
}

/** NAME=VALUE, each. */
function settings(all: readonly string[]): Record<string, string> {
  return Object.fromEntries(all.map((one) => [one.split('=', 1)[0] ?? '', one.slice(one.indexOf('=') + 1)]));
}

type Values = ReturnType<typeof options>['values'];

interface Lane {
  readonly linux: Linux;
  readonly kernel: string;
  readonly timeoutSeconds: number;
  readonly iort?: Uint8Array;
  readonly parameters?: string;
}

const IORT = 'iort.hex';
const READ_IORT = `fs.writeFileSync('/run/results/${IORT}', fs.readFileSync('/sys/firmware/acpi/tables/IORT', 'hex'))`;

/** QEMU's own IORT, which the machine itself tells: it takes a boot. */
async function readIort(lane: Lane): Promise<Uint8Array> {
  const machine = 'smmuv3';
  const command = `node -e "${READ_IORT}"\n`;
  const result = await boot({ ...lane, machine, checkout, command, onLine: (line) => console.error(line) }, [IORT]);
  const table = result.files[IORT];
  if (table === undefined) throw new Error('the arm64 machine did not tell its IORT');
  return Buffer.from(table, 'hex');
}

function linuxOf(name: string): Linux {
  const linux = (Object.keys(LINUXES) as Linux[]).find((one) => one === name);
  if (linux !== undefined) return linux;
  console.error(`--linux must be ${Object.keys(LINUXES).join(' or ')}, not ${name}\n${USAGE}`);
  process.exit(2);
}

async function laneOf(machine: MachineName, values: Values): Promise<Lane> {
  const linux = linuxOf(values.linux);
  const timeoutSeconds = Number(values.timeout);
  const kernel = values.kernel ?? kernelImage(checkout, architectureOf(machine), linux);
  const parameters = parametersOf(suiteOf(values.suite));
  const lane = { linux, kernel, timeoutSeconds, parameters };
  return architectureOf(machine) === 'arm64' ? { ...lane, iort: await readIort(lane) } : lane;
}

/** What `iommufd record` writes in the machine. */
const TRANSCRIPT = 'program.jsonl';

interface RunResult {
  readonly well: boolean;
  /** What the suite noted. */
  readonly results: string;
  readonly transcript: string | undefined;
}

/** Boots a machine and runs a command in it. */
async function runIn(
  machine: MachineName,
  command: string,
  lane: Lane,
  suite: SuiteName = 'conformance',
): Promise<RunResult> {
  const result = await boot(
    {
      ...lane,
      machine,
      checkout,
      command: setUp(machine) + command,
      hugePages: 16,
      onLine: (line) => console.log(line),
    },
    [CASES, TRANSCRIPT],
  );
  const bad = unforgiven(suite, complaints(result.dmesg));
  for (const line of bad) console.error(`the kernel complained: ${line}`);
  if (result.status === undefined) console.error('the machine ended before its command did');
  const { [CASES]: results = '', [TRANSCRIPT]: transcript } = result.files;
  return { well: result.status === 0 && bad.length === 0, results, transcript };
}

/** Runs the suites of these machines, one after the other; answers whether all went well. */
async function runSuites(names: readonly MachineName[], lane: Lane, values: Values) {
  let allWell = true;
  let all = '';
  for (const machine of names) {
    const { grep, record: isRecorded } = values;
    const choice: Choice = {
      ...{ machine, suite: suiteOf(values.suite), env: settings(values.env), grep },
      ...{ mayBeEmpty: grep !== undefined && names.length > 1, held: !isRecorded },
    };
    const { well, results } = await runIn(machine, suiteCommand(choice), lane, choice.suite);
    if (isRecorded) record(machine, parseResults(results), grep === undefined);
    const agrees = !values.compare || compareWithEmulated(results, choice, lane.linux);
    allWell = allWell && well && agrees;
    all += results;
  }
  if (values.results !== undefined) writeFileSync(values.results, all);
  const isWhole = values.suite === 'fail-nth' && names.length > 1 && values.grep === undefined;
  const wrong = isWhole ? wronglyLeftOut(all) : [];
  for (const line of wrong) console.error(line);
  const { passed, failed, skipped } = countCases(all);
  if (names.length > 1) console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
  return allWell && wrong.length === 0 && passed + failed + skipped > 0;
}

async function main(): Promise<number> {
  const { values, positionals } = options();
  const names = machines(values.machine);
  if (values.record && (values.linux !== RECORDED || values.suite !== 'conformance')) {
    console.error(`--record is for Linux ${RECORDED} and the conformance suites: transcripts are of these`);
    return 2;
  }
  const lane = await laneOf(names[0] ?? 'mock', values);
  if (values.program === undefined) return (await runSuites(names, lane, values)) ? 0 : 1;
  const program = ['node', values.program, ...positionals];
  return (await runProgram(names.length === 1 ? (names[0] ?? 'mock') : 'mock', program, lane, values.transcript))
    ? 0
    : 1;
}

/** Runs a program; answers whether all went well. `file`: where its transcript goes, if one is wanted. */
async function runProgram(
  machine: MachineName,
  program: readonly string[],
  lane: Lane,
  file?: string,
): Promise<boolean> {
  const recorder = ['node', path.join(compiled, 'lib/cli/iommufd.js'), 'record', `/run/results/${TRANSCRIPT}`, '--'];
  const command = [...(file === undefined ? [] : recorder), ...program].map(quote).join(' ');
  const { well, transcript } = await runIn(machine, `${command}\n`, lane);
  if (file === undefined || !well) return well;
  if (transcript === undefined) throw new Error('the program left no transcript');
  writeFileSync(file, transcript);
  return true;
}

process.exitCode = await main();
