// `iommufd run`: runs any program with an emulated machine's device nodes. The machine is in this process; a shim that is
// loaded into the program forwards what the program asks of them.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, constants as fsConstants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import path from 'node:path';
import { makeMachine } from '../emulated/host-options.js';
import type { Machine } from '../emulated/machine.js';
import { PAGE_SIZE } from '../emulated/memory/backing.js';
import { loadNative } from '../host/native.js';
import { SHIM, shimEnvironment } from '../run/environment.js';
import { RunServer } from '../run/server.js';
import { type RunTask, readRunArguments } from './run-arguments.js';

const MISUSE = 2;

function exitCode(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}
function tell(text: string): void {
  process.stderr.write(`iommufd run: ${text}\n`);
}

/** Whoever signals this process means the program. What comes from a terminal, the program gets from there too. */
function passSignals(pass: (signal: NodeJS.Signals) => void): void {
  const isFromTerminal = hasTerminal();
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    process.on(signal, () => isFromTerminal || pass(signal));
  }
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
    process.on(signal, pass);
  }
}
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', fsConstants.O_RDONLY | fsConstants.O_NOCTTY));
    return true;
  } catch {
    return false;
  }
}

/** The program's end, as this process's exit code. */
function runProgram(task: RunTask, socket: string): Promise<number> {
  const env = { ...process.env, ...shimEnvironment(socket) };
  // Before it starts: it may have itself signalled at once. What comes until it is there waits for this turn's end.
  passSignals((signal) => child.kill(signal));
  const child = spawn(task.command, task.args, { stdio: 'inherit', env });
  return new Promise((resolve) => {
    child.on('error', (error) => {
      tell(error.message);
      resolve(1);
    });
    child.on('exit', (code, signal) => resolve(exitCode(code, signal)));
  });
}

async function runTask(task: RunTask, machine: Machine): Promise<number> {
  // Programs reach it from whatever folder they are in.
  const folder = mkdtempSync(path.resolve(tmpdir(), 'iommufd-'));
  // Whatever ends this process.
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const server = new RunServer(machine, { folder, privileged: task.privileged, tell });
  await server.listen();
  const code = await runProgram(task, server.path).finally(() => server.close());
  if (server.failure === undefined) return code;
  const { failure } = server;
  tell(`the emulated machine failed: ${failure instanceof Error ? failure.stack : String(failure)}`);
  return code === 0 ? 1 : code;
}

/** The command's arguments behind `run`; its exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  const task = readRunArguments(argv);
  if (typeof task === 'string') {
    process.stderr.write(task);
    return MISUSE;
  }
  if (!existsSync(SHIM)) {
    tell(
      `${SHIM} is missing: it is built with the addon, by a C compiler on Linux; build/addon-build.log says why not`,
    );
    return 1;
  }
  const { pageSize } = loadNative();
  if (pageSize !== PAGE_SIZE) {
    tell(
      `the emulated machine has pages of ${PAGE_SIZE} bytes, and this one of ${pageSize}: its programs cannot share memory`,
    );
    return 1;
  }
  try {
    return await runTask(task, makeMachine(task.machine));
  } catch (error) {
    // An address that is none, say.
    tell(error instanceof Error ? error.message : String(error));
    return MISUSE;
  }
}
