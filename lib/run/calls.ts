// System calls on files of the emulated machine, as the shim forwards them.
import type { OpenFile } from '../emulated/kernel/file.js';
import type { Machine } from '../emulated/machine.js';
import { PAGE_SIZE } from '../emulated/memory/backing.js';
import { ERRNO } from '../uapi/errno.js';
import { mayMakeFile } from './file-makers.js';
import type { FileSocket } from './file-socket.js';
import type { Program } from './program.js';
import { OPERATION, REPLY, type Reply, type Request } from './protocol.js';

/** Longer ones are cut: as short reads and writes, which callers must expect. */
const LONGEST_TRANSFER = 2 ** 26;
const PATH_MAX = 4096;

/** Addresses beyond what a number holds exactly are nobody's. */
function numberOf(value: bigint | undefined): number {
  return Number(value ?? 0n);
}

export class Calls {
  readonly #machine: Machine;
  readonly #sockets: ReadonlyMap<bigint, FileSocket>;

  constructor(machine: Machine, sockets: ReadonlyMap<bigint, FileSocket>) {
    this.#machine = machine;
    this.#sockets = sockets;
  }

  carryOut(program: Program, request: Request): Reply {
    this.#machine.process.actFor(program.process);
    program.files.begin(request.spare);
    const { result, flags } = this.#dispatch(program, request);
    this.#machine.seam.settle();
    const made = program.files.end() ? REPLY.spareUsed : 0;
    return { result, flags: flags | made };
  }

  #dispatch(program: Program, request: Request): Reply {
    if (request.operation === OPERATION.open) return { result: this.#open(program, request), flags: 0 };
    const socket = this.#sockets.get(request.file);
    const file = socket?.file;
    if (socket === undefined || file === undefined) return { result: -ERRNO.EBADF, flags: 0 };
    switch (request.operation) {
      case OPERATION.ioctl:
        return this.#ioctl(program, file, request);
      case OPERATION.read:
      case OPERATION.pread:
        return this.#read(program, socket, file, request);
      case OPERATION.write:
      case OPERATION.pwrite:
        return { result: this.#write(program, file, request), flags: 0 };
      default:
        return { result: -ERRNO.ENOSYS, flags: 0 };
    }
  }

  #open(program: Program, { args: [path] }: Request): number {
    const name = readPath(program, numberOf(path));
    if (name === undefined) return -ERRNO.EFAULT;
    const file = this.#machine.open(name);
    if (typeof file === 'number') return file;
    const fd = program.files.install(file);
    if (fd < 0) file.release();
    return fd;
  }

  #ioctl(program: Program, file: OpenFile, { command, args, spare }: Request): Reply {
    const argument = numberOf(args[0]);
    if (spare.fd === -1 && mayMakeFile(this.#machine.kernel, program.memory, command, argument)) {
      return { result: 0, flags: REPLY.needsSpare };
    }
    return { result: file.ioctlValue(command, argument), flags: 0 };
  }

  #read(program: Program, socket: FileSocket, file: OpenFile, { operation, args }: Request): Reply {
    const [at, length, position] = args.map(numberOf);
    const bytes = new Uint8Array(Math.min(length ?? 0, LONGEST_TRANSFER));
    const count = operation === OPERATION.read ? file.read(bytes) : file.pread(bytes, position ?? 0);
    const left = socket.afterRead();
    const flags = left === 'drain' ? REPLY.drain : left === 'empty' ? REPLY.empty : 0;
    if (count <= 0) return { result: count, flags };
    const written = program.memory.write(at ?? 0, bytes.subarray(0, count));
    return { result: written ? count : -ERRNO.EFAULT, flags };
  }

  #write(program: Program, file: OpenFile, { operation, args }: Request): number {
    const [at, length, position] = args.map(numberOf);
    const bytes = new Uint8Array(Math.min(length ?? 0, LONGEST_TRANSFER));
    if (!program.memory.read(at ?? 0, bytes)) return -ERRNO.EFAULT;
    return operation === OPERATION.write ? file.write(bytes) : file.pwrite(bytes, position ?? 0);
  }
}

/** A path of the program's; undefined where it does not end, or is not there. */
function readPath({ memory }: Program, address: number): string | undefined {
  const bytes = new Uint8Array(PATH_MAX);
  for (let done = 0; done < PATH_MAX; ) {
    const part = bytes.subarray(done, done + PAGE_SIZE - ((address + done) % PAGE_SIZE));
    if (!memory.read(address + done, part)) return undefined;
    done += part.length;
    const end = bytes.indexOf(0);
    if (end >= 0 && end < done) return Buffer.from(bytes.subarray(0, end)).toString();
  }
  return undefined;
}
