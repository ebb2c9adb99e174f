// The paths of a machine as files, for programs that look at them: folders, texts and links as they are, and a node as a file
// that holds its numbers.
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { Seam } from '../host/seam.js';

/** Writes what is below `at` into a folder. */
export function writeTree(seam: Seam, folder: string, at = '/'): void {
  const names = seam.list(at);
  if (typeof names === 'number') return;
  mkdirSync(path.join(folder, at), { recursive: true });
  for (const name of names) writeEntry(seam, folder, path.posix.join(at, name));
}

function writeEntry(seam: Seam, folder: string, at: string): void {
  const status = seam.status(at);
  if (typeof status === 'number') return;
  const file = path.join(folder, at);
  switch (status.kind) {
    case 'directory':
      writeTree(seam, folder, at);
      break;
    case 'character-device':
      writeFileSync(file, `${status.major}:${status.minor}\n`);
      break;
    case 'link':
      symlinkSync(String(seam.readLink(at)), file);
      break;
    default:
      writeText(file, seam.readText(at));
  }
}

/** What is made when it is read, such as configuration space, is not here. */
function writeText(file: string, text: string | number): void {
  if (typeof text === 'string') writeFileSync(file, text);
}
