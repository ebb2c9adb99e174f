// Stands in for the tests that need the addon where there is none: says which were not run, and why.
import { readdirSync } from 'node:fs';

for (const folder of ['addon', 'run']) {
  const files = readdirSync(new URL(`../${folder}/`, import.meta.url)).filter((name) => name.endsWith('.test.js'));
  describe(folder, () => {
    for (const file of files) it(`${file} [the addon was not built]`);
  });
}
