// A transcript: what a program asked of its host and what came back, as text. One JSON object a line, the first of them a
// header. A line with `call` is a system call: its arguments, and under the names of `ANSWERS` what came back. A line
// with `event` is what came by itself: a call on the thread pool is done, a file became readable. What differs from run to
// run stands there as a handle, numbered in order of appearance (names.ts).
import { UsageError } from '../host/errors.js';
import type { HostKind } from '../host/seam.js';
import { ERRNO, errnoName } from '../uapi/errno.js';

export const FORMAT = 'iommufd-transcript';
/** Goes up with every change that makes older transcripts mean something else. */
export const VERSION = 1;

export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json | undefined };
export type Line = { readonly [key: string]: Json | undefined };

/** A number in hex; what is none, which a host refuses, as it is. */
export function hexText(value: unknown): string {
  return typeof value === 'number' || typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value);
}

/** A line's text. Numbers of a wrong type, which a host refuses, are told all the same. */
export function lineText(line: Line | Header): string {
  return JSON.stringify(line, (_, value: unknown) => (typeof value === 'bigint' ? hexText(value) : value));
}

export interface Header {
  readonly format: typeof FORMAT;
  readonly version: typeof VERSION;
  /** What was recorded: 'kernel' or 'emulated'. */
  readonly host: HostKind;
  /** Which kernel, as `uname -r` names it; '' in transcripts from before this was told. */
  readonly release: string;
  readonly pageSize: number;
  /** Whether arguments fit decides which calls are made: so the replay's arena has the same size. */
  readonly arenaSize: number;
  /** Pieces of memory up to this many bytes are followed: memory.ts. */
  readonly followed: number;
}

/** Everything else in the line of a call is what was asked. */
const ANSWERS: ReadonlySet<string> = new Set([
  'before',
  'result',
  'value',
  'out',
  'filled',
  'tailOut',
  'data',
  'throws',
  'memory',
]);

/** What a line asks, without the answer. */
export function askedIn(line: Line): Line {
  return Object.fromEntries(Object.entries(line).filter(([key]) => !ANSWERS.has(key)));
}

/** A refusal by its name, anything else as it is. */
export function resultText(result: number): Json {
  return result < 0 ? errnoName(result) : result;
}

const UNNAMED = 'errno ';

export function resultNumber(text: Json | undefined): number {
  if (typeof text === 'number') return text;
  if (typeof text === 'string' && text.startsWith(UNNAMED)) return -Number(text.slice(UNNAMED.length));
  const errno = typeof text === 'string' ? (ERRNO as Readonly<Record<string, number>>)[text] : undefined;
  if (errno === undefined) throw notATranscript(`${JSON.stringify(text)} is no result`);
  return -errno;
}

export function notATranscript(why: string): UsageError {
  return new UsageError('ERR_IOMMUFD_REPLAY', `this is no transcript that can be replayed: ${why}`);
}

/** The same with its place in front, whatever it was that a transcript's text led to. */
export function brokenAt(place: string, error: unknown): UsageError {
  const { message } = error instanceof UsageError ? error : notATranscript(String(error));
  return new UsageError('ERR_IOMMUFD_REPLAY', `${place}: ${message}`);
}

function isObject(value: unknown): value is Line {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What is no JSON is undefined. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parseLine(text: string, number: number, isCut: boolean): Line {
  const line = parseJson(text);
  if (line === undefined && isCut) {
    throw notATranscript(`line ${number}, its last, was cut short: the recording was killed, or the copy is not whole`);
  }
  if (line === undefined) throw notATranscript(`line ${number} is not JSON`);
  if (!isObject(line)) throw notATranscript(`line ${number} is not an object`);
  const isKnown = typeof line.call === 'string' || typeof line.event === 'string';
  if (!isKnown) throw notATranscript(`line ${number} is neither a call nor an event`);
  return line;
}

const KINDS: readonly HostKind[] = ['kernel', 'emulated', 'recording', 'replay'];
const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

/** Whether a text begins as transcripts do. */
export function beginsAsTranscript(text: string): boolean {
  return text.startsWith(`{"format":"${FORMAT}"`);
}

/** What a first line says. @throws UsageError ERR_IOMMUFD_REPLAY */
export function parseHeader(text: string): Header {
  if (text === '') throw notATranscript('it is empty');
  const line = parseJson(text);
  if (!isObject(line) || line.format !== FORMAT) {
    throw notATranscript(`it does not start with {"format":"${FORMAT}"}`);
  }
  if (line.version !== VERSION) {
    throw notATranscript(
      `it has version ${JSON.stringify(line.version)}, this library knows version ${VERSION}: record it anew, or use an iommufd that knows it`,
    );
  }
  const { host, release = '', pageSize, arenaSize, followed } = line;
  const kind = KINDS.find((known) => known === host);
  const isWhole = typeof release === 'string' && isSize(pageSize) && isSize(arenaSize) && typeof followed === 'number';
  if (!isWhole || kind === undefined) throw notATranscript('its header is not complete');
  return { format: FORMAT, version: VERSION, host: kind, release, pageSize, arenaSize, followed };
}

export interface Transcript {
  readonly header: Header;
  /** All lines but the header: the first of these is line 2 of the text. */
  readonly lines: readonly Line[];
}

/** @throws UsageError ERR_IOMMUFD_REPLAY */
export function parseTranscript(text: string): Transcript {
  const isCut = !text.endsWith('\n');
  const [first = '', ...others] = text.trimEnd().split('\n');
  const header = parseHeader(first);
  // The header is line 1.
  const last = others.length + 1;
  return { header, lines: others.map((line, index) => parseLine(line, index + 2, isCut && index + 2 === last)) };
}

/** Where two lines begin to differ: the path to it, and what is there on either side. */
export interface Difference {
  readonly path: string;
  readonly expected: Json | undefined;
  readonly came: Json | undefined;
}

export function firstDifference(expected: Json | undefined, came: Json | undefined, path = ''): Difference | undefined {
  if (!isObject(expected) || !isObject(came)) {
    return JSON.stringify(expected) === JSON.stringify(came) ? undefined : { path, expected, came };
  }
  for (const key of new Set([...Object.keys(expected), ...Object.keys(came)])) {
    const found = firstDifference(expected[key], came[key], path === '' ? key : `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
