// Nested translation on an SMMUv3: a guest's own page tables under a device that does DMA, its events and its invalidations
// (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c).
import assert from 'node:assert/strict';
import type { Vevent, Veventq } from '../../lib/index.js';
import { Edu, pattern } from '../rig/edu.js';
import { FORGET_ALL, type Smmuv3Guest, STREAM, smmuv3Guest, VA } from '../rig/stage1.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const PAGE = 4096;
const LENGTH = 256;
const needs = 'edu';
const va = (page: number) => VA + BigInt(page * PAGE);

interface Translated extends Smmuv3Guest {
  readonly edu: Edu;
  /** What lies in the guest's page of this number. */
  read(page: number): Uint8Array;
  write(page: number, bytes: Uint8Array): void;
}

/** A guest whose device is at work, its stream translated by the guest's tables. */
function translated(t: VfioBench): Translated {
  const guest = smmuv3Guest(t);
  const { nic, viommu, ram, page } = guest;
  nic.attach(viommu.allocNestedHwpt(nic.device, { ste: guest.ste('translate') }));
  return {
    ...guest,
    edu: new Edu(nic),
    read: (index) => ram.read(page(index).offset, LENGTH),
    write: (index, bytes) => ram.write(page(index).offset, bytes),
  };
}

/** The next event, which may need a moment to come from the hardware's queue. */
async function nextEvent(events: Veventq): Promise<Vevent | undefined> {
  for await (const event of events.read({ signal: AbortSignal.timeout(30_000) })) return event;
  return undefined;
}

vfioCases('smmuv3', (test) => {
  test('info', 'the IOMMU tells of itself', { needs }, (t) => {
    const { type, data } = t.bound('edu').device.hwInfo();
    assert.equal(type, 'arm-smmuv3');
    assert.equal(data.length, 40);
  });

  test('translates', 'DMA goes through both stages, both ways', { needs }, async (t) => {
    const guest = translated(t);
    guest.map(0, 3);
    guest.map(1, 1);
    guest.write(3, pattern(LENGTH));
    await guest.edu.load(va(0), LENGTH);
    await guest.edu.store(va(1), LENGTH);
    assert.deepEqual(guest.read(1), pattern(LENGTH));
    assert.deepEqual(guest.events.drain(), []);
  });

  test('unmapped', 'what the guest did not map is its event, by its own StreamID', { needs }, async (t) => {
    const guest = translated(t);
    guest.map(0, 0);
    await guest.edu.store(va(2), LENGTH);
    const told = await nextEvent(guest.events);
    assert.equal(told?.type, 'event');
    assert.equal(told.sequence, 0);
    const { event } = told;
    assert.equal(event.kind, 'arm-smmuv3');
    assert.deepEqual(
      [event.name, event.streamId, event.inputAddress, event.substreamId],
      ['F_TRANSLATION', STREAM, va(2), undefined],
    );
  });

  test('read-only', 'what the guest lets be read alone is not written', { needs }, async (t) => {
    const guest = translated(t);
    guest.map(0, 0, 'read');
    guest.map(1, 1);
    guest.write(0, pattern(LENGTH));
    await guest.edu.load(va(0), LENGTH);
    await guest.edu.store(va(1), LENGTH);
    assert.deepEqual(guest.read(1), pattern(LENGTH), 'it is read');
    guest.write(0, pattern(LENGTH, 2));
    await guest.edu.store(va(0), LENGTH);
    assert.deepEqual(guest.read(0), pattern(LENGTH, 2));
    const told = await nextEvent(guest.events);
    assert(told?.type === 'event' && told.event.kind === 'arm-smmuv3');
    assert.deepEqual([told.event.name, told.event.inputAddress], ['F_PERMISSION', va(0)]);
  });

  test('invalidate', 'after an invalidation the tables are as the guest has them', { needs }, async (t) => {
    const guest = translated(t);
    guest.write(0, pattern(LENGTH));
    guest.map(0, 0);
    guest.map(1, 1);
    await guest.edu.load(va(0), LENGTH);
    await guest.edu.store(va(1), LENGTH);
    guest.map(1, 2);
    guest.viommu.invalidate({ smmuv3: FORGET_ALL });
    guest.write(1, new Uint8Array(LENGTH));
    await guest.edu.store(va(1), LENGTH);
    assert.deepEqual(guest.read(2), pattern(LENGTH));
    assert.deepEqual(guest.read(1), new Uint8Array(LENGTH));
    guest.map(1, undefined);
    guest.viommu.invalidate({ smmuv3: FORGET_ALL });
    await guest.edu.store(va(1), LENGTH);
    assert.equal((await nextEvent(guest.events))?.type, 'event');
  });

  test('bypass', 'a stream that the guest lets through goes by stage 2 alone', { needs }, async (t) => {
    const guest = smmuv3Guest(t);
    const { nic, viommu, ram, page } = guest;
    nic.attach(viommu.allocNestedHwpt(nic.device, { ste: guest.ste('bypass') }));
    const edu = new Edu(nic);
    ram.write(page(0).offset, pattern(LENGTH));
    await edu.load(page(0).ipa, LENGTH);
    await edu.store(page(1).ipa, LENGTH);
    assert.deepEqual(ram.read(page(1).offset, LENGTH), pattern(LENGTH));
  });

  test('stage-2-fault', "what the host did not map is no event of the guest's", { needs }, async (t) => {
    const guest = smmuv3Guest(t);
    const { nic, viommu } = guest;
    nic.attach(viommu.allocNestedHwpt(nic.device, { ste: guest.ste('bypass') }));
    await new Edu(nic).load(VA, 4);
    guest.map(0, 0);
    nic.attach(viommu.allocNestedHwpt(nic.device, { ste: guest.ste('translate') }));
    await new Edu(nic).load(va(1), 4);
    // The guest's own fault comes, and nothing before it.
    const told = await nextEvent(guest.events);
    assert(told?.type === 'event' && told.event.kind === 'arm-smmuv3');
    assert.deepEqual([told.sequence, told.event.inputAddress], [0, va(1)]);
  });

  test('abort', 'a stream that the guest refuses reaches nothing', { needs }, async (t) => {
    const guest = translated(t);
    guest.map(0, 0);
    guest.write(0, pattern(LENGTH));
    await guest.edu.load(va(0), LENGTH);
    guest.nic.attach(guest.viommu.allocNestedHwpt(guest.nic.device, { ste: guest.ste('abort') }));
    guest.write(0, pattern(LENGTH, 2));
    await guest.edu.store(va(0), LENGTH);
    assert.deepEqual(guest.read(0), pattern(LENGTH, 2));
  });

  test('vdevice-first', 'a translated stream wants its vDEVICE first; others do not', { needs }, (t) => {
    const guest = smmuv3Guest(t);
    const { nic, viommu } = guest;
    guest.vdevice.destroy();
    for (const config of ['bypass', 'abort'] as const) {
      nic.attach(viommu.allocNestedHwpt(nic.device, { ste: guest.ste(config) }));
      nic.detach();
    }
    const nested = viommu.allocNestedHwpt(nic.device, { ste: guest.ste('translate') });
    assert.match(refused('ENOENT', () => nic.attach(nested)).message, /vDEVICE/);
    viommu.allocVdevice(nic.device, { virtId: STREAM });
    nic.attach(nested);
  });

  test(
    'bad-command',
    "commands that are not the guest's to give are refused, those before are done",
    { needs },
    (t) => {
      const { viommu } = smmuv3Guest(t);
      const commands = BigUint64Array.of(...FORGET_ALL, 0xffn, 0n);
      const { completed, refusal } = viommu.tryInvalidate({ smmuv3: commands });
      assert.equal(refusal?.code, 'EIO');
      assert.equal(completed, 1);
    },
  );

  test('bad-ste', "fields that are not the guest's to set are refused", { needs }, (t) => {
    const { viommu, nic, ste } = smmuv3Guest(t);
    const [first, second] = ste('translate');
    for (const bad of [
      [first | (6n << 1n), second],
      [first, second | (1n << 40n)],
    ] as const) {
      assert.throws(() => viommu.allocNestedHwpt(nic.device, { ste: bad }), { code: 'EIO' });
    }
  });
});
