// A device of an emulated machine from its own side: what it does to memory, and what it reports.
import { checkOptions, toBoolean, toBytes, toSize, toU32, toU64, type U64 } from '../host/arguments.js';
import { IommufdError, outOfRange } from '../host/errors.js';
import type { Endpoint } from './hardware/endpoint.js';
import type { ModelFunction } from './hardware/pci/function.js';

export interface DmaOptions {
  /** Which of its address spaces the device uses, 32 bits; 0, its own, if left out. */
  readonly pasid?: number;
}

/** What a device asks for when it reports that an address is not there (PCI page requests). */
export interface PageRequestOptions {
  /** The IOVA that is not there. */
  readonly address: U64;
  /** 32 bits; 0, a request without a PASID, if left out. */
  readonly pasid?: number;
  /** The number that the device gives the request (PRG index), 32 bits; 0 if left out. */
  readonly group?: number;
  /** Bits of IOMMU_PGFAULT_PERM_*: 1 read, 2 write, 4 execute, 8 privileged; 1 if left out. */
  readonly perm?: number;
}

/** Bytes of one DMA at most. */
const LONGEST = 2 ** 30;

function toPasid(options: DmaOptions): number {
  checkOptions(options, ['pasid']);
  return options.pasid === undefined ? 0 : toU32(options.pasid, 'pasid');
}

function toRead(iova: U64, length: number, options: DmaOptions) {
  const from = toU64(iova, 'iova');
  const size = toSize(length, 'length');
  if (size > LONGEST) throw outOfRange('length', `at most ${LONGEST}`, length);
  return { from, bytes: new Uint8Array(size), pasid: toPasid(options) };
}

/** A device that does DMA through the emulated IOMMU, as far as its driver let it. */
export class EmulatedDevice {
  readonly #endpoint: Endpoint;
  /** Undefined for a device that IOMMU_TEST_CMD made. */
  readonly #fn: ModelFunction | undefined;
  readonly #settle: () => void;

  /**
   * Not for callers: use `host.device` or `host.deviceOf`.
   * @param settle throws what models threw whose registers a DMA reached
   */
  constructor(endpoint: Endpoint, fn: ModelFunction | undefined, settle: () => void = () => {}) {
    this.#endpoint = endpoint;
    this.#fn = fn;
    this.#settle = settle;
  }

  /** Its PCI address; 'iommufd_mock0' and so on for one that IOMMU_TEST_CMD made. */
  get name(): string {
    return this.#endpoint.name;
  }

  /**
   * DMA from memory to the device.
   * @param length bytes, up to 1 GiB
   * @throws IommufdError EFAULT where an IOVA is not mapped, or not readable, or the device attached to nothing;
   * TypeError, RangeError
   */
  dmaRead(iova: U64, length: number, options: DmaOptions = {}): Uint8Array {
    const { from, bytes, pasid } = toRead(iova, length, options);
    const result = this.#endpoint.dmaRead(from, bytes, pasid);
    this.#settle();
    if (result < 0) throw new IommufdError('DMA read', result, { device: this.name, iova: from, length });
    return bytes;
  }

  /**
   * DMA from the device to memory. What comes before an IOVA that refuses is written.
   * @param data of any length
   * @throws IommufdError EFAULT where an IOVA is not mapped, or not writable, or the device attached to nothing;
   * TypeError, RangeError
   */
  dmaWrite(iova: U64, data: Uint8Array, options: DmaOptions = {}): void {
    const to = toU64(iova, 'iova');
    const bytes = toBytes(data, 'data');
    const pasid = toPasid(options);
    if (pasid === 0) this.#fn?.wrote(to, bytes.length);
    const result = this.#endpoint.dmaWrite(to, bytes, pasid);
    this.#settle();
    if (result < 0) throw new IommufdError('DMA write', result, { device: this.name, iova: to, length: bytes.length });
  }

  /**
   * `dmaRead` by hardware that waits: where an access faults, and its page table has a fault queue, that gets a page
   * request, and the access is tried again when it is answered. Takes a device with `recoverableFaults`; any other one does
   * not wait.
   * @throws as dmaRead; EFAULT also where the request was answered as invalid
   */
  async dmaReadAsync(iova: U64, length: number, options: DmaOptions = {}): Promise<Uint8Array> {
    const { from, bytes, pasid } = toRead(iova, length, options);
    const result = await this.#endpoint.access(from, bytes, false, pasid);
    this.#settle();
    if (result < 0) throw new IommufdError('DMA read', result, { device: this.name, iova: from, length });
    return bytes;
  }

  /**
   * `dmaWrite` by hardware that waits, as `dmaReadAsync` does.
   * @throws as dmaWrite; EFAULT also where the request was answered as invalid
   */
  async dmaWriteAsync(iova: U64, data: Uint8Array, options: DmaOptions = {}): Promise<void> {
    const to = toU64(iova, 'iova');
    const bytes = toBytes(data, 'data').slice();
    const pasid = toPasid(options);
    if (pasid === 0) this.#fn?.wrote(to, bytes.length);
    const result = await this.#endpoint.access(to, bytes, true, pasid);
    this.#settle();
    if (result < 0) throw new IommufdError('DMA write', result, { device: this.name, iova: to, length: bytes.length });
  }

  /**
   * Whether it answers when the IOMMU tells it to forget the translations it keeps (PCI ATS). With false it is broken: it
   * keeps them until it is reset. A guest's own command queue stops for that, at its next CMD_SYNC; where the kernel
   * invalidates, nobody hears of it. True at first.
   * @throws TypeError
   */
  get answersInvalidations(): boolean {
    return this.#endpoint.answersInvalidations;
  }
  set answersInvalidations(answers: boolean) {
    this.#endpoint.answersInvalidations = toBoolean(answers, 'answersInvalidations', true);
  }

  /**
   * Makes the mock IOMMU report an event about this device to its vIOMMU's event queue. Where the queue is full it is lost,
   * and the queue tells so. On other machines events come of what the device does: an access that faults.
   * @throws IommufdError ENOENT (not attached through a vIOMMU, or its virtual id there is 0), EOPNOTSUPP (no queue for
   * such events; any other machine than `selftest`), ENOMEM (see `failAllocation`: the event is lost)
   */
  raiseEvent(): void {
    const result = this.#endpoint.raiseEvent();
    if (result < 0) throw new IommufdError('vEVENT', result, { device: this.name });
  }

  /**
   * Makes the device's link report an error (PCI Express error reporting): a program that has it open hears of it by the
   * error interrupt.
   */
  reportError(): void {
    this.#fn?.signal('error');
  }

  /**
   * Makes the device ask for a page, in a group of this one request. Without a fault queue behind its page table the
   * kernel refuses it at once, and nobody hears of it. The device does not wait for the answer. On an SMMUv3 nothing comes of
   * it; on VT-d it takes a device with `ats` and `recoverableFaults`.
   * @throws TypeError, RangeError
   */
  requestPage(options: PageRequestOptions): void {
    checkOptions(options, ['address', 'pasid', 'group', 'perm']);
    const { pasid = 0, group = 0, perm = 1 } = options;
    this.#endpoint.requestPage({
      address: toU64(options.address, 'address'),
      pasid: toU32(pasid, 'pasid'),
      hasPasid: pasid !== 0,
      group: toU32(group, 'group'),
      perm: toU32(perm, 'perm'),
      last: true,
    });
  }
}
