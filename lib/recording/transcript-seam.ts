// The seam of a host that is recorded or replayed: every system call once, for both. What is asked is written with handles,
// compared or noted by the side, and what came back told or given.
import type { Arena } from '../host/arena.js';
import type { FileStatus, HostKind, MemoryRequest, Region, Seam, Watch } from '../host/seam.js';
import { bytesText, textBytes } from './bytes.js';
import { IoctlCall } from './ioctl-call.js';
import { ioctlOf } from './ioctls.js';
import type { FileKind, Stretch } from './names.js';
import type { Call, Side } from './side.js';
import { hexText, type Json, type Line, notATranscript, resultNumber, resultText } from './transcript.js';
import { TranscriptRegion } from './transcript-region.js';

function kindOfPath(path: string): FileKind {
  if (path === '/dev/iommu') return 'iommufd';
  return path.startsWith('/dev/vfio/devices/') ? 'vfio' : 'other';
}

/** Calls that map memory for devices. */
const MAPS = new Set(['IOMMU_IOAS_MAP', 'IOMMU_IOAS_MAP_FILE', 'VFIO_IOMMU_MAP_DMA']);

export interface SeamParts {
  readonly kind: HostKind;
  readonly release: string;
  readonly pageSize: number;
  readonly arena: Arena;
  readonly side: Side;
  readonly recordedKind: HostKind;
  /** What is recorded; nothing is behind a replay. */
  readonly recorded?: Seam;
}

/** The seam that answers in the end: what is recorded has the fds of that one. */
export function answeringSeam(seam: Seam): Seam {
  return seam instanceof TranscriptSeam && seam.recorded !== undefined ? answeringSeam(seam.recorded) : seam;
}

export class TranscriptSeam implements Seam {
  readonly kind: HostKind;
  readonly release: string;
  readonly pageSize: number;
  readonly arena: Arena;
  readonly recordedKind: HostKind;
  readonly recorded: Seam | undefined;
  readonly #side: Side;
  readonly #regions = new Map<string, { readonly region: TranscriptRegion; readonly isForeign: boolean }>();

  constructor({ kind, recordedKind, release, pageSize, arena, side, recorded }: SeamParts) {
    this.kind = kind;
    this.recordedKind = recordedKind;
    this.recorded = recorded;
    this.release = release;
    this.pageSize = pageSize;
    this.arena = arena;
    this.#side = side;
    const { address, size, bytes } = arena;
    side.names.add({ name: 'arena', address, length: size, bytes: (at, length) => bytes.subarray(at, at + length) });
  }

  #number(asked: Line, perform: (inner: Seam) => number, done: (result: number) => void = () => undefined): number {
    const after = (result: number): number => {
      if (result >= 0) done(result);
      return result;
    };
    return this.#side.exchange<number>(asked, {
      perform: (inner) => after(perform(inner)),
      tell: (result) => ({ result: resultText(result) }),
      apply: ({ result }) => after(resultNumber(result)),
    });
  }
  /** A call that answers an fd. */
  #file(asked: Line, kind: FileKind, perform: (inner: Seam) => number): number {
    const { names } = this.#side;
    return this.#side.exchange<number>(asked, {
      perform,
      tell: (fd) => ({ result: fd < 0 ? resultText(fd) : names.made(fd, kind) }),
      apply: ({ result }) => {
        const isFd = typeof result === 'string' && result.startsWith('fd:');
        return isFd ? names.make(result, kind) : resultNumber(result);
      },
    });
  }

  open(path: string, flags: number): number {
    return this.#file({ call: 'open', path, flags }, kindOfPath(path), (inner) => inner.open(path, flags));
  }
  own(fd: number): number {
    return this.#number({ call: 'own', fd: this.#side.names.fd(fd) }, (inner) => inner.own(fd));
  }
  disown(fd: number): number {
    return this.#number({ call: 'disown', fd: this.#side.names.fd(fd) }, (inner) => inner.disown(fd));
  }
  duplicate(fd: number): number {
    const { names } = this.#side;
    const asked = { call: 'duplicate', fd: names.fd(fd) };
    return this.#file(asked, names.kindOf(fd), (inner) => inner.duplicate(fd));
  }
  close(fd: number): number {
    const { names } = this.#side;
    const asked = { call: 'close', fd: names.fd(fd) };
    return this.#number(
      asked,
      (inner) => inner.close(fd),
      () => names.forgetFd(fd),
    );
  }

  ioctl(fd: number, request: number, at: number): number {
    const call = new IoctlCall(this.#side.names, this.arena.bytes, { fd, request, at });
    return this.#side.exchange<number>(
      { call: 'ioctl', ...call.asked },
      {
        perform: (inner) => inner.ioctl(fd, request, at),
        tell: (result) => this.#told(call, result, call.tell(result)),
        apply: (answer) => call.apply(answer),
      },
    );
  }
  /** Memory that a call mapped is followed from here on. */
  #told(call: IoctlCall, result: number, told: Line): Line {
    const { name, in: fields } = call.asked;
    if (result < 0 || !MAPS.has(String(name)) || typeof fields !== 'object' || fields === null) return told;
    const { user_va: address, vaddr, fd } = fields as Line;
    const byAddress = this.#regions.get(String(address ?? vaddr).split('+')[0] ?? '');
    const found = byAddress ?? this.#regionOfFile(fd);
    if (found !== undefined) this.#side.follow(found.region.name, found.region.inner, found.isForeign);
    return told;
  }
  #regionOfFile(handle: Json | undefined) {
    for (const entry of this.#regions.values()) {
      if (!entry.region.live || entry.region.fd < 0 || handle === undefined) continue;
      if (this.#side.names.fd(entry.region.fd) === handle) return entry;
    }
    return undefined;
  }
  ioctlValue(fd: number, request: number, value: number): number {
    const { names } = this.#side;
    const op = ioctlOf(names.kindOf(fd), request);
    const named = op === undefined ? { request: hexText(request) } : { name: op.name };
    // It may be an address all the same: numbers hold those of user space.
    const isPlace = Number.isSafeInteger(value) && value > 0 && names.isPlace(BigInt(value));
    const argument = isPlace ? names.address(BigInt(value)) : value;
    const asked = { call: 'ioctl', fd: names.fd(fd), ...named, argument };
    return this.#number(asked, (inner) => inner.ioctlValue(fd, request, value));
  }
  ioctlAsync(fd: number, request: number, block: Region, at: number): Promise<number> {
    if (!(block instanceof TranscriptRegion)) throw new TypeError('block must be a block of this host');
    const { inner: bare } = block;
    const call = new IoctlCall(this.#side.names, bare.window(0, bare.length), { fd, request, at });
    return this.#side.exchangeLater(
      { call: 'ioctl', ...call.asked },
      {
        perform: (inner) => inner.ioctlAsync(fd, request, bare, at),
        tell: (result) => this.#told(call, result as number, call.tell(result as number)),
        apply: (answer) => call.apply(answer),
      },
    );
  }

  #input(asked: Line, at: number, perform: (inner: Seam) => number): number {
    const { bytes } = this.arena;
    return this.#side.exchange<number>(asked, {
      perform,
      tell: (result) => ({
        result: resultText(result),
        ...(result > 0 ? { data: bytesText(bytes.subarray(at, at + result)) } : {}),
      }),
      apply: ({ result, data }) => {
        const got = textBytes(String(data ?? ''), () => 0);
        const length = resultNumber(result);
        if (length > 0 && got.length !== length)
          throw notATranscript(`${length} bytes were read, ${got.length} are there`);
        bytes.set(got, at);
        return length;
      },
    });
  }
  #output(asked: Line, at: number, length: number, perform: (inner: Seam) => number): number {
    const { names } = this.#side;
    const bytes = bytesText(this.arena.bytes.subarray(at, at + length), (data, offset) =>
      names.physicalIn(data, offset),
    );
    return this.#number({ ...asked, bytes }, perform);
  }
  read(fd: number, at: number, length: number): number {
    const asked = { call: 'read', fd: this.#side.names.fd(fd), length };
    return this.#input(asked, at, (inner) => inner.read(fd, at, length));
  }
  write(fd: number, at: number, length: number): number {
    const asked = { call: 'write', fd: this.#side.names.fd(fd) };
    return this.#output(asked, at, length, (inner) => inner.write(fd, at, length));
  }
  pread(fd: number, at: number, length: number, position: number): number {
    const asked = { call: 'pread', fd: this.#side.names.fd(fd), position: hexText(position), length };
    return this.#input(asked, at, (inner) => inner.pread(fd, at, length, position));
  }
  pwrite(fd: number, at: number, length: number, position: number): number {
    const asked = { call: 'pwrite', fd: this.#side.names.fd(fd), position: hexText(position) };
    return this.#output(asked, at, length, (inner) => inner.pwrite(fd, at, length, position));
  }

  allocateMemory(request: MemoryRequest): Region | number {
    const { backing, size, hugePageSize } = request;
    const asked = { call: 'allocateMemory', backing, size, hugePageSize };
    return this.#region(asked, 'mem', size, (inner) => inner.allocateMemory(request));
  }
  importMemory(fd: number, size: number): Region | number {
    const asked = { call: 'importMemory', fd: this.#side.names.fd(fd), size };
    return this.#region(asked, 'mem', size, (inner) => inner.importMemory(fd, size), fd);
  }
  allocateBlock(size: number): Region | number {
    return this.#region({ call: 'allocateBlock', size }, 'block', size, (inner) => inner.allocateBlock(size));
  }
  mapMmio(fd: number, offset: number, length: number): Region | number {
    const asked = { call: 'mmap', fd: this.#side.names.fd(fd), offset: hexText(offset), length };
    return this.#region(asked, 'mmio', length, (inner) => inner.mapMmio(fd, offset, length));
  }
  /** `from`: the file that the memory is of. */
  #region(
    asked: Line,
    stretch: Stretch,
    length: number,
    perform: (inner: Seam) => Region | number,
    from?: number,
  ): Region | number {
    const side = this.#side;
    const isForeign = from !== undefined && this.#regionOfFile(side.names.fd(from)) === undefined;
    const wrap = (inner: Region): TranscriptRegion => {
      const name = side.names.next(stretch);
      const region = new TranscriptRegion(side, stretch, name, inner);
      if (stretch === 'mem') this.#regions.set(name, { region, isForeign });
      return region;
    };
    const call: Call<Region | number> = {
      perform: (inner) => {
        const made = perform(inner);
        return typeof made === 'number' ? made : wrap(made);
      },
      tell: (made) => {
        if (!(made instanceof TranscriptRegion)) return { result: resultText(made as number) };
        // What memory from elsewhere holds is told at once: nobody else can tell a replay.
        if (isForeign) side.follow(made.name, made.inner, true);
        const value = made.fd < 0 ? {} : { value: side.names.made(made.fd, 'other') };
        return { result: made.name, ...value };
      },
      apply: ({ result, value }) => {
        if (typeof result !== 'string' || !result.startsWith(`${stretch}:`)) return resultNumber(result);
        const fd = value === undefined ? -1 : side.names.make(value, 'other');
        const kind = stretch === 'mem' ? 'memory' : stretch === 'mmio' ? 'mmio' : 'block';
        const region = wrap(side.place(kind, length, fd, from));
        if (region.name !== result) throw notATranscript(`${result} comes where ${region.name} would be next`);
        return region;
      },
    };
    return side.exchange(asked, call);
  }

  createEventfd(initial: number): number {
    return this.#file({ call: 'eventfd', initial }, 'other', (inner) => inner.createEventfd(initial));
  }
  watch(fd: number, onReadable: () => void): Watch | number {
    return this.#side.watch({ call: 'watch', fd: this.#side.names.fd(fd) }, fd, onReadable);
  }

  /** A look-up that answers a value, or -errno. */
  #value<T>(call: string, path: string, perform: (inner: Seam) => T | number): T | number {
    return this.#side.exchange<T | number>(
      { call, path },
      {
        perform,
        tell: (found) => (typeof found === 'number' ? { result: resultText(found) } : { value: found as Json }),
        apply: ({ result, value }) => (value === undefined ? resultNumber(result) : (value as T)),
      },
    );
  }
  status(path: string): FileStatus | number {
    return this.#value<FileStatus>('status', path, (inner) => inner.status(path));
  }
  readText(path: string): string | number {
    return this.#value<string>('readText', path, (inner) => inner.readText(path));
  }
  readLink(path: string): string | number {
    return this.#value<string>('readLink', path, (inner) => inner.readLink(path));
  }
  list(path: string): string[] | number {
    return this.#value<string[]>('list', path, (inner) => inner.list(path));
  }
}
