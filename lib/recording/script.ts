// A transcript as it is followed: call after call, each compared with what comes; events in between are delivered in their
// order, each in a turn of the event loop of its own, as soon as the calls before them were made.
import { UsageError } from '../host/errors.js';
import {
  askedIn,
  brokenAt,
  firstDifference,
  type Header,
  type Json,
  type Line,
  lineText,
  parseTranscript,
  type Transcript,
} from './transcript.js';

/** The header is line 1, so the first of `lines` is line 2. */
const FIRST_LINE = 2;
const LONGEST = 600;
/** Calls by which programs end, and what gives back for them that they have forgotten. */
const CLEAN_UP: ReadonlySet<Json | undefined> = new Set([
  ...['close', 'free'],
  ...['IOMMU_DESTROY', 'IOMMU_IOAS_UNMAP', 'VFIO_DEVICE_DETACH_IOMMUFD_PT'],
]);

const show = (value: Json | undefined): string => {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
};

function parsed(text: string, name: string): Transcript {
  try {
    return parseTranscript(text);
  } catch (error) {
    throw brokenAt(name, error);
  }
}

export interface ScriptListeners {
  /** What came by itself. */
  onEvent(line: Line): void;
  /** The first difference, or what cannot be answered from. */
  onDifference(difference: UsageError): void;
}

export class Script {
  readonly header: Header;
  readonly #name: string;
  readonly #lines: readonly Line[];
  readonly #onEvent: (line: Line) => void;
  #next = 0;
  readonly #events: Line[] = [];
  #difference: UsageError | undefined;
  readonly #onDifference: (difference: UsageError) => void;

  constructor(text: string, name: string, { onEvent, onDifference }: ScriptListeners) {
    const { header, lines } = parsed(text, name);
    this.header = header;
    this.#lines = lines;
    this.#name = name;
    this.#onEvent = onEvent;
    this.#onDifference = onDifference;
  }

  /** The first difference, which every later call throws again. */
  get difference(): UsageError | undefined {
    return this.#difference;
  }

  /** The line of the next call; undefined while events come before it. */
  get upcoming(): Line | undefined {
    return this.#events.length > 0 ? undefined : this.#lines[this.#next];
  }

  /** The line that answers a call. @throws UsageError ERR_IOMMUFD_REPLAY at the first difference, and ever after */
  take(asked: Line): Line {
    if (this.#difference !== undefined) {
      // What cleans up, or was collected, has nothing to do with the difference, and nobody would catch it there.
      if (CLEAN_UP.has(asked.name ?? asked.call)) return { result: 0 };
      throw this.#difference;
    }
    const line = this.#lines[this.#next];
    const expected = line === undefined ? undefined : askedIn(line);
    // Through JSON, as the transcript went: what is undefined there is not there.
    const came = JSON.parse(lineText(asked)) as Line;
    const difference = firstDifference(expected, came);
    if (difference !== undefined || line === undefined) {
      const where =
        difference === undefined || difference.path === ''
          ? ''
          : `
  first at ${difference.path}: expected ${show(difference.expected)}, came ${show(difference.came)}`;
      throw this.fail(`
  expected: ${expected === undefined ? 'nothing more: the transcript ends here' : show(expected)}
  came:     ${show(came)}${where}`);
    }
    this.#next++;
    this.#gatherEvents();
    return line;
  }

  /** From here on nothing is answered any more. */
  fail(what: string): UsageError {
    const place = `${this.#name}:${this.#next + FIRST_LINE}`;
    return this.#end(
      new UsageError('ERR_IOMMUFD_REPLAY', `${place}: the program does not do what was recorded${what}`),
    );
  }

  /** A line that cannot be answered from, whatever the program does: nothing is any more. */
  broken(line: Line, error: unknown): UsageError {
    const place = `${this.#name}:${this.#lines.indexOf(line) + FIRST_LINE}`;
    return this.#end(brokenAt(place, error));
  }
  #end(difference: UsageError): UsageError {
    this.#events.length = 0;
    if (this.#difference !== undefined) return this.#difference;
    this.#difference = difference;
    this.#onDifference(difference);
    return difference;
  }

  /** The program is at its end. @throws UsageError ERR_IOMMUFD_REPLAY at a difference, or where it made fewer calls */
  finish(): void {
    if (this.#difference !== undefined) throw this.#difference;
    const line = this.#lines[this.#next];
    if (line === undefined) return;
    throw this.fail(`\n  expected: ${show(askedIn(line))}\n  came:     nothing more: the program is at its end`);
  }

  #gatherEvents(): void {
    for (let line = this.#lines[this.#next]; line?.event !== undefined; line = this.#lines[this.#next]) {
      if (this.#events.push(line) === 1) setImmediate(() => this.#deliver());
      this.#next++;
    }
  }
  #deliver(): void {
    const line = this.#events.shift();
    if (this.#events.length > 0) setImmediate(() => this.#deliver());
    // None is left where a difference came in between.
    if (line !== undefined) this.#onEvent(line);
  }
}
