// For fuzzing, who does not know IOVAs: they can be told as the number of a mapping and an offset in it
// (iommufd/selftest.c).
import { iommu_ioas_copy } from '../../../uapi/iommufd-structs.js';
import type { Command } from '../../kernel/command.js';
import { Ioas } from '../../kernel/ioas.js';
import { mock_flags_access } from './uapi.js';

const NTH_AREA = mock_flags_access.values.MOCK_FLAGS_ACCESS_SYZ;
const COPY = iommu_ioas_copy.at;

/** The IOVA that is meant; 0 where there are fewer mappings. */
export function iovaInNthArea(ioas: Ioas | undefined, value: bigint): bigint {
  let before = Number(BigInt.asUintN(32, value));
  for (const { iova } of ioas?.iopt.areas() ?? []) if (before-- === 0) return BigInt.asUintN(64, iova + (value >> 32n));
  return 0n;
}

/** IOMMU_IOAS_COPY takes such a source too. */
export function prepareCopy(command: Command): void {
  const flags = command.get(COPY.flags);
  if ((flags & NTH_AREA) === 0) return;
  command.set(COPY.flags, flags & ~NTH_AREA);
  const source = command.context.objects.get(command.get(COPY.src_ioas_id), Ioas);
  if (source !== undefined) command.set64(COPY.src_iova, iovaInNthArea(source, command.get64(COPY.src_iova)));
}
