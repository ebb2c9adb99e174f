// `iommufd/recording`: what a program asks of a host and what comes back, written down as a transcript; and a host that answers
// from one, without any kernel. Record on the hardware once, replay wherever Node runs.
import { checkCallback, checkOptions, toSize, type U64 } from './host/arguments.js';
import { invalidType, type UsageError } from './host/errors.js';
import { kindOfFiles } from './host/seam.js';
import { Host, hostSeam } from './host-object.js';
import { RecordingSide } from './recording/recording-side.js';
import { ReplaySide } from './recording/replay-side.js';
import { FORMAT, type Header, type Line, lineText, VERSION } from './recording/transcript.js';
import { TranscriptSeam } from './recording/transcript-seam.js';

export interface RecordingOptions {
  /**
   * Gets each line as it is written, its end of line included; `transcript()` has none of them then. What it throws, the call
   * throws, which was made all the same.
   */
  readonly write?: (line: string) => void;
  /**
   * Pieces of memory up to this many bytes are compared at every call once they are mapped, so that what devices write is
   * told; 64 MiB if left out. 0 for none.
   */
  readonly followMemory?: U64;
}

const FOLLOWED = 64 * 2 ** 20;

/** A host that writes down what is asked of another. */
export class RecordingHost extends Host {
  readonly #lines: readonly string[];

  /** Not for callers: use `recordingHost`. */
  constructor(seam: TranscriptSeam, lines: readonly string[]) {
    super(seam);
    this.#lines = lines;
  }

  /** What was asked so far; empty where the lines went to `write`. */
  transcript(): string {
    return this.#lines.join('');
  }
}

/** A host that answers from a transcript. */
export class ReplayHost extends Host {
  readonly #side: ReplaySide;

  /** Not for callers: use `replayHost`. */
  constructor(seam: TranscriptSeam, side: ReplaySide) {
    super(seam);
    this.#side = side;
  }

  /** The first difference to what was recorded: every call since then threw it. */
  get difference(): UsageError | undefined {
    return this.#side.script.difference;
  }

  /**
   * Tells that the program is at its end.
   * @throws UsageError ERR_IOMMUFD_REPLAY where there was a difference, or where calls of the transcript were not made
   */
  finish(): void {
    this.#side.script.finish();
  }
}

/** Nobody who did not choose the limit would know why a replay's memory stays as it is. */
function tellLeftOut(): (length: number) => void {
  let isTold = false;
  return (length) => {
    if (isTold) return;
    isTold = true;
    process.emitWarning(
      `${length} bytes of memory are more than a recording compares at every call: what devices write there is not recorded`,
      { code: 'IOMMUFD_NOT_FOLLOWED', detail: 'recordingHost(host, { followMemory }) sets another limit than 64 MiB' },
    );
  };
}

/**
 * A host that is asked in place of `host`, and writes down every call with its answer. What is opened on `host` itself is not
 * recorded, and does not know what is opened here.
 * @throws TypeError, RangeError
 */
export function recordingHost(host: Host, options: RecordingOptions = {}): RecordingHost {
  if (!(host instanceof Host)) throw invalidType('host', 'a Host', host);
  checkOptions(options, ['write', 'followMemory']);
  checkCallback(options.write, 'write');
  const followed = toSize(options.followMemory ?? FOLLOWED, 'followMemory');
  const inner = hostSeam(host);
  const lines: string[] = [];
  const write = options.write ?? ((line: string) => lines.push(line));
  const put = (line: Line | Header) => write(`${lineText(line)}\n`);
  const { arena, release, pageSize } = inner;
  const recordedKind = kindOfFiles(inner);
  put({ format: FORMAT, version: VERSION, host: recordedKind, release, pageSize, arenaSize: arena.size, followed });
  const leaveOut = options.followMemory === undefined ? tellLeftOut() : () => undefined;
  const side = new RecordingSide(inner, { followed, leaveOut }, put);
  return new RecordingHost(
    new TranscriptSeam({ kind: 'recording', recordedKind, release, pageSize, arena, side, recorded: inner }),
    lines,
  );
}

export interface ReplayOptions {
  /** What the transcript is called in messages: its file. */
  readonly name?: string;
  /** Gets the first difference when it is found: before the call throws it, which a program may not show to anybody. */
  readonly onDifference?: (difference: UsageError) => void;
}

/**
 * A host that answers from a transcript. At the first call that is not the one recorded it throws, and ever after: a
 * UsageError ERR_IOMMUFD_REPLAY that says what was expected and what came.
 * @param transcript the text
 * @throws UsageError ERR_IOMMUFD_REPLAY where it is no transcript, or of another version; TypeError
 */
export function replayHost(transcript: string, options: ReplayOptions = {}): ReplayHost {
  if (typeof transcript !== 'string') throw invalidType('transcript', 'a string', transcript);
  checkOptions(options, ['name', 'onDifference']);
  const { name = 'transcript', onDifference = () => undefined } = options;
  if (typeof name !== 'string') throw invalidType('name', 'a string', name);
  checkCallback(onDifference, 'onDifference');
  const side = new ReplaySide(transcript, name, onDifference);
  const { arena } = side;
  const { release, pageSize, host: recordedKind } = side.script.header;
  return new ReplayHost(new TranscriptSeam({ kind: 'replay', recordedKind, release, pageSize, arena, side }), side);
}
