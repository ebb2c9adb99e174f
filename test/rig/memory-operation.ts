// An operation of the library, for tests that let the kernel's allocations fail.
import type { MachineName } from '../../lib/emulated-host.js';
import { MACHINES, type Site } from './memory-site.js';

export interface Operation {
  /** `Class.member`, and after a colon which case of it. */
  readonly name: string;
  readonly machines: readonly MachineName[];
  /** Whether the kernel allocates for it, on one of the machines at least. */
  readonly allocates: boolean;
  /** It changes nothing: it can be done again where it has been done. */
  readonly looks?: boolean;
  /** Makes what it needs; answers the operation. */
  readonly prepare: Prepare;
}
type Run = () => unknown;
type Prepare = (site: Site) => Run | Promise<Run>;

/** An operation for which the kernel allocates. */
export function takes(name: string, prepare: Prepare, machines: readonly MachineName[] = MACHINES): Operation {
  return { name, machines, allocates: true, prepare };
}
/** One that looks at what the kernel tells of, for which it allocates. */
export function looks(name: string, prepare: Prepare): Operation {
  return { ...takes(name, prepare), looks: true };
}
/** One that asks something of the kernel, but for which it allocates nothing. */
export function calm(name: string, prepare: Prepare, machines: readonly MachineName[] = MACHINES): Operation {
  return { name, machines, allocates: false, prepare };
}
