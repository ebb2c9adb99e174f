// A guest's stream table entry: what may be in it, and what the driver makes of it (arm_smmu_validate_vste and
// arm_smmu_make_nested_domain_ste, arm-smmu-v3-iommufd.c; SMMUv3 manual, IHI 0070, 5.2). Words are of 32 bits.
import { ERRNO } from '../../../../uapi/errno.js';
import type { Features } from './features.js';

/** Words of an entry that a guest has a say in: the first two of 64 bits. */
export const STE_WORDS = 4;

const VALID = 1 << 0;
const CONFIG_SHIFT = 1;
const CONFIG_MASK = 7 << CONFIG_SHIFT;
const CONFIG = { abort: 0, bypass: 4, stage1: 5, nested: 7 } as const;

// Of the third word, bits 95 to 64 of the entry.
const S1DSS_TO_S1CSH = 0xff;
/** Events may be merged. */
const MERGE_EVENTS = 1 << 19;
const S2FWB = 1 << 25;
const S1STALLD = 1 << 27;
const EATS_SHIFT = 28;
const EATS_MASK = 3 << EATS_SHIFT;
const EATS = { abort: 0, translate: 1 } as const;
// Of the fourth.
const SHCFG_INCOMING = 1 << 12;

/** V, Config, S1Fmt, S1ContextPtr and S1CDMax; S1DSS to S1CSH, S1STALLD and EATS. */
const ALLOWED: readonly number[] = [0xffff_ffff, 0xf80f_ffff, S1DSS_TO_S1CSH | S1STALLD | EATS_MASK, 0];

/** The entry as the driver keeps it. */
export interface GuestEntry {
  readonly config: 'abort' | 'bypass' | 'stage1';
  /** The guest will invalidate what devices keep. */
  readonly ats: boolean;
  /** Without EATS, which the driver sets. */
  readonly words: Uint32Array;
}

/** Checks an entry; -EIO for one that is not to be had. */
export function checkEntry(words: Uint32Array): GuestEntry | number {
  const first = words[0] ?? 0;
  // An invalid entry lets nothing through, whatever else is in it.
  if ((first & VALID) === 0) return { config: 'abort', ats: false, words: new Uint32Array(STE_WORDS) };
  if (words.some((word, i) => (word & ~(ALLOWED[i] ?? 0)) !== 0)) return -ERRNO.EIO;
  const config = configOf((first & CONFIG_MASK) >>> CONFIG_SHIFT);
  if (config === undefined) return -ERRNO.EIO;
  const eats = ((words[2] ?? 0) & EATS_MASK) >>> EATS_SHIFT;
  if (eats !== EATS.abort && eats !== EATS.translate) return -ERRNO.EIO;
  const kept = words.slice();
  kept[2] = (words[2] ?? 0) & ~EATS_MASK;
  return { config, ats: config === 'stage1' && eats === EATS.translate, words: kept };
}

function configOf(value: number): GuestEntry['config'] | undefined {
  if (value === CONFIG.abort) return 'abort';
  if (value === CONFIG.bypass) return 'bypass';
  return value === CONFIG.stage1 ? 'stage1' : undefined;
}

/** What is installed for an entry whose stage 1 the guest translates. */
export function nestedEntry({ words }: GuestEntry, features: Features, ats: boolean): Uint32Array {
  const made = words.slice();
  made[0] = ((words[0] ?? 0) & ~CONFIG_MASK) | VALID | (CONFIG.nested << CONFIG_SHIFT);
  const eats = (ats ? EATS.translate : EATS.abort) << EATS_SHIFT;
  const writeBack = features.stage2ForcesWriteBack ? S2FWB : 0;
  made[2] = (words[2] ?? 0) | eats | writeBack | MERGE_EVENTS;
  made[3] = (words[3] ?? 0) | (features.overridesAttributes ? SHCFG_INCOMING : 0);
  return made;
}
