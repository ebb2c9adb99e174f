// Powers of two for addresses of up to 64 bits: they are numbers, which bit operations would cut to 32. To load one is
// quicker than to compute it.
const POWERS = Float64Array.from({ length: 65 }, (_, bits) => 2 ** bits);

/** 2 ** bits, 0 to 64; beyond that 0. */
export function power(bits: number): number {
  return POWERS[bits] ?? 0;
}

/** The multiple of a power of two at or below an address. */
export function alignDown(address: number, alignment: number): number {
  return Math.floor(address / alignment) * alignment;
}
