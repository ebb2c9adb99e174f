// Signals that the command gets: whoever sends them means the program that it runs.
import { closeSync, constants, openSync } from 'node:fs';

/** What comes from a terminal, the program gets from there too. */
export function passSignals(pass: (signal: NodeJS.Signals) => void): void {
  const isFromTerminal = hasTerminal();
  for (const signal of ['SIGINT', 'SIGQUIT'] as const) {
    process.on(signal, () => isFromTerminal || pass(signal));
  }
  for (const signal of ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2'] as const) {
    process.on(signal, pass);
  }
}
function hasTerminal(): boolean {
  try {
    closeSync(openSync('/dev/tty', constants.O_RDONLY | constants.O_NOCTTY));
    return true;
  } catch {
    return false;
  }
}
