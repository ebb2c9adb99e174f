// Huge pages for a program that is not in a machine of its own: the system's, reserved for as long as it runs.
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';

const SETTING = '/proc/sys/vm/nr_hugepages';

function reserved(): number {
  return Number(readFileSync(SETTING, 'utf8'));
}
function reserve(count: number): void {
  try {
    writeFileSync(SETTING, String(count));
  } catch {
    // Not root: who may become root without a password does, and otherwise there are as many as there were.
    spawnSync('sudo', ['-n', 'sysctl', '-q', '-w', `vm.nr_hugepages=${count}`], { stdio: 'ignore' });
  }
}

/** Does something with that many huge pages of 2 MiB reserved; it is told whether there are as many. */
export function withHugePages<T>(count: number, work: (enough: boolean) => T): T {
  const before = reserved();
  if (before < count) reserve(count);
  try {
    return work(reserved() >= count);
  } finally {
    if (reserved() !== before) reserve(before);
  }
}
