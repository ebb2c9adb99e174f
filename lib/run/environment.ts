// What a program must find in its environment to reach the server.
import { existsSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The shim, which is built beside the addon. */
export const SHIM = fileURLToPath(new URL('../../../build/Release/iommufd-shim.so', import.meta.url));

/** What the loader takes for the end of a name in LD_PRELOAD: there is no way to quote it. */
const SEPARATOR = /[\s:]/;

/** The shim by a name that the loader takes: a link beside the socket where its own is none. */
function loadableShim(socket: string): string {
  if (!SEPARATOR.test(SHIM)) return SHIM;
  const link = path.join(path.dirname(socket), path.basename(SHIM));
  if (SEPARATOR.test(link))
    throw new Error(`LD_PRELOAD takes no spaces and colons, as in ${SHIM}, nor in TMPDIR: ${link}`);
  if (!existsSync(link)) symlinkSync(SHIM, link);
  return link;
}

/** `socket`: where the server listens. */
export function shimEnvironment(socket: string): Record<string, string> {
  const preload = [loadableShim(socket), process.env.LD_PRELOAD]
    .filter((name) => name !== undefined && name !== '')
    .join(':');
  return { LD_PRELOAD: preload, IOMMUFD_RUN_SOCKET: socket, IOMMUFD_RUN_PID: String(process.pid) };
}
