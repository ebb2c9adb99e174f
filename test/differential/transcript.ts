// A session that differs, told as transcripts are: a line of JSON a call, up to the first that differs, with what the kernel
// answered and what came instead.
import { recordingHost } from '../../lib/recording-host.js';
import { type Host, hostSeam } from '../../lib/unsafe.js';
import type { Lane } from './lane.js';
import { type Pair, runInLockstep } from './lockstep.js';
import type { Plan } from './plan.js';

const HANDLE = /\b(fd|mem|block|mmio|job|watch|pa):(\d+)/g;

/** Handles are numbered anew, in order of appearance: what was got ready before the session does not count. */
function renumbered(lines: readonly string[]): string[] {
  const names = new Map<string, string>();
  const counts = new Map<string, number>();
  return lines.map((line) =>
    line.replace(HANDLE, (handle, kind: string) => {
      let name = names.get(handle);
      if (name === undefined) {
        const count = counts.get(kind) ?? 0;
        counts.set(kind, count + 1);
        name = `${kind}:${count}`;
        names.set(handle, name);
      }
      return name;
    }),
  );
}

/** A host that is recorded, and what was recorded since it was made ready. */
function recorded(host: Host, make: (host: Host) => void): () => string[] {
  const lines: string[] = [];
  make(recordingHost(host, { followMemory: 0, write: (line) => lines.push(line.trimEnd()) }));
  const ready = lines.length;
  return () => renumbered(lines.slice(ready));
}

/** Runs a session once more, and tells it. */
export async function tellSession(lane: Lane, hosts: Pair<Host>, plan: Plan): Promise<string[]> {
  const made: ReturnType<Lane['side']>[] = [];
  const isKernel = hostSeam(hosts.kernel).kind === 'kernel';
  const kernel = recorded(hosts.kernel, (host) => made.push(lane.side(host, isKernel)));
  const emulated = recorded(hosts.emulated, (host) => made.push(lane.side(host, false)));
  const [left, right] = made;
  if (left === undefined || right === undefined) throw new Error('nothing was recorded');
  await runInLockstep({ kernel: left, emulated: right }, plan);
  return sideBySide(kernel(), emulated());
}

function sideBySide(expected: readonly string[], came: readonly string[]): string[] {
  const length = Math.max(expected.length, came.length);
  let at = 0;
  while (at < length && expected[at] === came[at]) at++;
  const same = expected.slice(0, at);
  if (at === length) return same;
  return [...same, `expected: ${expected[at] ?? '(nothing)'}`, `came:     ${came[at] ?? '(nothing)'}`];
}
