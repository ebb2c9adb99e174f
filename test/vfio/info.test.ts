// What devices tell of themselves and of their regions.
import assert from 'node:assert/strict';
import { VFIO_DEVICE_GET_INFO as INFO, VFIO_DEVICE_GET_REGION_INFO as REGION_INFO } from '../../lib/uapi/index.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

/** An info ioctl whose struct says it has this many bytes; what comes back, and the bytes behind those asked for. */
function sized(t: VfioBench, op: typeof INFO | typeof REGION_INFO, fd: number, argsz: number, index = 0) {
  const { arena } = t.rig.seam;
  const mark = arena.mark();
  const at = arena.take(512);
  arena.bytes.fill(0xee, at, at + 512);
  arena.view.setUint32(at, argsz, true);
  if (op === REGION_INFO) arena.view.setUint32(at + REGION_INFO.layout.at.index, index, true);
  const result = t.rig.seam.ioctl(fd, op.request, at);
  const needed = arena.view.getUint32(at, true);
  const untouched = arena.bytes.subarray(at + argsz, at + 512).every((byte) => byte === 0xee);
  arena.release(mark);
  return { result, needed, untouched };
}

vfioCases('vfio-info', (test) => {
  test('edu', 'a conventional PCI device without a reset', { needs: 'edu' }, (t) => {
    const { info } = t.bound('edu');
    assert.deepEqual(
      { ...info, flags: 0 },
      { kind: 'pci', canReset: false, regionCount: 9, interruptCount: 5, atomicOps: [], flags: 0 },
    );
  });
  test('nvme', 'a PCIe device that can be reset', { needs: 'nvme' }, (t) => {
    const { info } = t.bound('nvme');
    assert.deepEqual([info.kind, info.canReset], ['pci', true]);
    for (const bits of info.atomicOps) assert([32, 64, 128].includes(bits));
  });
  test('test', 'a device that can be reset', { needs: 'test' }, (t) => {
    const { info } = t.bound('test');
    assert.deepEqual([info.kind, info.canReset], ['pci', true]);
  });
  test('serial', 'a mediated device that passes for a PCI one', { needs: 'serial' }, (t) => {
    const { info } = t.bound('serial');
    assert.deepEqual([info.kind, info.regionCount, info.interruptCount], ['pci', 9, 5]);
  });
  test(
    'sizes',
    'device info wants the fields of its first release, and says how much it has',
    { needs: 'edu' },
    (t) => {
      const nic = t.bound('edu');
      assert.equal(sized(t, INFO, nic.fd, 15).result, -22);
      for (const argsz of [16, 20, 24, 256]) {
        assert.deepEqual(sized(t, INFO, nic.fd, argsz), { result: 0, needed: argsz, untouched: true });
      }
    },
  );
  test('region-sizes', 'region info wants all of its fields', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    assert.equal(sized(t, REGION_INFO, nic.fd, 31).result, -22);
    for (const argsz of [32, 40, 256]) {
      assert.deepEqual(sized(t, REGION_INFO, nic.fd, argsz), { result: 0, needed: argsz, untouched: true });
    }
  });
  test('regions', 'edu has one BAR, and configuration space', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    const rw = { readable: true, writable: true, msixMappable: false };
    assert.deepEqual(
      nic.regions.map(({ name, index, size, flags, mmapAreas, type }) => [name, index, size, flags, mmapAreas, type]),
      [
        ['bar0', 0, 0x10_0000, { ...rw, mappable: true }, [{ offset: 0, length: 0x10_0000 }], undefined],
        ['config', 7, 256, { ...rw, mappable: false }, [], undefined],
      ],
    );
  });
  test('holes', 'regions that it lacks have no size; those beyond the last are refused', { needs: 'edu' }, (t) => {
    const nic = t.bound('edu');
    for (const name of ['bar1', 'bar5', 'rom'] as const) {
      const { size, flags, mmapAreas } = nic.region(name);
      assert.deepEqual([size, flags.readable, flags.writable, mmapAreas], [0, false, false, []], name);
      refused('ERR_OUT_OF_RANGE', () => nic.region(name).read8(0));
    }
    refused('EINVAL', () => nic.region('vga'));
    for (const index of [9, 0xffff_ffff]) {
      assert.match(refused('EINVAL', () => nic.region(index)).message, /no such region/);
    }
  });
  test('msix', 'the BAR of the MSI-X table can be mapped with it, and says so', { needs: 'nvme' }, (t) => {
    const { flags, mmapAreas, size } = t.bound('nvme').region('bar0');
    assert.deepEqual(flags, { readable: true, writable: true, mappable: true, msixMappable: true });
    assert.deepEqual(mmapAreas, [{ offset: 0, length: size }]);
  });
  test('grown', 'where its capability does not fit, the kernel says how much it needs', { needs: 'nvme' }, (t) => {
    const nic = t.bound('nvme');
    assert.deepEqual(sized(t, REGION_INFO, nic.fd, 32, 0), { result: 0, needed: 40, untouched: true });
    assert.deepEqual(sized(t, REGION_INFO, nic.fd, 40, 0), { result: 0, needed: 40, untouched: true });
  });
});
