// A region of a host that is recorded or replayed: memory is plain memory, seen by nobody; accesses of registers are calls.
import type { Region } from '../host/seam.js';
import type { Stretch } from './names.js';
import type { Side } from './side.js';
import { hexText, resultNumber, resultText } from './transcript.js';

type Width = 8 | 16 | 32;

export class TranscriptRegion implements Region {
  readonly address: bigint;
  readonly length: number;
  readonly fd: number;
  readonly #side: Side;
  readonly #kind: Stretch;
  readonly #isRegisters: boolean;
  /** What would be the second half of an address whose first one was just written. */
  #upperHalf: { readonly offset: number; readonly value: number; readonly text: string } | undefined;

  constructor(
    side: Side,
    kind: Stretch,
    readonly name: string,
    /** The host's own, or a replay's. */
    readonly inner: Region,
  ) {
    this.#side = side;
    this.#kind = kind;
    this.#isRegisters = kind === 'mmio';
    this.address = inner.address;
    this.length = inner.length;
    this.fd = inner.fd;
    side.names.add({
      ...{ name, address: inner.address, length: inner.length },
      bytes: (offset, length) => (inner.live && !this.#isRegisters ? inner.window(offset, length) : undefined),
    });
  }

  get live(): boolean {
    return this.inner.live;
  }
  window(offset: number, length: number): Uint8Array<ArrayBuffer> {
    return this.inner.window(offset, length);
  }

  #load<T extends number | bigint>(width: Width | 64, offset: number, load: () => T, value: (text: string) => T): T {
    if (!this.#isRegisters) return load();
    return this.#side.exchange<T>(
      { call: `read${width}`, region: this.name, offset: hexText(offset) },
      { perform: load, tell: (result) => ({ value: hexText(result) }), apply: (answer) => value(String(answer.value)) },
    );
  }
  #store(width: Width | 64, offset: number, value: number | bigint, store: () => void): void {
    if (!this.#isRegisters) {
      store();
      return;
    }
    const to = this.#told(width, offset, value);
    const asked = { call: `write${width}`, region: this.name, offset: hexText(offset), to };
    this.#side.exchange(asked, { perform: store, tell: () => ({}), apply: () => undefined });
  }
  /** A physical address that the program was told is a handle in registers too: whole, or its lower half and then the other. */
  #told(width: Width | 64, offset: number, value: number | bigint): string {
    const { names } = this.#side;
    const plain = hexText(value);
    if (typeof value === 'bigint') return names.knownPhysical(value) ?? plain;
    const other = this.#upperHalf;
    this.#upperHalf = undefined;
    if (width !== 32 || !Number.isSafeInteger(value) || value < 0) return plain;
    if (other?.offset === offset && other.value === value) return other.text;
    const address = names.physicalOfHalf(value);
    if (address === undefined) return plain;
    const handle = names.knownPhysical(address);
    this.#upperHalf = { offset: offset + 4, value: Number(address >> 32n), text: `${handle} upper half` };
    return `${handle} lower half`;
  }
  read8(offset: number): number {
    return this.#load(8, offset, () => this.inner.read8(offset), Number);
  }
  read16(offset: number): number {
    return this.#load(16, offset, () => this.inner.read16(offset), Number);
  }
  read32(offset: number): number {
    return this.#load(32, offset, () => this.inner.read32(offset), Number);
  }
  read64(offset: number): bigint {
    return this.#load(64, offset, () => this.inner.read64(offset), BigInt);
  }
  write8(offset: number, value: number): void {
    this.#store(8, offset, value, () => this.inner.write8(offset, value));
  }
  write16(offset: number, value: number): void {
    this.#store(16, offset, value, () => this.inner.write16(offset, value));
  }
  write32(offset: number, value: number): void {
    this.#store(32, offset, value, () => this.inner.write32(offset, value));
  }
  write64(offset: number, value: bigint): void {
    this.#store(64, offset, value, () => this.inner.write64(offset, value));
  }

  prefault(offset: number, length: number): Promise<number> {
    const asked = { call: 'prefault', region: this.name, offset, length };
    return this.#side.exchangeLater(asked, {
      perform: () => this.inner.prefault(offset, length),
      tell: (result) => ({ result: resultText(result as number) }),
      apply: ({ result }) => resultNumber(result),
    });
  }
  detachWindows(): void {
    this.inner.detachWindows();
  }
  free(): number {
    if (!this.live) return 0;
    return this.#side.exchange<number>(
      { call: 'free', region: this.name },
      {
        perform: () => this.#freed(this.inner.free()),
        tell: (result) => ({ result: resultText(result) }),
        apply: ({ result }) => {
          const rc = resultNumber(result);
          return rc < 0 ? rc : this.#freed(this.inner.free());
        },
      },
    );
  }
  /** Its owner was collected: when that is, is nobody's promise, so it is told nowhere. */
  drop(): void {
    this.#freed(0);
    this.inner.drop();
  }
  #freed(result: number): number {
    if (result < 0) return result;
    const { names } = this.#side;
    this.#side.forget(this.name);
    if (this.fd >= 0) names.forgetFd(this.fd);
    if (this.#kind === 'block') names.forgetPlace(this.name);
    return result;
  }
}
