// Who answers from a transcript: no kernel, emulated or real, is behind it. Memory is real memory of this process, at
// addresses of its own; files are numbers.

import { LocalAddressSpace } from '../emulated/memory/address-space.js';
import { type Backing, PAGE_SIZE } from '../emulated/memory/backing.js';
import { PhysicalMemory } from '../emulated/memory/physical.js';
import { MemoryRegion, MmioRegisters, type RegionHome } from '../emulated/process/regions.js';
import { Arena } from '../host/arena.js';
import type { UsageError } from '../host/errors.js';
import type { Region, Watch } from '../host/seam.js';
import { textBytes } from './bytes.js';
import { Names } from './names.js';
import { Script } from './script.js';
import type { Call, Side } from './side.js';
import { type Json, type Line, notATranscript, resultNumber } from './transcript.js';

/** What all memory together may take: the process's own is the limit. */
const MOST_MEMORY = 2 ** 50;

/** A file that is watched: it is readable when the transcript says so. */
class ReplayedWatch implements Watch {
  #armed = false;
  #readable = false;
  #open = true;
  readonly #onReadable: () => void;

  constructor(onReadable: () => void) {
    this.#onReadable = onReadable;
  }
  /** What came before anybody waits is told once somebody does. */
  arm(): void {
    if (!this.#open || this.#armed) return;
    this.#armed = true;
    if (this.#readable) setImmediate(() => this.#tell());
  }
  becomeReadable(): void {
    this.#readable = true;
    this.#tell();
  }
  #tell(): void {
    if (!this.#open || !this.#armed || !this.#readable) return;
    this.#armed = false;
    this.#readable = false;
    this.#onReadable();
  }
  disarm(): void {
    this.#armed = false;
  }
  // Nothing is waited for but the transcript, which does not keep a program alive that makes no more calls.
  ref(): void {}
  unref(): void {}
  close(): void {
    this.#open = false;
  }
}

/** Registers answer from the transcript before anybody gets here. */
const NO_REGISTERS = {
  read: () => 0,
  read64: () => 0n,
  write: () => undefined,
  write64: () => undefined,
  close: () => undefined,
};

interface Job {
  readonly resolve: (result: number) => void;
  readonly reject: (error: unknown) => void;
  readonly apply: (answer: Line) => number;
}

export class ReplaySide implements Side, RegionHome {
  readonly names = new Names();
  readonly script: Script;
  readonly arena: Arena;
  readonly memory = new LocalAddressSpace();
  readonly regions = new Set<Region>();
  readonly #physical = new PhysicalMemory({ size: MOST_MEMORY, scatter: false });
  readonly #files = new Map<number, Backing>();
  readonly #jobs = new Map<string, Job>();
  readonly #watches = new Map<string, ReplayedWatch>();

  constructor(text: string, name: string, onDifference: (difference: UsageError) => void) {
    this.script = new Script(text, name, { onEvent: (line) => this.#happen(line), onDifference });
    const { arenaSize } = this.script.header;
    const size = Math.ceil(arenaSize / PAGE_SIZE) * PAGE_SIZE;
    const backing = this.#allocate(size);
    const placement = this.memory.map(backing, 0, size);
    if (placement === undefined) throw new RangeError('there is no memory for the arena');
    this.arena = new Arena(backing.bytes(0, size).buffer, BigInt(placement.start), arenaSize);
  }

  #allocate(size: number): Backing {
    const backing = this.#physical.allocate(size);
    if (backing === undefined)
      throw new RangeError(`this process has not the ${size} bytes of memory that were recorded`);
    return backing;
  }

  exchange<T>(asked: Line, { apply }: Call<T>): T {
    const answer = this.script.take(asked);
    const { before, memory, throws } = answer;
    const result = this.#answer(answer, () => {
      this.#putMemory(before);
      const applied = throws === undefined ? apply(answer) : undefined;
      this.#putMemory(memory);
      return applied;
    });
    this.#putEarly();
    if (throws !== undefined) throw rebuilt(throws as Line);
    return result as T;
  }
  /** Does what a line says; one that cannot be done ends the replay. */
  #answer<T>(line: Line, work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw this.script.broken(line, error);
    }
  }
  /** What was there before the next call is there in the next turn: a program may wait for it, and call nothing meanwhile. */
  #putEarly(): void {
    const { upcoming } = this.script;
    if (upcoming?.before === undefined) return;
    setImmediate(() => {
      if (this.script.upcoming === upcoming) this.#answer(upcoming, () => this.#putMemory(upcoming.before));
    });
  }
  exchangeLater(asked: Line, { apply }: Call<number | Promise<number>>): Promise<number> {
    const job = this.names.next('job');
    this.exchange({ ...asked, job }, { perform: () => undefined, tell: () => ({}), apply: () => undefined });
    return new Promise((resolve, reject) => {
      this.#jobs.set(job, { resolve, reject, apply: (answer) => apply(answer) as number });
    });
  }
  watch(asked: Line, _fd: number, onReadable: () => void): Watch | number {
    const name = this.names.next('watch');
    return this.exchange<Watch | number>(asked, {
      perform: () => 0,
      tell: () => ({}),
      apply: ({ result }) => {
        if (result !== name) return resultNumber(result);
        const watch = new ReplayedWatch(onReadable);
        this.#watches.set(name, watch);
        return watch;
      },
    });
  }

  /** What came by itself. */
  #happen(line: Line): void {
    this.#answer(line, () => this.#putMemory(line.memory));
    this.#putEarly();
    if (line.event === 'readable') {
      this.#watches.get(String(line.watch))?.becomeReadable();
      return;
    }
    const name = String(line.job);
    const job = this.#jobs.get(name);
    this.#jobs.delete(name);
    if (job === undefined) return;
    try {
      job.resolve(this.#answer(line, () => job.apply(line)));
    } catch (error) {
      job.reject(error);
    }
  }
  /** What devices, or whoever else, had written by then. */
  #putMemory(memory: Json | undefined): void {
    if (typeof memory !== 'object' || memory === null) return;
    for (const [place, text] of Object.entries(memory as Line)) {
      const bytes = textBytes(String(text), (handle) => this.names.physicalAt(handle));
      this.names.bytes(this.names.at(place), bytes.length)?.set(bytes);
    }
  }

  follow(): void {}
  forget(): void {}
  closeFd(fd: number): void {
    this.#files.delete(fd);
  }
  settle(): void {}

  place(kind: 'memory' | 'block' | 'mmio', length: number, fd: number, from: number | undefined): Region {
    if (kind === 'mmio') {
      const placement = this.memory.map(undefined, 0, length);
      if (placement === undefined) throw notATranscript(`there is no room for ${length} bytes of registers`);
      return new MmioRegisters(this, placement, NO_REGISTERS, length);
    }
    const known = from === undefined ? undefined : this.#files.get(from);
    const backing = known ?? this.#allocate(length);
    const placement = this.memory.map(backing, 0, length);
    if (known === undefined) backing.drop();
    if (placement === undefined) throw notATranscript(`there is no room for ${length} bytes of memory`);
    if (fd >= 0) this.#files.set(fd, backing);
    return new MemoryRegion(this, placement, backing, kind, fd);
  }
}

const ERRORS: Readonly<Record<string, new (message: string) => Error>> = { RangeError, TypeError };

/** What a host threw, again. */
function rebuilt({ name, message, code }: Line): Error {
  const error = new (ERRORS[String(name)] ?? Error)(String(message));
  return code === undefined ? error : Object.assign(error, { code });
}
