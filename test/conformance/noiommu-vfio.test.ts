// A device without an IOMMU under VFIO: its user translates addresses, and its DMA goes where it is told.
import assert from 'node:assert/strict';
import { IOVA } from '../rig/address-space.js';
import { Edu, pattern } from '../rig/edu.js';
import { type Bench, conformance, PAGE_SIZE, refused } from '../rig/suite.js';

function openDevice(t: Bench) {
  const nic = t.rig.host.unsafeOpenDevice(t.rig.noiommuDevice() ?? '');
  t.later(() => nic[Symbol.dispose]());
  nic.bind(t.iommufd);
  return nic;
}

function attached(t: Bench) {
  const nic = openDevice(t);
  const ioas = t.iommufd.allocIoas();
  const ram = t.memory();
  ioas.map(ram, { iova: IOVA });
  nic.attach(ioas);
  return { nic, ioas, ram };
}

conformance('noiommu-vfio', (test) => {
  const needs = { needs: 'noiommu-device' } as const;

  test('dma', 'reads and writes memory at its physical addresses', needs, async (t) => {
    const { nic, ioas, ram } = attached(t);
    const edu = new Edu(nic);
    const bytes = pattern(1000);
    ram.write(0x10, bytes);
    await edu.load(ioas.physicalAddress(IOVA + 0x10n, bytes.length).address, bytes.length);
    // The last page: it lies anywhere.
    const last = BigInt(ram.size - PAGE_SIZE);
    await edu.store(ioas.physicalAddress(IOVA + last + 0x20n, bytes.length).address, bytes.length);
    assert.deepEqual(ram.read(last + 0x20n, bytes.length), bytes);
    const rest = ram.read(last, PAGE_SIZE);
    assert(rest.every((byte, i) => (i >= 0x20 && i < 0x20 + bytes.length) || byte === 0));
  });
  test('stays', 'memory stays where it is for as long as it is mapped', needs, async (t) => {
    const { nic, ioas, ram } = attached(t);
    const { address } = ioas.physicalAddress(IOVA, 0x1000);
    const edu = new Edu(nic);
    await edu.load(address, 16);
    ram.write(0, pattern(16));
    assert.equal(ioas.physicalAddress(IOVA, 0x1000).address, address);
    nic.detach();
    refused('EOPNOTSUPP', () => ioas.physicalAddress(IOVA, 0x1000));
  });
  test('registers', 'has registers, configuration and interrupts like any other', needs, async (t) => {
    const nic = openDevice(t);
    nic.config.enable({ memory: true });
    assert.deepEqual([nic.config.vendorId, nic.config.deviceId], [0x1234, 0x11e8]);
    assert.equal(nic.region('bar0').mmap().read32(0), 0x0100_00ed);
    const [vector] = nic.interrupts('msi').enable();
    vector?.trigger();
    assert.equal(await vector?.wait(), 1n);
  });
  test('no-hardware-info', 'there is no IOMMU to tell about', needs, (t) => {
    const nic = openDevice(t);
    refused('EOPNOTSUPP', () => nic.device.hwInfo());
  });
  test('page-table', 'a page table of its own knows where memory is, though no hardware uses it', needs, async (t) => {
    const nic = openDevice(t);
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    const hwpt = ioas.allocHwpt(nic.device);
    const { address } = ioas.physicalAddress(IOVA, 0x1000);
    const edu = new Edu(nic);
    ram.write(0, pattern(64));
    nic.attach(hwpt);
    await edu.load(address, 64);
    await edu.store(address + 0x800n, 64);
    assert.deepEqual(ram.read(0x800, 64), pattern(64));
  });
});
