// Registers that a program has mapped: a file that it maps in their place, and that is looked at again and again. A word that
// the program changed is written to the device; a word that the device changed is written to the file. So a write
// of what is there already is none, the last of several writes between two looks counts, and reading has no effect.
import { closeSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { type MmioMapping, OpenFile } from '../emulated/kernel/file.js';

const WORD = 4;

export class SharedRegisters extends OpenFile {
  readonly #mapping: MmioMapping;
  readonly #path: string;
  readonly #fd: number;
  readonly #onClosed: (registers: SharedRegisters) => void;
  /** What the file holds as far as we know, and what it holds now. */
  readonly #known: DataView<ArrayBuffer>;
  readonly #now: DataView<ArrayBuffer>;
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
    writeSync(this.#fd, this.#knownBytes, 0, length, 0);
    this.publish();
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
    return true;
  }

  /** Shows the program what the registers read as. */
  publish(): void {
    for (let at = 0; at < this.#known.byteLength; at += WORD) {
      const value = this.#mapping.read(at, WORD);
      if (value === this.#known.getUint32(at, true)) continue;
      this.#known.setUint32(at, value, true);
      writeSync(this.#fd, this.#knownBytes, at, WORD, at);
    }
  }

  protected override closed(): void {
    this.look();
    this.#onClosed(this);
    closeSync(this.#fd);
    rmSync(this.#path, { force: true });
    this.#mapping.close();
  }
}
