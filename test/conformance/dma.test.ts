// What devices do to memory, through whatever they are attached to. The kernel's mock device does no DMA: the emulated one
// is made to. (On a real kernel a PCI device shows it, in the VT-d machine.)
import assert from 'node:assert/strict';
import type { Device } from '../../lib/index.js';
import { IOVA } from '../rig/address-space.js';
import { makeNested, makeViommu } from '../rig/guest.js';
import { type Bench, conformance, PAGE, PAGE_SIZE, refused } from '../rig/suite.js';

const needs = { needs: 'emulated' } as const;
const BYTES = Uint8Array.of(1, 2, 3, 4, 5);

/** The device's own side. */
function itself(t: Bench, device: Device) {
  assert(t.rig.emulated !== undefined);
  return t.rig.emulated.deviceOf(device);
}

/** A device on an address space with 64 KiB mapped. */
function attached(t: Bench) {
  const { device } = t.mockDevice();
  const ioas = t.iommufd.allocIoas();
  const ram = t.memory();
  ioas.map(ram, { iova: IOVA });
  device.attach(ioas);
  return { device, ioas, ram, hardware: itself(t, device) };
}

conformance('dma', (test) => {
  test('both-ways', 'bytes arrive in both directions', needs, (t) => {
    const { ram, hardware } = attached(t);
    ram.write(0x123, BYTES);
    assert.deepEqual(hardware.dmaRead(IOVA + 0x123n, 5), BYTES);
    hardware.dmaWrite(IOVA + 0x8000n, BYTES);
    assert.deepEqual(ram.read(0x8000, 5), BYTES);
  });

  test('across-pages', 'one transfer may cross pages and mappings', needs, (t) => {
    const { ioas, ram, hardware } = attached(t);
    const more = t.memory(PAGE_SIZE);
    ioas.map(more, { iova: IOVA + 0x10000n });
    const bytes = Uint8Array.from({ length: 3 * PAGE_SIZE }, (_, i) => i % 251);
    hardware.dmaWrite(IOVA + 0x10000n - 2n * PAGE, bytes);
    assert.deepEqual(ram.read(0x10000 - 2 * PAGE_SIZE, 2 * PAGE_SIZE), bytes.subarray(0, 2 * PAGE_SIZE));
    assert.deepEqual(more.read(0, PAGE_SIZE), bytes.subarray(2 * PAGE_SIZE));
    assert.deepEqual(hardware.dmaRead(IOVA + 0x10000n - 2n * PAGE, bytes.length), bytes);
  });

  test('unmapped', 'what is not mapped, or no more, is not reached', needs, (t) => {
    const { ioas, hardware } = attached(t);
    refused('EFAULT', () => hardware.dmaWrite(IOVA - 1n, BYTES));
    refused('EFAULT', () => hardware.dmaRead(IOVA + 0x10000n, 1));
    ioas.unmapAll();
    refused('EFAULT', () => hardware.dmaWrite(IOVA, BYTES));
  });

  test('read-only', 'what is mapped for reading is not written', needs, (t) => {
    const { ioas, hardware } = attached(t);
    const ram = t.memory(PAGE_SIZE);
    ram.write(0, BYTES);
    ioas.map(ram, { iova: IOVA + 0x20000n, writable: false });
    assert.deepEqual(hardware.dmaRead(IOVA + 0x20000n, 5), BYTES);
    refused('EFAULT', () => hardware.dmaWrite(IOVA + 0x20000n, Uint8Array.of(9)));
    assert.deepEqual(ram.read(0, 5), BYTES);
  });

  test('detached', 'a device that is attached to something else sees that', needs, (t) => {
    const { device, ram, hardware } = attached(t);
    const other = t.iommufd.allocIoas();
    const there = t.memory(PAGE_SIZE);
    other.map(there, { iova: IOVA });
    device.attach(other);
    hardware.dmaWrite(IOVA, BYTES);
    assert.deepEqual(there.read(0, 5), BYTES);
    assert.deepEqual(ram.read(0, 5), new Uint8Array(5));
    device.detach();
    refused('EFAULT', () => hardware.dmaWrite(IOVA, BYTES));
  });

  test('half-a-page', 'a mapping that starts within a page reaches the right bytes', needs, (t) => {
    const { ioas, hardware } = attached(t);
    const ram = t.memory(2 * PAGE_SIZE);
    ioas.unsafeMapAddress(ram.address + 0x800n, { iova: IOVA + 0x30000n, length: 0x1000 });
    hardware.dmaWrite(
      IOVA + 0x30000n,
      Uint8Array.from({ length: 0x1000 }, () => 7),
    );
    assert.deepEqual([...ram.read(0x7ff, 2)], [0, 7]);
    assert.deepEqual([...ram.read(0x17ff, 2)], [7, 0]);
    refused('EFAULT', () => hardware.dmaRead(IOVA + 0x31000n, 1));
  });

  test('freed', 'memory that was freed while mapped is still written, and by nobody else seen', needs, (t) => {
    const { ioas, hardware } = attached(t);
    const ram = t.rig.host.allocateMemory(PAGE_SIZE);
    ioas.map(ram, { iova: IOVA + 0x40000n });
    ram.free();
    hardware.dmaWrite(IOVA + 0x40000n, BYTES);
    assert.deepEqual(hardware.dmaRead(IOVA + 0x40000n, 5), BYTES);
    ioas.unmap(IOVA + 0x40000n, PAGE_SIZE);
  });

  test('nested', 'through a nested page table, the parent decides', needs, (t) => {
    const { device, ioas, ram, hardware } = attached(t);
    const parent = ioas.allocHwpt(device, { nestParent: true });
    const viommu = makeViommu(parent, device);
    viommu.allocVdevice(device, { virtId: 1n });
    device.attach(makeNested(viommu, device));
    hardware.dmaWrite(IOVA, BYTES);
    assert.deepEqual(ram.read(0, 5), BYTES);
  });

  test('pasid', 'each PASID has its own', needs, (t) => {
    const { device } = t.mockDevice({ pasid: true });
    const hardware = itself(t, device);
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory(PAGE_SIZE);
    ioas.map(ram, { iova: IOVA });
    device.attach(ioas.allocHwpt(device, { pasid: true }), { pasid: 7 });
    hardware.dmaWrite(IOVA, BYTES, { pasid: 7 });
    assert.deepEqual(ram.read(0, 5), BYTES);
    refused('EFAULT', () => hardware.dmaWrite(IOVA, BYTES));
    refused('EFAULT', () => hardware.dmaWrite(IOVA, BYTES, { pasid: 8 }));
  });

  test('dirty', 'pages that were written are told, and no others', needs, (t) => {
    const { device } = t.mockDevice();
    const hardware = itself(t, device);
    const ioas = t.iommufd.allocIoas();
    // Entries of a page each: larger ones are dirty as a whole.
    ioas.hugePages = false;
    ioas.map(t.memory(), { iova: IOVA });
    const hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
    device.attach(hwpt);
    hwpt.setDirtyTracking(true);
    hardware.dmaWrite(IOVA + 0x2fffn, Uint8Array.of(1, 2));
    hardware.dmaRead(IOVA + 0x8000n, 4);
    const bitmap = hwpt.dirtyBitmap({ iova: IOVA, length: 0x10000 });
    const ranges = [...bitmap.read().ranges()];
    bitmap.free();
    assert.deepEqual(ranges, [{ iova: IOVA + 0x2000n, length: 0x2000n }]);
  });
});
