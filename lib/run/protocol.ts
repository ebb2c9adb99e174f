// What the shim in a program (native/shim/protocol.h) and the server say to each other: requests and replies of one size each.

export const REQUEST_SIZE = 64;
export const REPLY_SIZE = 16;

export const OPERATION = {
  calls: 1,
  file: 2,
  open: 3,
  ioctl: 4,
  read: 5,
  write: 6,
  pread: 7,
  pwrite: 8,
  mmap: 9,
  unmap: 10,
  move: 11,
  status: 12,
  discard: 13,
  sign: 14,
} as const;

export const REPLY = { needsSpare: 1, spareUsed: 2, drain: 4, empty: 8, tellUnmap: 16 } as const;

/** A socket that a new file is to be told by, where the shim has one; of the first request, the connection itself. */
export interface Spare {
  /** Its fd in the program; -errno where none was to be had, -1 where none was asked for. */
  readonly fd: number;
  readonly inode: bigint;
}

export interface Request {
  readonly operation: number;
  /** An ioctl's number. */
  readonly command: number;
  /** The inode of the socket that stands for the file. */
  readonly file: bigint;
  readonly args: readonly [bigint, bigint, bigint, bigint];
  readonly spare: Spare;
  /** The thread that calls: a process may go on when its first one ended, of which /proc/PID tells nothing more then. */
  readonly thread: number;
}

const AT = { operation: 0, command: 4, file: 8, args: 16, spare: 48, thread: 52, spareFile: 56 } as const;

export function decodeRequest(bytes: Buffer): Request {
  const arg = (index: number): bigint => bytes.readBigUInt64LE(AT.args + 8 * index);
  return {
    operation: bytes.readUInt32LE(AT.operation),
    command: bytes.readUInt32LE(AT.command),
    file: bytes.readBigUInt64LE(AT.file),
    args: [arg(0), arg(1), arg(2), arg(3)],
    spare: { fd: bytes.readInt32LE(AT.spare), inode: bytes.readBigUInt64LE(AT.spareFile) },
    thread: bytes.readUInt32LE(AT.thread),
  };
}

export interface Reply {
  /** What the call answers, or -errno. */
  readonly result: number;
  /** Bits of REPLY. */
  readonly flags: number;
  /** With REPLY.drain: the byte that is meant. */
  readonly sign?: number;
}

export function encodeReply({ result, flags, sign = 0 }: Reply): Buffer {
  const bytes = Buffer.alloc(REPLY_SIZE);
  bytes.writeBigInt64LE(BigInt(result));
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(sign, 12);
  return bytes;
}
