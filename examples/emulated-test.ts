// The README's example of a test: a piece of a VMM, and what is asked of it where there is no hardware. It needs nothing but
// Node, and runs like every file of node:test.
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { type Device, type DmaMemory, type Ioas, IommufdError } from 'iommufd';
import { createEmulatedHost } from 'iommufd/emulated';

const NIC = '0000:01:00.0';
const GUEST_RAM = 0x4000_0000n;

// What is tested: a device gets to see the guest's memory, or everything is as before.
function showGuestMemory(device: Device, ram: DmaMemory): Ioas {
  const ioas = device.iommufd.allocIoas();
  try {
    ioas.map(ram, { iova: GUEST_RAM });
    device.attach(ioas);
  } catch (error) {
    ioas.destroy();
    throw error;
  }
  return ioas;
}

// A machine of its own for each test: no hardware, no privilege, nothing shared.
function machine(t: TestContext) {
  const host = createEmulatedHost({ devices: [{ address: NIC }] });
  const iommufd = host.openIommufd();
  const ram = host.allocateMemory(0x10000);
  t.after(() => {
    iommufd.close();
    ram.free();
  });
  return { host, device: host.openDevice(NIC).bind(iommufd), ram };
}

test('the device and the guest see the same memory', (t) => {
  const { host, device, ram } = machine(t);
  showGuestMemory(device, ram);
  const nic = host.device(NIC); // the device's own side
  nic.dmaWrite(GUEST_RAM + 0x100n, Buffer.from('a packet'));
  assert.equal(Buffer.from(ram.read(0x100, 8)).toString(), 'a packet');
  assert.throws(() => nic.dmaRead(GUEST_RAM + 0x10000n, 1), { code: 'EFAULT' });
});

test('where the kernel runs out of memory, nothing is left behind', (t) => {
  const { host, device, ram } = machine(t);
  const before = host.inspect(); // objects, mappings, references, memory
  let after = 0;
  for (; ; after++) {
    host.failAllocation(after); // so many work, the next one fails
    try {
      showGuestMemory(device, ram);
      break;
    } catch (error) {
      assert(error instanceof IommufdError && error.code === 'ENOMEM');
      assert.deepEqual(host.inspect(), before);
    }
  }
  assert(after > 0 && host.failurePending, 'each of its allocations failed once');
});
