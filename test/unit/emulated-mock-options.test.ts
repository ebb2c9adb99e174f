// The options that the mock IOMMU's objects take, as docs/emulated.md shows them.
import assert from 'node:assert/strict';
import { createEmulatedHost, mock } from '../../lib/emulated-host.js';

describe('mock options', () => {
  it('make a vIOMMU with all that hangs from it', async () => {
    const host = createEmulatedHost({ machine: 'selftest' });
    const iommufd = host.openIommufd();
    const device = host.openDevice('0000:01:00.0').bind(iommufd);
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(0x4000);
    ioas.map(ram, { iova: 0x4000_0000n });
    const parent = ioas.allocHwpt(device, { nestParent: true });
    const viommu = parent.allocViommu(device, mock.viommu(0xcafe));
    viommu.allocVdevice(device, { virtId: 0x20n });
    device.attach(viommu.allocNestedHwpt(device, mock.nested()));
    const events = viommu.allocVeventq({ depth: 64, ...mock.veventq() });
    const queue = viommu.allocHwQueue({ index: 0, iova: 0x4000_0000n, length: 4096n, ...mock.hwQueue() });
    assert.equal(queue.mmap().read32(0), 0xcafe);
    host.deviceOf(device).raiseEvent();
    for await (const event of events.read({ signal: AbortSignal.timeout(5000) })) {
      assert(event.type === 'event' && event.event.kind === 'raw');
      assert.deepEqual([...event.event.data], [0x20, 0, 0, 0]);
      break;
    }
    iommufd.close();
  });

  it('make a queue that executes nothing, and has no side of its own', () => {
    const machine = () => {
      const host = createEmulatedHost({ machine: 'selftest' });
      const iommufd = host.openIommufd();
      const device = host.openDevice('0000:01:00.0').bind(iommufd);
      const ioas = iommufd.allocIoas();
      ioas.map(host.allocateMemory(4096), { iova: 0x4000_0000n });
      const viommu = ioas.allocHwpt(device, { nestParent: true }).allocViommu(device, mock.viommu());
      const queue = viommu.allocHwQueue({ index: 0, iova: 0x4000_0000n, length: 4096n, ...mock.hwQueue() });
      return { host, iommufd, queue };
    };
    const [one, other] = [machine(), machine()];
    const UNAVAILABLE = { code: 'ERR_IOMMUFD_UNAVAILABLE' };
    assert.throws(() => one.host.hwQueue(one.queue), UNAVAILABLE);
    assert.throws(() => one.host.hwQueue(other.queue), UNAVAILABLE);
    assert.throws(() => one.host.hwQueue({} as never), { code: 'ERR_INVALID_ARG_TYPE' });
    one.queue.destroy();
    assert.throws(() => one.host.hwQueue(one.queue), { code: 'ERR_IOMMUFD_DESTROYED' });
    for (const { iommufd } of [one, other]) iommufd.close();
  });

  it('refuse a register that is no 32-bit number', () => {
    for (const bad of [-1, 2 ** 32, 0.5]) assert.throws(() => mock.viommu(bad), RangeError);
  });

  it('are named in hints where something of the device itself is refused', () => {
    const host = createEmulatedHost({ machine: 'selftest' });
    assert.throws(() => host.device('0000:01:00.0').dmaRead(0n, 1), /hint: the device is attached to nothing, or/);
    assert.throws(() => host.device('0000:01:00.0').raiseEvent(), /hint: the device must be attached to a nested/);
  });
});
