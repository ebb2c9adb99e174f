// Where this checkout is, and where its compiled files are: they may lie in another folder than dist.
import { existsSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = path.dirname(fileURLToPath(import.meta.url));

function findCheckout(from: string): string {
  if (existsSync(path.join(from, 'test/vm/init.sh'))) return from;
  const parent = path.dirname(from);
  if (parent === from) throw new Error(`${here} is in no checkout: test/vm/init.sh is nowhere above`);
  return findCheckout(parent);
}

/** The folder with package.json. */
export const checkout = findCheckout(here);

/** The folder that this was compiled into, from the checkout's: 'dist'. */
export const compiled = path.relative(checkout, path.resolve(here, '../..'));
