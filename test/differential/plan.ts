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

class MoveArbitrary extends fc.Arbitrary<Move> {
  constructor(readonly name?: string) {
    super();
  }
  generate(random: fc.Random): fc.Value<Move> {
    const tape = (): Tape => Tape.drawn(random.nextInt(0, 0x7fff_ffff));
    return new fc.Value(new Move(tape(), tape(), this.name), undefined);
  }
  canShrinkWithoutContext(value: unknown): value is Move {
    return value instanceof Move;
  }
  shrink(move: Move): fc.Stream<fc.Value<Move>> {
    return fc.stream(move.simpler()).map((simpler) => new fc.Value(simpler, undefined));
  }
}

export function plans(lane: Lane): fc.Arbitrary<Plan> {
  const first = fc.array(new MoveArbitrary(lane.first), { minLength: 0, maxLength: 1, size: 'max' });
  const rest = fc.noBias(fc.array(new MoveArbitrary(), { maxLength: lane.longest, size: 'max' }));
  return fc
    .record({ begin: tapes, first, rest, end: tapes })
    .map(({ begin, first, rest, end }) => ({ begin, moves: [...first, ...rest], end }));
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
