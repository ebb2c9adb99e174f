// A driver tested against a device of one's own. The device is a model: a class with registers, put into an emulated machine,
// where the driver meets it through VFIO as it would meet the real one. It needs nothing but Node.
import assert from 'node:assert/strict';
import test from 'node:test';
import type { DmaMemory, VfioDevice } from 'iommufd';
import { createEmulatedHost, type DeviceBus, type DeviceModel } from 'iommufd/emulated';

const IOVA = 0x400_0000n;

// The model: it counts the bytes of a message in memory that are a letter. Writing an IOVA to register 0 starts it, register 8
// has the result, and an interrupt tells that it is there.
class LetterCounter implements DeviceModel {
  readonly identity = { vendorId: 0x1234, deviceId: 0xabcd };
  readonly bars = [{ index: 0, size: 4096 }];
  readonly interrupts = { msi: 1 };
  #bus?: DeviceBus;
  #count = 0;

  connect(bus: DeviceBus): void {
    this.#bus = bus;
  }
  read(_bar: number, offset: number): number {
    return offset === 8 ? this.#count : 0;
  }
  write(_bar: number, offset: number, _width: number, value: number | bigint): void {
    // Hardware takes its time.
    if (offset === 0) this.#bus?.later(() => this.#run(BigInt(value)));
  }
  #run(iova: bigint): void {
    const message = this.#bus?.dmaRead(iova, 64); // undefined where the IOMMU refuses it
    this.#count = message === undefined ? 0xffff_ffff : (Buffer.from(message).toString().match(/[a-z]/g)?.length ?? 0);
    this.#bus?.interrupt();
  }
}

// What is tested: the driver.
async function countLetters(nic: VfioDevice, ram: DmaMemory, text: string): Promise<number> {
  const [done] = nic.interrupts('msi').enable({ count: 1 });
  assert(done !== undefined);
  ram.write(0, Buffer.from(text.padEnd(64, '\0')));
  const registers = nic.region('bar0').mmap();
  registers.write64(0, IOVA);
  await done.wait();
  return registers.read32(8);
}

test('the driver counts letters', async (t) => {
  const host = createEmulatedHost({ devices: [{ address: '0000:00:07.0', model: new LetterCounter() }] });
  const iommufd = host.openIommufd();
  const nic = host.openDevice('0000:00:07.0');
  t.after(() => {
    nic.close();
    iommufd.close();
  });
  nic.bind(iommufd);
  const ioas = iommufd.allocIoas();
  const ram = host.allocateMemory(4096);
  ioas.map(ram, { iova: IOVA });
  nic.attach(ioas);
  nic.config.enable({ memory: true, busMaster: true });
  assert.equal(await countLetters(nic, ram, 'a driver, 3 words'), 12);
});
