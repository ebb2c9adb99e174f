// Which kernel the machines boot.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import type { Architecture } from './platform.js';

/** Builds the kernel unless that was done before, and answers its image. */
export function kernelImage(checkout: string, architecture: Architecture = 'x86'): string {
  const build = path.join(checkout, 'test/vm/build-kernel.sh');
  return execFileSync(build, [architecture], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}
