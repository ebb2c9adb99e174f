// A whole session as fast-check makes it up and makes it smaller: how it begins, its steps, how it ends. Which step comes next
// is chosen as it runs, since it depends on what there is by then; from then on the step has its name, also in smaller sessions.
import fc from 'fast-check';
import type { Lane, Life } from './lane.js';
import { Tape, tapes } from './tape.js';

export class Move {
  constructor(
    readonly tape: Tape,
    readonly choice: Tape,
    private name?: string,
  ) {}

  /** Its name, chosen now if it has none. */
  nameIn(life: Life): string {
    this.name ??= life.choose(this.choice.play());
    return this.name;
  }
  toJSON(): readonly [string | null, readonly number[]] {
    return [this.name ?? null, this.tape.used];
  }
  /** The same step with simpler choices. */
  *simpler(): Generator<Move> {
    for (const tape of this.tape.simpler()) yield new Move(tape, this.choice, this.name);
  }
}

export interface Plan {
  readonly begin: Tape;
  readonly moves: readonly Move[];
  readonly end: Tape;
}

/** The steps of a session: first fewer of them, many at once and then each; then simpler ones. */
class MovesArbitrary extends fc.Arbitrary<readonly Move[]> {
  readonly #lane: Lane;
  constructor(lane: Lane) {
    super();
    this.#lane = lane;
  }
  generate(random: fc.Random): fc.Value<readonly Move[]> {
    const tape = (): Tape => Tape.drawn(random.nextInt(0, 0x7fff_ffff));
    const moves = Array.from({ length: random.nextInt(0, this.#lane.longest) }, () => new Move(tape(), tape()));
    if (random.nextInt(0, 9) > 0) moves.unshift(new Move(tape(), tape(), this.#lane.first));
    return new fc.Value(moves, undefined);
  }
  canShrinkWithoutContext(value: unknown): value is readonly Move[] {
    return Array.isArray(value) && value.every((one) => one instanceof Move);
  }
  shrink(moves: readonly Move[], most: unknown): fc.Stream<fc.Value<readonly Move[]>> {
    const steps = fewer(moves, typeof most === 'number' ? most : moves.length);
    return fc.stream(steps).map(([smaller, next]) => new fc.Value(smaller, next));
  }
}

/** Smaller sessions, each with how many steps are left out at once from there on. */
function* fewer(moves: readonly Move[], most: number): Generator<readonly [readonly Move[], number]> {
  for (let count = Math.min(most, moves.length); count > 0; count >>= 1) {
    // From the end: what a session does not need is mostly what came last, or what its last step does not use.
    for (let end = moves.length; end > 0; end -= count) {
      const start = Math.max(0, end - count);
      yield [[...moves.slice(0, start), ...moves.slice(end)], count];
    }
  }
  for (const [i, move] of moves.entries()) {
    for (const simpler of move.simpler()) yield [moves.map((one, at) => (at === i ? simpler : one)), 1];
  }
}

export function plans(lane: Lane): fc.Arbitrary<Plan> {
  return fc.record({ begin: tapes, moves: new MovesArbitrary(lane), end: tapes });
}

/** A plan as it was printed. */
export function parsePlan(text: string, lane: Lane): Plan {
  const { begin, moves, end } = JSON.parse(text) as { begin: number[]; moves: [string, number[]][]; end: number[] };
  for (const [name] of moves) if (!lane.steps.has(name)) throw new Error(`there is no step ${name}`);
  return {
    begin: Tape.of(begin),
    moves: moves.map(([name, tape]) => new Move(Tape.of(tape), Tape.of([]), name)),
    end: Tape.of(end),
  };
}
