// What an ioctl costs that does nothing: every way from JavaScript makes the same refused call.
import { IOMMU_IOAS_MAP } from '../lib/uapi/index.js';
import { kernelSeam, type Seam, tryCall } from '../lib/unsafe.js';
import { cLoop } from './c-loops.js';
import { type Contender, loop } from './measure.js';
import type { Benchmark, Skip } from './report.js';

const O_RDWR = 2;
const { request } = IOMMU_IOAS_MAP;
const SIZE = IOMMU_IOAS_MAP.layout.size;

function seamLoop(seam: Seam, fd: number): Contender {
  const at = seam.arena.mark();
  return loop('seam.ioctl', (iterations) => {
    for (let i = 0; i < iterations; i++) seam.ioctl(fd, request, at);
  });
}

/** The struct written and read by the table, which is what calls that are not hot cost. */
function tableLoop(seam: Seam, fd: number): Contender {
  const port = { seam, fd };
  return loop('tryCall, 40-byte struct', (iterations) => {
    for (let i = 0; i < iterations; i++) {
      tryCall(port, IOMMU_IOAS_MAP, { flags: 7, ioas_id: 1, user_va: 4096n, length: 4096n, iova: 4096n });
    }
  });
}

async function koffiLoops(fd: number): Promise<Contender[]> {
  const { default: koffi } = await import('koffi');
  const libc = koffi.load('libc.so.6');
  const withBuffer = libc.func('int ioctl(int fd, unsigned long request, void *argument)');
  koffi.struct('ioas_map', {
    size: 'uint32',
    flags: 'uint32',
    ioas_id: 'uint32',
    __reserved: 'uint32',
    user_va: 'uint64',
    length: 'uint64',
    iova: 'uint64',
  });
  const withStruct = libc.func('int ioctl(int fd, unsigned long request, _Inout_ ioas_map *argument)');
  const packed = Buffer.alloc(SIZE);
  const fields = { size: SIZE, flags: 7, ioas_id: 1, __reserved: 0, user_va: 4096n, length: 4096n, iova: 4096n };
  return [
    loop('koffi, packed Buffer', (iterations) => {
      for (let i = 0; i < iterations; i++) withBuffer(fd, request, packed);
    }),
    loop('koffi, 40-byte struct', (iterations) => {
      for (let i = 0; i < iterations; i++) withStruct(fd, request, { ...fields });
    }),
  ];
}

/** The benchmark, and what of it cannot run here. */
export async function nativeIoctl(): Promise<{ benchmark: Benchmark; skips: Skip[] }> {
  const seam = kernelSeam();
  const fd = seam.open('/dev/null', O_RDWR);
  if (fd < 0) throw new Error(`/dev/null cannot be opened: ${fd}`);
  const contenders = [cLoop('refused-ioctl'), seamLoop(seam, fd), tableLoop(seam, fd)];
  const skips: Skip[] = [];
  try {
    contenders.push(...(await koffiLoops(fd)));
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ERR_MODULE_NOT_FOUND';
    if (!missing) throw error;
    skips.push({ skipped: 'koffi', reason: 'the package is not installed (npm ci)' });
  }
  const bench = 'an ioctl refused with ENOTTY (/dev/null)';
  return { benchmark: { bench, contenders, targets: { 'seam.ioctl': 1.6 } }, skips };
}
