// The fds of a program: those of the emulated machine are sockets to the server.
import { openSync, readlinkSync, statSync } from 'node:fs';
import { OpenFile } from '../emulated/kernel/file.js';
import type { FileTable } from '../emulated/kernel/process.js';
import { RemoteMemoryFile } from '../emulated/remote/memory-file.js';
import type { RemoteMemory } from '../emulated/remote/remote-memory.js';
import { ERRNO } from '../uapi/errno.js';
import type { FileSocket } from './file-socket.js';
import type { ProgramEventfds } from './program-eventfds.js';
import type { Spare } from './protocol.js';
import type { UserCharges } from './user-charges.js';

/** A file of the program's own that means nothing to the emulated kernel. */
class OtherFile extends OpenFile {
  protected override closed(): void {}
}

/** What all programs share. */
export interface Shared {
  /** Those of the emulated machine, by the inode of the program's end. */
  readonly sockets: ReadonlyMap<bigint, FileSocket>;
  readonly eventfds: ProgramEventfds;
  readonly memory: RemoteMemory;
  readonly charges: UserCharges;
  /** Whether they have all capabilities. */
  readonly privileged: boolean;
}

/** Where /proc tells of a thread of a process: nothing, where it is none of it. */
export function threadFolder(pid: number, thread: number): string {
  return `/proc/${pid}/task/${thread}`;
}

/** Opens a file anew; undefined for what is no regular file, or gone. */
function openRegular(path: string): number | undefined {
  try {
    return statSync(path).isFile() ? openAnyhow(path) : undefined;
  } catch {
    return undefined;
  }
}
function openAnyhow(path: string): number {
  try {
    return openSync(path, 'r+');
  } catch {
    // A read-only file, or one that is running.
    return openSync(path, 'r');
  }
}

export class ProgramFiles implements FileTable {
  readonly #pid: number;
  readonly #sockets: ReadonlyMap<bigint, FileSocket>;
  readonly #eventfds: ProgramEventfds;
  readonly #memory: RemoteMemory;
  /** For the call under way. */
  #spare: Spare | undefined;
  #spareUsed = false;
  readonly #borrowed: OpenFile[] = [];
  /** The folder of its fds: that of the thread that calls. */
  #fds = '';

  constructor(pid: number, { sockets, eventfds, memory }: Shared) {
    this.#memory = memory;
    this.#pid = pid;
    this.#sockets = sockets;
    this.#eventfds = eventfds;
  }

  /** A call begins, with what the shim has for a file that it makes. */
  begin(spare: Spare, thread: number): void {
    this.#fds = `${threadFolder(this.#pid, thread)}/fd`;
    this.#spare = spare;
    this.#spareUsed = false;
  }
  /** Whether the call that ends made a file. */
  end(): boolean {
    for (const file of this.#borrowed.splice(0)) file.release();
    this.#spare = undefined;
    return this.#spareUsed;
  }

  get(fd: number): OpenFile | undefined {
    const link = this.#linkOf(fd);
    if (link === undefined) return undefined;
    if (link === 'anon_inode:[eventfd]') return this.#eventfds.find(this.#pid, fd);
    if (link.startsWith('/')) return this.#regularFile(fd) ?? new OtherFile();
    const inode = /^socket:\[(\d+)\]$/.exec(link)?.[1];
    const socket = inode === undefined ? undefined : this.#sockets.get(BigInt(inode));
    return socket?.file ?? new OtherFile();
  }
  /** A memfd, or another file that may hold memory: this process's own, for as long as the kernel needs it. */
  #regularFile(fd: number): OpenFile | undefined {
    const own = openRegular(`${this.#fds}/${fd}`);
    if (own === undefined) return undefined;
    const file = new RemoteMemoryFile(this.#memory, own);
    this.#borrowed.push(file);
    return file;
  }
  #linkOf(fd: number): string | undefined {
    try {
      return readlinkSync(`${this.#fds}/${fd}`);
    } catch {
      return undefined;
    }
  }

  install(file: OpenFile): number {
    const spare = this.#spare;
    if (spare === undefined || this.#spareUsed) throw new Error('a call made a file that was not expected to');
    if (spare.fd < 0) return spare.fd === -1 ? -ERRNO.EMFILE : spare.fd;
    const socket = this.#sockets.get(spare.inode);
    if (socket === undefined || socket.file !== undefined) return -ERRNO.EMFILE;
    socket.become(file);
    this.#spareUsed = true;
    return spare.fd;
  }
}
