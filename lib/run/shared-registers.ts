// Registers that a program has mapped: a file that it maps in their place, and that is looked at again and again. A word that
// the program changed is written to the device; a word that the device changed is written to the file. So a write
// of what is there already is none, the last of several writes between two looks counts, and reading has no effect.
import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { type MmioMapping, OpenFile } from '../emulated/kernel/file.js';

const WORD = 4;
/** Bytes that are looked at together. */
const LINE = 128;

export class SharedRegisters extends OpenFile {
  readonly #mapping: MmioMapping;
  readonly #path: string;
  readonly #fd: number;
  readonly #onClosed: (registers: SharedRegisters) => void;
  /** What the file holds as far as we know, and what it holds now. */
  readonly #known: DataView<ArrayBuffer>;
  readonly #now: DataView<ArrayBuffer>;
  /** Lines that the program wrote to, or that held something: all others are mostly nobody's. */
  readonly #used = new Set<number>();
  readonly #knownBytes: Buffer;
  readonly #nowBytes: Buffer;

  /** Takes the mapping over. */
  constructor(mapping: MmioMapping, path: string, length: number, onClosed: (registers: SharedRegisters) => void) {
    super();
    this.#mapping = mapping;
    this.#path = path;
    this.#onClosed = onClosed;
    this.#known = new DataView(new ArrayBuffer(length));
    this.#now = new DataView(new ArrayBuffer(length));
    this.#knownBytes = Buffer.from(this.#known.buffer);
    this.#nowBytes = Buffer.from(this.#now.buffer);
    this.#fd = openSync(path, 'wx+', 0o600);
    try {
      writeSync(this.#fd, this.#knownBytes, 0, length, 0);
    } catch (error) {
      this.#removeFile();
      throw error;
    }
    this.publishAll();
  }

  #removeFile(): void {
    closeSync(this.#fd);
    rmSync(this.#path, { force: true });
  }

  /** Carries out what the program wrote; answers whether it wrote anything. */
  look(): boolean {
    readSync(this.#fd, this.#nowBytes, 0, this.#nowBytes.length, 0);
    if (this.#nowBytes.equals(this.#knownBytes)) return false;
    for (let at = 0; at < this.#now.byteLength; at += 2 * WORD) this.#takeWords(at);
    return true;
  }
  /** Two words that were changed together may have been one access. */
  #takeWords(at: number): void {
    const low = this.#take(at);
    const high = this.#take(at + WORD);
    if (low && high) this.#mapping.write64(at, this.#now.getBigUint64(at, true));
    else if (low) this.#mapping.write(at, WORD, this.#now.getUint32(at, true));
    else if (high) this.#mapping.write(at + WORD, WORD, this.#now.getUint32(at + WORD, true));
  }
  #take(at: number): boolean {
    const value = this.#now.getUint32(at, true);
    if (value === this.#known.getUint32(at, true)) return false;
    this.#known.setUint32(at, value, true);
    this.#used.add(at - (at % LINE));
    return true;
  }

  /** Shows the program what registers read as that are in use. */
  publish(): void {
    for (const line of this.#used) this.#publishLine(line);
  }
  /** Shows it all of them, which takes long. */
  publishAll(): void {
    for (let line = 0; line < this.#known.byteLength; line += LINE) {
      if (this.#publishLine(line)) this.#used.add(line);
    }
  }
  #publishLine(line: number): boolean {
    let changed = false;
    for (let at = line; at < line + LINE; at += WORD) {
      const value = this.#mapping.read(at, WORD);
      if (value === this.#known.getUint32(at, true)) continue;
      changed = true;
      this.#known.setUint32(at, value, true);
      writeSync(this.#fd, this.#knownBytes, at, WORD, at);
    }
    return changed;
  }

  protected override closed(): void {
    this.look();
    this.#onClosed(this);
    this.#removeFile();
    this.#mapping.close();
  }
}
