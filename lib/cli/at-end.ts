// What is done when a program, or a thread of it, is at its end: after the program's own listeners to `exit`, which may make
// calls too.
type Work = (code: number) => void;

const works: Work[] = [];

function listen(): void {
  const emit = process.emit.bind(process) as (name: string, ...args: unknown[]) => boolean;
  const emitAndWork = (name: string, ...args: unknown[]): boolean => {
    try {
      return emit(name, ...args);
    } finally {
      if (name === 'exit') for (const work of [...works].reverse()) work(Number(args[0]));
    }
  };
  // Listeners are called in the order they came in, so none of these could be the last one.
  Object.assign(process, { emit: emitAndWork });
}

/** The newest first. `work` gets the exit code; what it sets `process.exitCode` to counts. */
export function atEnd(work: Work): void {
  if (works.push(work) === 1) listen();
}
