// `iommufd record` and `iommufd replay`: runs a program whose default host, and whatever else `openHost` answers it, is recorded
// into a file or answered from one.
import { lstatSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { openedIn } from './claim.js';
import { FILE, FOLDER, MODE, MODES, type Mode } from './environment.js';
import { runProgram } from './program.js';
import { threadFiles } from './threads.js';
import { problemWith } from './transcript-file.js';

const MISUSE = 2;
const PACKAGE = fileURLToPath(new URL('../../..', import.meta.url));

export interface TranscriptTask {
  readonly mode: Mode;
  readonly file: string;
  readonly command: string;
  readonly args: readonly string[];
}

/** What is to be done; undefined where it is not clear. */
export function readTranscriptArguments(argv: readonly string[]): TranscriptTask | undefined {
  const [mode, file, dashes, command, ...args] = argv;
  const known = MODES.find((candidate) => candidate === mode);
  if (known === undefined || file === undefined || dashes !== '--' || command === undefined) return undefined;
  return { mode: known, file: path.resolve(file), command, args };
}

/** Every Node that the program starts loads the preload; the first that opens a host has the transcript. */
function environment({ mode, file }: TranscriptTask, folder: string): NodeJS.ProcessEnv {
  const preload = `--import=${new URL('./preload.js', import.meta.url).href}`;
  const options = [process.env.NODE_OPTIONS, preload].filter((option) => option !== undefined).join(' ');
  return { ...process.env, NODE_OPTIONS: options, [MODE]: mode, [FILE]: file, [FOLDER]: folder };
}

/** Of an earlier recording, whose program may have had more threads. */
function removeOlder(file: string, opened: readonly string[]): void {
  for (const other of [file, ...threadFiles(file)]) {
    if (opened.includes(path.basename(other))) continue;
    if (lstatSync(other, { throwIfNoEntry: false })?.isFile()) rmSync(other);
  }
}

async function runIn(folder: string, task: TranscriptTask): Promise<number> {
  const { mode, file, command, args } = task;
  const tell = (text: string) => process.stderr.write(`iommufd ${mode}: ${text}\n`);
  const code = await runProgram(command, args, environment(task, folder), tell);
  const opened = openedIn(folder);
  if (opened.length === 0) {
    if (code === 0) tell(`the program opened no host, by openHost() or Iommufd.open() of the package in ${PACKAGE}`);
    return code === 0 ? 1 : code;
  }
  if (mode === 'record') removeOlder(file, opened);
  return code;
}

/** The command's exit code: the program's, or why that does not count. */
export async function runWithTranscript(task: TranscriptTask): Promise<number> {
  const problem = problemWith(task.mode, task.file);
  if (problem !== undefined) {
    process.stderr.write(`iommufd ${task.mode}: ${problem}\n`);
    return MISUSE;
  }
  const folder = mkdtempSync(path.join(tmpdir(), 'iommufd-'));
  try {
    return await runIn(folder, task);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
