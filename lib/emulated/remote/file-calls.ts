// System calls on files whose failure is an answer.

export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/** What says that bytes are not there, or are not to be written. */
const MISSING = new Set(['EIO', 'EFAULT', 'ESRCH', 'EPERM', 'EBADF', 'ENOSPC', 'ENOMEM']);

/** Calls until all is done, or no more can be; answers how many bytes were. */
export function transfer(bytes: Uint8Array, call: (rest: Uint8Array) => number): number {
  let done = 0;
  while (done < bytes.length) {
    const count = attempt(() => call(bytes.subarray(done)));
    if (count === 0) break;
    done += count;
  }
  return done;
}
/** What the call answers; 0 where it says that there is nothing. */
export function attempt(call: () => number): number {
  try {
    return call();
  } catch (error) {
    if (!MISSING.has(codeOf(error) ?? '')) throw error;
    return 0;
  }
}

/** What says that this process, or the system, has no room for another file. */
export const NO_ROOM: ReadonlySet<string> = new Set(['EMFILE', 'ENFILE', 'ENOSPC', 'ENOMEM', 'EDQUOT']);

/** What says that a file is not there, or not for this process. */
const REFUSED: ReadonlySet<string> = new Set([
  ...NO_ROOM,
  'EACCES',
  'EPERM',
  'ENOENT',
  'ESRCH',
  'EROFS',
  'ETXTBSY',
  'ENXIO',
  'EISDIR',
  'ENODEV',
]);

/** What the call answers; undefined where it is refused. */
export function unlessRefused<T>(call: () => T, refusals = REFUSED): T | undefined {
  try {
    return call();
  } catch (error) {
    if (!refusals.has(codeOf(error) ?? '')) throw error;
    return undefined;
  }
}
