// What becomes of an SMMUv3's events: those of a guest's own doing reach it, stalls become page requests, and their answers end
// the wait (arm_smmu_handle_event, arm-smmu-v3.c).
import assert from 'node:assert/strict';
import type { FaultQueue } from '../../lib/index.js';
import {
  ADDRESS,
  closeAll,
  command,
  EATS,
  Guest,
  IPA,
  PAGE,
  pattern,
  STREAM,
  stage,
  VA,
} from './emulated-smmuv3-driver-stage.js';

const va = (page: number) => VA + BigInt(page * PAGE);
const REFUSED = { code: 'EFAULT' };

/** A guest at work. */
function translated(guest = new Guest(stage())) {
  const { nic, host } = guest.stage;
  nic.attach(guest.nested('translate'));
  return { guest, nic, hardware: host.device(ADDRESS) };
}

describe("events of the emulated SMMUv3's driver", () => {
  afterEach(closeAll);

  it('reach the guest with its own StreamID, whatever kind they are', () => {
    const { guest, hardware } = translated(new Guest(stage({ pasid: true }), { ssidBits: 2 }));
    guest.map(0, 0, 'read');
    assert.throws(() => hardware.dmaRead(va(1), 4), REFUSED);
    assert.throws(() => hardware.dmaWrite(va(0), pattern(4)), REFUSED);
    assert.throws(() => hardware.dmaRead(va(0), 4, { pasid: 1 }), REFUSED);
    assert.throws(() => hardware.dmaRead(va(0), 4, { pasid: 9 }), REFUSED);
    const stream = Number(STREAM);
    assert.deepEqual(guest.told(), [
      { name: 'F_TRANSLATION', stream, at: va(1) },
      { name: 'F_PERMISSION', stream, at: va(0) },
      { name: 'C_BAD_CD', stream, at: undefined },
      { name: 'C_BAD_SUBSTREAMID', stream, at: undefined },
    ]);
  });

  it('carry the lower half of a longer id', () => {
    const guest = new Guest(stage());
    guest.vdevice.destroy();
    guest.viommu.allocVdevice(guest.stage.device, { virtId: 0x12_0000_0034n });
    const { hardware } = translated(guest);
    assert.throws(() => hardware.dmaRead(va(0), 4), REFUSED);
    assert.deepEqual(guest.told(), [{ name: 'F_TRANSLATION', stream: 0x34, at: va(0) }]);
  });

  it('are told as long as the guest is attached as it was, by the id it had then', () => {
    const { guest, nic, hardware } = translated();
    guest.vdevice.destroy();
    assert.throws(() => hardware.dmaRead(va(0), 4), REFUSED);
    assert.equal(guest.told().length, 1);
    nic.attach(guest.nested('bypass'));
    assert.throws(() => hardware.dmaRead(0n, 4), REFUSED);
    nic.attach(guest.stage.ioas);
    assert.throws(() => hardware.dmaRead(0n, 4), REFUSED);
    nic.detach();
    assert.throws(() => hardware.dmaRead(0n, 4), REFUSED);
    assert.deepEqual(guest.told(), []);
  });

  it("are none of the guest's where stage 2 refuses", () => {
    const { guest, hardware } = translated();
    guest.map(0, 0);
    guest.stage.ioas.unmapAll();
    assert.throws(() => hardware.dmaRead(va(0), 4), REFUSED);
    assert.deepEqual(guest.told(), []);
  });

  it('may be lost where there is no memory', () => {
    const { guest, hardware } = translated();
    guest.stage.host.failAllocation();
    assert.throws(() => hardware.dmaRead(va(0), 4), REFUSED);
    assert.deepEqual(guest.told(), ['lost']);
  });

  it("are nobody's where no queue was made for them", () => {
    const { guest, hardware } = translated();
    guest.events.destroy();
    assert.throws(() => hardware.dmaRead(va(0), 4), REFUSED);
    const again = guest.viommu.allocVeventq({ depth: 1 });
    assert.deepEqual(again.drain(), []);
  });

  it('come of faults alone: a device can neither raise one nor request a page', () => {
    const { guest, hardware } = translated();
    assert.throws(() => hardware.raiseEvent(), { code: 'EOPNOTSUPP' });
    hardware.requestPage({ address: va(0) });
    assert.deepEqual(guest.told(), []);
  });
});

/** A guest whose faults stall, with a queue for them. */
function stalling(device: { recoverableFaults?: boolean; pasid?: boolean } = { recoverableFaults: true }) {
  const guest = new Guest(stage(device), { stalls: true, ssidBits: device.pasid === true ? 4 : 0 });
  const { nic, host, iommufd } = guest.stage;
  const faults = iommufd.allocFaultQueue();
  nic.attach(guest.nested('translate', [0n, 0n], faults));
  return { guest, nic, faults, hardware: host.device(ADDRESS) };
}

/** The one request that is there. */
function onlyRequest(faults: FaultQueue) {
  const groups = faults.drain();
  assert.equal(groups.length, 1);
  const [group] = groups;
  assert(group !== undefined);
  const [request] = group.faults;
  assert(request !== undefined && group.faults.length === 1);
  return { group, request };
}

describe("stalls of the emulated SMMUv3's driver", () => {
  afterEach(closeAll);

  it('are page requests, and go on when those are answered', async () => {
    const { guest, faults, hardware } = stalling();
    guest.map(0, 0);
    const written = hardware.dmaWriteAsync(va(0) + 4090n, pattern(12));
    const { group, request } = onlyRequest(faults);
    const permissions = { read: false, write: true, exec: false, privileged: false };
    assert.deepEqual([request.address, request.permissions, request.pasid], [va(1), permissions, undefined]);
    assert.deepEqual(guest.told(), [], 'it is no event');
    guest.map(1, 1);
    faults.respond(group, 'success');
    await written;
    assert.deepEqual(guest.read(0, 4096).subarray(4090), pattern(12).subarray(0, 6));
    assert.deepEqual(guest.read(1, 6), pattern(12).subarray(6));
  });

  it('come again where nothing was mended, and end where the answer is no', async () => {
    const { faults, hardware } = stalling();
    const read = hardware.dmaReadAsync(va(0), 4);
    const first = onlyRequest(faults);
    assert.equal(first.request.permissions.read, true);
    faults.respond(first.group, 'success');
    await new Promise(setImmediate);
    faults.respond(onlyRequest(faults).group, 'invalid');
    await assert.rejects(read, REFUSED);
    assert.deepEqual(faults.drain(), []);
  });

  it('are of a PASID, which the guest has a table for', async () => {
    const { guest, faults, hardware } = stalling({ recoverableFaults: true, pasid: true });
    guest.setContext(5, 2n);
    const read = hardware.dmaReadAsync(va(3), 4, { pasid: 5 });
    const { group, request } = onlyRequest(faults);
    assert.deepEqual([request.pasid, request.address], [5, va(3)]);
    guest.map(3, 0);
    faults.respond(group, 'success');
    assert.deepEqual(await read, new Uint8Array(4));
  });

  it('of several accesses are answered each by itself', async () => {
    const { guest, faults, hardware } = stalling();
    const reads = [hardware.dmaReadAsync(va(0), 4), hardware.dmaReadAsync(va(1), 4)];
    const groups = faults.drain();
    assert.equal(new Set(groups.map(({ faults: [request] }) => request?.group)).size, 2);
    guest.map(1, 0);
    for (const group of groups) faults.respond(group, group.faults[0]?.address === va(1) ? 'success' : 'invalid');
    const outcomes = await Promise.allSettled(reads);
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['rejected', 'fulfilled'],
    );
  });

  it('end when the device is attached to something else, or to nothing', async () => {
    for (const leave of ['attach', 'detach'] as const) {
      const { guest, nic, hardware } = stalling();
      const read = hardware.dmaReadAsync(va(0), 4);
      if (leave === 'attach') nic.attach(guest.nested('abort'));
      else nic.detach();
      await assert.rejects(read, REFUSED, leave);
      closeAll();
    }
  });

  it('are refused at once where nobody handles them', async () => {
    const guest = new Guest(stage({ recoverableFaults: true }), { stalls: true });
    const { nic, host } = guest.stage;
    nic.attach(guest.nested('translate'));
    await assert.rejects(host.device(ADDRESS).dmaReadAsync(va(0), 4), REFUSED);
    assert.deepEqual(guest.told(), [], 'the kernel took it for a page request');
  });

  it('are none of a device that cannot wait, nor where the guest lets faults end', async () => {
    const cannot = stalling({});
    await assert.rejects(cannot.hardware.dmaReadAsync(va(0), 4), REFUSED);
    assert.deepEqual(cannot.faults.drain(), []);
    assert.equal(cannot.guest.told().length, 1);
    closeAll();
    const guest = new Guest(stage({ recoverableFaults: true }));
    const { nic, host, iommufd } = guest.stage;
    const faults = iommufd.allocFaultQueue();
    nic.attach(guest.nested('translate', [0n, 0n], faults));
    await assert.rejects(host.device(ADDRESS).dmaReadAsync(va(0), 4), REFUSED);
    assert.deepEqual(faults.drain(), []);
    assert.equal(guest.told().length, 1);
  });

  it("happen in the kernel's own page tables too, and in stage 2 below a guest", async () => {
    const { iommufd, ioas, nic, device, host, ram } = stage({ recoverableFaults: true });
    const faults = iommufd.allocFaultQueue();
    nic.attach(ioas.allocHwpt(device, { faultQueue: faults }));
    const hardware = host.device(ADDRESS);
    const written = hardware.dmaWriteAsync(VA, pattern(16));
    const { group, request } = onlyRequest(faults);
    assert.equal(request.address, VA);
    ioas.map(ram, { iova: VA });
    faults.respond(group, 'success');
    await written;
    assert.deepEqual(ram.read(0, 16), pattern(16));
    closeAll();

    const below = stalling();
    below.guest.map(0, 0);
    below.guest.stage.ioas.unmapAll();
    // Stage 2 has lost the guest's tables: it is the device's address that is told.
    const read = below.hardware.dmaReadAsync(va(0), 4);
    const told = onlyRequest(below.faults);
    assert.equal(told.request.address, va(0));
    below.guest.stage.ioas.map(below.guest.stage.ram, { iova: IPA });
    below.faults.respond(told.group, 'success');
    await read;
  });
});

describe("what the emulated SMMUv3's driver invalidates", () => {
  afterEach(closeAll);

  it("is all of a guest's when its memory goes", () => {
    const { guest, hardware } = translated(new Guest(stage({ ats: true })));
    const { ioas, ram } = guest.stage;
    guest.map(0, 0);
    guest.write(0, pattern(16));
    hardware.dmaRead(va(0), 16);
    ioas.unmapAll();
    assert.throws(() => hardware.dmaRead(va(0), 16), REFUSED);
    assert.deepEqual(guest.stage.host.inspect().tlb, []);
    ioas.map(ram, { iova: IPA });
    assert.deepEqual(hardware.dmaRead(va(0), 16), pattern(16));
  });

  it('is what a device keeps, when the guest tells it to', () => {
    const guest = new Guest(stage({ ats: true }));
    const { nic, host } = guest.stage;
    nic.attach(guest.nested('translate', [0n, 1n << 28n]));
    const hardware = host.device(ADDRESS);
    guest.map(0, 0);
    guest.write(1, pattern(16));
    hardware.dmaRead(va(0), 16);
    guest.map(0, 1);
    guest.invalidate(command.tlbiNhAll());
    assert.deepEqual(hardware.dmaRead(va(0), 16), new Uint8Array(16), 'the device knows better');
    guest.invalidate(command.atcInvAll(STREAM));
    assert.deepEqual(hardware.dmaRead(va(0), 16), pattern(16));
    // One that does not answer: the commands are done, and nobody hears of it.
    guest.map(0, 0);
    hardware.answersInvalidations = false;
    guest.invalidate(command.tlbiNhAll(), command.atcInvAll(STREAM));
    assert.deepEqual(hardware.dmaRead(va(0), 16), pattern(16));
  });

  it('is all of a device that is reset, which is as it was then', () => {
    for (const [how, all] of [
      ['reset', []],
      ['hotReset', ['tlb']],
    ] as const) {
      const guest = new Guest(stage({ ats: true, model: 'test', pasid: true }), { ssidBits: 4 });
      const { nic, host, ioas, device } = guest.stage;
      const hardware = host.device(ADDRESS);
      guest.setContext(3, 2n);
      guest.map(0, 0);
      guest.write(1, pattern(16));
      nic.attach(guest.nested('translate', [0n, EATS]));
      for (const pasid of [0, 3]) hardware.dmaRead(va(0), 16, { pasid });
      assert.equal(host.inspect().tlb.filter(({ where }) => where === `atc ${ADDRESS}`).length, 2);
      nic[how]();
      assert.deepEqual([...new Set(host.inspect().tlb.map(({ where }) => where))], all, how);
      guest.map(0, 1);
      guest.invalidate(command.tlbiNhAll());
      for (const pasid of [0, 3]) assert.deepEqual(hardware.dmaRead(va(0), 16, { pasid }), pattern(16), how);
      guest.map(0, undefined);
      guest.invalidate(command.tlbiNhAll(), command.atcInvAll(STREAM));
      assert.throws(() => hardware.dmaRead(va(0), 16), REFUSED);
      assert.equal(guest.told().length, 1, 'its guest hears of it');

      const own = ioas.allocHwpt(device, { pasid: true });
      nic.attach(own);
      nic.attach(own, { pasid: 7 });
      nic[how]();
      for (const pasid of [0, 7]) hardware.dmaRead(IPA, 16, { pasid });
      assert.throws(() => hardware.dmaRead(IPA, 16, { pasid: 8 }), REFUSED);
      closeAll();
    }
  });

  it('is nothing of a device whose guest has no name for it any more: a reset leaves it blocked', () => {
    const { guest, nic, hardware } = translated(new Guest(stage({ ats: true, model: 'test' })));
    guest.map(0, 0);
    guest.vdevice.destroy();
    hardware.dmaRead(va(0), 16);
    nic.reset();
    assert.throws(() => hardware.dmaRead(va(0), 16), REFUSED);
    assert.deepEqual(guest.told(), []);
  });

  it('is nothing of a device that the guest has without ATS', () => {
    const { guest, hardware } = translated(new Guest(stage({ ats: true })));
    guest.map(0, 0);
    guest.write(1, pattern(16));
    hardware.dmaRead(va(0), 16);
    guest.map(0, 1);
    guest.invalidate(command.tlbiNhAll());
    assert.deepEqual(hardware.dmaRead(va(0), 16), pattern(16));
  });

  it('is what nobody uses any more', () => {
    const { guest, nic, hardware } = translated();
    guest.map(0, 0);
    hardware.dmaRead(va(0), 16);
    assert.equal(guest.stage.host.inspect().tlb.length, 1);
    nic.attach(guest.stage.ioas);
    assert.deepEqual(guest.stage.host.inspect().tlb, []);
  });

  it('leaves the context descriptor until the guest says that it changed', () => {
    const { guest, hardware } = translated();
    guest.map(0, 0);
    hardware.dmaRead(va(0), 16);
    guest.setContext(0, undefined);
    guest.invalidate(command.tlbiNhAll());
    hardware.dmaRead(va(0), 16);
    guest.invalidate(command.cfgiCd(STREAM));
    assert.throws(() => hardware.dmaRead(va(0), 16), REFUSED);
  });
});
