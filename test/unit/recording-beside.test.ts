// A recorded host beside the one that is recorded: what was made on one is known to the other where that can be.
import assert from 'node:assert/strict';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import type { Host } from '../../lib/index.js';
import { recordingHost, replayHost } from '../../lib/recording-host.js';

const NIC = '0000:01:00.0';
const IOVA = 0x4000_0000n;
const FOREIGN = { code: 'ERR_IOMMUFD_UNAVAILABLE' };

function guest(host: Host) {
  const iommufd = host.openIommufd();
  const nic = host.openDevice(NIC);
  const device = nic.bind(iommufd);
  const ram = host.allocateMemory(0x10000);
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: IOVA });
  const parent = ioas.allocHwpt(device, { nestParent: true });
  return { iommufd, nic, device, ioas, parent, ram };
}

function end({ iommufd, nic, ram }: ReturnType<typeof guest>): void {
  nic.close();
  iommufd.close();
  ram.free();
}

describe('a recorded host and the one behind it', () => {
  it('shows its devices and hardware queues to the emulated host', () => {
    const [emulated, other] = [createEmulatedHost(), createEmulatedHost()];
    // Recorded twice is recorded too.
    const { device, ioas, parent, ram } = guest(recordingHost(recordingHost(emulated)));
    const viommu = parent.allocViommu(device, { type: 'tegra241-cmdqv' });
    viommu.allocVdevice(device, { virtId: 7n });
    const queue = viommu.allocHwQueue({ index: 0, iova: IOVA, length: 0x1000n });
    assert.equal(emulated.hwQueue(queue).inspect().enabled, false);
    assert.throws(() => other.hwQueue(queue), FOREIGN);
    ram.write(0x20, Buffer.from('for the device'));
    device.attach(ioas);
    const bytes = emulated.deviceOf(device).dmaRead(IOVA + 0x20n, 14);
    assert.equal(Buffer.from(bytes).toString(), 'for the device');
    assert.throws(() => other.deviceOf(device), FOREIGN);
  });

  it('is nothing that an emulated host knows when it is a replay', () => {
    const emulated = createEmulatedHost();
    const recorded = recordingHost(emulated);
    end(guest(recorded));
    const replayed = guest(replayHost(recorded.transcript()));
    assert.throws(() => emulated.deviceOf(replayed.device), FOREIGN);
    end(replayed);
  });

  it('hands over to one that is not recorded, and takes over from it', () => {
    const emulated = createEmulatedHost();
    const recorded = recordingHost(emulated);
    for (const [from, to] of [
      [recorded, emulated],
      [emulated, recorded],
    ] as const) {
      const { iommufd, ram, ioas } = guest(from);
      const handover = iommufd.handOver({ memories: [ram] });
      const state = JSON.parse(JSON.stringify(handover.state));
      assert.equal(state.host, 'emulated');
      const adopted = to.adoptIommufd(state, handover.fds);
      handover.complete();
      adopted.iommufd.changeProcess();
      assert.equal(adopted.iommufd.objects.find(({ id }) => id === ioas.id)?.destroyed, false);
      adopted.iommufd.close();
    }
  });
});
