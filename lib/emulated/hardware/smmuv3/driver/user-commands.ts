// Which commands a guest may give by way of IOMMU_HWPT_INVALIDATE: every field that is not its to set is refused, since the
// queue is shared (arm_vsmmu_validate_user_cmd, arm-smmu-v3-iommufd.c). Commands are four words of 32 bits.
import { ATC_SIZE_ALL, OP, OP_MASK } from './commands.js';
import type { Features } from './features.js';

const WORDS = 4;
const OPCODES = OP_MASK + 1;
const ALL_BITS = 0xffff_ffff;

// The first word.
const SSV = 1 << 11;
const ATC_GLOBAL = 1 << 9;
const SSID = 0xffff_f000;
const NUM = 0x1f << 12;
const SCALE = 0x3f << 20;
/** SCALE above 31: reserved without DS. */
const SCALE_TOP = 1 << 25;
// The second word.
const VMID = 0xffff;
const ASID_SHIFT = 16;
// The third word; addresses go on in the fourth.
const LEAF = 1 << 0;
const TTL_SHIFT = 8;
const TTL = 3 << TTL_SHIFT;
const TG_SHIFT = 10;
const TG = 3 << TG_SHIFT;
const ADDRESS = 0xffff_f000;
const ATC_SIZE = 0x3f;

const TG_16K = 2;
const TTL_LEVEL_1 = 1;

export class UserCommands {
  readonly #features: Features;
  /** By opcode, four words each: the bits that may be set. A known one has its opcode's, so that it is never all zero. */
  readonly #allowed = new Int32Array(OPCODES * WORDS);

  constructor(features: Features) {
    this.#features = features;
    const { rangeInvalidation, ds, ssidBits, asidBits, ats } = features;
    const asid = (2 ** asidBits - 1) << ASID_SHIFT;
    const range = rangeInvalidation ? NUM | (ds ? SCALE : SCALE & ~SCALE_TOP) : 0;
    const address = LEAF | ADDRESS | (rangeInvalidation ? TG | TTL : 0);
    const ssid = ssidBits > 0 ? SSID : 0;
    this.#allow(OP.tlbiNsnhAll, 0, 0, 0, 0);
    this.#allow(OP.tlbiNhAll, 0, VMID, 0, 0);
    this.#allow(OP.tlbiNhAsid, 0, VMID | asid, 0, 0);
    this.#allow(OP.tlbiNhVa, range, VMID | asid, address, ALL_BITS);
    this.#allow(OP.tlbiNhVaa, range, VMID, address, ALL_BITS);
    this.#allow(OP.cfgiCd, ssid, ALL_BITS, LEAF, 0);
    this.#allow(OP.cfgiCdAll, 0, ALL_BITS, 0, 0);
    const substream = ssidBits > 0 ? SSV | SSID | ATC_GLOBAL : 0;
    if (ats) this.#allow(OP.atcInv, substream, ALL_BITS, ATC_SIZE | ADDRESS, ALL_BITS);
  }
  #allow(op: number, word0: number, word1: number, word2: number, word3: number): void {
    this.#allowed.set([OP_MASK | word0, word1, word2, word3], op * WORDS);
  }

  /** Whether a guest may give this command. */
  allows(word0: number, word1: number, word2: number, word3: number): boolean {
    const op = word0 & OP_MASK;
    const at = op * WORDS;
    const allowed = this.#allowed;
    const mask0 = allowed[at] ?? 0;
    if (mask0 === 0) return false;
    const others =
      (word0 & ~mask0) |
      (word1 & ~(allowed[at + 1] ?? 0)) |
      (word2 & ~(allowed[at + 2] ?? 0)) |
      (word3 & ~(allowed[at + 3] ?? 0));
    if (others !== 0) return false;
    if (op === OP.atcInv) return (word2 & ATC_SIZE) <= ATC_SIZE_ALL;
    return (op !== OP.tlbiNhVa && op !== OP.tlbiNhVaa) || this.#isRange(word0, word2);
  }

  /** Range fields: what the manual reserves is refused (arm_vsmmu_validate_range). */
  #isRange(word0: number, word2: number): boolean {
    if (!this.#features.rangeInvalidation) return true;
    const isRange = (word0 & (NUM | SCALE)) !== 0;
    const ttl = (word2 & TTL) >>> TTL_SHIFT;
    const tg = (word2 & TG) >>> TG_SHIFT;
    if (tg === 0) return !isRange && ttl === 0;
    if (tg === TG_16K && ttl === TTL_LEVEL_1 && !this.#features.ds) return false;
    return isRange || ttl !== 0;
  }
}
