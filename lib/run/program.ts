// A program that calls the emulated kernel: a process, from one exec to the next.
import { readFileSync } from 'node:fs';
import { Process } from '../emulated/kernel/process.js';
import { RemoteAddressSpace } from '../emulated/remote/address-space.js';
import { ProgramFiles, type Shared, threadFolder } from './program-files.js';
import { ProgramRights } from './rights.js';

export class Program {
  readonly memory: RemoteAddressSpace;
  readonly files: ProgramFiles;
  readonly process: Process;
  #connections = 0;
  /** What the kernel told the program when it started: another one that the process runs was told something else. */
  readonly #start: string;

  constructor(
    readonly pid: number,
    thread: number,
    shared: Shared,
  ) {
    this.memory = new RemoteAddressSpace(shared.memory, pid, threadFolder(pid, thread));
    this.files = new ProgramFiles(pid, shared);
    const rights = new ProgramRights(pid, shared.privileged);
    this.process = new Process(this.memory, this.files, rights);
    this.process.charged = shared.charges.of(rights.user);
    this.#start = startOf(pid);
  }

  connect(): void {
    this.#connections++;
  }
  disconnect(): void {
    this.#connections--;
  }
  /**
   * Whether it ended, or runs another one. One without connections may go on: it closes what it does not know, and makes new
   * ones when it needs them.
   */
  get isGone(): boolean {
    if (this.#connections > 0) return false;
    // A child of vfork has its parent's memory, which stays when it runs another program.
    if (!this.hasMemory) return true;
    const start = startOf(this.pid);
    return start !== '' && start !== this.#start;
  }
  /** Whether its memory is there still: also that of one whose connections its children have inherited may be gone. */
  get hasMemory(): boolean {
    this.memory.enter();
    return this.memory.alive;
  }
  /** It is gone. */
  end(): void {
    this.memory.exited();
    this.memory.close();
  }
}

/** Nothing where its first thread ended. */
function startOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/auxv`, 'latin1');
  } catch {
    return '';
  }
}
