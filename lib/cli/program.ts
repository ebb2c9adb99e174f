// The program that a command runs: it has the terminal, gets what signals the command gets, and its end is the command's.
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { passSignals } from './signals.js';

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
  // Before it starts: it may have this process signalled at once. What comes then waits until it is there.
  passSignals((signal) => child.kill(signal));
  const child = spawn(command, args, { stdio: 'inherit', env });
  return new Promise((resolve) => {
    child.on('error', (error) => {
      tell(error.message);
      resolve(1);
    });
    child.on('exit', (code, signal) => resolve(exitCode(code, signal)));
  });
}
