// Handles: what stands in a transcript for fds, addresses and physical addresses, which no two runs share. They are numbered
// in order of appearance, so that the same program gets the same ones in every run, when it is recorded and when replayed.
import { hexText, notATranscript } from './transcript.js';

/** What a file is, where ioctl numbers mean different things. */
export type FileKind = 'iommufd' | 'vfio' | 'migration' | 'other';

export type Stretch = 'arena' | 'mem' | 'block' | 'mmio';

/** A stretch of addresses that has a name. */
export interface Place {
  readonly name: string;
  readonly address: bigint;
  readonly length: number;
  /** Bytes of it while it is alive; undefined for registers and what is gone. */
  bytes(offset: number, length: number): Uint8Array | undefined;
}

/** Replayed fds, as those of the emulated host, are none that the system gives out. */
const FIRST_FD = 2 ** 30;
/**
 * A replayed physical address: pages that were no neighbours in the recording's order must not look like ones. The first 65536
 * lie below 4 GiB, for devices that reach no further; no other value that a program writes looks like them.
 */
const FIRST_PAGE = 0xe0000n;
const PAGE_BITS = 12n;
const IN_PAGE = (1n << PAGE_BITS) - 1n;
const LOW_HALF = 0xffff_ffffn;

export class Names {
  readonly #fds = new Map<number, { readonly name: string; readonly kind: FileKind }>();
  readonly #counts = new Map<string, number>();
  /** Newest first: addresses are used again. */
  #places: Place[] = [];
  readonly #pages = new Map<bigint, string>();
  /** The same pages, by the lower half of their address. */
  readonly #lowHalves = new Map<bigint, bigint>();

  /** The next handle of a kind. */
  next(kind: string): string {
    const count = this.#counts.get(kind) ?? 0;
    this.#counts.set(kind, count + 1);
    return `${kind}:${count}`;
  }

  /** An fd that a call names; one that came from elsewhere gets a handle here. Those below 0 are none. */
  fd(fd: number): string | number {
    if (!Number.isInteger(fd) || fd < 0) return Number.isFinite(fd) ? fd : String(fd);
    return this.#fds.get(fd)?.name ?? this.made(fd, 'other');
  }
  /** An fd that a call made. */
  made(fd: number, kind: FileKind): string {
    const name = this.next('fd');
    this.#fds.set(fd, { name, kind });
    return name;
  }
  /** For a replay: the fd behind a handle that a call made. */
  make(handle: unknown, kind: FileKind): number {
    const digits = /^fd:(\d+)$/.exec(String(handle))?.[1];
    if (digits === undefined) throw notATranscript(`${JSON.stringify(handle)} is no fd`);
    const fd = FIRST_FD + Number(digits);
    const name = this.made(fd, kind);
    if (name !== handle) throw notATranscript(`${handle} comes where ${name} would be next`);
    return fd;
  }
  kindOf(fd: number): FileKind {
    return this.#fds.get(fd)?.kind ?? 'other';
  }
  forgetFd(fd: number): void {
    this.#fds.delete(fd);
  }

  add(place: Place): void {
    this.#places.unshift(place);
  }
  /** Blocks come and go with calls; what memory was stays known, since mistakes name it. */
  forgetPlace(name: string): void {
    this.#places = this.#places.filter((place) => place.name !== name);
  }
  #placeOf(address: bigint, inclusive: bigint): Place | undefined {
    return this.#places.find(
      (place) => address >= place.address && address < place.address + BigInt(place.length) + inclusive,
    );
  }
  /** An address as `mem:0+0x1000`; one that is nowhere as it is. The end of a stretch still belongs to it. */
  address(address: bigint): string {
    const place = this.#placeOf(address, 0n) ?? this.#placeOf(address, 1n);
    return place === undefined ? hexText(address) : `${place.name}+${hexText(address - place.address)}`;
  }
  /** Whether an address lies in a stretch that has a name. */
  isPlace(address: bigint): boolean {
    return this.#placeOf(address, 0n) !== undefined;
  }
  /** The address behind a handle. */
  at(handle: string): bigint {
    const [name = '', offset] = handle.split('+');
    if (offset === undefined) return BigInt(name);
    const place = this.#places.find((candidate) => candidate.name === name);
    if (place === undefined) throw notATranscript(`${name} is not there`);
    return place.address + BigInt(offset);
  }
  /** The bytes at an address, where they are all of one stretch that can be looked at. */
  bytes(address: bigint, length: number): Uint8Array | undefined {
    const place = this.#placeOf(address, 0n);
    if (place === undefined) return undefined;
    const offset = Number(address - place.address);
    return offset + length <= place.length ? place.bytes(offset, length) : undefined;
  }

  /** A physical address as `pa:0+0x10`, by its page. */
  physical(address: bigint): string {
    const page = address >> PAGE_BITS;
    if (!this.#pages.has(page)) this.#addPage(page, this.next('pa'));
    return this.knownPhysical(address) ?? hexText(address);
  }
  #addPage(page: bigint, name: string): void {
    this.#pages.set(page, name);
    const address = page << PAGE_BITS;
    const half = address & LOW_HALF;
    if (half !== 0n) this.#lowHalves.set(half, address);
  }
  /** The handle of an address whose page the program was told. */
  knownPhysical(address: bigint): string | undefined {
    const name = this.#pages.get(address >> PAGE_BITS);
    return name === undefined ? undefined : `${name}+${hexText(address & IN_PAGE)}`;
  }
  /** The whole address behind a lower half, where the program was told its page. */
  physicalOfHalf(half: number): bigint | undefined {
    const offset = BigInt(half) & IN_PAGE;
    const page = this.#lowHalves.get(BigInt(half) - offset);
    return page === undefined ? undefined : page + offset;
  }
  /** What stands for the 8 bytes of data that begin here: a physical address that the program was told. */
  physicalIn(bytes: Uint8Array, offset: number): { readonly handle: string; readonly width: 8 } | undefined {
    if (this.#pages.size === 0 || offset % 8 !== 0 || offset + 8 > bytes.length) return undefined;
    const value = new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(offset, true);
    const handle = this.knownPhysical(value);
    return handle === undefined ? undefined : { handle, width: 8 };
  }
  /** For a replay: an address that gets this handle. */
  physicalAt(handle: string): bigint {
    const match = /^pa:(\d+)\+(0x[0-9a-f]+)$/.exec(handle);
    if (match === null) throw notATranscript(`${JSON.stringify(handle)} is no physical address`);
    const page = FIRST_PAGE + 2n * BigInt(match[1] ?? 0);
    this.#addPage(page, `pa:${match[1]}`);
    return (page << PAGE_BITS) + BigInt(match[2] ?? 0);
  }
}
