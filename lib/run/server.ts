// Answers the programs that run under the shim: one machine, any number of processes. All calls are carried out one after the
// other, in the order in which they arrive.
import { existsSync, readlinkSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import path from 'node:path';
import type { Machine } from '../emulated/machine.js';
import { codeOf } from '../emulated/remote/file-calls.js';
import { RemoteMemory } from '../emulated/remote/remote-memory.js';
import { loadNative } from '../host/native.js';
import { ERRNO } from '../uapi/errno.js';
import { Calls } from './calls.js';
import { FileSocket } from './file-socket.js';
import { Program } from './program.js';
import { ProgramEventfds } from './program-eventfds.js';
import { type Shared, threadFolder } from './program-files.js';
import { ProgramStatuses } from './program-statuses.js';
import { decodeRequest, encodeReply, OPERATION, REQUEST_SIZE, type Request, type Spare } from './protocol.js';
import { RegisterWatch } from './register-watch.js';
import { writeTree } from './tree.js';
import { UserCharges } from './user-charges.js';

/** Of a Unix socket's address; longer ones would be cut. */
const ADDRESS_SIZE = 108;
const READY = Buffer.from([0]);

export interface RunServerOptions {
  /** A private folder, for what is shared with programs. */
  readonly folder: string;
  /** Whether programs have all capabilities, whatever they have of the kernel that they run on. */
  readonly privileged: boolean;
  /** Takes what whoever runs programs is to know. */
  readonly tell: (text: string) => void;
}

/** A connection is an fd of who made it: in another namespace processes have other numbers. */
function hasConnection(pid: number, thread: number, { fd, inode }: Spare): boolean {
  try {
    return readlinkSync(`${threadFolder(pid, thread)}/fd/${fd}`) === `socket:[${inode}]`;
  } catch (error) {
    // Who may not look at its fds may not look at its memory: that will say what it takes.
    return codeOf(error) === 'EACCES';
  }
}

export class RunServer {
  readonly #server: Server;
  readonly #machine: Machine;
  readonly #folder: string;
  readonly #registers: RegisterWatch;
  readonly #calls: Calls;
  readonly #connections = new Set<Socket>();
  readonly #tell: RunServerOptions['tell'];
  readonly #told = new Set<string>();
  #failure: unknown;
  /** Requests that arrived in this turn of the event loop. */
  readonly #work: (() => void)[] = [];
  /** By the inode of the program's end. */
  readonly #sockets = new Map<bigint, FileSocket>();
  readonly #shared: Shared;
  /** By process and program. */
  readonly #programs = new Map<string, Program>();

  constructor(machine: Machine, { folder, privileged, tell }: RunServerOptions) {
    this.#tell = tell;
    this.#machine = machine;
    this.#folder = folder;
    this.#registers = new RegisterWatch(folder, {
      settle: () => machine.seam.settle(),
      guard: (work) => this.#guard(work),
    });
    this.#calls = new Calls(machine, this.#sockets, this.#registers, new ProgramStatuses(folder, this.#programs));
    this.#shared = {
      sockets: this.#sockets,
      eventfds: new ProgramEventfds(loadNative()),
      memory: new RemoteMemory(machine.physical),
      charges: new UserCharges(),
      privileged,
    };
    writeTree(machine.seam, path.join(folder, 'root'));
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** What it stopped for by itself; undefined as long as all is well. */
  get failure(): unknown {
    return this.#failure;
  }
  /** Programs that have a connection, or may make one. */
  get programs(): number {
    this.#dropEnded();
    return this.#programs.size;
  }
  /** Files that programs have open. */
  get files(): number {
    return this.#sockets.size;
  }

  /** Where programs find it. */
  get path(): string {
    return path.join(this.#folder, 'socket');
  }
  listen(): Promise<void> {
    const room = ADDRESS_SIZE - 1;
    if (Buffer.byteLength(this.path) > room) {
      throw new Error(`${this.path} is too long for a socket, which takes ${room} bytes: TMPDIR says where it is`);
    }
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.path, () => resolve());
    });
  }
  /** Whoever still has a file of it finds it broken. */
  close(): void {
    this.#server.close();
    this.#registers.stop();
    for (const socket of this.#connections) socket.destroy();
  }

  #accept(socket: Socket): void {
    this.#connections.add(socket);
    socket.once('close', () => this.#connections.delete(socket));
    // The other side ended without reading: what matters of it is that it closes.
    socket.on('error', () => undefined);
    let handle = (request: Request): void => {
      handle = this.#begin(socket, request);
    };
    let rest: Buffer = Buffer.alloc(0);
    socket.on('data', (data: Buffer) => {
      rest = rest.length === 0 ? data : Buffer.concat([rest, data]);
      for (; rest.length >= REQUEST_SIZE; rest = rest.subarray(REQUEST_SIZE)) {
        const request = decodeRequest(rest);
        this.#later(() => handle(request));
      }
    });
  }

  /**
   * Whatever happened before a program asked something is to count before it is answered: the ends of files that it closed,
   * or that a child had which it waited for. Both are here by now, and are told in any order.
   */
  #later(work: () => void): void {
    if (this.#work.push(work) > 1) return;
    setImmediate(() => {
      for (const each of this.#work.splice(0)) this.#guard(each);
    });
  }
  /** What the emulated machine throws is a defect: programs find it gone, and whoever runs them is told. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (this.#failure === undefined) this.#failure = error;
      this.close();
    }
  }

  /** The first request says what the connection is for; answers what is done with all others. */
  #begin(socket: Socket, request: Request): (request: Request) => void {
    if (request.operation === OPERATION.file) return this.#beginFile(socket, request.file);
    if (request.operation === OPERATION.calls) return this.#beginCalls(socket, request);
    socket.destroy();
    return () => undefined;
  }
  #beginFile(socket: Socket, inode: bigint): () => void {
    if (this.#sockets.has(inode)) {
      socket.destroy();
      return () => undefined;
    }
    const file = new FileSocket(inode, socket);
    this.#sockets.set(inode, file);
    const gone = (): void => {
      if (this.#sockets.get(inode) === file) this.#sockets.delete(inode);
      this.#guard(() => {
        file.close();
        this.#machine.seam.settle();
        this.#dropEnded();
      });
    };
    socket.once('end', gone).once('error', gone).once('close', gone);
    socket.write(READY);
    // What a program writes there past the shim is nobody's.
    return () => undefined;
  }
  #dropEnded(): void {
    for (const [key, program] of this.#programs) {
      if (!program.isGone) continue;
      program.end();
      this.#programs.delete(key);
    }
  }
  #beginCalls(socket: Socket, request: Request): (request: Request) => void {
    const program = this.#programOf(request);
    if (program === undefined) {
      socket.end(encodeReply({ result: -ERRNO.EIO, flags: 0 }));
      return () => undefined;
    }
    program.connect();
    socket.once('close', () => {
      program.disconnect();
      this.#guard(() => this.#dropEnded());
    });
    socket.write(encodeReply({ result: 0, flags: 0 }));
    return (call) => socket.write(encodeReply(this.#calls.carryOut(program, call)));
  }
  /** One that ended may have children of the same image, of which one has its number by now. */
  #knownProgram(key: string): Program | undefined {
    const known = this.#programs.get(key);
    if (known?.hasMemory !== false) return known;
    known.end();
    this.#programs.delete(key);
    return undefined;
  }
  /** Undefined where its memory is out of reach, which the shim says: it does without, and all others go on. */
  #programOf({ args: [pid, image], spare, thread }: Request): Program | undefined {
    const key = `${pid}:${image}`;
    if (!hasConnection(Number(pid), thread, spare)) return undefined;
    try {
      const program = this.#knownProgram(key) ?? new Program(Number(pid), thread, this.#shared);
      this.#programs.set(key, program);
      return program;
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      // What is killed by now needs no machine.
      if (existsSync(`/proc/${pid}`) && !this.#told.has(text)) this.#tell(text);
      this.#told.add(text);
      return undefined;
    }
  }
}
