// Loaded before the program that `iommufd record` or `iommufd replay` runs, in every thread of it: `openHost` answers a host that
// is recorded, or that answers from the transcript.
import { existsSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { UsageError } from '../host/errors.js';
import { type HostKind, kindOfFiles } from '../host/seam.js';
import { type Host, hostSeam } from '../host-object.js';
import { interpose } from '../open.js';
import { recordingHost, replayHost } from '../recording-host.js';
import { atEnd } from './at-end.js';
import { FILE, FOLDER, MODE, MODES } from './environment.js';
import { ThreadTask } from './threads.js';

function findTask(): ThreadTask | undefined {
  if (!isMainThread) {
    // A copy of the process's: what this thread starts is none of the transcript's.
    forgetTask();
    return ThreadTask.ofThread();
  }
  const { [MODE]: name, [FILE]: file, [FOLDER]: folder } = process.env;
  const mode = MODES.find((known) => known === name);
  if (mode === undefined || file === undefined || folder === undefined) return undefined;
  return ThreadTask.ofProcess({ mode, file, folder });
}

/** Processes that this one starts from now on are none of the transcript's: one file, one process. */
function forgetTask(): void {
  for (const name of [MODE, FILE, FOLDER]) delete process.env[name];
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

function complain(task: ThreadTask, what: string): void {
  task.noteFailed();
  process.stderr.write(`iommufd ${task.mode}: ${what}\n`);
}

/** Whoever cannot be written any more, for want of room say, is told of at once; the program goes on. */
function record(task: ThreadTask, open: () => Host): Host {
  const host = open();
  // Node closes it with the thread.
  const fd = openSync(task.file, 'w');
  let isWhole = true;
  const write = (line: string) => {
    if (!isWhole) return;
    try {
      writeFileSync(fd, line);
    } catch (error) {
      isWhole = false;
      complain(task, `${task.file} is not whole: ${textOf(error)}`);
    }
  };
  return recordingHost(host, { write });
}

function readTranscript(file: string): string {
  if (existsSync(file)) return readFileSync(file, 'utf8');
  throw new UsageError('ERR_IOMMUFD_REPLAY', `there is no ${file}: this thread opened no host when it was recorded`);
}

function replay(task: ThreadTask): Host {
  const host = replayHost(readTranscript(task.file), {
    name: path.basename(task.file),
    // At once: a program that goes on waiting is ended by somebody else.
    onDifference: ({ message }) => complain(task, message),
  });
  atEnd((code) => {
    try {
      host.finish();
    } catch (error) {
      if (error !== host.difference) throw error;
      if (code === 0) process.exitCode = 1;
    }
  });
  return host;
}

/** When the main thread is at its end, so are the others. */
function answerForThreads(task: ThreadTask): void {
  atEnd((code) => {
    const unused = task.mode === 'replay' && !task.failed ? task.unused : 0;
    if (unused > 0) {
      complain(task, `the program has other threads than it had: ${unused} of its transcripts were not asked for`);
    }
    if (code === 0 && task.failed) process.exitCode = 1;
  });
}

function interposeFor(task: ThreadTask): void {
  let opened: { readonly host: Host; readonly kinds: readonly (HostKind | undefined)[] } | undefined;
  interpose((kind, open) => {
    if (opened !== undefined) {
      if (opened.kinds.includes(kind)) return opened.host;
      throw new UsageError(
        'ERR_IOMMUFD_UNAVAILABLE',
        `a transcript is of one host: this program opened another before`,
      );
    }
    task.claim();
    const host = task.mode === 'record' ? record(task, open) : replay(task);
    forgetTask();
    task.noteOpened();
    // The same one, named or not.
    opened = { host, kinds: [undefined, kind, kindOfFiles(hostSeam(host))] };
    return host;
  });
}

const task = findTask();
if (task !== undefined) {
  if (isMainThread) answerForThreads(task);
  interposeFor(task);
}
