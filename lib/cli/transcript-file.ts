// Whether a file will do for a transcript: looked at before the program runs.
import { accessSync, closeSync, constants, existsSync, openSync, readSync, statSync } from 'node:fs';
import path from 'node:path';
import { beginsAsTranscript, parseHeader } from '../recording/transcript.js';
import type { Mode } from './environment.js';
import { threadFiles } from './threads.js';

/** A header is shorter. */
const LONGEST_HEADER = 4096;

function firstLine(file: string): string {
  const fd = openSync(file, 'r');
  try {
    const bytes = Buffer.alloc(LONGEST_HEADER);
    const length = readSync(fd, bytes, 0, bytes.length, 0);
    return bytes.toString('utf8', 0, length).split('\n', 1)[0] ?? '';
  } finally {
    closeSync(fd);
  }
}

function checkReadable(file: string): void {
  if (!existsSync(file) && threadFiles(file).length > 0) return;
  if (!existsSync(file)) throw new Error(`there is no ${file}`);
  const header = firstLine(file);
  try {
    parseHeader(header);
  } catch (error) {
    throw new Error(`${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** A mistyped name must not cost a file that is something else. */
function checkWritable(file: string): void {
  if (!existsSync(file)) {
    accessSync(path.dirname(file), constants.W_OK);
    return;
  }
  const status = statSync(file);
  if (status.isDirectory()) throw new Error(`${file} is a folder`);
  accessSync(file, constants.W_OK);
  if (!status.isFile() || status.size === 0 || beginsAsTranscript(firstLine(file))) return;
  throw new Error(`${file} is something else than a transcript: it was left as it is`);
}

/** What is wrong with a file; undefined where it will do. */
export function problemWith(mode: Mode, file: string): string | undefined {
  try {
    if (mode === 'replay') checkReadable(file);
    else checkWritable(file);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
