// Invalidations: a guest changed its page tables, and the IOMMU's caches must follow. Entries go through the arena in
// batches, without an allocation per entry; what was done is counted across batches.
import { checkOptions, isTypedArray, toBoolean, toBytes, toU32, toU64, type U64, U64_MAX } from '../host/arguments.js';
import { IommufdError, invalidType, outOfRange } from '../host/errors.js';
import * as uapi from '../uapi/iommufd.js';
import { publish, tracing } from './call.js';
import type { Context } from './context.js';
import { checkAlive, idOf, type KernelObject } from './kernel-object.js';

/** One VT-d first-stage invalidation: pages from an address on, or everything. */
export type VtdInvalidation =
  | { readonly address: U64; readonly pages: U64; readonly leaf?: boolean }
  | { readonly all: true };

export type InvalidateRequest =
  /** SMMUv3 commands, two 64-bit words each: TLBI_NH_*, TLBI_NSNH_ALL, ATC_INV, CFGI_CD, CFGI_CD_ALL. vIOMMU only. */
  | { readonly smmuv3: BigUint64Array }
  /** VT-d first-stage invalidations. Nested page tables only. */
  | { readonly vtd: readonly VtdInvalidation[] }
  /** Any other kind: the number of its data type, the length of an entry, and the entries. None asks if the type is known. */
  | { readonly type: number; readonly entryLength: number; readonly entries: Uint8Array };

export interface InvalidateResult {
  /** Entries that were done, from the first on. */
  readonly completed: number;
  /** What was wrong with the entry after those; undefined if all were done. */
  readonly refusal?: IommufdError;
}

interface Entries {
  readonly type: number;
  readonly entryLength: number;
  readonly bytes: Uint8Array;
}

const STRUCT = uapi.iommu_hwpt_invalidate;
const TYPES = uapi.iommu_hwpt_invalidate_data_type.values;
/** Bytes of entries per call: large enough that the call's cost does not show, small enough for the arena. */
const BATCH = 64 * 1024;
const ENOMEM = -12;

function smmuv3Entries(commands: BigUint64Array): Entries {
  if (!isTypedArray(commands, 'BigUint64Array')) throw invalidType('smmuv3', 'a BigUint64Array', commands);
  // A copy: a subclass may tell another length each time it is asked, and calls may be many.
  const words = new BigUint64Array(commands);
  if (words.length % 2 !== 0) throw outOfRange('smmuv3', 'two words a command', `${words.length} words`);
  return {
    type: TYPES.IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
    entryLength: uapi.iommu_viommu_arm_smmuv3_invalidate.size,
    bytes: new Uint8Array(words.buffer),
  };
}

function vtdEntries(list: readonly VtdInvalidation[]): Entries {
  if (!Array.isArray(list)) throw invalidType('vtd', 'an array', list);
  const layout = uapi.iommu_hwpt_vtd_s1_invalidate;
  const bytes = new Uint8Array(list.length * layout.size);
  const view = new DataView(bytes.buffer);
  list.forEach((entry: VtdInvalidation, i) => {
    if (typeof entry !== 'object' || entry === null) throw invalidType(`vtd[${i}]`, 'an object', entry);
    if ('all' in entry) {
      checkOptions(entry, ['all'], `vtd[${i}]`);
      if (entry.all !== true) throw invalidType(`vtd[${i}].all`, 'true', entry.all);
      layout.encode(view, i * layout.size, { addr: 0n, npages: U64_MAX });
      return;
    }
    checkOptions(entry, ['address', 'pages', 'leaf'], `vtd[${i}]`);
    const leaf = toBoolean(entry.leaf, `vtd[${i}].leaf`, false);
    layout.encode(view, i * layout.size, {
      addr: toU64(entry.address, `vtd[${i}].address`),
      npages: toU64(entry.pages, `vtd[${i}].pages`),
      flags: leaf ? uapi.iommu_hwpt_vtd_s1_invalidate_flags.values.IOMMU_VTD_INV_FLAGS_LEAF : 0,
    });
  });
  return { type: TYPES.IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, entryLength: layout.size, bytes };
}

function entriesOf(request: InvalidateRequest): Entries {
  if (typeof request !== 'object' || request === null) throw invalidType('request', 'an object', request);
  if ('smmuv3' in request) {
    checkOptions(request, ['smmuv3'], 'request');
    return smmuv3Entries(request.smmuv3);
  }
  if ('vtd' in request) {
    checkOptions(request, ['vtd'], 'request');
    return vtdEntries(request.vtd);
  }
  checkOptions(request, ['type', 'entryLength', 'entries'], 'request');
  const type = toU32(request.type, 'type');
  const entryLength = toU32(request.entryLength, 'entryLength');
  const bytes = toBytes(request.entries, 'entries');
  if (entryLength < 1 || entryLength > BATCH) throw outOfRange('entryLength', `between 1 and ${BATCH}`, entryLength);
  if (bytes.length % entryLength !== 0) {
    throw outOfRange('entries', `a multiple of entryLength ${entryLength} bytes`, `${bytes.length} bytes`);
  }
  return { type, entryLength, bytes };
}

/** One IOMMU_HWPT_INVALIDATE over `count` entries that lie in `bytes` from `from` on. */
function invalidateBatch(ctx: Context, id: number, entries: Entries, from: number, count: number): InvalidateResult {
  const { arena } = ctx.seam;
  const length = count * entries.entryLength;
  const mark = arena.mark();
  const at = arena.take(STRUCT.size + length);
  let result: number;
  let completed: number;
  try {
    const data = at + STRUCT.size;
    arena.bytes.set(
      from === 0 && length === entries.bytes.length ? entries.bytes : entries.bytes.subarray(from, from + length),
      data,
    );
    arena.u32[(at + STRUCT.at.size) >>> 2] = STRUCT.size;
    arena.u32[(at + STRUCT.at.hwpt_id) >>> 2] = id;
    arena.u64[(at + STRUCT.at.data_uptr) >>> 3] = arena.addressOf(data);
    arena.u32[(at + STRUCT.at.data_type) >>> 2] = entries.type;
    arena.u32[(at + STRUCT.at.entry_len) >>> 2] = entries.entryLength;
    arena.u32[(at + STRUCT.at.entry_num) >>> 2] = count;
    arena.u32[(at + STRUCT.at.__reserved) >>> 2] = 0;
    result = ctx.seam.ioctl(ctx.fd, uapi.IOMMU_HWPT_INVALIDATE.request, at);
    completed = arena.u32[(at + STRUCT.at.entry_num) >>> 2] ?? 0;
  } finally {
    arena.release(mark);
  }
  // A driver that had no memory leaves the count as it came, though nothing was done.
  if (result === ENOMEM) completed = 0;
  if (result >= 0 && !tracing()) return { completed };
  const input = { hwpt_id: id, data_type: entries.type, entry_len: entries.entryLength, entry_num: count };
  const output = { entry_num: completed };
  if (tracing()) publish({ host: ctx.seam.kind, fd: ctx.fd, syscall: 'IOMMU_HWPT_INVALIDATE', input, result, output });
  if (result >= 0) return { completed };
  return { completed, refusal: new IommufdError('IOMMU_HWPT_INVALIDATE', result, { ...input, completed }) };
}

/** `tryInvalidate` of nested page tables and vIOMMUs. */
export function tryInvalidate(ctx: Context, object: KernelObject, request: InvalidateRequest): InvalidateResult {
  const entries = entriesOf(request);
  const total = entries.bytes.length / entries.entryLength;
  const perCall = Math.floor(BATCH / entries.entryLength);
  let done = 0;
  do {
    // After the request: reading it may run code of the caller's, and so may listeners to traces.
    checkAlive(object);
    const count = Math.min(perCall, total - done);
    const { completed, refusal } = invalidateBatch(ctx, idOf(object), entries, done * entries.entryLength, count);
    done += completed;
    if (refusal === undefined) {
      // A driver that does nothing and calls it success is not asked for ever.
      if (completed === 0) break;
      continue;
    }
    const args = { ...refusal.args, entry_num: total, completed: done };
    return { completed: done, refusal: new IommufdError(refusal.syscall, refusal.errno, args) };
  } while (done < total);
  return { completed: done };
}

/** `invalidate` of nested page tables and vIOMMUs. */
export function invalidate(ctx: Context, object: KernelObject, request: InvalidateRequest): number {
  const { completed, refusal } = tryInvalidate(ctx, object, request);
  if (refusal !== undefined) throw refusal;
  return completed;
}
