// The kernel's mock IOMMU (CONFIG_IOMMUFD_TEST): devices without hardware, and a look behind the kernel's curtain.
// Reached through IOMMU_TEST_CMD on the iommufd itself, on the real kernel and on an emulated one alike.

import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import type { Device, Iommufd } from '../../lib/index.js';
import {
  ERRNO,
  errnoName,
  type Fields,
  type Input,
  IOMMU_DESTROY,
  IOMMU_HWPT_ALLOC,
  IOMMU_IOAS_ALLOC,
  iommufd_hwpt_alloc_flags,
  type Layout,
} from '../../lib/uapi/index.js';
import { isOlder } from '../../lib/uapi/releases.js';
import {
  type Attacher,
  type Attachments,
  bindDevice,
  call,
  IommufdError,
  type Outcome,
  type Port,
  type Seam,
  tryCall,
} from '../../lib/unsafe.js';
import { Lacking } from './lacking.js';

/** Bytes of a page of the mock's page tables. */
export const MOCK_PAGE_SIZE = 2048;
/** The mock's aperture: IOVAs outside are reserved once a device is attached. */
export const MOCK_APERTURE = { start: 1n << 24n, last: (1n << 31n) - 1n } as const;

export interface MockDeviceOptions {
  /** The IOMMU of this device cannot track dirty pages. */
  readonly noDirty?: boolean;
  /** The device has PASIDs (20 bits). */
  readonly pasid?: boolean;
}

/** Answers a sub-operation of IOMMU_TEST_CMD, refusals included. */
export function tryTestCmd<F extends Fields>(
  port: Port,
  op: keyof typeof mock.iommu_test_op.values,
  layout: Layout<F>,
  input: Input<F>,
  attachments: Attachments = {},
): Outcome<F> {
  const command = { ...mock.IOMMU_TEST_CMD, layout } as unknown as Parameters<typeof tryCall<F>>[1];
  const withOp = { ...input, op: mock.iommu_test_op.values[op] } as unknown as Input<F>;
  const outcome = tryCall(port, command, withOp, attachments);
  lacksOperation(port, op, input, outcome.result);
  return outcome;
}

const MOCK_PASID = mock.mock_flags_device.values.MOCK_FLAGS_DEVICE_PASID;

/** Throws where the kernel's mock is too old for an operation, or for a device with PASIDs. */
function lacksOperation(
  { seam }: Port,
  op: keyof typeof mock.iommu_test_op.values,
  { dev_flags }: { readonly dev_flags?: unknown },
  result: number,
): void {
  const running = seam.release;
  const wantsPasid = typeof dev_flags === 'number' && (dev_flags & MOCK_PASID) !== 0 && result === -ERRNO.EINVAL;
  const [what, since] = wantsPasid
    ? ['MOCK_FLAGS_DEVICE_PASID', mock.mockPasidSince]
    : [op, result === -ERRNO.EOPNOTSUPP ? mock.testOpSince[op] : undefined];
  if (since !== undefined && isOlder(running, since)) throw new Lacking({ what, since, running });
}

/** As `tryTestCmd`; a refusal is thrown. */
export function testCmd<F extends Fields>(
  port: Port,
  op: keyof typeof mock.iommu_test_op.values,
  layout: Layout<F>,
  input: Input<F>,
  attachments?: Attachments,
): Outcome<F>['out'] {
  const { result, out } = tryTestCmd(port, op, layout, input, attachments);
  if (result < 0) throw new IommufdError('IOMMU_TEST_CMD', result, { op, ...input });
  return out;
}

/**
 * A mock device bound to an iommufd. The kernel's mock device is always attached to something, so detaching it here means
 * attaching it to an address space of its own that nobody uses: one with PASIDs allowed where it has some, so that they
 * can be attached and stay attached as on a device that is attached to nothing.
 */
export class MockDevice {
  readonly device: Device;
  /** The id that stands for the attachment; destroying it unbinds the device. */
  readonly stdevId: number;
  readonly #port: Port;
  /** What it is attached to when detached, and all that goes with it: newest last. */
  #parking: number;
  readonly #made: number[] = [];

  constructor(iommufd: Iommufd, seam: Seam, options: MockDeviceOptions = {}) {
    this.#port = { seam, fd: iommufd.fd };
    this.#parking = call(this.#port, IOMMU_IOAS_ALLOC, {}).out_ioas_id;
    this.#made.push(this.#parking);
    const flags = mock.mock_flags_device.values;
    const dev_flags =
      (options.noDirty === true ? flags.MOCK_FLAGS_DEVICE_NO_DIRTY : 0) |
      (options.pasid === true ? flags.MOCK_FLAGS_DEVICE_PASID : 0);
    try {
      const made = testCmd(this.#port, 'IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS', mock.test_mock_domain_flags, {
        id: this.#parking,
        dev_flags,
      });
      this.stdevId = made.out_stdev_id;
      this.#made.push(this.stdevId);
      if (options.pasid === true) this.#parkWithPasids(made.out_idev_id);
      this.device = bindDevice(iommufd, made.out_idev_id, this.#attacher());
    } catch (error) {
      this.#destroyAll();
      throw error;
    }
  }

  #parkWithPasids(device: number): void {
    const flags = iommufd_hwpt_alloc_flags.values.IOMMU_HWPT_ALLOC_PASID;
    const { out_hwpt_id: hwpt } = call(this.#port, IOMMU_HWPT_ALLOC, { flags, dev_id: device, pt_id: this.#parking });
    // Destroyed after the device, before the address space.
    this.#made.splice(1, 0, hwpt);
    this.#parking = hwpt;
    const refusal = this.#replace(hwpt);
    if (typeof refusal !== 'number') throw refusal;
  }

  #attacher(): Attacher {
    const attach = (pageTable: number, pasid: number | undefined): number | IommufdError => {
      if (pasid === undefined) return this.#replace(pageTable);
      return this.#attachPasid(pageTable, pasid);
    };
    return {
      attach,
      attachAsync: async (pageTable, pasid) => attach(pageTable, pasid),
      detach: (pasid) => {
        if (pasid !== undefined) return this.#detachPasid(pasid);
        const answer = this.#replace(this.#parking);
        return typeof answer === 'number' ? undefined : answer;
      },
      unbind: () => this.#unbind(),
    };
  }

  #replace(pageTable: number): number | IommufdError {
    const input = { id: this.stdevId, pt_id: pageTable };
    const op = 'IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE';
    const { result, out } = tryTestCmd(this.#port, op, mock.test_mock_domain_replace, input);
    return result < 0 ? new IommufdError('IOMMU_TEST_CMD', result, { op, ...input }) : out.pt_id;
  }

  readonly #pasids = new Set<number>();

  #attachPasid(pageTable: number, pasid: number): number | IommufdError {
    const input = { id: this.stdevId, pasid, pt_id: pageTable };
    const replace = this.#pasids.has(pasid);
    const op = replace ? 'IOMMU_TEST_OP_PASID_REPLACE' : 'IOMMU_TEST_OP_PASID_ATTACH';
    const layout = replace ? mock.test_pasid_replace : mock.test_pasid_attach;
    const { result, out } = tryTestCmd(this.#port, op, layout, input);
    if (result < 0) return new IommufdError('IOMMU_TEST_CMD', result, { op, ...input });
    this.#pasids.add(pasid);
    return out.pt_id;
  }

  #detachPasid(pasid: number): IommufdError | undefined {
    const input = { id: this.stdevId, pasid };
    const op = 'IOMMU_TEST_OP_PASID_DETACH';
    const { result } = tryTestCmd(this.#port, op, mock.test_pasid_detach, input);
    this.#pasids.delete(pasid);
    return result < 0 ? new IommufdError('IOMMU_TEST_CMD', result, { op, ...input }) : undefined;
  }

  #unbind(): void {
    for (const pasid of this.#pasids) this.#detachPasid(pasid);
    this.#destroyAll();
  }

  #destroyAll(): void {
    for (const id of this.#made.splice(0).reverse()) {
      const { result } = tryCall(this.#port, IOMMU_DESTROY, { id });
      if (result < 0) throw new Error(`mock device: destroying ${id} answered ${errnoName(result)}`);
    }
  }
}
