// Choices, made of numbers that come from somewhere. A 0 always means what is usual: the first of several, a likely yes, an
// unlikely no. So a session whose numbers become 0 becomes plain.

/** Where numbers of 32 bits come from that are the same everywhere: from a seed alone (mulberry32). */
export function numbersOf(seed: number): () => number {
  let state = (Math.imul(seed, 0x9e37_79b1) ^ 0x85eb_ca6b) >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return (z ^ (z >>> 14)) >>> 0;
  };
}

export class Random {
  /** 32 bits. */
  readonly u32: () => number;

  constructor(numbers: () => number) {
    this.u32 = numbers;
  }

  /** From 0 to `limit` - 1. */
  below(limit: number): number {
    return Math.floor((this.u32() / 2 ** 32) * limit);
  }

  /** True this many times in a hundred. */
  percent(chance: number): boolean {
    const number = this.below(100);
    return chance < 50 ? number >= 100 - chance : number < chance;
  }

  pick<T>(from: readonly [T, ...T[]]): T;
  pick<T>(from: readonly T[]): T | undefined;
  pick<T>(from: readonly T[]): T | undefined {
    return from[this.below(from.length)];
  }

  /** One of them, each as often as its weight says. */
  weighted<T>(from: readonly (readonly [weight: number, value: T])[]): T {
    let left = this.below(from.reduce((sum, [weight]) => sum + weight, 0));
    for (const [weight, value] of from) {
      if (left < weight) return value;
      left -= weight;
    }
    throw new Error('nothing to choose from');
  }
}
