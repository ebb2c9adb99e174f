// What a kernel lacks since it is too old: told from the call that it refused, and from the release that it says it is.
// A refusal alone does not tell: hardware and configuration give the same errno. Where a distribution has brought a
// call to an older kernel, that kernel does not refuse it, so nothing is claimed.
import { iommufdIoctls } from '../uapi/iommufd.js';
import { additions, featureSince, isOlder } from '../uapi/releases.js';
import { vfioIoctls } from '../uapi/vfio.js';

/** What a newer kernel would have. */
export interface Unsupported {
  /** The call, flag or feature, by its name in linux/iommufd.h or linux/vfio.h. */
  readonly what: string;
  /** The Linux release that brought it: '6.13'. */
  readonly since: string;
  /** The kernel that lacks it, as `uname -r` names it: '6.12.95'. */
  readonly running: string;
}

const calls: ReadonlyMap<string, string> = new Map([
  ...[...vfioIoctls, ...iommufdIoctls].map(({ name, since }) => [name, since] as const),
  ...Object.entries(featureSince),
]);

interface Refused {
  readonly syscall: string;
  /** The errno's name. */
  readonly code: string;
  readonly args: Readonly<Record<string, unknown>>;
}

function lacking({ syscall, code, args }: Refused): { readonly what: string; readonly since: string } | undefined {
  if (code === 'ENOTTY') {
    const since = calls.get(syscall);
    return since === undefined ? undefined : { what: syscall, since };
  }
  const used = additions.filter((one) => one.call === syscall && one.code === code && one.used(args));
  // Of several the newest: what has that has the others.
  return used.reduce<(typeof used)[number] | undefined>(
    (newest, one) => (newest === undefined || isOlder(newest.since, one.since) ? one : newest),
    undefined,
  );
}

/** What a kernel lacks that refused a call so; undefined where its age is not the reason, or where it does not tell its age. */
export function unsupported(running: string, refused: Refused): Unsupported | undefined {
  const found = lacking(refused);
  if (found === undefined || !isOlder(running, found.since)) return undefined;
  return { what: found.what, since: found.since, running };
}

/** What can be done without it. */
const INSTEAD: Readonly<Record<string, string>> = {
  IOMMU_IOAS_MAP_FILE: 'ioas.map, which maps by address there',
  IOMMU_IOAS_CHANGE_PROCESS: 'a hand-over needs it: stop the devices, and set them up anew in the next process',
  IOMMU_VIOMMU_ALLOC: 'on VT-d, page tables nest straight from their parent: parent.allocNestedHwpt(device, { vtd })',
  IOMMU_HW_QUEUE_ALLOC: "the guest's commands can be passed on: viommu.invalidate",
  IOMMU_FAULT_QUEUE_ALLOC: 'keep all of the memory mapped: devices cannot ask for pages',
  'IOMMU_HWPT_FAULT_ID_VALID for page tables that are not nested':
    'a nested page table has one: parent.allocNestedHwpt(device, { vtd, faultQueue })',
  VFIO_DEVICE_FEATURE_DMA_BUF: 'nothing maps a BAR for other devices before that: let them meet in memory',
};

/** In words, for people. */
export function tellUnsupported({ what, since, running }: Unsupported): string {
  const instead = INSTEAD[what];
  const told = `this kernel is too old: ${what} came with Linux ${since}, this is Linux ${running}`;
  return instead === undefined ? told : `${told}. Instead: ${instead}`;
}
