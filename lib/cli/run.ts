// `iommufd run`: runs any program with an emulated machine's device nodes. The machine is in this process; a shim that is
// loaded into the program forwards what the program asks of them.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { makeMachine } from '../emulated/host-options.js';
import type { Machine } from '../emulated/machine.js';
import { PAGE_SIZE } from '../emulated/memory/backing.js';
import { loadNative } from '../host/native.js';
import { SHIM, shimEnvironment } from '../run/environment.js';
import { RunServer } from '../run/server.js';
import { runProgram } from './program.js';
import { type RunTask, readRunArguments } from './run-arguments.js';

const MISUSE = 2;

function tell(text: string): void {
  process.stderr.write(`iommufd run: ${text}\n`);
}

async function runTask(task: RunTask, machine: Machine): Promise<number> {
  // Programs reach it from whatever folder they are in.
  const folder = mkdtempSync(path.resolve(tmpdir(), 'iommufd-'));
  // Whatever ends this process.
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const server = new RunServer(machine, { folder, privileged: task.privileged, tell });
  await server.listen();
  const env = { ...process.env, ...shimEnvironment(server.path) };
  const code = await runProgram(task.command, task.args, env, tell).finally(() => server.close());
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
