// One boot of a test machine: QEMU with a kernel of ours, the host's own file system over 9p, and a command.
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { deviceOptions, type MachineName } from './hardware.js';
import { INITRD, type Platform, platformOf } from './platform.js';

/** What the init script prints before and after the command. */
const BEGIN = '@@@ begin';
const END = '@@@ end';

export interface Boot {
  readonly machine: MachineName;
  readonly kernel: string;
  /** The folder the command runs in; it is read-only there. */
  readonly checkout: string;
  /** A shell script. */
  readonly command: string;
  /** Huge pages of 2 MiB to reserve. */
  readonly hugePages?: number;
  readonly timeoutSeconds: number;
  /** What else the kernel is told on its command line. */
  readonly parameters?: string;
  /** The ACPI table that stands in for the machine's own (arm64). */
  readonly iort?: Uint8Array;
  /** Told each line the machine prints. */
  readonly onLine: (line: string) => void;
}

export interface BootResult {
  /** The command's exit status; undefined if the machine died before it ended. */
  readonly status: number | undefined;
  /** What the kernel logged. */
  readonly dmesg: string;
  /** Files that the command wrote to /run/results. */
  readonly files: Readonly<Record<string, string>>;
}

function share(name: string, folder: string, readonly: boolean): string[] {
  const options = `local,id=${name},path=${folder},security_model=none,multidevs=remap${readonly ? ',readonly=on' : ''}`;
  return ['-fsdev', options, '-device', `virtio-9p-pci,fsdev=${name},mount_tag=${name}9p`];
}

function qemuArguments(boot: Boot, platform: Platform, results: string): string[] {
  const init = platform.prepare(results, path.join(results, 'init.sh'));
  const append = [
    `${platform.parameters} quiet panic=-1 root=root9p rootfstype=9p`,
    'rootflags=trans=virtio,version=9p2000.L,msize=524288,cache=loose ro',
    `init=${init}`,
    `hugepages=${boot.hugePages ?? 0}`,
    boot.parameters ?? '',
  ].join(' ');
  const initrd = path.join(results, INITRD);
  return [
    ...platform.options,
    ...['-nographic', '-nodefaults', '-serial', 'stdio', '-no-reboot', '-kernel', boot.kernel, '-append', append],
    ...(existsSync(initrd) ? ['-initrd', initrd] : []),
    ...share('root', platform.root, true),
    ...share('checkout', boot.checkout, true),
    ...share('results', results, false),
    ...deviceOptions(boot.machine, results),
  ];
}

function readResults(results: string, names: readonly string[]): Record<string, string> {
  const files: Record<string, string> = {};
  for (const name of names) {
    const file = path.join(results, name);
    if (existsSync(file)) files[name] = readFileSync(file, 'utf8');
  }
  return files;
}

/** Lines of the kernel's log that mean a defect: of the kernel, or of what we did to it. */
export function complaints(dmesg: string): string[] {
  return dmesg.split('\n').filter((line) => /\b(WARNING:|BUG:|Oops|KASAN|refcount_t:|general protection)/.test(line));
}

/** Boots the machine, runs the command, and waits for its end. `collect` names the result files to bring back. */
export async function boot(options: Boot, collect: readonly string[] = []): Promise<BootResult> {
  const results = mkdtempSync(path.join(tmpdir(), 'iommufd-vm-'));
  try {
    // The init script lies in the results folder: the checkout's own path may be hidden by a mount in the machine.
    writeFileSync(path.join(results, 'init.sh'), readFileSync(path.join(options.checkout, 'test/vm/init.sh')));
    chmodSync(path.join(results, 'init.sh'), 0o755);
    writeFileSync(path.join(results, 'command.sh'), options.command);
    const platform = platformOf(options.machine, options.iort);
    await run(platform.program, qemuArguments(options, platform, results), options);
    const { status, dmesg = '', ...files } = readResults(results, ['status', 'dmesg', ...collect]);
    return { status: status === undefined ? undefined : Number(status), dmesg, files };
  } finally {
    rmSync(results, { recursive: true, force: true });
  }
}

/** So much is told of a machine whose command did not begin. */
const LAST_LINES = 40;

/** What a machine prints: told is what its command does, between the init script's markers. */
class Output {
  #state: 'before' | 'inside' | 'after' = 'before';
  /** Firmware and the kernel say nothing of use before the command begins, unless it never does. */
  readonly #before: string[] = [];
  #partial = '';
  constructor(readonly tell: (line: string) => void) {}

  take(text: string): void {
    const lines = (this.#partial + text.replaceAll('\r', '')).split('\n');
    this.#partial = lines.pop() ?? '';
    for (const line of lines) this.#takeLine(line);
  }
  /** There is no more. */
  end(): void {
    if (this.#partial !== '') this.#takeLine(this.#partial);
    if (this.#state === 'before') for (const line of this.#before.slice(-LAST_LINES)) this.tell(line);
  }
  #takeLine(line: string): void {
    if (line.includes(END)) this.#state = 'after';
    if (this.#state === 'before') this.#before.push(line);
    if (this.#state === 'inside') this.tell(line);
    if (line.includes(BEGIN)) this.#state = 'inside';
  }
}

function run(program: string, args: string[], { onLine, timeoutSeconds }: Boot): Promise<void> {
  const output = new Output(onLine);
  return new Promise((resolve, reject) => {
    const qemu = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    const timer = setTimeout(() => {
      onLine(`the machine did not end within ${timeoutSeconds} seconds: stopped`);
      qemu.kill('SIGKILL');
    }, timeoutSeconds * 1000);
    qemu.stdout.setEncoding('utf8');
    qemu.stdout.on('data', (text: string) => output.take(text));
    qemu.on('error', (error) => {
      clearTimeout(timer);
      const missing = 'code' in error && error.code === 'ENOENT';
      reject(missing ? new Error(`${program} is not installed (Debian: qemu-system-x86)`) : error);
    });
    qemu.on('close', () => {
      clearTimeout(timer);
      output.end();
      resolve();
    });
  });
}
