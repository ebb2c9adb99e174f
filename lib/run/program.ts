// A program that calls the emulated kernel: a process, from one exec to the next.
import { Process } from '../emulated/kernel/process.js';
import { type KnownFiles, ProgramFiles } from './program-files.js';
import { ProgramMemory } from './program-memory.js';
import { ProgramRights } from './rights.js';

export class Program {
  readonly memory: ProgramMemory;
  readonly files: ProgramFiles;
  readonly process: Process;
  #connections = 0;

  constructor(pid: number, known: KnownFiles) {
    this.memory = new ProgramMemory(pid);
    this.files = new ProgramFiles(pid, known);
    this.process = new Process(this.memory, this.files, new ProgramRights(pid));
  }

  connect(): void {
    this.#connections++;
  }
  /** Answers whether this was the last connection: the program ended, or runs another one. */
  disconnect(): boolean {
    if (--this.#connections > 0) return false;
    this.memory.close();
    return true;
  }
}
