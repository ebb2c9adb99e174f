// Addresses as the TLB tells them apart: bits 55 to 12. The byte above is either a copy of bit 55, or ignored (CD.TBI).

/** Page numbers of 44 bits. */
const PAGES = 2 ** 44;
/** From here on bit 55 is set: the upper half's tables are asked. */
export const UPPER_HALF = PAGES / 2;
const ALL_PAGES = 2 ** 52;

/** The page as the TLB keys it. */
export function keyOf(page: number): number {
  return page < PAGES ? page : page - Math.floor(page / PAGES) * PAGES;
}

export const LAST_KEY = PAGES - 1;

/** The page of an address that the TLB knows by this key: with its top byte as without CD.TBI. */
export function addressPage(key: number): number {
  return key < UPPER_HALF ? key : key + ALL_PAGES - PAGES;
}
