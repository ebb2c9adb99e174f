// A driver of NVMe in user space: identifies a controller and its first namespace, and with --write BLOCK writes a few blocks
// there, reads them back, compares, and puts back what was there before. What it takes is in examples/nvme/, to start
// from for a driver of your own.
//
//   node dist/examples/nvme-identify.js 0000:01:00.0 [--write BLOCK]      a device that vfio-pci drives
//   npm run start:vm -- --machine vtd --program dist/examples/nvme-identify.js -- 0000:01:00.0 --write 8
//                                                                         QEMU's, on a real kernel, behind an Intel IOMMU
import assert from 'node:assert/strict';
import { parseArgs } from 'node:util';
import { openHost } from 'iommufd';
import { MOST_DATA, NvmeController } from './nvme/controller.js';

const { values, positionals } = parseArgs({ options: { write: { type: 'string' } }, allowPositionals: true });
const [address] = positionals;
const block = values.write === undefined ? undefined : Number(values.write);
if (address === undefined || (block !== undefined && !(Number.isSafeInteger(block) && block >= 0))) {
  console.error('usage: nvme-identify.js ADDRESS [--write BLOCK]');
  process.exit(2);
}

const host = openHost({ kind: 'kernel' });
const iommufd = host.openIommufd();
const nvme = await NvmeController.start(host.openDevice(address), iommufd);
try {
  const { model, serial, firmware, namespaces } = await nvme.identifyController();
  console.log(`${model}, serial number ${serial}, firmware ${firmware}, up to ${namespaces} namespaces`);
  const { blocks, blockSize } = await nvme.identifyNamespace();
  console.log(`namespace 1: ${blocks} blocks of ${blockSize} bytes`);
  if (block !== undefined) await writeAndCompare(block, blockSize);
} finally {
  await nvme.stop();
  iommufd.close();
}
console.log('Shut down.');

async function writeAndCompare(at: number, blockSize: number): Promise<void> {
  const count = Math.max(1, Math.floor(MOST_DATA / blockSize));
  const before = await nvme.readBlocks(at, count, blockSize);
  const bytes = before.map((byte, i) => byte ^ (1 + (i % 255)));
  await nvme.writeBlocks(at, bytes, blockSize);
  assert.deepEqual(await nvme.readBlocks(at, count, blockSize), bytes);
  await nvme.writeBlocks(at, before, blockSize);
  assert.deepEqual(await nvme.readBlocks(at, count, blockSize), before);
  console.log(`wrote ${bytes.length} bytes at block ${at}, read them back the same, and put back what was there`);
}
