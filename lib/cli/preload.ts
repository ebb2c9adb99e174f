// Loaded before the program that `iommufd record` or `iommufd replay` runs: `openHost` answers a host that is recorded, or that
// answers from the transcript.
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import path from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { UsageError } from '../host/errors.js';
import type { Host } from '../host-object.js';
import { interpose } from '../open.js';
import { recordingHost, replayHost } from '../recording-host.js';
import { FILE, MODE, OPENED } from './environment.js';

/** Processes that this one starts from now on are none of the transcript's: one file, one process. */
function takeTask(): { readonly file: string } | undefined {
  const { [FILE]: file, [OPENED]: marker } = process.env;
  if (file === undefined) return undefined;
  for (const name of [MODE, FILE, OPENED]) delete process.env[name];
  if (marker !== undefined) writeFileSync(marker, '');
  return { file };
}

function record(file: string, open: () => Host): Host {
  const host = open();
  const fd = openSync(file, 'w');
  process.on('exit', () => closeSync(fd));
  return recordingHost(host, { write: (line) => writeSync(fd, line) });
}

function replay(file: string): Host {
  const host = replayHost(readFileSync(file, 'utf8'), { name: path.basename(file) });
  process.on('exit', (code) => {
    try {
      host.finish();
    } catch (error) {
      process.stderr.write(`iommufd replay: ${error instanceof Error ? error.message : String(error)}\n`);
      if (code === 0) process.exitCode = 1;
    }
  });
  return host;
}

const mode = process.env[MODE];
if (isMainThread && (mode === 'record' || mode === 'replay')) {
  let opened: { readonly host: Host; readonly kind: string | undefined } | undefined;
  interpose((kind, open) => {
    if (opened !== undefined) {
      if (opened.kind === kind || kind === undefined) return opened.host;
      throw new UsageError(
        'ERR_IOMMUFD_UNAVAILABLE',
        `a transcript is of one host: this program opened another before`,
      );
    }
    const file = takeTask()?.file;
    // The host is another process's: this one goes without.
    if (file === undefined) return open();
    opened = { host: mode === 'record' ? record(file, open) : replay(file), kind };
    return opened.host;
  });
}
