// What the shim and the server (lib/run/protocol.ts) say to each other over Unix sockets: requests and replies of one
// size each, in this machine's byte order. Bulk data does not travel: the server reads and writes the program's memory.
#ifndef IOMMUFD_SHIM_PROTOCOL_H
#define IOMMUFD_SHIM_PROTOCOL_H

#include <stdint.h>

enum operation {
  // The first request on each connection: what it is for. `args`: the process, and what tells its program from the one
  // that it ran before exec; `spare` and `spare_file`: the connection itself, by which the server sees that it is this process.
  // Answered by a reply, with -EIO for one whose memory cannot be reached: the server says why.
  OP_CALLS = 1,
  // This connection's own end stands for a file; `file` is its inode. Answered by one byte.
  OP_FILE = 2,
  OP_OPEN = 3,   // path, flags
  OP_IOCTL = 4,  // argument
  OP_READ = 5,   // address, length
  OP_WRITE = 6,  // address, length
  OP_PREAD = 7,  // address, length, position
  OP_PWRITE = 8, // address, length, position
  OP_MMAP = 9,   // length, protection, flags, offset
  OP_UNMAP = 10, // address, length: before the program's own memory goes
  OP_MOVE = 11,  // from, to, length: after the program's own memory moved
  // A process: its /proc/PID/status with what is pinned here. Answers the number of a file, or 0 for what is there already.
  OP_STATUS = 12,
  OP_DISCARD = 13, // address, length: before private memory there gets other contents
  OP_SIGN = 14,    // puts the byte back into a file's socket that says that there is something to read
};

struct request {
  uint32_t operation;
  // An ioctl's number.
  uint32_t command;
  // The inode of the socket that stands for the file.
  uint64_t file;
  uint64_t args[4];
  // The fd that a new file gets, and its inode; -1 for none, or the -errno with which none was to be had.
  int32_t spare;
  // The thread that calls: a process may go on when its first one ended.
  uint32_t thread;
  uint64_t spare_file;
};

enum reply_flag {
  // Nothing was done: the call needs a spare.
  REPLY_NEEDS_SPARE = 1,
  // The spare stands for a file now.
  REPLY_SPARE_USED = 2,
  // Nothing is left to read, and the byte that said otherwise must be taken off the file's socket: `sign`.
  REPLY_DRAIN = 4,
  // Nothing is left to read, and no byte ought to be there.
  REPLY_EMPTY = 8,
  // Tell before memory is unmapped.
  REPLY_TELL_UNMAP = 16,
};

struct reply {
  // What the call answers, or -errno.
  int64_t result;
  uint32_t flags;
  uint32_t sign;
};

_Static_assert(sizeof(struct request) == 64, "requests have one size");
_Static_assert(sizeof(struct reply) == 16, "replies have one size");

#endif
