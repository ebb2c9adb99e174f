// Loaded before the program that `iommufd record` or `iommufd replay` runs, in every thread of it: `openHost` answers a host that
// is recorded, or that answers from the transcript.
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { UsageError } from '../host/errors.js';
import type { Host } from '../host-object.js';
import { interpose } from '../open.js';
import { recordingHost, replayHost } from '../recording-host.js';
import { FILE, MODE, MODES, OPENED } from './environment.js';
import { ThreadTask } from './threads.js';

function findTask(): ThreadTask | undefined {
  if (!isMainThread) {
    // A copy of the process's: what this thread starts is none of the transcript's.
    forgetTask();
    return ThreadTask.ofThread();
  }
  const { [MODE]: name, [FILE]: file, [OPENED]: marker } = process.env;
  const mode = MODES.find((known) => known === name);
  return mode === undefined || file === undefined ? undefined : ThreadTask.ofProcess({ mode, file, marker });
}

function forgetTask(): void {
  for (const name of [MODE, FILE, OPENED]) delete process.env[name];
}

/** Processes that this one starts from now on are none of the transcript's: one file, one process. */
function take(task: ThreadTask): void {
  forgetTask();
  task.noteOpened();
  if (task.marker !== undefined) writeFileSync(task.marker, '');
}

function record(file: string, open: () => Host): Host {
  const host = open();
  const fd = openSync(file, 'w');
  process.on('exit', () => closeSync(fd));
  return recordingHost(host, { write: (line) => writeSync(fd, line) });
}

function complain(task: ThreadTask, what: string): void {
  task.noteFailed();
  process.stderr.write(`iommufd replay: ${what}\n`);
}

function readTranscript(file: string): string {
  if (existsSync(file)) return readFileSync(file, 'utf8');
  throw new UsageError('ERR_IOMMUFD_REPLAY', `there is no ${file}: this thread opened no host when it was recorded`);
}

function replay(task: ThreadTask): Host {
  const host = replayHost(readTranscript(task.file), { name: path.basename(task.file) });
  process.on('exit', (code) => {
    try {
      host.finish();
    } catch (error) {
      complain(task, error instanceof Error ? error.message : String(error));
      if (code === 0) process.exitCode = 1;
    }
  });
  return host;
}

/** When the main thread is at its end, so are the others. */
function answerForThreads(task: ThreadTask): void {
  process.on('exit', (code) => {
    const { unused } = task;
    if (unused > 0 && !task.failed) {
      complain(task, `the program has other threads than it had: ${unused} of its transcripts were not asked for`);
    }
    if (code === 0 && task.failed) process.exitCode = 1;
  });
}

function interposeFor(task: ThreadTask): void {
  let opened: { readonly host: Host; readonly kind: string | undefined } | undefined;
  interpose((kind, open) => {
    if (opened !== undefined) {
      if (opened.kind === kind || kind === undefined) return opened.host;
      throw new UsageError(
        'ERR_IOMMUFD_UNAVAILABLE',
        `a transcript is of one host: this program opened another before`,
      );
    }
    const host = task.mode === 'record' ? record(task.file, open) : replay(task);
    take(task);
    opened = { host, kind };
    return host;
  });
}

const task = findTask();
if (task !== undefined) {
  interposeFor(task);
  if (isMainThread && task.mode === 'replay') answerForThreads(task);
}
