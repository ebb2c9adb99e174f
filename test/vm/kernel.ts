// Which kernel the machines boot.
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import type { Architecture } from './platform.js';

/** The releases that there are lanes for, and where Debian has their source. */
export const LINUXES = {
  '7.3': ['trixie-backports', 'linux-source-7.3'],
  '6.12': ['bookworm-backports', 'linux-source-6.12'],
} as const;
export type Linux = keyof typeof LINUXES;

/** Builds the kernel unless that was done before, and answers its image. */
export function kernelImage(checkout: string, architecture: Architecture = 'x86', linux: Linux = '7.3'): string {
  const build = path.join(checkout, 'test/vm/build-kernel.sh');
  return execFileSync(build, [architecture, ...LINUXES[linux]], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  }).trim();
}
