// What cases about address spaces share: the mock's view of a page table, reserved IOVAs, garbage collection, and a host
// whose kernel refuses a call.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { test_add_reserved, test_check_map } from '../../lib/emulated/hardware/selftest/uapi.js';
import type { DmaMemory, HwptPaging } from '../../lib/index.js';
import { type Ioctl, iommufd_ioas_map_flags } from '../../lib/uapi/index.js';
import { Host, type Seam } from '../../lib/unsafe.js';
import { MOCK_APERTURE, tryTestCmd } from './mock.js';
import { type Bench, codeOf, PAGE_SIZE, portOf } from './suite.js';

/** Flags of mapping and copying, by names short enough for cases. */
export const {
  IOMMU_IOAS_MAP_FIXED_IOVA: FIXED,
  IOMMU_IOAS_MAP_READABLE: READABLE,
  IOMMU_IOAS_MAP_WRITEABLE: WRITEABLE,
} = iommufd_ioas_map_flags.values;
export const RW = READABLE | WRITEABLE;

export const U64_MAX = 0xffff_ffff_ffff_ffffn;
/** An IOVA that stays usable when a mock device is attached. */
export const IOVA = MOCK_APERTURE.start;

/** Whether the page table maps the IOVAs to this memory: 'ok', or what the mock answered. */
export function translation(
  t: Bench,
  hwpt: HwptPaging,
  iova: bigint,
  memory: DmaMemory,
  offset = 0,
  length = PAGE_SIZE,
): string {
  const uptr = memory.address + BigInt(offset);
  const input = { id: hwpt.id, iova, length: BigInt(length), uptr };
  return codeOf(tryTestCmd(portOf(t), 'IOMMU_TEST_OP_MD_CHECK_MAP', test_check_map, input).result);
}

/** Reserves IOVAs as a device would. */
export function reserve(t: Bench, ioasId: number, start: bigint, length: bigint): string {
  const input = { id: ioasId, start, length };
  return codeOf(tryTestCmd(portOf(t), 'IOMMU_TEST_OP_ADD_RESERVED', test_add_reserved, input).result);
}

setFlagsFromString('--expose-gc');
const gc: () => void = runInNewContext('gc');

/** Lets the event loop turn, finalizers included, collecting garbage, until something is so or many rounds are over. */
export async function collect(until: () => boolean): Promise<void> {
  for (let round = 0; round < 20 && !until(); round++) {
    gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The rig's host with some of its calls replaced. */
export function hostWith(t: Bench, replaced: Partial<Pick<Seam, 'ioctl' | 'ioctlAsync'>>): Host {
  return new Host(
    new Proxy(t.rig.seam, {
      get(target, name) {
        if (Object.hasOwn(replaced, name)) return Reflect.get(replaced, name);
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }),
  );
}

/** The rig's host, but its kernel answers ENOTTY to one call; `asked` gets the request of every call made. */
export function hostWithout(t: Bench, missing: Ioctl, asked: number[] = []): Host {
  const ENOTTY = -25;
  const { seam } = t.rig;
  return hostWith(t, {
    ioctl: (fd, request, at) => {
      asked.push(request);
      return request === missing.request ? ENOTTY : seam.ioctl(fd, request, at);
    },
    ioctlAsync: async (fd, request, block, at) => {
      asked.push(request);
      return request === missing.request ? ENOTTY : seam.ioctlAsync(fd, request, block, at);
    },
  });
}
