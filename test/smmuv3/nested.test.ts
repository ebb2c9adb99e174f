// Nested translation on an SMMUv3: a guest's own page tables under a device that does DMA, its events and its invalidations
// (drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-iommufd.c).
import assert from 'node:assert/strict';
import { pattern } from '../rig/edu.js';
import { EduInterrupts } from '../rig/edu-interrupts.js';
import { smmuv3Cases } from '../rig/smmuv3-cases.js';
import { COMMANDS } from '../rig/smmuv3-commands.js';
import { LENGTH, Smmuv3Guest } from '../rig/smmuv3-guest.js';
import { CONFIG, STREAM } from '../rig/smmuv3-words.js';
import { refused } from '../rig/suite.js';

/** Where the host's interrupt controller is for devices. */
const INTERRUPTS = 0x800_0000n;

smmuv3Cases('smmuv3', (test) => {
  test('info', 'the IOMMU tells of itself', (t) => {
    const { type, data } = t.bound('edu').device.hwInfo();
    assert.equal(type, 'arm-smmuv3');
    assert.equal(data.length, 40);
  });

  test('translates', 'DMA goes through both stages, both ways', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(0, 3);
    guest.map(1, 1);
    guest.write(3, pattern(LENGTH));
    await guest.edu.load(guest.va(0), LENGTH);
    await guest.edu.store(guest.va(1), LENGTH);
    assert.deepEqual(guest.read(1), pattern(LENGTH));
    assert.deepEqual(guest.events.drain(), []);
  });

  test('unmapped', 'what the guest did not map is its event, by its own StreamID', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(0, 0);
    await guest.access(guest.va(2), 'write');
    const told = await guest.next();
    assert.equal(told?.type, 'event');
    assert.equal(told.sequence, 0);
    const { event } = told;
    assert.equal(event.kind, 'arm-smmuv3');
    assert.deepEqual(
      [event.name, event.streamId, event.inputAddress, event.substreamId],
      ['F_TRANSLATION', STREAM, guest.va(2), undefined],
    );
  });

  test('read-only', 'what the guest lets be read alone is not written', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(0, 0, 'read');
    guest.map(1, 1);
    guest.write(0, pattern(LENGTH));
    await guest.edu.load(guest.va(0), LENGTH);
    await guest.edu.store(guest.va(1), LENGTH);
    assert.deepEqual(guest.read(1), pattern(LENGTH), 'it is read');
    guest.write(0, pattern(LENGTH, 2));
    await guest.faults('permission', guest.va(0));
    assert.deepEqual(guest.read(0), pattern(LENGTH, 2));
  });

  test('invalidate', 'after an invalidation the tables are as the guest has them', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(1, 1);
    await guest.reaches(guest.va(1), 1);
    guest.map(1, 2);
    guest.invalidate(COMMANDS.nhAsid());
    guest.write(1, new Uint8Array(LENGTH));
    await guest.reaches(guest.va(1), 2);
    assert.deepEqual(guest.read(1), new Uint8Array(LENGTH));
    guest.unmap(1);
    guest.invalidate(COMMANDS.nhAsid());
    await guest.faults('translation', guest.va(1));
  });

  test('bypass', 'a stream that the guest lets through goes by stage 2 alone', async (t) => {
    const guest = new Smmuv3Guest(t).attach({ config: CONFIG.bypass });
    await guest.reaches(guest.page(0), 0);
    await guest.reaches(guest.page(1), 1);
  });

  test('stage-2-fault', "what the host did not map is no event of the guest's", async (t) => {
    const guest = new Smmuv3Guest(t).attach({ config: CONFIG.bypass });
    await guest.access(guest.va(0), 'read');
    guest.attach();
    await guest.faults('translation', guest.va(1), 'read');
  });

  test('abort', 'a stream that the guest refuses reaches nothing, and nobody is told', async (t) => {
    const guest = new Smmuv3Guest(t).attach();
    guest.map(0, 0);
    await guest.reaches(guest.va(0), 0);
    guest.attach({ config: CONFIG.abort });
    await guest.refusesSilently(guest.va(0), 0);
    await guest.quiet();
  });

  test('vdevice-first', 'a translated stream wants its vDEVICE first; others do not', (t) => {
    const guest = new Smmuv3Guest(t);
    const { nic, viommu } = guest;
    guest.vdevice.destroy();
    for (const config of [CONFIG.bypass, CONFIG.abort]) {
      guest.attach({ config });
      nic.detach();
    }
    const nested = guest.nested();
    assert.match(refused('ENOENT', () => nic.attach(nested)).message, /vDEVICE/);
    viommu.allocVdevice(nic.device, { virtId: STREAM });
    nic.attach(nested);
  });

  for (const [id, config] of [
    ['interrupt-translated', CONFIG.translate],
    ['interrupt-bypass', CONFIG.bypass],
  ] as const) {
    test(id, "a device's interrupts reach the host, by the address that is left out for them", async (t) => {
      const guest = new Smmuv3Guest(t);
      guest.tables.map(INTERRUPTS, INTERRUPTS);
      guest.attach({ config });
      const edu = new EduInterrupts(guest.nic);
      edu.acknowledge(edu.status);
      const [vector] = guest.nic.interrupts('msi').enable();
      edu.raise(1);
      for await (const count of vector?.read({ signal: AbortSignal.timeout(30_000) }) ?? []) {
        assert.equal(count, 1n);
        break;
      }
      edu.acknowledge(1);
      assert.deepEqual(guest.events.drain(), []);
    });
  }

  test('bad-command', "commands that are not the guest's to give are refused, and it is told which", (t) => {
    assert.deepEqual(new Smmuv3Guest(t).give(COMMANDS.nhAsid(), [0xffn, 0n]), [1, 'EIO']);
  });

  test('bad-ste', "fields that are not the guest's to set are refused", (t) => {
    const guest = new Smmuv3Guest(t);
    const { viommu, nic } = guest;
    const [first, second] = guest.ste();
    for (const bad of [
      [first | (6n << 1n), second],
      [first, second | (1n << 40n)],
    ] as const) {
      assert.throws(() => viommu.allocNestedHwpt(nic.device, { ste: bad }), { code: 'EIO' });
    }
  });
});
