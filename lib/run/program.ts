// A program that calls the emulated kernel: a process, from one exec to the next.
import { Process } from '../emulated/kernel/process.js';
import { RemoteAddressSpace } from '../emulated/remote/address-space.js';
import { type KnownFiles, ProgramFiles } from './program-files.js';
import { ProgramRights } from './rights.js';

export class Program {
  readonly memory: RemoteAddressSpace;
  readonly files: ProgramFiles;
  readonly process: Process;
  #connections = 0;

  constructor(pid: number, known: KnownFiles) {
    this.memory = new RemoteAddressSpace(known.memory, pid);
    this.files = new ProgramFiles(pid, known);
    this.process = new Process(this.memory, this.files, new ProgramRights(pid));
  }

  connect(): void {
    this.#connections++;
  }
  /** Answers whether this was the last connection: the program ended, or runs another one. */
  disconnect(): boolean {
    if (--this.#connections > 0) return false;
    this.memory.exited();
    this.memory.close();
    return true;
  }
}
