import assert from 'node:assert/strict';
import { conformance, refused } from '../rig/suite.js';

conformance('smoke', (test) => {
  test('map', 'maps and unmaps', (t) => {
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    assert.equal(ioas.map(ram, { iova: 0x100_0000n }), 0x100_0000n);
    refused('EEXIST', () => ioas.map(ram, { iova: 0x100_0000n }));
    assert.equal(ioas.unmap(0x100_0000n, ram.size), BigInt(ram.size));
  });
  test('graph', 'builds the whole graph', (t) => {
    const mock = t.mockDevice();
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: 0x100_0000n });
    const parent = ioas.allocHwpt(mock.device, { nestParent: true });
    const viommu = parent.allocViommu(mock.device, { type: 0xdeadbeef, data: new Uint8Array(24), mmapPair: { offsetAt: 8, lengthAt: 16 } });
    const queue = viommu.allocHwQueue({ type: 0xdeadbeef, index: 0, iova: 0x100_0000n, length: 4096n });
    const page = queue.mmap({ length: 64 });
    console.log(page.read32(0), viommu.mmapRegion, mock.device.hwInfo());
    const err = refused('EBUSY', () => viommu.destroy());
    console.log(err.message);
    console.log(t.iommufd.drawGraph());
  });
});
