#!/usr/bin/env node
// The command. `iommufd run -- PROGRAM` is in run.ts. `iommufd record FILE -- node script.js` and `iommufd replay FILE -- node script.js`: runs a program whose default host, and
// whatever else `openHost` answers it, is recorded into a file or answered from one.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import path from 'node:path';
import { FILE, MODE, MODES, type Mode, OPENED } from './environment.js';
import { run as runUnderShim } from './run.js';
import { threadFiles } from './threads.js';

const USAGE = `usage: iommufd record FILE -- node script.js [arguments]
       iommufd replay FILE -- node script.js [arguments]
       iommufd run [options] -- PROGRAM [arguments]

record writes into FILE what the program asks of its host and what comes back; replay answers from FILE, without any
kernel, and fails at the first difference. Threads of the program have files of their own: nic.jsonl, nic.thread-1.jsonl. run gives
any program an emulated machine's device nodes: "iommufd run" says more.
`;
const MISUSE = 2;

interface Task {
  readonly mode: Mode;
  readonly file: string;
  readonly command: string;
  readonly args: readonly string[];
}

function readArguments(argv: readonly string[]): Task | undefined {
  const [mode, file, dashes, command, ...args] = argv;
  const known = MODES.find((candidate) => candidate === mode);
  if (known === undefined || file === undefined || dashes !== '--' || command === undefined) return undefined;
  return { mode: known, file: path.resolve(file), command, args };
}

/** Every Node that the program starts loads the preload; the first that opens a host has the transcript. */
function environment(task: Task, marker: string): NodeJS.ProcessEnv {
  const preload = `--import=${new URL('./preload.js', import.meta.url).href}`;
  const options = [process.env.NODE_OPTIONS, preload].filter((option) => option !== undefined).join(' ');
  return { ...process.env, NODE_OPTIONS: options, [MODE]: task.mode, [FILE]: task.file, [OPENED]: marker };
}

function exitCode(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

function run(task: Task): void {
  const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-'));
  const marker = path.join(folder, 'opened');
  // Listened to so that the program, which gets it too, can end first.
  process.on('SIGINT', () => undefined);
  const child = spawn(task.command, task.args, { stdio: 'inherit', env: environment(task, marker) });
  let ended = false;
  const end = (code: number) => {
    // A command that is not there is told twice.
    if (ended) return;
    ended = true;
    const opened = existsSync(marker);
    rmSync(folder, { recursive: true, force: true });
    if (!opened && code === 0) process.stderr.write(`iommufd ${task.mode}: the program opened no host\n`);
    process.exitCode = code === 0 && !opened ? 1 : code;
  };
  child.on('error', (error) => {
    process.stderr.write(`iommufd ${task.mode}: ${error.message}\n`);
    end(1);
  });
  child.on('close', (code, signal) => end(exitCode(code, signal)));
}

const task = readArguments(process.argv.slice(2));
if (process.argv[2] === 'run') {
  process.exitCode = await runUnderShim(process.argv.slice(3));
} else if (task === undefined) {
  process.stderr.write(USAGE);
  process.exitCode = MISUSE;
} else if (task.mode === 'replay' && !existsSync(task.file) && threadFiles(task.file).length === 0) {
  process.stderr.write(`iommufd replay: there is no ${task.file}\n`);
  process.exitCode = MISUSE;
} else {
  // Of an earlier recording, whose program may have had more threads.
  if (task.mode === 'record') for (const file of threadFiles(task.file)) rmSync(file);
  run(task);
}
