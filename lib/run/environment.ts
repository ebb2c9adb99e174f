// What a program must find in its environment to reach the server.
import { fileURLToPath } from 'node:url';

/** The shim, which is built beside the addon. */
export const SHIM = fileURLToPath(new URL('../../../build/Release/iommufd-shim.so', import.meta.url));

/** `socket`: where the server listens. */
export function shimEnvironment(socket: string): Record<string, string> {
  const preload = [SHIM, process.env.LD_PRELOAD].filter((name) => name !== undefined && name !== '').join(':');
  return { LD_PRELOAD: preload, IOMMUFD_RUN_SOCKET: socket, IOMMUFD_RUN_PID: String(process.pid) };
}
