// System calls on files of the emulated machine, as the shim forwards them.
import { OpenFile } from '../emulated/kernel/file.js';
import { IommufdFile } from '../emulated/kernel/iommufd-file.js';
import type { Machine } from '../emulated/machine.js';
import { PAGE_SIZE } from '../emulated/memory/backing.js';
import { ERRNO } from '../uapi/errno.js';
import { vfio_region_info_flags } from '../uapi/vfio-constants.js';
import { VFIO_DEVICE_GET_REGION_INFO } from '../uapi/vfio-ioctls.js';
import { vfio_region_info } from '../uapi/vfio-structs.js';
import { mayMakeFile } from './file-makers.js';
import type { FileSocket } from './file-socket.js';
import type { Program } from './program.js';
import type { ProgramStatuses } from './program-statuses.js';
import { OPERATION, REPLY, type Reply, type Request } from './protocol.js';
import type { RegisterWatch } from './register-watch.js';

/** Longer ones are cut: as short reads and writes, which callers must expect. */
const LONGEST_TRANSFER = 2 ** 26;
const PATH_MAX = 4096;
/** Other names of the same file. */
const OWN_FAIL_NTH = /^\/proc\/(self|self\/task\/\d+)\/fail-nth$/;
const MAP_SHARED = 1;
const PROT_EXEC = 4;

/** Addresses beyond what a number holds exactly are nobody's. */
function numberOf(value: bigint | undefined): number {
  return Number(value ?? 0n);
}

export class Calls {
  readonly #machine: Machine;
  readonly #sockets: ReadonlyMap<bigint, FileSocket>;
  readonly #registers: RegisterWatch;
  readonly #statuses: ProgramStatuses;

  constructor(
    machine: Machine,
    sockets: ReadonlyMap<bigint, FileSocket>,
    registers: RegisterWatch,
    statuses: ProgramStatuses,
  ) {
    this.#machine = machine;
    this.#sockets = sockets;
    this.#registers = registers;
    this.#statuses = statuses;
  }

  carryOut(program: Program, request: Request): Reply {
    this.#machine.process.actFor(program.process);
    program.memory.enter();
    program.files.begin(request.spare, request.thread);
    this.#registers.look();
    const { result, flags, sign = 0 } = this.#dispatch(program, request);
    this.#registers.show();
    this.#machine.seam.settle();
    const made = program.files.end() ? REPLY.spareUsed : 0;
    const told = program.memory.watchesUnmap ? REPLY.tellUnmap : 0;
    return { result, flags: flags | made | told, sign };
  }

  #dispatch(program: Program, request: Request): Reply {
    if (request.operation === OPERATION.open) return { result: this.#open(program, request), flags: 0 };
    if (noteMemory(program, request)) return { result: 0, flags: 0 };
    if (request.operation === OPERATION.status) {
      return { result: this.#statuses.write(numberOf(request.args[0])), flags: 0 };
    }
    const socket = this.#sockets.get(request.file);
    const file = socket?.file;
    if (socket === undefined || file === undefined) return { result: -ERRNO.EBADF, flags: 0 };
    switch (request.operation) {
      case OPERATION.sign:
        socket.putBack();
        return { result: 0, flags: 0 };
      case OPERATION.ioctl:
        return this.#ioctl(program, file, request);
      case OPERATION.read:
      case OPERATION.pread:
        return this.#read(program, socket, file, request);
      case OPERATION.write:
      case OPERATION.pwrite:
        return { result: this.#write(program, file, request), flags: 0 };
      case OPERATION.mmap:
        return { result: this.#mmap(program, file, request), flags: 0 };
      default:
        return { result: -ERRNO.ENOSYS, flags: 0 };
    }
  }

  #open(program: Program, { args: [path] }: Request): number {
    const name = readPath(program, numberOf(path));
    if (name === undefined) return -ERRNO.EFAULT;
    const file = this.#machine.open(name.replace(OWN_FAIL_NTH, '/proc/thread-self/fail-nth'));
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
    const result = file.ioctlValue(command, argument);
    if (command === VFIO_DEVICE_GET_REGION_INFO.request && result === 0) hideMmap(program, argument);
    return { result, flags: 0 };
  }

  #read(program: Program, socket: FileSocket, file: OpenFile, { operation, args }: Request): Reply {
    const [at, length, position] = args.map(numberOf);
    const bytes = new Uint8Array(Math.min(length ?? 0, LONGEST_TRANSFER));
    // Events that cannot be delivered stay in their queue.
    const isEvent = file.readable() === true;
    if (isEvent && !program.memory.canWrite(at ?? 0, bytes.length)) return { result: -ERRNO.EFAULT, flags: 0 };
    const count = operation === OPERATION.read ? file.read(bytes) : file.pread(bytes, position ?? 0);
    const left = socket.afterRead();
    const flags = left === 'drain' ? REPLY.drain : left === 'empty' ? REPLY.empty : 0;
    const { sign } = socket;
    if (count <= 0) return { result: count, flags, sign };
    const written = program.memory.write(at ?? 0, bytes.subarray(0, count));
    return { result: written ? count : -ERRNO.EFAULT, flags, sign };
  }

  #write(program: Program, file: OpenFile, { operation, args }: Request): number {
    const [at, length, position] = args.map(numberOf);
    const bytes = new Uint8Array(Math.min(length ?? 0, LONGEST_TRANSFER));
    if (!program.memory.read(at ?? 0, bytes)) return canBeWritten(file, operation) ? -ERRNO.EFAULT : -ERRNO.EINVAL;
    return operation === OPERATION.write ? file.write(bytes) : file.pwrite(bytes, position ?? 0);
  }

  /** Answers the number of the file that the program maps in place of the registers. */
  #mmap(program: Program, file: OpenFile, { args }: Request): number {
    const [length, protection, flags, offset] = args.map(numberOf);
    // What a BAR is for is not known here: its reads may have effects, so that nobody but the program may read it.
    if (!(file instanceof IommufdFile)) return -ERRNO.ENODEV;
    // iommufd/main.c: iommufd_fops_mmap.
    if (((flags ?? 0) & MAP_SHARED) === 0) return -ERRNO.EINVAL;
    if (((protection ?? 0) & PROT_EXEC) !== 0) return -ERRNO.EPERM;
    const mapping = file.mmap(offset ?? 0, length ?? 0);
    if (typeof mapping === 'number') return mapping;
    const added = this.#registers.add(mapping, length ?? 0);
    if (added === undefined) {
      mapping.close();
      return -ERRNO.ENOMEM;
    }
    const fd = program.files.install(added.registers);
    if (fd >= 0) return added.number;
    added.registers.release();
    return fd;
  }
}

/** Regions of a device cannot be mapped here: a program that asks whether they can takes read and write for all accesses. */
function hideMmap({ memory }: Program, argument: number): void {
  const flags = new Uint32Array(1);
  const at = argument + vfio_region_info.at.flags;
  if (!memory.read(at, new Uint8Array(flags.buffer))) return;
  flags[0] = (flags[0] ?? 0) & ~vfio_region_info_flags.values.VFIO_REGION_INFO_FLAG_MMAP;
  memory.write(at, new Uint8Array(flags.buffer));
}

/** vfs_write asks that before it looks at what is to be written (FMODE_CAN_WRITE). */
function canBeWritten(file: OpenFile, operation: number): boolean {
  const { write, pwrite } = OpenFile.prototype;
  return operation === OPERATION.write ? file.write !== write : file.pwrite !== pwrite;
}

/** What the program does with its own memory; false for a call on a file. */
function noteMemory({ memory }: Program, { operation, args }: Request): boolean {
  const [first, second, third] = args.map(numberOf);
  if (operation === OPERATION.unmap) memory.aboutToUnmap(first ?? 0, second ?? 0);
  else if (operation === OPERATION.discard) memory.aboutToDiscard(first ?? 0, second ?? 0);
  else if (operation === OPERATION.move) memory.moved(first ?? 0, second ?? 0, third ?? 0);
  else return false;
  return true;
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
