// Which kernel the machines boot.
import { execFileSync } from 'node:child_process';
import path from 'node:path';

/** Builds the kernel unless that was done before, and answers its image. */
export function kernelImage(checkout: string): string {
  const build = path.join(checkout, 'test/vm/build-kernel.sh');
  return execFileSync(build, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}
