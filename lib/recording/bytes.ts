// Bytes as text that can be read in a diff: hex in groups of up to 32 bytes, runs of one byte as `00*4096`, and in place of
// an address (8 bytes) or a file descriptor (4 bytes) its handle: `@mem:0+0x1000`, `@fd:3`.
import { notATranscript } from './transcript.js';

/** Shorter runs are written out. */
const RUN = 8;
const GROUP = 32;
const TOKEN = /^(?:(?:[0-9a-f]{2})+|[0-9a-f]{2}\*[1-9]\d{0,9})$/;

/** What lies at an offset and is written as a handle. */
export interface Named {
  readonly handle: string;
  readonly width: 4 | 8;
}
export type NameAt = (bytes: Uint8Array, offset: number) => Named | undefined;

const hex = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('hex');

function runAt(bytes: Uint8Array, at: number): number {
  let end = at + 1;
  while (end < bytes.length && bytes[end] === bytes[at]) end++;
  return end - at;
}

export function bytesText(bytes: Uint8Array, nameAt: NameAt = () => undefined): string {
  const tokens: string[] = [];
  let plain = 0;
  const flush = (end: number) => {
    for (; plain < end; plain += GROUP) tokens.push(hex(bytes.subarray(plain, Math.min(end, plain + GROUP))));
  };
  for (let at = 0; at < bytes.length; ) {
    const named = at % 4 === 0 ? nameAt(bytes, at) : undefined;
    const run = named === undefined ? wholeRun(bytes, at, nameAt) : 0;
    if (named === undefined && run < RUN) {
      at++;
      continue;
    }
    flush(at);
    tokens.push(named === undefined ? `${hex(bytes.subarray(at, at + 1))}*${run}` : `@${named.handle}`);
    at += named?.width ?? run;
    plain = at;
  }
  flush(bytes.length);
  return tokens.join(' ');
}

/** How long a run is, up to the next handle. */
function wholeRun(bytes: Uint8Array, at: number, nameAt: NameAt): number {
  const run = runAt(bytes, at);
  if (run < RUN) return run;
  for (let i = (at + 4) & ~3; i < at + run; i += 4) if (nameAt(bytes, i) !== undefined) return i - at;
  return run;
}

/** The bytes of a text; `valueBehind` answers what a handle stands for. */
export function textBytes(text: string, valueBehind: (handle: string) => bigint | number): Uint8Array {
  const parts = text
    .split(' ')
    .filter((token) => token !== '')
    .map((token) => {
      if (token.startsWith('@')) return handleBytes(valueBehind(token.slice(1)));
      const [digits = '', count] = token.split('*');
      if (!TOKEN.test(token)) throw notATranscript(`${JSON.stringify(token)} are no bytes`);
      return count === undefined
        ? Buffer.from(digits, 'hex')
        : Buffer.alloc(Number(count), Number.parseInt(digits, 16));
    });
  return Buffer.concat(parts);
}

function handleBytes(value: bigint | number): Buffer {
  if (typeof value === 'bigint') {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    return bytes;
  }
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}
