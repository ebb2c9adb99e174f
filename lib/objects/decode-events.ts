// Events as the kernel writes them, decoded: pure functions over bytes.
import { outOfRange } from '../host/errors.js';
import {
  iommu_hwpt_pgfault,
  iommu_hwpt_pgfault_flags,
  iommu_hwpt_pgfault_perm,
  iommu_vevent_arm_smmuv3,
  iommu_vevent_tegra241_cmdqv,
  iommu_veventq_flag,
  iommu_veventq_type,
  iommufd_vevent_header,
} from '../uapi/iommufd.js';

/** An event record of an SMMUv3 (SMMUv3 manual, 7.3), with the guest's own StreamID. */
export interface Smmuv3Event {
  readonly kind: 'arm-smmuv3';
  /** The record's number: 0x10. */
  readonly id: number;
  /** Its name: 'F_TRANSLATION'; undefined for a number not known here. */
  readonly name: string | undefined;
  readonly streamId: number;
  /** The SubstreamID (PASID), where the record has one. */
  readonly substreamId: number | undefined;
  /** The address that was accessed, where the record has one. */
  readonly inputAddress: bigint | undefined;
  /** The record's four words. */
  readonly record: readonly [bigint, bigint, bigint, bigint];
}

/** An interrupt of a Tegra241 CMDQV: which of the interface's queues have an error. */
export interface Tegra241Event {
  readonly kind: 'tegra241-cmdqv';
  readonly queues: readonly number[];
  /** LVCMDQ_ERR_MAP. */
  readonly errorMap: readonly [bigint, bigint];
}

/** An event of a kind not known here: its bytes. */
export interface RawEvent {
  readonly kind: 'raw';
  readonly data: Uint8Array;
}

export type EventDetail = Smmuv3Event | Tegra241Event | RawEvent;

/** An event of a vIOMMU, or the news that events were lost; both in their order. */
export type Vevent =
  | { readonly type: 'event'; readonly sequence: number; readonly event: EventDetail }
  | { readonly type: 'lost'; readonly sequence: number; readonly count: number };

export interface ParsedVevents {
  readonly events: Vevent[];
  /** The sequence number that the next event has if none is lost. */
  readonly expected: number;
}

const SEQUENCE_MASK = 0x7fff_ffff;
const LOST = iommu_veventq_flag.values.IOMMU_VEVENTQ_FLAG_LOST_EVENTS;

/** Records that carry an address: translation-related faults (SMMUv3 manual, 7.3.12 to 7.3.16). */
const WITH_ADDRESS = new Set([0x10, 0x11, 0x12, 0x13]);
const RECORD_NAMES: ReadonlyMap<number, string> = new Map([
  [0x04, 'C_BAD_STE'],
  [0x06, 'F_STREAM_DISABLED'],
  [0x08, 'C_BAD_SUBSTREAMID'],
  [0x0a, 'C_BAD_CD'],
  [0x10, 'F_TRANSLATION'],
  [0x11, 'F_ADDR_SIZE'],
  [0x12, 'F_ACCESS'],
  [0x13, 'F_PERMISSION'],
]);

/**
 * Decodes what a read of a vEVENTQ gave. The header counts every event, so a step of more than one tells how many were
 * lost; a header with the LOST flag has no payload and is itself the last of the lost ones.
 */
export function parseVevents(
  view: DataView,
  at: number,
  length: number,
  queue: { readonly type: number; readonly payload: number; readonly expected: number },
): ParsedVevents {
  const events: Vevent[] = [];
  const end = at + length;
  let { expected } = queue;
  let offset = at;
  while (offset + iommufd_vevent_header.size <= end) {
    const flags = view.getUint32(offset + iommufd_vevent_header.at.flags, true);
    const sequence = view.getUint32(offset + iommufd_vevent_header.at.sequence, true);
    offset += iommufd_vevent_header.size;
    const isLost = (flags & LOST) !== 0;
    const count = ((sequence - expected) & SEQUENCE_MASK) + (isLost ? 1 : 0);
    if (count > 0) events.push({ type: 'lost', sequence: isLost ? sequence : (sequence - 1) & SEQUENCE_MASK, count });
    if (!isLost) {
      if (offset + queue.payload > end) throw wrongPayload(queue.payload);
      events.push({ type: 'event', sequence, event: decodeEvent(view, offset, queue.type, queue.payload) });
      offset += queue.payload;
    }
    expected = (sequence + 1) & SEQUENCE_MASK;
  }
  if (offset !== end) throw wrongPayload(queue.payload);
  return { events, expected };
}

/** A read gives whole events: where they do not add up, the payload has another size than was said. */
function wrongPayload(payload: number): RangeError {
  return outOfRange('payloadSize', 'the size of the events of this type', payload);
}

/** Decodes one event's payload. */
export function decodeEvent(view: DataView, at: number, type: number, length: number): EventDetail {
  switch (type) {
    case iommu_veventq_type.values.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3:
      return decodeSmmuv3(view, at + iommu_vevent_arm_smmuv3.at.evt);
    case iommu_veventq_type.values.IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV:
      return decodeTegra241(iommu_vevent_tegra241_cmdqv.decode(view, at).lvcmdq_err_map);
    default:
      return { kind: 'raw', data: new Uint8Array(view.buffer, view.byteOffset + at, length).slice() };
  }
}

/** Word 0 of a record: its number in bits 7:0, SSV in bit 11, SubstreamID in 31:12, StreamID in 63:32. */
function decodeSmmuv3(view: DataView, at: number): Smmuv3Event {
  const low = view.getUint32(at, true);
  const id = low & 0xff;
  const record = [
    view.getBigUint64(at, true),
    view.getBigUint64(at + 8, true),
    view.getBigUint64(at + 16, true),
    view.getBigUint64(at + 24, true),
  ] as const;
  return {
    kind: 'arm-smmuv3',
    id,
    name: RECORD_NAMES.get(id),
    streamId: view.getUint32(at + 4, true),
    substreamId: (low & 0x800) === 0 ? undefined : low >>> 12,
    inputAddress: WITH_ADDRESS.has(id) ? record[2] : undefined,
    record,
  };
}

function decodeTegra241(words: readonly bigint[]): Tegra241Event {
  const [low = 0n, high = 0n] = words;
  const map = low | (high << 64n);
  const queues = Array.from({ length: 128 }, (_, i) => i).filter((i) => ((map >> BigInt(i)) & 1n) === 1n);
  return { kind: 'tegra241-cmdqv', queues, errorMap: [low, high] };
}

/** What a faulting access asked for. */
export interface FaultPermissions {
  readonly read: boolean;
  readonly write: boolean;
  readonly exec: boolean;
  readonly privileged: boolean;
}

/** One page request of a device. */
export interface PageFault {
  /** The id of the device it came from. */
  readonly deviceId: number;
  readonly pasid: number | undefined;
  /** The device's own number for the group of requests (PCI Express page request group index). */
  readonly group: number;
  readonly permissions: FaultPermissions;
  readonly address: bigint;
  /** Bytes the device expects to access; 0 where it gave no hint. */
  readonly length: number;
  /** Whether it is the last of its group. */
  readonly last: boolean;
  /** What the answer names the group by. */
  readonly cookie: number;
}

/** Decodes what a read of a fault queue gave. */
export function parseFaults(view: DataView, at: number, length: number): PageFault[] {
  const count = Math.floor(length / iommu_hwpt_pgfault.size);
  return Array.from({ length: count }, (_, i) => decodeFault(view, at + i * iommu_hwpt_pgfault.size));
}

function decodeFault(view: DataView, at: number): PageFault {
  const raw = iommu_hwpt_pgfault.decode(view, at);
  const flags = iommu_hwpt_pgfault_flags.values;
  const perm = iommu_hwpt_pgfault_perm.values;
  return {
    deviceId: raw.dev_id,
    pasid: (raw.flags & flags.IOMMU_PGFAULT_FLAGS_PASID_VALID) !== 0 ? raw.pasid : undefined,
    group: raw.grpid,
    permissions: {
      read: (raw.perm & perm.IOMMU_PGFAULT_PERM_READ) !== 0,
      write: (raw.perm & perm.IOMMU_PGFAULT_PERM_WRITE) !== 0,
      exec: (raw.perm & perm.IOMMU_PGFAULT_PERM_EXEC) !== 0,
      privileged: (raw.perm & perm.IOMMU_PGFAULT_PERM_PRIV) !== 0,
    },
    address: raw.addr,
    length: raw.length,
    last: (raw.flags & flags.IOMMU_PGFAULT_FLAGS_LAST_PAGE) !== 0,
    cookie: raw.cookie,
  };
}

/** Requests that belong together and are answered with one response. */
export interface PageFaultGroup {
  readonly cookie: number;
  readonly faults: readonly PageFault[];
}

/** Groups faults by cookie; the kernel writes a group's faults one after another, in one read. */
export function groupFaults(faults: readonly PageFault[]): PageFaultGroup[] {
  const groups: { cookie: number; faults: PageFault[] }[] = [];
  for (const fault of faults) {
    const last = groups.at(-1);
    if (last !== undefined && last.cookie === fault.cookie) last.faults.push(fault);
    else groups.push({ cookie: fault.cookie, faults: [fault] });
  }
  return groups;
}
