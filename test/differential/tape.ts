// The numbers that a step's choices are made of: as many as it asks for, the same whoever asks. What a step used of them is what
// can be made simpler: by 0 in place of it, or by less.
import fc from 'fast-check';
import { numbersOf, Random } from './random.js';

export class Tape {
  readonly #numbers: number[];
  /** What comes behind them. */
  readonly #more: () => number;
  #used = 0;

  private constructor(numbers: readonly number[], more: () => number) {
    this.#numbers = [...numbers];
    this.#more = more;
  }
  static drawn(seed: number): Tape {
    return new Tape([], numbersOf(seed));
  }
  /** These, and 0 ever after. */
  static of(numbers: readonly number[]): Tape {
    return new Tape(numbers, () => 0);
  }

  /** Choices from the tape's start. */
  play(): Random {
    let next = 0;
    return new Random(() => this.#at(next++));
  }
  #at(index: number): number {
    while (this.#numbers.length <= index) this.#numbers.push(this.#more());
    this.#used = Math.max(this.#used, index + 1);
    return this.#numbers[index] ?? 0;
  }

  /** What somebody asked for, without zeros at the end. */
  get used(): readonly number[] {
    let end = Math.min(this.#used, this.#numbers.length);
    while (end > 0 && this.#numbers[end - 1] === 0) end--;
    return this.#numbers.slice(0, end);
  }
  toJSON(): readonly number[] {
    return this.used;
  }

  /** Simpler ones: all 0, a half of it 0, each number 0, each number half. */
  *simpler(): Generator<Tape> {
    const { used } = this;
    if (used.length === 0) return;
    yield Tape.of([]);
    for (let part = used.length >> 1; part > 1; part >>= 1) {
      for (let at = 0; at < used.length; at += part) {
        if (used.slice(at, at + part).some((number) => number !== 0)) {
          yield Tape.of(used.map((number, i) => (i >= at && i < at + part ? 0 : number)));
        }
      }
    }
    const changed = (index: number, value: number): Tape => Tape.of(used.map((one, i) => (i === index ? value : one)));
    for (const [index, number] of used.entries()) if (number !== 0) yield changed(index, 0);
    for (const [index, number] of used.entries()) if (number > 1) yield changed(index, number >>> 1);
  }
}

class TapeArbitrary extends fc.Arbitrary<Tape> {
  generate(random: fc.Random): fc.Value<Tape> {
    return new fc.Value(Tape.drawn(random.nextInt(0, 0x7fff_ffff)), undefined);
  }
  canShrinkWithoutContext(value: unknown): value is Tape {
    return value instanceof Tape;
  }
  shrink(tape: Tape): fc.Stream<fc.Value<Tape>> {
    return fc.stream(tape.simpler()).map((simpler) => new fc.Value(simpler, undefined));
  }
}

export const tapes: fc.Arbitrary<Tape> = new TapeArbitrary();
