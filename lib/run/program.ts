// A program that calls the emulated kernel: a process, from one exec to the next.
import { Process } from '../emulated/kernel/process.js';
import { RemoteAddressSpace } from '../emulated/remote/address-space.js';
import { ProgramFiles, type Shared } from './program-files.js';
import { ProgramRights } from './rights.js';

export class Program {
  readonly memory: RemoteAddressSpace;
  readonly files: ProgramFiles;
  readonly process: Process;
  #connections = 0;

  constructor(
    readonly pid: number,
    shared: Shared,
  ) {
    this.memory = new RemoteAddressSpace(shared.memory, pid);
    this.files = new ProgramFiles(pid, shared);
    const rights = new ProgramRights(pid, shared.privileged);
    this.process = new Process(this.memory, this.files, rights);
    this.process.charged = shared.charges.of(rights.user);
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
