// /proc/PID/status as it would be: the kernel below knows nothing of what the emulated machine has pinned of a process.
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { PAGE_SIZE } from '../emulated/memory/backing.js';
import { NO_ROOM, unlessRefused } from '../emulated/remote/file-calls.js';
import type { Program } from './program.js';

const KIB = 1024;
const WIDTH = 8;

/** A number of pages added to a line of the file. */
function add(text: string, name: string, pages: number): string {
  const line = new RegExp(`^(${name}:\\s*) (\\d+) kB$`, 'm');
  return text.replace(line, (_all, _head, kib) => {
    const sum = Number(kib) + (pages * PAGE_SIZE) / KIB;
    return `${name}:\t${String(sum).padStart(WIDTH)} kB`;
  });
}

export class ProgramStatuses {
  readonly #folder: string;
  readonly #programs: ReadonlyMap<string, Program>;
  #number = 0;

  constructor(folder: string, programs: ReadonlyMap<string, Program>) {
    this.#folder = folder;
    this.#programs = programs;
  }

  /**
   * Writes a process's; the number of the file, which whoever opens it removes, or 0 where nothing of it is pinned, or there is
   * no room for it.
   */
  write(pid: number): number {
    let [pinned, locked] = [0, 0];
    for (const program of this.#programs.values()) {
      if (program.pid !== pid) continue;
      pinned += program.process.pinned;
      locked += program.process.charged.mm;
    }
    if (pinned === 0 && locked === 0) return 0;
    const status = unlessRefused(() => readFileSync(`/proc/${pid}/status`, 'latin1'));
    // It ended meanwhile: whoever asks is told so by the path itself.
    if (status === undefined) return 0;
    const text = add(add(status, 'VmPin', pinned), 'VmLck', locked);
    const number = ++this.#number;
    const file = path.join(this.#folder, `status-${number}`);
    const write = (): number => {
      writeFileSync(file, text, 'latin1');
      return number;
    };
    return unlessRefused(write, NO_ROOM) ?? 0;
  }
}
