// The calls of an IOAS that are not hot: making one, its ranges, copies, and who pays (iommufd/ioas.c).
import { ERRNO } from '../../uapi/errno.js';
import {
  iommu_ioas_alloc,
  iommu_ioas_allow_iovas,
  iommu_ioas_change_process,
  iommu_ioas_copy,
  iommu_ioas_iova_ranges,
  iommu_ioas_noiommu_get_pa,
  iommu_iova_range,
} from '../../uapi/iommufd-structs.js';
import { PAGE_SIZE } from '../memory/backing.js';
import type { Command } from './command.js';
import type { Piece } from './io-pagetable.js';
import { Ioas } from './ioas.js';
import { isFixed, isKnown, rightsOf } from './ioas-map.js';
import type { IommufdContext } from './iommufd-file.js';
import { DisjointRanges, U64_MAX } from './iova-ranges.js';

export { ioasMap, ioasMapFile, ioasUnmap } from './ioas-map.js';

const ALLOC = iommu_ioas_alloc.at;
const RANGES = iommu_ioas_iova_ranges.at;
const ALLOW = iommu_ioas_allow_iovas.at;
const COPY = iommu_ioas_copy.at;
const PHYSICAL = iommu_ioas_noiommu_get_pa.at;
const PAGE = BigInt(PAGE_SIZE);

/** Makes an IOAS that cannot be found yet; undefined where there is no memory. */
export function reserveIoas(context: IommufdContext): Ioas | undefined {
  if (!context.kernel.allocates()) return undefined;
  const ioas = new Ioas(context);
  context.objects.reserve(ioas);
  return ioas;
}

export function ioasAlloc(command: Command): number {
  if (command.get(ALLOC.flags) !== 0) return -ERRNO.EOPNOTSUPP;
  const ioas = reserveIoas(command.context);
  if (ioas === undefined) return -ERRNO.ENOMEM;
  command.made = ioas;
  command.set(ALLOC.out_ioas_id, ioas.id);
  return command.respond(iommu_ioas_alloc.size);
}

/** What an ioctl names by its id. */
function find(command: Command, at: number): Ioas | undefined {
  return command.context.objects.get(command.get(at), Ioas);
}

export function ioasIovaRanges(command: Command): number {
  if (command.get(RANGES.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const ioas = find(command, RANGES.ioas_id);
  if (ioas === undefined) return -ERRNO.ENOENT;
  const room = command.get(RANGES.num_iovas);
  const address = command.address(RANGES.allowed_iovas);
  const { memory } = command.context.process;
  const bytes = new Uint8Array(iommu_iova_range.size);
  const view = new DataView(bytes.buffer);
  let count = 0;
  for (const range of ioas.iopt.reserved.holes()) {
    if (count < room) {
      iommu_iova_range.encode(view, 0, range);
      if (!memory.write(address + count * bytes.length, bytes)) return -ERRNO.EFAULT;
    }
    count++;
  }
  command.set(RANGES.num_iovas, count);
  command.set64(RANGES.out_iova_alignment, ioas.iopt.alignment);
  const rc = command.respond(iommu_ioas_iova_ranges.size);
  return rc === 0 && count > room ? -ERRNO.EMSGSIZE : rc;
}

export function ioasAllowIovas(command: Command): number {
  if (command.get(ALLOW.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const ioas = find(command, ALLOW.ioas_id);
  if (ioas === undefined) return -ERRNO.ENOENT;
  const { kernel, process } = command.context;
  const address = command.address(ALLOW.allowed_iovas);
  const bytes = new Uint8Array(iommu_iova_range.size);
  const view = new DataView(bytes.buffer);
  const ranges = new DisjointRanges();
  for (let i = 0; i < command.get(ALLOW.num_iovas); i++) {
    if (!process.memory.read(address + i * bytes.length, bytes)) return -ERRNO.EFAULT;
    const range = iommu_iova_range.decode(view, 0);
    if (range.start >= range.last) return -ERRNO.EINVAL;
    if (!ranges.add(range)) return -ERRNO.EINVAL;
    if (!kernel.allocates()) return -ERRNO.ENOMEM;
  }
  return ioas.iopt.allow(ranges.all);
}

export function ioasCopy(command: Command): number {
  command.context.kernel.testCommand?.prepareCopy(command);
  const flags = command.get(COPY.flags);
  if (!isKnown(flags)) return -ERRNO.EOPNOTSUPP;
  const length = command.get64(COPY.length);
  const from = command.get64(COPY.src_iova);
  const to = command.get64(COPY.dst_iova);
  if (length === U64_MAX || from === U64_MAX || to === U64_MAX) return -ERRNO.EOVERFLOW;
  const rights = rightsOf(flags);
  if (rights === 0) return -ERRNO.EINVAL;
  const source = find(command, COPY.src_ioas_id);
  if (source === undefined) return -ERRNO.ENOENT;
  const pieces = takePieces(command.context, source, from, length);
  if (typeof pieces === 'number') return pieces;
  const target = find(command, COPY.dst_ioas_id);
  if (target === undefined) return dropPieces(command.context, pieces, -ERRNO.ENOENT);
  const iova = isFixed(flags) ? to : undefined;
  const answer = target.iopt.mapPieces(pieces, length, iova, addressOf(command.context, pieces[0]), rights);
  if (answer < 0n) return dropPieces(command.context, pieces, Number(answer));
  command.set64(COPY.dst_iova, answer);
  return command.respond(iommu_ioas_copy.size);
}

/** The memory behind a range of IOVAs, held once more. */
function takePieces({ kernel, pages }: IommufdContext, { iopt }: Ioas, iova: bigint, length: bigint): Piece[] | number {
  if (length === 0n) return -ERRNO.EINVAL;
  const end = iova + length - 1n;
  if (end > U64_MAX) return -ERRNO.EOVERFLOW;
  const pieces: Piece[] = [];
  const answer = iopt.eachArea(iova, end, (slot, start, last) => {
    if (!kernel.allocates()) return -ERRNO.ENOMEM;
    const byte = iopt.areaTable.byteOf(slot, start);
    const piece = {
      pages: iopt.areaTable.pages[slot] ?? 0,
      firstIndex: Number(byte / PAGE),
      pageOffset: Number(byte % PAGE),
    };
    pages.hold(piece.pages);
    pieces.push({ ...piece, length: last - start + 1n });
    return undefined;
  });
  if (answer === 'done') return pieces;
  for (const piece of pieces) pages.drop(piece.pages);
  return answer === 'gap' ? -ERRNO.ENOENT : answer;
}
function dropPieces({ pages }: IommufdContext, pieces: readonly Piece[], result: number): number {
  for (const piece of pieces) pages.drop(piece.pages);
  return result;
}
/** Where a piece's memory lies: what an automatic IOVA is aligned by. */
function addressOf({ pages }: IommufdContext, piece: Piece | undefined): bigint {
  if (piece === undefined) return 0n;
  return BigInt(pages.startOf(piece.pages) + piece.firstIndex) * PAGE + BigInt(piece.pageOffset);
}

/** Files that are mapped become the caller's, which pays for them; what was mapped by address is the memory of who did so. */
export function ioasChangeProcess(command: Command): number {
  if (command.get(iommu_ioas_change_process.at.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const { objects, pages } = command.context;
  const files = new Set<number>();
  for (const object of objects.all()) {
    if (!(object instanceof Ioas)) continue;
    const { areaTable } = object.iopt;
    for (let slot = areaTable.first(); slot >= 0; slot = areaTable.next(slot)) {
      const file = areaTable.pages[slot] ?? 0;
      if (!pages.isFile(file)) return -ERRNO.EINVAL;
      files.add(file);
    }
  }
  return pages.adopt(files);
}

export function ioasNoiommuGetPa(command: Command): number {
  const { process } = command.context;
  if (!process.rights.sysRawio) return -ERRNO.EPERM;
  if (command.get(PHYSICAL.flags) !== 0 || command.get(PHYSICAL.__reserved) !== 0) return -ERRNO.EOPNOTSUPP;
  const length = command.get64(PHYSICAL.length);
  const iova = command.get64(PHYSICAL.iova);
  if (length === 0n) return -ERRNO.EINVAL;
  if (iova === U64_MAX) return -ERRNO.EOVERFLOW;
  const ioas = find(command, PHYSICAL.ioas_id);
  if (ioas === undefined) return -ERRNO.ENOENT;
  const { iopt } = ioas;
  const slot = iopt.areaTable.at(Number(iova / PAGE), Number(iova % PAGE));
  if (slot < 0) return -ERRNO.ENOENT;
  if (iopt.pages.isRevoked(iopt.areaTable.pages[slot] ?? 0)) return -ERRNO.EINVAL;
  if (iopt.storageDomain?.tellsPhysical !== true) return -ERRNO.EOPNOTSUPP;
  const run = physicalRun(ioas, iova, iopt.areaTable.lastOf(slot), length);
  command.set64(PHYSICAL.out_phys, BigInt(run.address));
  command.set64(PHYSICAL.length, run.length);
  return command.respond(iommu_ioas_noiommu_get_pa.size);
}

/** Where an IOVA lies in memory, and how far what follows it does so there too: to `last`, and no longer than `most`. */
function physicalRun({ iopt }: Ioas, iova: bigint, last: bigint, most: bigint): { address: number; length: bigint } {
  const translate = (at: bigint): number => iopt.translateAny(Number(at / PAGE), Number(at % PAGE));
  const address = translate(iova);
  const toPageEnd = PAGE - (iova % PAGE);
  let length = toPageEnd < last - iova + 1n ? toPageEnd : last - iova + 1n;
  let [next, previous] = [iova + PAGE, address];
  while (length < most && next <= last) {
    const physical = translate(next);
    if (physical !== previous + PAGE_SIZE) break;
    previous = physical;
    length += PAGE;
    next += PAGE;
  }
  return { address, length: length > most ? most : length };
}
