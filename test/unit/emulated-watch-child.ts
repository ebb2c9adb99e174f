// Run by emulated-watch.test: arms a watch as it is told, on a file that never becomes readable, and lets the process end
// if it will.
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { hostSeam } from '../../lib/unsafe.js';

const seam = hostSeam(createEmulatedHost());
const watch = seam.watch(seam.createEventfd(0), () => {});
if (typeof watch === 'number') throw new Error(`watch: ${watch}`);
for (const step of process.argv.slice(2).filter((word) => word !== '')) {
  if (step === 'arm') watch.arm();
  else if (step === 'disarm') watch.disarm();
  else if (step === 'ref') watch.ref();
  else if (step === 'unref') watch.unref();
  else if (step === 'close') watch.close();
  else throw new Error(`no such step: ${step}`);
}
process.stdout.write('armed');
