// Benches with another kernel than the rig's, each an emulated machine of its own: one that speaks the vQUEUE patches of
// May 2025, and one that is Linux 6.12.
import { createEmulatedHost, type EmulatedHost } from '../../lib/emulated-host.js';
import { isOlder } from '../../lib/uapi/releases.js';
import { hostSeam } from '../../lib/unsafe.js';
import { Bench } from './suite.js';

/** Undone at the end of the case, which finds nothing left behind. */
export function vqueueBench(t: Bench): Bench {
  return benchOn(t, createEmulatedHost({ machine: 'selftest', uapi: 'vqueue-v3' }));
}

/** Where the rig's own kernel is from before Linux 6.13 (a case says that it needs 'older-kernel'), that one. */
export function olderBench(t: Bench): Bench {
  if (isOlder(t.rig.host.release, '6.13')) return t;
  return benchOn(t, createEmulatedHost({ machine: 'selftest', linux: '6.12' }));
}

function benchOn(t: Bench, host: EmulatedHost): Bench {
  const bench = new Bench({ ...t.rig, host, emulated: host, seam: hostSeam(host) });
  t.later(() => bench.finish());
  return bench;
}
