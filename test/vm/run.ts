// `npm run test:kernel`: builds (or finds) the kernel, boots it, and runs the conformance suite on its /dev/iommu.
// `npm run start:vm`: the same machine, running one program.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { compare, readResults, report } from './compare.js';
import { kernelImage } from './kernel.js';
import { boot, complaints, type MachineName } from './machine.js';

const checkout = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

const USAGE = `options:
  --kernel IMAGE     boot this kernel image instead of building one
  --grep TEXT        run only cases whose name contains TEXT; none is an error
  --results FILE     write a line of JSON a case there
  --compare          run the cases on the emulated host too, and tell every difference: outcome, errno, returned fields
  --program FILE     run this program instead of the suite; what follows -- goes to it
  --machine NAME     mock (default) or vtd: QEMU's edu device at 0000:00:05.0 without an IOMMU, or behind an Intel one
  --timeout SECONDS  stop the machine after this long (600)`;

function options() {
  try {
    return parseArgs({
      options: {
        kernel: { type: 'string' },
        grep: { type: 'string' },
        results: { type: 'string' },
        compare: { type: 'boolean', default: false },
        program: { type: 'string' },
        machine: { type: 'string', default: 'mock' },
        timeout: { type: 'string', default: '600' },
      },
      allowPositionals: true,
    });
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
    process.exit(2);
  }
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Binds the edu device to vfio-pci, as its user would. */
const BIND_EDU = `
echo vfio-pci > /sys/bus/pci/devices/0000:00:05.0/driver_override
echo 0000:00:05.0 > /sys/bus/pci/drivers_probe
`;

/** Where the suite writes its cases: files in /run/results come back. */
const CASES = 'cases.jsonl';

/** Without an IOMMU, vfio-pci takes a device only where that is allowed outright. */
const ALLOW_NOIOMMU = 'echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode\n';

function mocha(grep: string | undefined): string[] {
  const filter = grep === undefined ? [] : ['--fgrep', grep];
  const options = ['--no-config', '--fail-zero', '--timeout', '60000', '--reporter', 'dist/test/rig/reporter.js'];
  return ['node_modules/mocha/bin/mocha.js', ...options, ...filter, 'dist/test/conformance/**/*.test.js'];
}

function suiteCommand(grep: string | undefined): string {
  const command = ['node', ...mocha(grep)].map(quote).join(' ');
  return `IOMMUFD_RIG=kernel IOMMUFD_RESULTS=/run/results/${CASES} ${command}\n`;
}

/** Runs the same cases on the emulated host, and tells how the kernel's results differ; answers whether none does. */
function compareWithEmulated(kernelResults: string, grep: string | undefined): boolean {
  const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-compare-'));
  try {
    const [kernel, emulated] = [path.join(folder, 'kernel'), path.join(folder, 'emulated')];
    writeFileSync(kernel, kernelResults);
    // Failed cases are in the results: the comparison tells of them.
    const env = { ...process.env, IOMMUFD_RIG: 'emulated', IOMMUFD_RESULTS: emulated };
    spawnSync(process.execPath, mocha(grep), { cwd: checkout, env, stdio: ['ignore', 'ignore', 'inherit'] });
    return report(compare(['kernel', 'emulated'], readResults(kernel), readResults(emulated)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function main(): Promise<number> {
  const { values, positionals } = options();
  const { machine, program, grep } = values;
  if (machine !== 'mock' && machine !== 'vtd') {
    console.error(`--machine must be mock or vtd, not ${machine}\n${USAGE}`);
    return 2;
  }
  const kernel = values.kernel ?? kernelImage(checkout);
  const command =
    program === undefined ? suiteCommand(grep) : `node ${[program, ...positionals].map(quote).join(' ')}\n`;
  const result = await boot(
    {
      machine: machine satisfies MachineName,
      kernel,
      checkout,
      command: (machine === 'vtd' ? '' : ALLOW_NOIOMMU) + BIND_EDU + command,
      hugePages: 16,
      timeoutSeconds: Number(values.timeout),
      onLine: (line) => console.log(line),
    },
    [CASES],
  );
  const results = result.files[CASES] ?? '';
  if (values.results !== undefined) writeFileSync(values.results, results);
  const bad = complaints(result.dmesg);
  for (const line of bad) console.error(`the kernel complained: ${line}`);
  if (result.status === undefined) console.error('the machine ended before its command did');
  const agrees = !values.compare || compareWithEmulated(results, grep);
  return result.status === 0 && bad.length === 0 && agrees ? 0 : 1;
}

process.exitCode = await main();
