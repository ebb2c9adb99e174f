// A process's memory through /proc: all files stay those of the process and the memory that it had when they were opened, also
// when it starts another program, or another process gets its number.
import { closeSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { attempt, codeOf, transfer, unlessRefused } from './file-calls.js';
import { Mappings } from './mappings.js';

/** Bytes that most processes' mappings fit in. */
const ROOM = 65536;

/** Opens one of a process's files; an Error with the system's code that says what is missing. */
function open(pid: number, path: string, flags: string): number {
  try {
    return openSync(path, flags);
  } catch (error) {
    const code = codeOf(error);
    const reason =
      code === 'ENOENT'
        ? 'there is no such process'
        : `${code}; it takes the rights to trace it (the same user, CAP_SYS_PTRACE, and what kernel.yama.ptrace_scope asks for)`;
    throw Object.assign(new Error(`the memory of process ${pid} cannot be reached through ${path}: ${reason}`), {
      code,
    });
  }
}

/** No process has memory where a number does not tell one address from the next. */
function isExact(address: number): boolean {
  return address <= Number.MAX_SAFE_INTEGER;
}

export class ProcessFiles {
  readonly #mem: number;
  /** Of one thread, and nothing once that one ended. */
  #maps: number;
  /** The folder of its threads: of this process, and not of another one that gets its number. */
  readonly #threads: number;
  #text = Buffer.alloc(ROOM);
  #knownText = Buffer.alloc(0);
  #known: Mappings | undefined;

  constructor(pid: number, folder: string) {
    this.#mem = open(pid, `${folder}/mem`, 'r+');
    try {
      this.#threads = open(pid, `/proc/${pid}/task`, 'r');
    } catch (error) {
      closeSync(this.#mem);
      throw error;
    }
    try {
      this.#maps = open(pid, `${folder}/maps`, 'r');
    } catch (error) {
      closeSync(this.#mem);
      closeSync(this.#threads);
      throw error;
    }
  }

  /** Copies bytes out, whatever the protection is; answers how many before the first one that is not there. */
  read(address: number, into: Uint8Array): number {
    if (!isExact(address + into.length)) return 0;
    return transfer(into, (part) => readSync(this.#mem, part, 0, part.length, address + into.length - part.length));
  }
  /** Copies bytes in; likewise. */
  write(address: number, from: Uint8Array): number {
    if (!isExact(address + from.length)) return 0;
    return transfer(from, (part) => writeSync(this.#mem, part, 0, part.length, address + from.length - part.length));
  }

  /** What is mapped; nothing once the process ended. The same object as before where nothing changed. */
  mappings(): Mappings {
    let length = this.#readMaps();
    if (length === 0 && this.#follow()) length = this.#readMaps();
    const text = this.#text.subarray(0, length);
    if (this.#known === undefined || !text.equals(this.#knownText)) {
      this.#knownText = Buffer.from(text);
      this.#known = new Mappings(text.toString('latin1'));
    }
    return this.#known;
  }
  /** Reads all of it; answers how many bytes. */
  #readMaps(): number {
    for (let length = 0; ; ) {
      if (length === this.#text.length) this.#text = Buffer.concat([this.#text, Buffer.alloc(length)]);
      const at = length;
      const count = attempt(() => readSync(this.#maps, this.#text, at, this.#text.length - at, at));
      if (count === 0) return length;
      length += count;
    }
  }

  /** Goes on with a thread that is there still. */
  #follow(): boolean {
    if (!this.#isThere()) return false;
    const folder = `/proc/self/fd/${this.#threads}`;
    for (const thread of unlessRefused(() => readdirSync(folder)) ?? []) {
      const maps = unlessRefused(() => openSync(`${folder}/${thread}/maps`, 'r'));
      if (maps === undefined) continue;
      closeSync(this.#maps);
      this.#maps = maps;
      if (attempt(() => readSync(maps, new Uint8Array(1), 0, 1, 0)) > 0) return true;
    }
    return false;
  }
  /** Whether somebody has this memory: where it is, what is not mapped is EIO; where nobody has it any more, there is no byte. */
  #isThere(): boolean {
    try {
      return readSync(this.#mem, new Uint8Array(1), 0, 1, 0) > 0;
    } catch {
      return true;
    }
  }

  close(): void {
    closeSync(this.#mem);
    closeSync(this.#threads);
    closeSync(this.#maps);
  }
}
