// Commands, as they lie in a command queue: four words of 32 bits (SMMUv3 manual, IHI 0070, 4).
import { keyOf, LAST_KEY } from './input-address.js';
import type { Stream } from './stream.js';
import type { TranslationUnit } from './translation-unit.js';

/** What a command ends with: CMDQ_CONS.ERR (7.1). */
export const CERROR = { none: 0, illegal: 1, abort: 2, atcTimeout: 3 } as const;

export const COMMAND = {
  prefetchConfig: 0x01,
  prefetchAddress: 0x02,
  cfgiSte: 0x03,
  /** CFGI_STE_RANGE; with all StreamIDs it is CFGI_ALL. */
  cfgiSteRange: 0x04,
  cfgiCd: 0x05,
  cfgiCdAll: 0x06,
  tlbiNhAll: 0x10,
  tlbiNhAsid: 0x11,
  tlbiNhVa: 0x12,
  tlbiNhVaa: 0x13,
  tlbiS12VmAll: 0x28,
  tlbiS2Ipa: 0x2a,
  tlbiNsnhAll: 0x30,
  atcInv: 0x40,
  resume: 0x44,
  stallTerm: 0x45,
  sync: 0x46,
} as const;

// Fields of word 0.
const OPCODE = 0xff;
const GLOBAL = 1 << 9;
const SECURE = 1 << 10;
const SUBSTREAM_VALID = 1 << 11;
/** SubstreamID, NUM, CS and the answer of RESUME begin here. */
const SHIFT = 12;
const NUM = 31;
const SCALE_SHIFT = 20;
/** SCALE has a sixth bit with IDR5.DS alone. */
const SCALE = 31;
const SIGNAL = 3;
const RESUME_RETRY = 1;
// Fields of word 1.
const VMID = 0xffff;
const ASID_SHIFT = 16;
// Fields of word 2.
const PAGE_SHIFT = 12;
const TTL_SHIFT = 8;
const GRANULE_SHIFT = 10;
const STREAM_RANGE = 31;
const ATC_SIZE = 63;
const STAG = 0xffff;

/** A page number's bits from word 3 on. */
const HIGH_PAGES = 2 ** 20;
/** TG is 1, 2, 3 for granules of 4, 16 and 64 KiB. */
const GRANULE_16K = 2;
/** ATC_INV's Size: two to this many pages are all there are. */
const ATC_ALL = 52;

/** A queue of commands. What it carries out is done at once; only what devices do not answer is told later. */
export class CommandQueue {
  readonly #unit: TranslationUnit;
  /** Devices that were sent an invalidation since the last CMD_SYNC, and did not answer it. */
  readonly #unanswered = new Set<Stream>();
  /** The last command was a CMD_SYNC that failed: another one is the same again. */
  #syncFailed = false;

  constructor(unit: TranslationUnit) {
    this.#unit = unit;
  }

  /**
   * Carries out a command, with physical VMID and StreamID.
   * @returns one of CERROR; where it is not `none` nothing was done. `atcTimeout` comes at the CMD_SYNC after a CMD_ATC_INV
   *   that a device did not answer. The same CMD_SYNC fails again when it is tried again, until the device answers; who goes
   *   on with another command has given it up
   */
  execute(word0: number, word1: number, word2: number, word3: number): number {
    if (this.#syncFailed && (word0 & OPCODE) !== COMMAND.sync) this.reset();
    if ((word0 & SECURE) !== 0) return CERROR.illegal;
    switch (word0 & OPCODE) {
      case COMMAND.tlbiNhVa:
      case COMMAND.tlbiNhVaa:
        return this.#invalidateAddress(word0, word1, word2, word3);
      case COMMAND.tlbiNhAsid:
        this.#unit.spaces.removeAsid(word1 & VMID, word1 >>> ASID_SHIFT);
        return this.#invalidated();
      case COMMAND.tlbiNhAll:
        this.#unit.spaces.removeVmid(word1 & VMID);
        return this.#invalidated();
      case COMMAND.atcInv:
        return this.#invalidateAtc(word0, word1, word2, word3);
      case COMMAND.sync:
        return this.#sync(word0);
      default:
        return this.#executeOther(word0, word1, word2);
    }
  }

  #executeOther(word0: number, word1: number, word2: number): number {
    const unit = this.#unit;
    switch (word0 & OPCODE) {
      case COMMAND.prefetchConfig:
      case COMMAND.prefetchAddress:
        return CERROR.none;
      case COMMAND.cfgiSte:
      case COMMAND.cfgiCdAll:
        unit.streams.get(word1 >>> 0)?.forgetContexts();
        return CERROR.none;
      case COMMAND.cfgiSteRange:
        return this.#forgetStreams(word1 >>> 0, (word2 & STREAM_RANGE) + 1);
      case COMMAND.cfgiCd:
        unit.streams.get(word1 >>> 0)?.forgetContext(word0 >>> SHIFT);
        return CERROR.none;
      case COMMAND.tlbiS12VmAll:
        unit.invalidateVmid(word1 & VMID);
        return CERROR.none;
      case COMMAND.tlbiS2Ipa:
        unit.stage2Changed();
        return CERROR.none;
      case COMMAND.tlbiNsnhAll:
        unit.spaces.removeAll();
        return this.#invalidated();
      case COMMAND.resume:
        unit.stalls.resume(word1 >>> 0, word2 & STAG, ((word0 >>> SHIFT) & RESUME_RETRY) !== 0);
        return CERROR.none;
      case COMMAND.stallTerm:
        unit.stalls.terminate(word1 >>> 0);
        return CERROR.none;
      default:
        // Those of EL2 and EL3 (IDR0.HYP 0), of page requests (PRI 0), and what is no command.
        return CERROR.illegal;
    }
  }

  #invalidated(): number {
    this.#unit.micro.forget();
    return CERROR.none;
  }

  /** TLBI_NH_VA and NH_VAA: one address, or with TG a range of them (4.4.1.1). TTL and Leaf are hints: whole leaves go. */
  #invalidateAddress(word0: number, word1: number, word2: number, word3: number): number {
    let first = keyOf((word2 >>> PAGE_SHIFT) + (word3 >>> 0) * HIGH_PAGES);
    let last = first;
    const granule = (word2 >>> GRANULE_SHIFT) & 3;
    if (granule !== 0) {
      const num = (word0 >>> SHIFT) & NUM;
      const scale = (word0 >>> SCALE_SHIFT) & SCALE;
      const level = (word2 >>> TTL_SHIFT) & 3;
      if (isReserved(num, scale, level, granule)) return CERROR.illegal;
      const pages = 2 ** (2 * (granule - 1));
      first -= first % pages;
      last = Math.min(LAST_KEY, first + (num + 1) * 2 ** scale * pages - 1);
    }
    const { spaces } = this.#unit;
    const vmid = word1 & VMID;
    if ((word0 & OPCODE) === COMMAND.tlbiNhVaa) spaces.removeRangeOfAll(vmid, first, last);
    else spaces.removeRange(vmid, word1 >>> ASID_SHIFT, first, last);
    return this.#invalidated();
  }

  #forgetStreams(stream: number, log2Streams: number): number {
    const count = 2 ** log2Streams;
    const first = stream - (stream % count);
    for (const [id, found] of this.#unit.streams) if (id >= first && id < first + count) found.forgetContexts();
    return CERROR.none;
  }

  #invalidateAtc(word0: number, word1: number, word2: number, word3: number): number {
    const size = word2 & ATC_SIZE;
    if (size > ATC_ALL) return CERROR.illegal;
    const stream = this.#unit.streams.get(word1 >>> 0);
    if (stream === undefined) return CERROR.none;
    if (!stream.answersInvalidations) {
      this.#unanswered.add(stream);
      return CERROR.none;
    }
    const page = (word2 >>> PAGE_SHIFT) + (word3 >>> 0) * HIGH_PAGES;
    forgetTranslations(stream, word0, page, 2 ** size);
    return this.#invalidated();
  }

  #sync(word0: number): number {
    if (((word0 >>> SHIFT) & SIGNAL) === SIGNAL) return CERROR.illegal;
    if (this.#unanswered.size === 0) return CERROR.none;
    for (const stream of this.#unanswered) {
      if (!stream.answersInvalidations) continue;
      // It comes to what it was sent: all that it has goes, since nobody remembers what that was.
      stream.atc.clear();
      this.#unit.micro.forget();
      this.#unanswered.delete(stream);
    }
    this.#syncFailed = this.#unanswered.size > 0;
    return this.#syncFailed ? CERROR.atcTimeout : CERROR.none;
  }

  /** Nobody waits for what devices have not answered so far. */
  reset(): void {
    this.#syncFailed = false;
    this.#unanswered.clear();
  }
}

/** Reserved values of a range's fields: none of them set, and a level that granules of 16 KiB do not have (IDR5.DS 0). */
function isReserved(num: number, scale: number, level: number, granule: number): boolean {
  return (num === 0 && scale === 0 && level === 0) || (level === 1 && granule === GRANULE_16K);
}

/** Makes a device forget `pages` around an address. Without a PASID, or with Global, those of all PASIDs go. */
function forgetTranslations({ atc }: Stream, word0: number, page: number, pages: number): void {
  const first = page - (page % pages);
  const last = first + pages - 1;
  const ofOne = (word0 & SUBSTREAM_VALID) !== 0 && (word0 & GLOBAL) === 0;
  if (ofOne) atc.removeRange(word0 >>> SHIFT, first, last);
  else atc.removeRangeOfAll(first, last);
}
