// A look at an emulated machine that nothing on it notices: what a test wants to know after a step.
import type { TlbEntryState } from './hardware/platform.js';
import { Ioas } from './kernel/ioas.js';
import type { IommufdFile } from './kernel/iommufd-file.js';
import type { Machine } from './machine.js';

export interface ObjectState {
  readonly id: number;
  /** 'device', 'ioas', 'hwpt-paging', 'access' and so on: what no caller ever sees included. */
  readonly kind: string;
  /** What refers to it: others' references, without its own id's. */
  readonly references: number;
}

export interface MappingState {
  /** The id of its IOAS, on the same iommufd. */
  readonly ioas: number;
  readonly iova: bigint;
  /** Bytes. */
  readonly length: bigint;
  readonly readable: boolean;
  readonly writable: boolean;
}

export interface IommufdState {
  /** By id. */
  readonly objects: readonly ObjectState[];
  /** By IOAS, and there by IOVA. */
  readonly mappings: readonly MappingState[];
}

export interface MachineState {
  /** File descriptors that somebody answers for. */
  readonly openFiles: number;
  /** Stretches of addresses in use: memory, blocks for bulk data, mapped registers. */
  readonly regions: number;
  /** Bytes of the machine's memory in use, with pinned memory that was freed, and what the host itself takes from the start. */
  readonly memory: number;
  /**
   * Pages (4 KiB) that are charged as pinned: to the user, and to the process's memory (`rlimitMode`). None are while the
   * process is privileged.
   */
  readonly charged: { readonly user: number; readonly mm: number };
  /** Every open /dev/iommu, in the order of opening. */
  readonly iommufds: readonly IommufdState[];
  /** Translations by guests' own page tables that hardware keeps until they are invalidated. */
  readonly tlb: readonly TlbEntryState[];
}

function inspectIommufd({ context }: IommufdFile): IommufdState {
  const objects = context.objects.all();
  const mappings = objects.flatMap((object) => {
    if (!(object instanceof Ioas)) return [];
    return [...object.iopt.areas()].map(({ iova, length, readable, writable }) => ({
      ...{ ioas: object.id, iova, length, readable, writable },
    }));
  });
  return {
    objects: objects.map(({ id, kind, users }) => ({ id, kind, references: users - 1 })),
    mappings,
  };
}

export function inspectMachine(machine: Machine): MachineState {
  return {
    openFiles: machine.files.owned,
    regions: machine.seam.regions.size,
    memory: machine.physical.used,
    charged: { ...machine.process.charged },
    iommufds: [...machine.iommufds].map(inspectIommufd),
    tlb: machine.platform.tlb(),
  };
}
