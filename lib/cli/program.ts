// The program that a command runs: it has the terminal, gets what signals the command gets, and its end is the command's.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

function exitCode(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

/** Its exit code; 128 and the signal's number where one ended it. One that cannot be started is told by `tell`, and is 1. */
export function runProgram(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  tell: (text: string) => void,
): Promise<number> {
  const child = spawn(command, args, { stdio: 'inherit', env });
  // Whoever ends this process means the program. From a terminal it gets SIGINT too.
  process.on('SIGINT', () => undefined);
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => {
    child.on('error', (error) => {
      tell(error.message);
      resolve(1);
    });
    child.on('exit', (code, signal) => resolve(exitCode(code, signal)));
  });
}
