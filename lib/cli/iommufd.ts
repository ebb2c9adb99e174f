#!/usr/bin/env node
// The command: `iommufd record` and `iommufd replay` (transcript.ts), and `iommufd run` (run.ts).
import { run } from './run.js';
import { readTranscriptArguments, runWithTranscript } from './transcript.js';

const USAGE = `usage: iommufd record FILE -- node script.js [arguments]
       iommufd replay FILE -- node script.js [arguments]
       iommufd run [options] -- PROGRAM [arguments]

record writes into FILE what the program asks of its host and what comes back; replay answers from FILE, without any
kernel, and fails at the first difference. Threads of the program have files of their own: nic.jsonl, nic.thread-1.jsonl. run gives
any program an emulated machine's device nodes: "iommufd run" says more.
`;
const MISUSE = 2;

function command(argv: readonly string[]): Promise<number> | number {
  if (argv[0] === 'run') return run(argv.slice(1));
  const task = readTranscriptArguments(argv);
  if (task !== undefined) return runWithTranscript(task);
  process.stderr.write(USAGE);
  return MISUSE;
}

process.exitCode = await command(process.argv.slice(2));
