// How contenders are compared: in rounds, one after another in each, and by the median of the rounds' ratios. What
// disturbs the machine disturbs all contenders of a round alike, so ratios hold where times alone do not.

/** One way to do the work. */
export interface Contender {
  readonly name: string;
  /** Does the work that often, and answers nanoseconds per time. */
  readonly run: (iterations: number) => number;
}

export interface Plan {
  readonly rounds: number;
  /** How often a contender does its work in a round. */
  readonly iterations: number;
  /** Rounds before those that count, for the engine to compile. */
  readonly warmUp: number;
}

export interface Measured {
  readonly name: string;
  /** Median of the rounds, in nanoseconds. */
  readonly nanoseconds: number;
  /** Median of the rounds' ratios to the first contender. */
  readonly ratio: number;
}

/** A contender whose loop is JavaScript. `loop` holds the loop itself: a call per iteration would be measured too. */
export function loop(name: string, work: (iterations: number) => void): Contender {
  return {
    name,
    run: (iterations) => {
      const begin = process.hrtime.bigint();
      work(iterations);
      return Number(process.hrtime.bigint() - begin) / iterations;
    },
  };
}

/** Measures contenders side by side; the first is what the others are compared with. */
export function compare(contenders: readonly Contender[], { rounds, iterations, warmUp }: Plan): Measured[] {
  const times = contenders.map((): number[] => []);
  for (let round = -warmUp; round < rounds; round++) {
    contenders.forEach(({ run }, i) => {
      const time = run(iterations);
      if (round >= 0) times[i]?.push(time);
    });
  }
  const [base = []] = times;
  return contenders.map(({ name }, i) => {
    const own = times[i] ?? [];
    return { name, nanoseconds: median(own), ratio: median(own.map((time, round) => time / (base[round] ?? time))) };
  });
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? upper)) / 2;
}

/** The first detach of a process slows all its typed arrays from then on: programs that unmap windows live with that. */
export function detachOneBuffer(): void {
  const buffer = new ArrayBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
}
