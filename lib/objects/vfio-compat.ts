// The address space that the old VFIO container interface uses on an iommufd.
import { UsageError } from '../host/errors.js';
import { checkMade } from '../host/made.js';
import { IOMMU_VFIO_IOAS, iommufd_vfio_ioas_op } from '../uapi/iommufd.js';
import { call, refusal, tryCall } from './call.js';
import type { Context } from './context.js';
import { Ioas } from './ioas.js';
import type { Iommufd } from './iommufd.js';
import { checkAlive, context, idOf } from './kernel-object.js';

const OP = iommufd_vfio_ioas_op.values;
const ENODEV = -19;

/** `iommufd.vfioCompat` (IOMMU_VFIO_IOAS, Linux 6.2). */
export class VfioCompat {
  readonly #iommufd: Iommufd;
  readonly #context: Context;

  /** Not for callers. */
  constructor(iommufd: Iommufd, ctx: Context) {
    this.#iommufd = iommufd;
    this.#context = ctx;
  }

  /** The compatibility address space; undefined where none is set. One that this process did not make is adopted. */
  get ioas(): Ioas | undefined {
    this.#context.check();
    const { result, out } = tryCall(this.#context, IOMMU_VFIO_IOAS, { op: OP.IOMMU_VFIO_IOAS_GET });
    if (result === ENODEV) return undefined;
    if (result < 0) throw refusal(this.#context, IOMMU_VFIO_IOAS, result, { op: OP.IOMMU_VFIO_IOAS_GET });
    return this.#iommufd.adoptIoas(out.ioas_id);
  }

  /** Makes this the compatibility address space; undefined clears it, and destroys nothing. */
  set ioas(ioas: Ioas | undefined) {
    this.#context.check();
    if (ioas === undefined) {
      call(this.#context, IOMMU_VFIO_IOAS, { op: OP.IOMMU_VFIO_IOAS_CLEAR });
      return;
    }
    checkMade(ioas, Ioas, 'ioas', 'an Ioas');
    checkAlive(ioas);
    if (context(ioas) !== this.#context) {
      throw new UsageError('ERR_IOMMUFD_FOREIGN_CONTEXT', `ioas (${ioas.describe()}) belongs to another iommufd`);
    }
    call(this.#context, IOMMU_VFIO_IOAS, { op: OP.IOMMU_VFIO_IOAS_SET, ioas_id: idOf(ioas) });
  }
}
