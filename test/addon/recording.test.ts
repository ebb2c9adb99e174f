// The kernel's host, recorded and replayed: the calls that need no /dev/iommu.
import assert from 'node:assert/strict';
import { recordingHost, replayHost } from '../../lib/recording-host.js';
import { Host, hostSeam, kernelSeam } from '../../lib/unsafe.js';

const TCGETS = 0x5401;

async function session(host: Host): Promise<unknown[]> {
  const seam = hostSeam(host);
  const seen: unknown[] = [];
  const eventfd = host.createEventfd(3);
  seen.push(await eventfd.wait());
  setTimeout(() => {
    seam.arena.view.setBigUint64(0, 5n, true);
    seam.write(eventfd.fd, 0, 8);
  }, 2);
  seen.push(await eventfd.wait());
  const ram = host.allocateMemory(0x10000);
  await ram.prefault({ chunk: 0x8000 });
  ram.write(3, Buffer.from('xyz'));
  seen.push(Buffer.from(ram.read(3, 3)).toString());
  const again = host.unsafeImportMemory(ram.fd, 0x10000);
  seen.push(Buffer.from(again.read(3, 3)).toString());
  seen.push(seam.open('/dev/there/is/none', 0), seam.status('/sys'), seam.readLink('/sys'));
  const block = seam.allocateBlock(seam.pageSize);
  assert(typeof block !== 'number');
  seen.push(await seam.ioctlAsync(eventfd.fd, TCGETS, block, 0), seam.ioctlValue(eventfd.fd, TCGETS, 0));
  block.free();
  eventfd.close();
  again.free();
  ram.free();
  return seen;
}

describe("recording the kernel's host", () => {
  it('is replayed as it was, and the same text every time', async () => {
    const first = recordingHost(new Host(kernelSeam()));
    const seen = await session(first);
    assert(seen.includes(5n) && seen.includes(-25));
    const replayed = replayHost(first.transcript());
    assert.deepEqual(await session(replayed), seen);
    replayed.finish();
    const second = recordingHost(new Host(kernelSeam()));
    await session(second);
    assert.equal(second.transcript(), first.transcript());
  });
});
