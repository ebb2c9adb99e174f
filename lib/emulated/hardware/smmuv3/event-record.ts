// An event record, as the SMMU writes it into its event queue: 32 bytes (SMMUv3 manual, IHI 0070, 7.3).

/** What happened: the record's first byte. */
export const EVENT = {
  badSte: 0x04,
  streamDisabled: 0x06,
  badSubstream: 0x08,
  contextFetch: 0x09,
  badContext: 0x0a,
  walkAbort: 0x0b,
  translation: 0x10,
  addressSize: 0x11,
  access: 0x12,
  permission: 0x13,
} as const;

/** CLASS: what was being fetched when the fault came. */
export const FAULT_CLASS = { context: 0, table: 1, input: 2 } as const;

// Fields of words of 32 bits.
const SUBSTREAM_VALID = 1 << 11;
const SUBSTREAM_SHIFT = 12;
const STALL = 1 << 31;
const READ = 1 << 3;
const STAGE_2 = 1 << 7;
const CLASS_SHIFT = 8;

const WORDS = 8;
const HIGH = 2 ** -32;
const PAGE_BITS = 12;
/** A page number's bits above those of an address's lower half. */
const PAGE_HIGH = 2 ** -20;
const FETCH_MASK = ~7;

/** The one record there is: it is filled anew for each event. */
export class EventRecord {
  readonly words = new Uint32Array(WORDS);

  /** Begins a record. `pasid`: 0 for an access without one. */
  begin(type: number, stream: number, pasid: number): void {
    const { words } = this;
    words.fill(0);
    words[0] = type;
    words[1] = stream;
    if (pasid !== 0) words[0] = type | SUBSTREAM_VALID | (pasid << SUBSTREAM_SHIFT);
  }

  /** As `begin` for C_BAD_SUBSTREAMID, which has no flag that the SubstreamID is valid: it always is (7.3.9). */
  beginBadSubstream(stream: number, pasid: number): void {
    this.begin(EVENT.badSubstream, stream, 0);
    this.words[0] = EVENT.badSubstream | (pasid << SUBSTREAM_SHIFT);
  }

  /** The access that met the fault, the stage that it is of, and CLASS. Accesses are unprivileged ones to data: PnU and InD are 0. */
  setAccess(page: number, offset: number, write: boolean, stage2: boolean, faultClass: number): void {
    const { words } = this;
    words[3] = (write ? 0 : READ) | (stage2 ? STAGE_2 : 0) | (faultClass << CLASS_SHIFT);
    words[4] = (page << PAGE_BITS) | offset;
    words[5] = Math.floor(page * PAGE_HIGH);
  }

  /** IPA: what stage 2 was to translate, to the page. */
  setIntermediate(page: number): void {
    this.words[6] = page << PAGE_BITS;
    this.words[7] = Math.floor(page * PAGE_HIGH);
  }

  /** FetchAddr: what could not be read. */
  setFetch(address: number): void {
    this.words[6] = address & FETCH_MASK;
    this.words[7] = Math.floor(address * HIGH);
  }

  /** The access waits, and is answered by this tag. */
  setStall(tag: number): void {
    this.words[2] = STALL | tag;
  }
}
