// What is compared: sessions with a kernel, made of named steps, and a record of every call in a form that is the same on both.
import type { Host } from '../../lib/unsafe.js';
import type { Random } from './random.js';

/** A session under way on one host. Two of them that were asked the same have answered the same up to the first difference. */
export interface Life {
  /** The name of a step that makes sense now. */
  choose(random: Random): string;
  run(step: string, random: Random): void | Promise<void>;
  /** Lets go of everything. Comes once, also after a difference. */
  end(random: Random): void | Promise<void>;
  /** What was asked and answered since this was asked last. */
  take(): string[];
}

/** One of the two kernels, ready for sessions. */
export interface Side {
  begin(random: Random): Life | Promise<Life>;
  /** System calls so far. */
  readonly calls: number;
}

export interface Lane {
  /** What sessions are made of. */
  readonly steps: ReadonlySet<string>;
  /** The step that comes first in most sessions. */
  readonly first: string;
  /** How many steps a session has at most. */
  readonly longest: number;
  /** A new emulated host for it. */
  emulatedHost(): Host;
  /** `isKernel`: what a host, or the one behind it, is. */
  side(host: Host, isKernel: boolean): Side;
}

/** Steps by the names of their functions, of which no two may be the same. */
export function stepsByName<T extends { readonly name: string }>(steps: readonly T[]): ReadonlyMap<string, T> {
  const named = new Map<string, T>();
  for (const step of steps) {
    if ((named.get(step.name) ?? step) !== step) throw new Error(`two steps are called ${step.name}`);
    named.set(step.name, step);
  }
  return named;
}
