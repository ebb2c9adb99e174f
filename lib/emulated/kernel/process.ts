// Who calls the kernel: its memory, its files, its rights and its limits.
import type { AddressSpace } from '../memory/address-space.js';
import type { OpenFile } from './file.js';

/** A process's file descriptors. */
export interface FileTable {
  get(fd: number): OpenFile | undefined;
  /** Gives a file a number, and takes its reference over; -EMFILE (the reference stays the caller's) where all are taken. */
  install(file: OpenFile): number;
}

export interface ProcessRights {
  /** CAP_IPC_LOCK: pinned memory is not limited. */
  readonly ipcLock: boolean;
  /** CAP_SYS_RESOURCE: how memory is accounted may be chosen. */
  readonly sysResource: boolean;
  /** CAP_SYS_RAWIO: physical addresses may be seen. */
  readonly sysRawio: boolean;
  /** RLIMIT_MEMLOCK in pages. */
  readonly lockedPages: number;
}

/**
 * Where a machine has several processes, the kernel's objects refer to one of these that stands for whoever calls: it acts
 * for another process at a time, as `current` on Linux does.
 */
export class Process {
  /** Pages charged to the user (RLIMIT_MODE 0) and to this process's memory (RLIMIT_MODE 1). */
  charged = { user: 0, mm: 0 };
  /** Pages of its that are pinned, whoever pays: what /proc/PID/status has as VmPin. */
  pinned = 0;
  #caller: Process = this;

  constructor(
    public memory: AddressSpace,
    public files: FileTable,
    public rights: ProcessRights,
  ) {}

  /** The process that calls now, for what remembers it. */
  get caller(): Process {
    return this.#caller;
  }
  /** From now on it is this one that calls. */
  actFor(process: Process): void {
    this.#caller = process;
    this.memory = process.memory;
    this.files = process.files;
    this.rights = process.rights;
    this.charged = process.charged;
  }
}
