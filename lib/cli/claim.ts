// Which process a transcript is of, and which transcripts it has: the command and the programs that it runs tell each other in
// a folder.
import { readdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';

const OWNER = 'owner';
const OPENED = 'opened.';

/**
 * Takes the transcript for a process, or finds who has it.
 * @returns the process's own name, or that of the one which was first
 */
export function claim(folder: string, name: string): string {
  const owner = path.join(folder, OWNER);
  try {
    // A link is there with its text at once, or not at all.
    symlinkSync(name, owner);
    return name;
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EEXIST')) throw error;
    return readlinkSync(owner);
  }
}

/** Tells that a host was opened, whose transcript this file is. */
export function noteOpened(folder: string, file: string): void {
  writeFileSync(path.join(folder, `${OPENED}${path.basename(file)}`), '');
}

/** The names of the transcripts whose hosts were opened. */
export function openedIn(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.startsWith(OPENED))
    .map((name) => name.slice(OPENED.length));
}
