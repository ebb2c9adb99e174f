// Runs in a test machine, on the real kernel with its mock IOMMU; prints one JSON object a line. The objects are compared
// with C making the same calls on the same iommufd, and with the addon called on structs that lie ready.

import { iommu_hwpt_invalidate_selftest, iommu_test_numbers } from '../lib/emulated/hardware/selftest/uapi.js';
import { createEmulatedHost } from '../lib/emulated-host.js';
import { type Iommufd, openHost } from '../lib/index.js';
import { hostSeam, type Seam, uapi } from '../lib/unsafe.js';
import { MockDevice } from '../test/rig/mock.js';
import { cLoop } from './c-loops.js';
import { mapContender, must } from './map-calls.js';
import { type Contender, detachOneBuffer, loop, type Plan } from './measure.js';
import { type Benchmark, conditions, type Line, rows } from './report.js';

/** Short turns, since the machine shares its processors; a long warm-up, since an emulated one compiles slowly. */
const plan: Plan = { rounds: 81, iterations: 400, warmUp: 60 };
const TARGET = 1.6;
const IOVA = 0x100_0000;
const SIZES = { '4 KiB': 4096, '2 MiB': 2 ** 21 } as const;
const BACKINGS = { memfd: 'map-file', anonymous: 'map-address' } as const;

const host = openHost({ kind: 'kernel' });
const seam = hostSeam(host);

function mapping(iommufd: Iommufd, backing: keyof typeof BACKINGS, size: keyof typeof SIZES): Benchmark {
  const length = SIZES[size];
  const ioas = iommufd.allocIoas();
  const memory = host.allocateMemory(length, { backing });
  const iova = BigInt(IOVA);
  return {
    bench: `map and unmap ${size} of ${backing} memory`,
    contenders: [
      cLoop(BACKINGS[backing], { fd: iommufd.fd, numbers: [ioas.id, IOVA, length] }),
      mapContender('seam.ioctl', iommufd, memory, length),
      loop('ioas.map, ioas.unmap', (iterations) => {
        for (let i = 0; i < iterations; i++) {
          ioas.map(memory, { iova });
          ioas.unmap(iova, length);
        }
      }),
    ],
    targets: { 'ioas.map, ioas.unmap': TARGET },
  };
}

/** The same calls, answered by the kernel and by the emulated one. */
function bothKernels(iommufd: Iommufd, backing: keyof typeof BACKINGS, size: keyof typeof SIZES): Benchmark {
  const length = SIZES[size];
  const emulated = createEmulatedHost({ machine: 'selftest' });
  return {
    bench: `map and unmap ${size} of ${backing} memory, by either kernel`,
    contenders: [
      mapContender('real kernel', iommufd, host.allocateMemory(length, { backing }), length),
      mapContender('emulated kernel', emulated.openIommufd(), emulated.allocateMemory(length, { backing }), length),
    ],
    targets: { 'emulated kernel': 1 },
  };
}

function bareAlloc(iommufd: Iommufd): Contender {
  const { arena } = seam;
  const { fd } = iommufd;
  const { layout: alloc, request: allocRequest } = uapi.IOMMU_IOAS_ALLOC;
  const { layout: destroy, request: destroyRequest } = uapi.IOMMU_DESTROY;
  const allocAt = arena.take(alloc.size);
  const destroyAt = arena.take(destroy.size);
  alloc.encode(arena.view, allocAt, { size: alloc.size });
  destroy.encode(arena.view, destroyAt, { size: destroy.size });
  return loop('seam.ioctl', (iterations) => {
    for (let i = 0; i < iterations; i++) {
      must(seam.ioctl(fd, allocRequest, allocAt));
      arena.u32[(destroyAt + destroy.at.id) >>> 2] = arena.u32[(allocAt + alloc.at.out_ioas_id) >>> 2] ?? 0;
      must(seam.ioctl(fd, destroyRequest, destroyAt));
    }
  });
}

function allocation(iommufd: Iommufd): Benchmark {
  return {
    bench: 'allocate and destroy an IOAS',
    contenders: [
      cLoop('alloc-ioas', { fd: iommufd.fd }),
      bareAlloc(iommufd),
      loop('allocIoas, destroy', (iterations) => {
        for (let i = 0; i < iterations; i++) iommufd.allocIoas().destroy();
      }),
    ],
  };
}

function invalidation(iommufd: Iommufd, mock: MockDevice, count: number): Benchmark {
  const numbers = iommu_test_numbers.values;
  const parent = iommufd.allocIoas().allocHwpt(mock.device, { nestParent: true });
  const data = { type: numbers.IOMMU_HWPT_DATA_SELFTEST, bytes: new Uint8Array(8) };
  const nested = parent.allocNestedHwpt(mock.device, { data });
  const type = numbers.IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
  const entryLength = iommu_hwpt_invalidate_selftest.size;
  const entries = new Uint8Array(count * entryLength);
  return {
    bench: `invalidate ${count} ${count === 1 ? 'entry' : 'entries'}`,
    contenders: [
      cLoop('invalidate', { fd: iommufd.fd, numbers: [nested.id, type, entryLength, count] }),
      loop('hwpt.invalidate', (iterations) => {
        for (let i = 0; i < iterations; i++) nested.invalidate({ type, entryLength, entries });
      }),
    ],
  };
}

function* benchmarks(iommufd: Iommufd): Generator<Benchmark> {
  for (const backing of ['memfd', 'anonymous'] as const) {
    for (const size of ['4 KiB', '2 MiB'] as const) yield mapping(iommufd, backing, size);
  }
  for (const backing of ['memfd', 'anonymous'] as const) {
    for (const size of ['4 KiB', '2 MiB'] as const) yield bothKernels(iommufd, backing, size);
  }
  yield allocation(iommufd);
  const mock = new MockDevice(iommufd, seam);
  yield invalidation(iommufd, mock, 1);
  yield invalidation(iommufd, mock, 1000);
}

function main(theSeam: Seam): void {
  detachOneBuffer();
  // As they are, for the process that started the machine.
  const print = (line: Line) => console.log(JSON.stringify(line));
  print(conditions('real kernel, in QEMU', plan));
  const iommufd = host.openIommufd();
  const mark = theSeam.arena.mark();
  for (const benchmark of benchmarks(iommufd)) {
    for (const row of rows(benchmark, plan)) print(row);
  }
  theSeam.arena.release(mark);
  // The mock's devices go with the fd, and so does all that hangs from them.
  process.exit(0);
}

main(seam);
