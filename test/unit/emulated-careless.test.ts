// Careless programs on the emulated host: things closed under each other's feet, memory imported twice, misspelt options.
import assert from 'node:assert/strict';
import { createEmulatedHost, type EmulatedHostOptions } from '../../lib/emulated-host.js';
import { assertLinear } from './growth.js';
import { turn } from './stage.js';

const ADDRESS = '0000:01:00.0';
const IOVA = 0x100_0000n;
const PAGE = 4096;
const UNKNOWN = { name: 'TypeError', code: 'ERR_UNKNOWN_OPTION' };
const TYPE = { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' };

describe('careless programs on the emulated host', () => {
  it('keep the windows of memory when an import of it is freed', () => {
    const host = createEmulatedHost({ machine: 'selftest' });
    const ram = host.allocateMemory(2 * PAGE);
    const window = ram.window();
    window[0] = 7;
    const imported = host.unsafeImportMemory(ram.fd, PAGE);
    const other = imported.window();
    imported.free();
    assert.deepEqual([window.length, window[0], ram.read(0, 1)[0]], [2 * PAGE, 7, 7]);
    assert.throws(() => imported.window(), { code: 'ERR_IOMMUFD_DESTROYED' });
    ram.free();
    assert.deepEqual([window.length, other.length], [0, 0]);
    assert.deepEqual([host.inspect().regions, host.inspect().openFiles], [0, 0]);
  });

  it('lose the windows of memory that is freed, though it stays mapped, whatever they read through it', () => {
    const host = createEmulatedHost({ machine: 'selftest' });
    const iommufd = host.openIommufd();
    const device = host.openDevice(ADDRESS).bind(iommufd);
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(PAGE);
    ioas.map(ram, { iova: IOVA });
    device.attach(ioas);
    const words = new Uint32Array(ram.window().buffer, 0, 4);
    words[0] = 1;
    ram.free();
    assert.deepEqual([words.length, words[0]], [0, undefined]);
    for (const use of [() => ram.window(), () => ram.read(0, 1), () => ram.write(0, Uint8Array.of(1)), () => ram.fd]) {
      assert.throws(use, { code: 'ERR_IOMMUFD_DESTROYED' });
    }
    assert.equal(host.device(ADDRESS).dmaRead(IOVA, 1)[0], 1, 'the device reaches it still');
    iommufd.close();
    assert.equal(host.inspect().regions, 0);
  });

  it('may free and close everything while they read events', async () => {
    const host = createEmulatedHost({ machine: 'selftest' });
    const before = host.inspect();
    const iommufd = host.openIommufd();
    const nic = host.openDevice(ADDRESS);
    const device = nic.bind(iommufd);
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(PAGE);
    ioas.map(ram, { iova: IOVA });
    const queue = iommufd.allocFaultQueue();
    device.attach(ioas.allocHwpt(device, { faultQueue: queue }));
    const itself = host.device(ADDRESS);
    for (let group = 0; group < 10; group++) itself.requestPage({ address: 0n, group });
    let read = 0;
    for await (const _ of queue.read()) {
      if (++read === 2) ram.free();
      if (read < 4) continue;
      iommufd.close();
      nic.close();
    }
    assert(read >= 4);
    itself.requestPage({ address: 0n });
    await turn();
    assert.deepEqual(host.inspect(), before);
  });

  it('hear of options that are none', () => {
    const host = createEmulatedHost({ machine: 'selftest' });
    const device = host.device(ADDRESS);
    assert.throws(() => device.dmaRead(IOVA, 1, { passid: 1 } as never), UNKNOWN);
    assert.throws(() => device.dmaRead(IOVA, 1, null as never), TYPE);
    assert.throws(() => device.dmaWrite(IOVA, Uint8Array.of(1), { pasid: 'x' as never }), TYPE);
    assert.throws(() => device.requestPage({ address: 0n, permission: 1 } as never), UNKNOWN);
    const memory = { hugePageSizes: '2M' } as unknown as EmulatedHostOptions['memory'];
    assert.throws(() => createEmulatedHost({ memory } as EmulatedHostOptions), TYPE);
  });

  it('copy thousands of single pages of one mapping, and unmap them in one call, in time that grows as they do', () => {
    const host = createEmulatedHost({ machine: 'selftest' });
    const iommufd = host.openIommufd();
    const device = host.openDevice(ADDRESS).bind(iommufd);
    assertLinear((count) => {
      const [source, copies] = [iommufd.allocIoas(), iommufd.allocIoas()];
      source.map(host.allocateMemory(2 * count * PAGE), { iova: IOVA });
      device.attach(copies);
      return () => {
        for (let i = 0; i < count; i++) {
          const [sourceIova, iova] = [IOVA + BigInt(2 * i * PAGE), IOVA + BigInt(i * PAGE)];
          copies.copy(source, { sourceIova, iova, length: PAGE });
        }
        assert.equal(copies.unmapAll(), BigInt(count * PAGE));
        device.detach();
      };
    }, 500);
    iommufd.close();
  });
});
