// How devices come to page tables on an SMMUv3, and move between them: what addresses there are then, in which order they may
// be attached, and that they are at no time without one (arm_smmu_attach_dev, arm_smmu_attach_dev_nested).
import assert from 'node:assert/strict';
import { pattern } from '../rig/edu.js';
import { smmuv3Cases } from '../rig/smmuv3-cases.js';
import { outputBits } from '../rig/smmuv3-features.js';
import { LENGTH, nestingParent, Smmuv3Guest, VA } from '../rig/smmuv3-guest.js';
import { smmuv3Registers } from '../rig/smmuv3-rig.js';
import { GuestTables } from '../rig/smmuv3-tables.js';
import { CONFIG, CONTEXT_SIZE, contextWords, STREAM } from '../rig/smmuv3-words.js';
import { refused } from '../rig/suite.js';
import type { VfioBench } from '../rig/vfio.js';

function start(t: VfioBench) {
  const nic = t.bound('edu');
  return { nic, device: nic.device, ioas: t.iommufd.allocIoas() };
}

smmuv3Cases('smmuv3-attach', (test) => {
  const hardware = { dependsOnHardware: true };
  // How wide the IOMMU's addresses are is its own.
  test(
    'ranges',
    'an attached device leaves out where its interrupts go, and what is beyond its tables',
    hardware,
    (t) => {
      const { nic, device, ioas } = start(t);
      assert.equal(ioas.iovaRanges().alignment, 1n);
      nic.attach(ioas);
      const { ranges, alignment } = ioas.iovaRanges();
      assert.equal(alignment, 0x1000n);
      assert.deepEqual(ranges, [
        { start: 0n, last: 0x7ff_ffffn },
        { start: 0x810_0000n, last: 0xffff_ffff_ffffn },
      ]);
      refused('EINVAL', () => ioas.map(t.memory(), { iova: 0x800_0000n }));
      const parents = t.iommufd.allocIoas();
      parents.allocHwpt(device, { nestParent: true });
      assert.equal(parents.iovaRanges().ranges.at(0)?.start, 0n);
    },
  );
  test('ranges-parent', "a parent's addresses are as wide as the IOMMU's output", hardware, (t) => {
    const { nic, device, ioas } = start(t);
    const bits = outputBits(smmuv3Registers());
    const last = (1n << BigInt(bits)) - 1n;
    const parent = ioas.allocHwpt(device, { nestParent: true });
    assert.deepEqual(ioas.iovaRanges().ranges, [{ start: 0n, last }]);
    refused('EINVAL', () => ioas.map(t.memory(), { iova: last + 1n }));
    nic.attach(parent);
    assert.deepEqual(ioas.iovaRanges().ranges, [
      { start: 0n, last: 0x7ff_ffffn },
      { start: 0x810_0000n, last },
    ]);
  });
  test('ranges-taken', 'what is mapped where interrupts go keeps the device from being attached', (t) => {
    const { nic, ioas } = start(t);
    ioas.map(t.memory(), { iova: 0x800_0000n });
    refused('EADDRINUSE', () => nic.attach(ioas));
    ioas.unmapAll();
    nic.attach(ioas);
  });
  test('alignment', 'what is mapped is of whole pages', (t) => {
    const { nic, ioas } = start(t);
    nic.attach(ioas);
    const ram = t.memory();
    refused('EINVAL', () => ioas.map(ram, { iova: 0x1_0800n, length: 0x1000 }));
    refused('EINVAL', () => ioas.map(ram, { iova: 0x1_0000n, length: 0x800 }));
    ioas.map(ram, { iova: 0x1_0000n, length: 0x1000 });
  });

  test('attach-order', 'a device moves between page tables of all kinds, in any order', async (t) => {
    const guest = new Smmuv3Guest(t);
    const { nic, parent, ioas } = guest;
    guest.map(0, 0);
    const plain = ioas.allocHwpt(nic.device);
    const [nested, other] = [guest.nested(), guest.nested()];
    const bypass = guest.nested({ config: CONFIG.bypass });
    const tables = { plain, nested, parent, other, bypass };
    const direct = { plain: guest.page(0), parent: guest.page(0), bypass: guest.page(0), nested: VA, other: VA };
    let seed = 1;
    for (const name of [
      'nested',
      'other',
      'plain',
      'nested',
      'parent',
      'bypass',
      'other',
      'parent',
      'plain',
    ] as const) {
      nic.attach(tables[name]);
      assert.equal(nic.device.attachedTo(), tables[name]);
      await guest.reaches(direct[name], 0, seed++);
    }
    nic.attach(ioas);
    await guest.reaches(guest.page(1), 1, seed++);
    nic.attach(nested);
    await guest.reaches(VA, 0, seed);
    await guest.faults('translation', guest.va(1));
  });
  test('attach-again', 'attached again to what it is attached to, nothing changes', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    const { nic } = guest;
    guest.map(0, 0);
    await guest.reaches(VA, 0);
    const nested = guest.nested();
    nic.attach(nested);
    nic.attach(nested);
    await guest.reaches(VA, 0, 2);
    nic.detach();
    nic.attach(nested);
    await guest.reaches(VA, 0, 3);
  });
  test('replace-refused', 'where a page table is refused, the device stays where it was', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    const { nic, parent } = guest;
    guest.map(0, 0);
    const other = parent.allocViommu(nic.device, { type: 'arm-smmuv3' });
    const nested = other.allocNestedHwpt(nic.device, { ste: guest.ste() });
    refused('ENOENT', () => nic.attach(nested));
    await guest.reaches(VA, 0);
    await guest.faults('translation', guest.va(1));
  });
  test('without-vdevice', 'streams that are not translated need no vDEVICE, those that are not valid neither', (t) => {
    const guest = new Smmuv3Guest(t);
    const { nic } = guest;
    guest.vdevice.destroy();
    for (const fields of [{ config: CONFIG.bypass }, { config: CONFIG.abort }, { valid: 0 }]) guest.attach(fields);
    refused('ENOENT', () => nic.attach(guest.nested()));
    refused('ENOENT', () => nic.attach(guest.nested({ contexts: 0n })));
  });
  test(
    'fault-queue',
    'a nested page table with a fault queue is attached; faults that do not wait are events',
    async (t) => {
      const guest = new Smmuv3Guest(t);
      const { nic, viommu } = guest;
      const faultQueue = t.iommufd.allocFaultQueue();
      nic.attach(viommu.allocNestedHwpt(nic.device, { ste: guest.ste(), faultQueue }));
      await guest.faults('translation', VA);
      assert.deepEqual(faultQueue.drain(), []);
    },
  );

  test('pasid', 'nested page tables are not attached by PASID, nor what is not for PASIDs', (t) => {
    const guest = new Smmuv3Guest(t);
    const { nic, ioas } = guest;
    const forPasids = ioas.allocHwpt(nic.device, { pasid: true });
    refused('EINVAL', () => nic.attach(guest.nested(), { pasid: 1 }));
    refused('EINVAL', () => nic.attach(guest.parent, { pasid: 1 }));
    // A device without PASIDs sends none: Linux lets it be.
    nic.attach(forPasids, { pasid: 1 });
    refused('EINVAL', () => guest.attach());
    nic.detach({ pasid: 1 });
    guest.attach();
    refused('EINVAL', () => nic.attach(forPasids, { pasid: 1 }));
  });

  test('close-device', 'closing the device detaches it, and takes its vDEVICE from the vIOMMU', (t) => {
    const guest = new Smmuv3Guest(t).attach();
    const { nic, viommu, events } = guest;
    const { device } = nic;
    guest.vdevice.destroy();
    nic.close();
    assert.equal(device.destroyed, true);
    events.destroy();
    refused('EBUSY', () => viommu.destroy());
  });
  test('two-guests', 'two parents are two guests, whose same addresses are of memory of their own', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    const { nic } = guest;
    guest.map(0, 0);
    await guest.reaches(VA, 0);
    guest.vdevice.destroy();
    const { ram, parent } = nestingParent(t, nic);
    const other = parent.allocViommu(nic.device, { type: 'arm-smmuv3' });
    other.allocVdevice(nic.device, { virtId: STREAM });
    const tables = new GuestTables(ram);
    const context = ram.take(CONTEXT_SIZE);
    contextWords({ t0sz: 25, ttb0: tables.root }).forEach((word, i) => {
      ram.store(context + BigInt(i * 8), word);
    });
    tables.map(VA, guest.page(0));
    nic.attach(other.allocNestedHwpt(nic.device, { ste: guest.ste({ contexts: context }) }));
    assert.deepEqual(ram.read(guest.page(0), LENGTH), new Uint8Array(LENGTH));
    await guest.edu.store(VA, LENGTH);
    assert.deepEqual(ram.read(guest.page(0), LENGTH), guest.read(0));
    guest.write(0, new Uint8Array(LENGTH));
    nic.attach(guest.nested({ config: CONFIG.bypass }));
    await guest.reaches(guest.page(0), 0, 2);
  });
  test('no-gap', 'a device that moves to another page table is at no time without one', async (t) => {
    const guest = new Smmuv3Guest(t);
    const { nic } = guest;
    const other = new GuestTables(guest.ram);
    const context = guest.ram.take(CONTEXT_SIZE);
    guest.describe({ ttb0: other.root, asid: 2 }, context);
    guest.map(0, 0);
    other.map(VA, guest.page(1));
    const tables = [guest.nested(), guest.nested({ contexts: context })] as const;
    nic.attach(tables[0]);
    await guest.reaches(VA, 0);
    for (let round = 0; round < 4; round++) {
      for (const page of [0, 1]) guest.write(page, new Uint8Array(LENGTH));
      guest.edu.beginStore(VA, LENGTH);
      for (let i = 0; i < 8; i++) nic.attach(tables[i % 2 === 0 ? 1 : 0]);
      await guest.edu.idle();
      const arrived = [0, 1].map((page) => Buffer.from(guest.read(page)));
      const either = Buffer.from(pattern(LENGTH));
      assert(
        arrived.some((bytes) => bytes.equals(either)),
        `round ${round}`,
      );
    }
    assert.deepEqual(guest.events.drain(), []);
  });
});
