// The process that goes on, on a real kernel: its fds are 4 and following, behind the channel to the process before.
import { openHost } from '../../lib/index.js';
import { goOn, type Told } from './live-update.js';

const FIRST_FD = 4;

/** The next message of the process before. */
function message<T>(): Promise<T> {
  return new Promise((resolve) => process.once('message', resolve));
}
function tell(what: object): void {
  process.send?.(what);
}

const told = await message<Told & { readonly fds: number }>();
const fds = Array.from({ length: told.fds }, (_, i) => FIRST_FD + i);
const found = await goOn(openHost({ kind: 'kernel' }), told, fds, async () => {
  const gone = message();
  tell({ adopted: true });
  await gone;
});
tell(found);
process.disconnect();
