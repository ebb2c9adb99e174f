// Page requests (PCI PRI) of a device behind a VT-d unit: DMA that waits until somebody mended the fault.
import assert from 'node:assert/strict';
import { bytes, guest, PAGE, VA } from './emulated-vtd-stage.js';

const EFAULT = { code: 'EFAULT' };
const PRI = { ats: true, recoverableFaults: true, pasid: true };

/** A guest whose tables have a fault queue, and a device that waits. */
function waiting(options: Parameters<typeof guest>[0] = PRI) {
  const base = guest(options);
  const queue = base.iommufd.allocFaultQueue();
  const nested = base.nest({ faultQueue: queue, pasid: true });
  base.device.attach(nested);
  return { ...base, queue, nested };
}

describe('emulated VT-d: page requests', () => {
  it('let DMA wait for a page, and go on when it is there', async () => {
    const { queue, own, tables, data, read, device } = waiting();
    const done = own.dmaWriteAsync(VA + 0x123n, bytes(1, 2, 3));
    const [group] = queue.drain();
    assert.deepEqual(group?.faults.length, 1);
    const [fault] = group?.faults ?? [];
    assert.deepEqual(
      { ...fault, group: 0, cookie: 0 },
      {
        ...{ deviceId: device.id, pasid: undefined, group: 0, address: VA, length: 0, last: true, cookie: 0 },
        permissions: { read: false, write: true, exec: false, privileged: false },
      },
    );
    tables.map(VA, data(0));
    assert(group !== undefined);
    queue.respond(group, 'success');
    await done;
    assert.deepEqual(read(0, 0x126).subarray(0x123), bytes(1, 2, 3));
  });

  it('ask page after page, and again where nothing was mended', async () => {
    const { queue, own, tables, data, write } = waiting();
    write(0, new Uint8Array(PAGE).fill(1));
    write(1, new Uint8Array(PAGE).fill(2));
    const done = own.dmaReadAsync(VA + BigInt(PAGE - 2), 4);
    const asked: (bigint | undefined)[] = [];
    const answer = async () => {
      const [group] = queue.drain();
      asked.push(group?.faults[0]?.address);
      assert(group !== undefined);
      queue.respond(group, 'success');
      await new Promise((resolve) => setImmediate(resolve));
    };
    await answer();
    tables.map(VA, data(0));
    await answer();
    tables.map(VA + BigInt(PAGE), data(1), { writable: false });
    await answer();
    assert.deepEqual(await done, bytes(1, 1, 2, 2));
    assert.deepEqual(asked, [VA, VA, VA + BigInt(PAGE)]);
  });

  it('answered as invalid refuse the access', async () => {
    const { queue, own } = waiting();
    const done = own.dmaReadAsync(VA, 4);
    const [group] = queue.drain();
    assert(group !== undefined);
    queue.respond(group, 'invalid');
    await assert.rejects(done, EFAULT);
  });

  it('are of the PASID that faults, and wait side by side', async () => {
    const { queue, own, device, nested, tables, data } = waiting();
    device.attach(nested, { pasid: 5 });
    const all = [own.dmaReadAsync(VA, 1, { pasid: 5 }), own.dmaReadAsync(VA + 0x1000n, 1), own.dmaReadAsync(VA, 1)];
    const groups = queue.drain();
    assert.deepEqual(
      groups.map(({ faults }) => [faults[0]?.pasid, faults[0]?.address]),
      [
        [5, VA],
        [undefined, VA + 0x1000n],
        [undefined, VA],
      ],
    );
    assert.equal(new Set(groups.map(({ faults }) => faults[0]?.group)).size, 3);
    tables.map(VA, data(0));
    tables.map(VA + 0x1000n, data(1));
    for (const group of groups.reverse()) queue.respond(group, 'success');
    await Promise.all(all);
  });

  it('are made for entries that allow too little, and for holes in the guest’s memory', async () => {
    const { queue, own, tables, data } = waiting();
    const refused = async (address: bigint) => {
      const done = own.dmaWriteAsync(address, bytes(1));
      const [group] = queue.drain();
      assert(group !== undefined, `for ${address.toString(16)}`);
      queue.respond(group, 'invalid');
      await assert.rejects(done, EFAULT);
    };
    tables.map(VA, data(0), { writable: false });
    await refused(VA);
    tables.map(VA + 0x1000n, 0n);
    await refused(VA + 0x1000n);
  });

  it('are not made where nobody could mend it', async () => {
    const { queue, own, tables, nested, device, nest } = waiting();
    const never = async (address: bigint, pasid = 0) => {
      await assert.rejects(own.dmaReadAsync(address, 1, { pasid }), EFAULT);
      assert.deepEqual(queue.drain(), []);
    };
    await never(0x8000_0000_0000n);
    await never(0xfee0_0000n);
    await never(VA, 7);
    tables.put(tables.entryAt(VA, 3), tables.root | 0x87n);
    await never(VA);
    nested.invalidate({ vtd: [{ all: true }] });
    device.attach(nest({ pasid: true }));
    tables.put(tables.entryAt(VA, 3), 0n);
    await never(VA);
  });

  it('end with the device’s leaving', async () => {
    const { queue, own, device, nested, nest } = waiting();
    const [one, two] = [own.dmaReadAsync(VA, 1), own.dmaReadAsync(VA, 1)];
    assert.equal(queue.drain().length, 2);
    const three = own.dmaReadAsync(VA, 1);
    device.detach();
    for (const done of [one, two, three]) await assert.rejects(done, EFAULT);
    device.attach(nested);
    const four = own.dmaReadAsync(VA, 1);
    device.attach(nest({ pasid: true }));
    await assert.rejects(four, EFAULT);
  });

  it('go through page tables of the kernel as well', async () => {
    const { iommufd, own, device, memory } = guest(PRI);
    const queue = iommufd.allocFaultQueue();
    const ioas = iommufd.allocIoas();
    device.attach(ioas.allocHwpt(device, { faultQueue: queue }));
    const done = own.dmaReadAsync(0x5000n, 4);
    const [group] = queue.drain();
    assert(group !== undefined);
    ioas.map(memory(PAGE), { iova: 0x5000n });
    queue.respond(group, 'success');
    assert.deepEqual(await done, bytes(0, 0, 0, 0));
  });

  it('are limited to what there are numbers for', async () => {
    const { queue, own, device } = waiting();
    const read = () =>
      own.dmaReadAsync(VA, 1).then(
        () => 'done',
        ({ code }: { code: unknown }) => code,
      );
    const all = Array.from({ length: 512 }, read);
    assert.equal(await read(), 'EFAULT');
    assert.equal(queue.drain().length, 512);
    device.detach();
    assert.deepEqual(new Set(await Promise.all(all)), new Set(['EFAULT']));
  });

  for (const [what, options] of [
    ['no PRI', { ats: true, pasid: true }],
    ['no ATS', { recoverableFaults: true, pasid: true }],
  ] as const) {
    it(`need a device that can make them: with ${what} it takes no fault queue`, async () => {
      const { iommufd, nest, device, own, ioas } = guest(options);
      const queue = iommufd.allocFaultQueue();
      const ENODEV = { code: 'ENODEV', syscall: 'VFIO_DEVICE_ATTACH_IOMMUFD_PT' };
      assert.throws(() => device.attach(nest({ faultQueue: queue })), ENODEV);
      assert.throws(() => device.attach(nest({ faultQueue: queue, addressWidth: 39 })), ENODEV);
      assert.throws(() => device.attach(ioas.allocHwpt(device, { faultQueue: queue })), ENODEV);
      assert.throws(() => device.attach(nest({ faultQueue: queue, pasid: true }), { pasid: 5 }), { code: 'ENODEV' });
      device.attach(nest());
      await assert.rejects(own.dmaReadAsync(VA, 1), EFAULT);
      own.requestPage({ address: VA });
      assert.deepEqual(queue.drain(), []);
    });
  }
});

describe('emulated VT-d: page requests that a device makes by itself', () => {
  const [READ, WRITE, EXEC, PRIVILEGED] = [1, 2, 4, 8];

  it('have what the message has room for', () => {
    const { queue, own, device, nested } = waiting();
    device.attach(nested, { pasid: 5 });
    own.requestPage({ address: VA + 0xfffn, pasid: 2 ** 20 + 5, group: 513, perm: READ | WRITE | 0xf0 });
    const [fault] = queue.drain()[0]?.faults ?? [];
    assert.deepEqual([fault?.address, fault?.pasid, fault?.group], [VA, 5, 1]);
    assert.deepEqual(fault?.permissions, { read: true, write: true, exec: false, privileged: false });
  });

  it('are refused by the driver where they make no sense', () => {
    const { queue, own } = waiting();
    for (const perm of [0, EXEC, PRIVILEGED, READ | PRIVILEGED, WRITE | PRIVILEGED, READ | EXEC]) {
      own.requestPage({ address: VA, perm });
    }
    own.requestPage({ address: 2n ** 56n });
    own.requestPage({ address: 2n ** 63n });
    own.requestPage({ address: VA, pasid: 9 });
    assert.deepEqual(queue.drain(), []);
    own.requestPage({ address: 2n ** 56n - 1n });
    own.requestPage({ address: 2n ** 64n - 1n, perm: WRITE | EXEC });
    assert.equal(queue.drain().length, 2);
  });
});
