// What a made-up session (test/differential) asked its host and what came back, in few words, since it is compared after every
// step: every ioctl with its struct as the kernel left it, what was read from event files, and mmaps. What differs from run to
// run is left out: addresses and fds, IOVAs that the kernel chose to suit an address or the IOMMU, reads that found nothing, how
// often interrupts came, and what registers held.

import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import {
  errnoName,
  type Fields,
  IOMMU_IOAS_COPY,
  IOMMU_IOAS_MAP,
  IOMMU_IOAS_MAP_FILE,
  type Ioctl,
  iommufd_ioas_map_flags,
  type Layout,
} from '../../lib/uapi/index.js';
import { iommufdIoctls } from '../../lib/uapi/iommufd.js';
import { isOlder } from '../../lib/uapi/releases.js';
import * as vfio from '../../lib/uapi/vfio.js';
import type { Seam } from '../../lib/unsafe.js';

const { IOMMU_IOAS_MAP_FIXED_IOVA: FIXED_IOVA } = iommufd_ioas_map_flags.values;

/** What has IOVAs chosen, to suit where memory lies, and what the IOMMU can translate. */
const CHOOSING = new Map(
  [IOMMU_IOAS_MAP, IOMMU_IOAS_MAP_FILE].map(({ request, layout }) => [request, layout] as const),
);

/** Fields whose values no two kernels share: where things lie, and file descriptors. */
const UNSHARED = /^(fd|user_va|iommufd|out_phys|out_\w*fd|data_fd)$/;

/** By its sub-operation, how the mock's command is laid out. */
const TEST_LAYOUTS = new Map<number, Layout<Fields>>();
for (const layout of Object.values(mock)) {
  if (typeof layout !== 'object' || !('fields' in layout) || !layout.name.startsWith('iommu_test_cmd.')) continue;
  const op = Object.entries(mock.iommu_test_op.values).find(([name]) => layout.doc.startsWith(`${name.slice(14)}:`));
  if (op !== undefined) TEST_LAYOUTS.set(op[1], layout as unknown as Layout<Fields>);
}

/** With VFIO's old calls, which are for containers and /dev/iommu alike. */
const IOCTLS = new Map<number, Ioctl>(
  [...iommufdIoctls, ...vfio.vfioIoctls.filter(({ name }) => name.startsWith('VFIO_IOMMU_'))].map((op) => [
    op.request,
    op,
  ]),
);
/** Of a VFIO device's file, where numbers mean something else than on /dev/iommu. */
const VFIO_IOCTLS = new Map<number, Ioctl>(
  vfio.vfioIoctls.filter(({ name }) => name.startsWith('VFIO_DEVICE_')).map((op) => [op.request, op]),
);
const VFIO_NODES = '/dev/vfio/devices/';

type Name = (field: string, value: unknown) => string;

function describeStruct(layout: Layout<Fields>, view: DataView, at: number, nameOf: Name): string {
  const values = layout.decode(view, at);
  return toldFields(layout)
    .map((name) => `${name}=${nameOf(name, values[name])}`)
    .join(' ');
}

const TOLD = new Map<Layout<Fields>, readonly string[]>();

/** The fields that kernels share. */
function toldFields(layout: Layout<Fields>): readonly string[] {
  const known = TOLD.get(layout);
  if (known !== undefined) return known;
  const fields = Object.entries(layout.fields).filter(
    ([name, field]) => field.kind !== 'ptr' && field.kind !== 'flex' && !UNSHARED.test(name),
  );
  const names = fields.map(([name]) => name);
  TOLD.set(layout, names);
  return names;
}

/** What an accesses' id is: the mock names accesses by their fds. */
const NAMED_BY_FD = new Set(['access_pages', 'access_rw', 'access_replace_ioas', 'destroy_access_pages']);

/** These answer a file descriptor. */
const ANSWER_FDS: readonly (Ioctl | undefined)[] = [vfio.VFIO_DEVICE_FEATURE, vfio.VFIO_DEVICE_GET_GFX_DMABUF];

/** A call on a VFIO device's file: the struct alone, not what lies behind it. */
function describeVfioCall(request: number, result: number, view: DataView, at: number, nameOf: Name): string {
  const op = VFIO_IOCTLS.get(request);
  const isFd = result > 0 && ANSWER_FDS.includes(op);
  const answer = result < 0 ? errnoName(result) : isFd ? 'fd' : String(result);
  if (op === undefined || at + op.layout.size > view.byteLength)
    return `vfio ioctl 0x${request.toString(16)} ${answer}`;
  return `${op.name} ${answer} ${describeStruct(op.layout, view, at, nameOf)}`.trimEnd();
}

function describeCall(request: number, result: number, view: DataView, at: number, nameOf: Name): string {
  const answer = result < 0 ? errnoName(result) : String(result);
  if (request === mock.IOMMU_TEST_CMD.request && at + 8 <= view.byteLength) {
    const layout = TEST_LAYOUTS.get(view.getUint32(at + 4, true));
    if (layout === undefined || at + layout.size > view.byteLength) return `IOMMU_TEST_CMD ${answer}`;
    const name = layout.name.slice('iommu_test_cmd.'.length);
    const fields = describeStruct(layout, view, at, nameOf);
    // An fd, which Linux does not tell.
    if (name === 'dmabuf_get' && result >= 0) return `${name} ok ${fields}`;
    return `${name} ${answer} ${NAMED_BY_FD.has(name) ? fields.replace(/\bid=\d+/, 'id=fd') : fields}`;
  }
  const op = IOCTLS.get(request);
  if (op === undefined || at + op.layout.size > view.byteLength) return `ioctl 0x${request.toString(16)} ${answer}`;
  const size = view.getUint32(at, true);
  // Shorter than any: somebody asks whether the call is there, and what lies behind is left from before.
  if (size < op.minSize) return `${op.name} ${answer} size=${size}`;
  return `${op.name} ${answer} ${describeStruct(op.layout, view, at, nameOf)}`;
}

export interface RecorderOptions {
  /** Whether IOVAs that the kernel chose are told: where memory lies at the same alignment, and IOMMUs are alike. */
  readonly chosenIovas: 'told' | 'left out';
}

export class Recorder {
  #lines: string[] = [];
  /** IOVAs that the kernel chose, in that order. */
  #chosen: bigint[] = [];
  readonly #options: RecorderOptions;
  #mapsByAddress = false;
  /** What these fds are, where that matters. */
  readonly #kinds = new Map<number, 'vfio' | 'eventfd'>();

  constructor(options: RecorderOptions = { chosenIovas: 'left out' }) {
    this.#options = options;
  }

  /** What was recorded since this was asked last. */
  take(): string[] {
    const lines = this.#lines;
    this.#lines = [];
    this.#chosen = [];
    return lines;
  }

  #note(fd: number, request: number, result: number, view: DataView, at: number): void {
    if (this.#options.chosenIovas === 'left out' && result === 0) this.#noteChosen(request, view, at);
    const nameOf: Name = (field, value) => {
      const index = /iova$/.test(field) ? this.#chosen.indexOf(value as bigint) : -1;
      return index < 0 ? String(value) : `chosen ${index}`;
    };
    const describe = this.#kinds.get(fd) === 'vfio' ? describeVfioCall : describeCall;
    this.#lines.push(describe(request, result, view, at, nameOf));
  }

  #noteChosen(request: number, view: DataView, at: number): void {
    const layout = CHOOSING.get(request);
    const chosen = layout?.decode(view, at);
    if (chosen !== undefined && (chosen.flags & FIXED_IOVA) === 0) this.#chosen.push(chosen.iova);
    // A copy of what was mapped by its address, as it all is before Linux 6.13, is placed to suit that.
    if (request !== IOMMU_IOAS_COPY.request || !this.#mapsByAddress) return;
    const copied = IOMMU_IOAS_COPY.layout.decode(view, at);
    if ((copied.flags & FIXED_IOVA) === 0) this.#chosen.push(copied.dst_iova);
  }

  /** Records the calls of a seam from now on. */
  listen(seam: Seam): void {
    const { arena } = seam;
    this.#mapsByAddress = isOlder(seam.release, IOMMU_IOAS_MAP_FILE.since);
    const { ioctl, ioctlAsync, read, write, mapMmio } = seam;
    this.#followFiles(seam);
    this.#listenToPositions(seam);
    Object.assign(seam, {
      ioctl: (fd, request, at) => {
        const result = ioctl.call(seam, fd, request, at);
        this.#note(fd, request, result, arena.view, at);
        return result;
      },
      ioctlAsync: async (fd, request, block, at) => {
        const result = await ioctlAsync.call(seam, fd, request, block, at);
        if (block.live) {
          const bytes = block.window(0, block.length);
          this.#note(fd, request, result, new DataView(bytes.buffer, bytes.byteOffset, bytes.length), at);
        }
        return result;
      },
      read: (fd, at, length) => {
        const result = read.call(seam, fd, at, length);
        if (this.#kinds.get(fd) === 'eventfd') return result;
        const bytes = result > 0 ? Buffer.from(arena.bytes.subarray(at, at + result)).toString('hex') : '';
        if (result !== 0) this.#lines.push(`read ${result < 0 ? errnoName(result) : bytes}`);
        return result;
      },
      write: (fd, at, length) => {
        const result = write.call(seam, fd, at, length);
        this.#lines.push(`write ${result < 0 ? errnoName(result) : result}`);
        return result;
      },
      mapMmio: (fd, offset, length) => {
        const region = mapMmio.call(seam, fd, offset, length);
        this.#lines.push(`mmap ${offset}+${length} ${typeof region === 'number' ? errnoName(region) : 'ok'}`);
        return region;
      },
    } satisfies Partial<Seam>);
  }

  /** What fds become: calls mean different things on different files, and how often interrupts come is nobody's promise. */
  #followFiles(seam: Seam): void {
    const { open, close, createEventfd, duplicate } = seam;
    Object.assign(seam, {
      open: (path, flags) => {
        const fd = open.call(seam, path, flags);
        if (fd >= 0 && path.startsWith(VFIO_NODES)) this.#kinds.set(fd, 'vfio');
        return fd;
      },
      createEventfd: (initial) => {
        const fd = createEventfd.call(seam, initial);
        if (fd >= 0) this.#kinds.set(fd, 'eventfd');
        return fd;
      },
      duplicate: (fd) => {
        const other = duplicate.call(seam, fd);
        const kind = this.#kinds.get(fd);
        if (other >= 0 && kind !== undefined) this.#kinds.set(other, kind);
        return other;
      },
      close: (fd) => {
        this.#kinds.delete(fd);
        return close.call(seam, fd);
      },
    } satisfies Partial<Seam>);
  }

  /** Accesses to registers: only that one is refused, since what they hold is the hardware's, and polling takes its time. */
  #listenToPositions(seam: Seam): void {
    const { pread, pwrite } = seam;
    const note = (name: string, result: number) => {
      if (result < 0) this.#lines.push(`${name} ${errnoName(result)}`);
      return result;
    };
    Object.assign(seam, {
      pread: (fd, at, length, position) => note('pread', pread.call(seam, fd, at, length, position)),
      pwrite: (fd, at, length, position) => note('pwrite', pwrite.call(seam, fd, at, length, position)),
    } satisfies Partial<Seam>);
  }
}
