// What the kernel says of itself, as it says it.
import { constants, openSync, readSync } from 'node:fs';
import { complaints } from '../vm/machine.js';

/** Answers lines that mean a defect, of those since it was asked last. */
export function kernelLog(): () => readonly string[] {
  const fd = openSync('/dev/kmsg', constants.O_RDONLY | constants.O_NONBLOCK);
  const buffer = Buffer.alloc(8192);
  const read = (): string[] => {
    const lines: string[] = [];
    for (;;) {
      try {
        lines.push(buffer.toString('utf8', 0, readSync(fd, buffer)));
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? error.code : undefined;
        // Nothing more is there; or lines went before they were read (EPIPE), and the next ones come.
        if (code === 'EPIPE') continue;
        if (code === 'EAGAIN') return lines;
        throw error;
      }
    }
  };
  // What was there before was of nobody here.
  read();
  return () => complaints(read().join(''));
}
