// A bench whose kernel speaks the vQUEUE patches of May 2025 instead of Linux: an emulated machine of its own.
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { hostSeam } from '../../lib/unsafe.js';
import { Bench } from './suite.js';

/** Undone at the end of the case, which finds nothing left behind. */
export function vqueueBench(t: Bench): Bench {
  const host = createEmulatedHost({ machine: 'selftest', uapi: 'vqueue-v3' });
  const bench = new Bench({ ...t.rig, host, emulated: host, seam: hostSeam(host) });
  t.later(() => bench.finish());
  return bench;
}
