// What benchmarks answer, and how it is printed: a table, or one JSON object a line.
import { cpus } from 'node:os';
import { type Contender, compare, type Plan } from './measure.js';

/** One contender of one benchmark. */
export interface Row {
  readonly bench: string;
  readonly subject: string;
  readonly value: number;
  readonly unit: string;
  /** The contender that `ratio` compares with. */
  readonly against: string;
  readonly ratio: number;
  /** The ratio it must not exceed. */
  readonly target?: number;
  /** The value it must not exceed, where no ratio says what is meant. */
  readonly limit?: number;
  readonly met?: boolean;
}

/** Where a part was measured, and how. */
export interface Conditions extends Plan {
  readonly conditions: string;
  readonly node: string;
  readonly cpu: string;
}

/** A part that could not run here. */
export interface Skip {
  readonly skipped: string;
  readonly reason: string;
}

export type Line = Row | Conditions | Skip;
export type Format = 'text' | 'json';

export function conditions(name: string, plan: Plan): Conditions {
  return { conditions: name, node: process.version, cpu: cpus()[0]?.model ?? 'unknown', ...plan };
}

export interface Benchmark {
  readonly bench: string;
  readonly contenders: readonly Contender[];
  /** Ratios that contenders must not exceed, by their names. */
  readonly targets?: Readonly<Record<string, number>>;
  /** Nanoseconds that they must not exceed, by their names. */
  readonly limits?: Readonly<Record<string, number>>;
  /** How many times a contender's unit of work happens in one iteration. */
  readonly per?: number;
  readonly unit?: string;
}

/** Runs one benchmark. */
export function* rows(
  { bench, contenders, targets = {}, limits = {}, per = 1, unit = 'ns' }: Benchmark,
  plan: Plan,
): Generator<Row> {
  const measured = compare(contenders, plan);
  const against = measured[0]?.name ?? '';
  for (const { name, nanoseconds, ratio } of measured) {
    const target = targets[name];
    const row = { bench, subject: name, value: round(nanoseconds / per, 1), unit, against, ratio: round(ratio, 2) };
    const limit = limits[name];
    if (target !== undefined) yield { ...row, target, met: ratio <= target };
    else if (limit !== undefined) yield { ...row, limit, met: nanoseconds <= limit };
    else yield row;
  }
}

function round(value: number, digits: number): number {
  return Number(value.toFixed(digits));
}

export function missed(line: Line): boolean {
  return 'met' in line && line.met === false;
}

/** Prints lines as they come. */
export function printer(format: Format): (line: Line) => void {
  if (format === 'json') return jsonPrinter();
  let bench = '';
  return (line) => {
    if ('bench' in line && line.bench !== bench) console.log(`\n  ${line.bench}`);
    bench = 'bench' in line ? line.bench : '';
    console.log(text(line));
  };
}

/** One object a line: a row with the conditions it was measured under, or a part that was skipped. */
function jsonPrinter(): (line: Line) => void {
  let under: Conditions | undefined;
  return (line) => {
    if ('conditions' in line) under = line;
    else if ('skipped' in line) console.log(JSON.stringify({ bench: line.skipped, skipped: line.reason }));
    else console.log(JSON.stringify({ ...line, under }));
  };
}

function text(line: Line): string {
  if ('skipped' in line) return `\n${line.skipped}: skipped, ${line.reason}`;
  if ('conditions' in line) {
    const { conditions: name, node, cpu, rounds, iterations } = line;
    return `\n${name}: Node ${node}, ${cpu}, median of ${rounds} rounds of ${iterations}`;
  }
  const { subject, value, unit, against, ratio, target, limit, met } = line;
  const figure = `${value.toFixed(1)} ${unit}`.padStart(18);
  const compared = subject === against ? '' : `${ratio.toFixed(2)} x ${against}`;
  const goal = target ?? limit;
  const verdict = goal === undefined ? '' : `target ${goal}: ${met ? 'met' : 'MISSED'}`;
  return `    ${subject.padEnd(34)}${figure}  ${compared.padEnd(28)}${verdict}`.trimEnd();
}
