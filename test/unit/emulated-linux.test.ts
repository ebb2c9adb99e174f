// The emulated host as Linux 6.12: what its IOMMUs and devices do without there (the mock's part is in the suites).
import assert from 'node:assert/strict';
import { createEmulatedHost, type EmulatedHostOptions } from '../../lib/emulated-host.js';
import { IommufdError } from '../../lib/index.js';

const NIC = '0000:01:00.0';

function start(machine: NonNullable<EmulatedHostOptions['machine']>) {
  const devices = [{ address: NIC, ats: true, recoverableFaults: true }];
  const host = createEmulatedHost({ machine, devices, linux: '6.12' });
  const iommufd = host.openIommufd();
  const device = host.openDevice(NIC).bind(iommufd);
  return { host, iommufd, device, ioas: iommufd.allocIoas() };
}

function refusal(work: () => unknown): IommufdError {
  try {
    work();
  } catch (error) {
    assert(error instanceof IommufdError, `${error}`);
    return error;
  }
  assert.fail('it was not refused');
}

describe('the emulated host as Linux 6.12', () => {
  for (const machine of ['arm-smmuv3', 'tegra241-cmdqv'] as const) {
    it(`has an SMMUv3 that nests nothing, and does not tell of itself: ${machine}`, () => {
      const { iommufd, device, ioas } = start(machine);
      assert.deepEqual([device.hwInfo().type, device.hwInfo().data.length], ['none', 0]);
      assert.equal(refusal(() => ioas.allocHwpt(device, { nestParent: true })).code, 'EOPNOTSUPP');
      const hwpt = ioas.allocHwpt(device, { dirtyTracking: true });
      device.attach(hwpt);
      assert.equal(refusal(() => hwpt.allocViommu(device, { type: 'arm-smmuv3' })).unsupported?.since, '6.13');
      iommufd.close();
    });
  }

  it('has a VT-d that nests straight from the parent, page requests included', () => {
    const { iommufd, device, ioas } = start('intel-vtd');
    assert.equal(device.hwInfo().type, 'intel-vtd');
    const parent = ioas.allocHwpt(device, { nestParent: true });
    const faultQueue = iommufd.allocFaultQueue();
    const nested = parent.allocNestedHwpt(device, { vtd: { pageTable: 0x1000n, addressWidth: 48 }, faultQueue });
    device.attach(nested);
    assert.equal(nested.invalidate({ vtd: [{ address: 0n, pages: 1n }] }), 1);
    iommufd.close();
  });

  it('has memory mapped by its address, which devices reach', () => {
    const { host, iommufd, device, ioas } = start('intel-vtd');
    const ram = host.allocateMemory(4096);
    ram.write(0, Buffer.from('hello'));
    ioas.map(ram, { iova: 0x4000n });
    device.attach(ioas);
    assert.equal(Buffer.from(host.device(NIC).dmaRead(0x4000n, 5)).toString(), 'hello');
    iommufd.close();
    ram.free();
  });

  it('has no node for a device without an IOMMU, and says why', () => {
    const host = createEmulatedHost({ linux: '6.12', devices: [{ address: NIC, iommu: false }] });
    const { missing, noiommu } = host.findDevice(NIC);
    assert.equal(noiommu, true);
    assert.deepEqual(
      missing.map(({ what }) => what),
      ['iommu', 'cdev'],
    );
    const told = 'nodes of VFIO devices without an IOMMU came with Linux 7.3, this is Linux 6.12-emulated';
    assert.match(missing[1]?.message ?? '', new RegExp(told));
    assert.match(missing[1]?.mend ?? '', /^boot a kernel of Linux 7\.3 or later/);
    const newer = createEmulatedHost({ devices: [{ address: NIC, iommu: false }] }).findDevice(NIC);
    assert.deepEqual([newer.noiommu, newer.missing.map(({ what }) => what)], [true, ['iommu']]);
  });
});
