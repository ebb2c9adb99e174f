// The channel 'iommufd:call': every call is told once, and listening changes nothing.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import {
  BASE,
  MMAP_PAIR,
  makeGuest,
  PAYLOAD,
  QUEUE_TYPE,
  VEVENTQ_TYPE,
  VIOMMU_TYPE,
  viommuData,
  wholeRegion,
} from '../rig/guest.js';
import { callsOf } from '../rig/misuse.js';
import { conformance, refused } from '../rig/suite.js';

conformance('trace', (test) => {
  test('once', 'a call is traced once: where, what was asked, and what came back', (t) => {
    const guest = makeGuest(t);
    const calls = callsOf(() => guest.queue(0));
    assert.equal(calls.length, 1);
    const [call] = calls;
    assert.equal(call?.host, t.rig.host.kind);
    assert.equal(call?.fd, t.iommufd.fd);
    assert.equal(call?.syscall, 'IOMMU_HW_QUEUE_ALLOC');
    assert.equal(call?.result, 0);
    assert.equal(call?.input.nesting_parent_iova, BASE);
    assert.equal(typeof call?.output.out_hw_queue_id, 'number');
    const refusals = callsOf(() => refused('EEXIST', () => guest.queue(0)));
    assert.deepEqual(
      refusals.map(({ result }) => result),
      [-17],
    );
  });

  test('meddler', 'a listener that makes calls of its own changes nothing of the call it was told of', (t) => {
    const { device, ioas, ram } = makeGuest(t);
    const scratch = t.iommufd.allocIoas();
    let busy = false;
    let meddled = 0;
    const meddle = (): void => {
      if (busy) return;
      busy = true;
      scratch.map(ram, { iova: 0x7000_0000n });
      scratch.iovaRanges();
      device.hwInfo();
      assert.equal(scratch.unmapAll(), BigInt(ram.size));
      busy = false;
      meddled++;
    };
    const look = () => ({ ranges: ioas.iovaRanges(), info: [device.hwInfo().type, device.hwInfo().data] });
    const plain = look();
    subscribe('iommufd:call', meddle);
    t.later(() => unsubscribe('iommufd:call', meddle));
    const iova = ioas.map(ram);
    assert.notEqual(iova, 0x7000_0000n);
    assert.equal(ioas.unmap(iova, ram.size), BigInt(ram.size));
    assert.deepEqual(look(), plain);
    const parent = ioas.allocHwpt(device, { nestParent: true });
    const data = viommuData(0x600d);
    const viommu = parent.allocViommu(device, { type: VIOMMU_TYPE, data, mmapPair: MMAP_PAIR });
    assert.equal(new DataView(viommu.data.buffer).getUint32(4, true), 0x600d);
    assert.equal(viommu.mmapRegion.length, BigInt(wholeRegion(t)));
    const queue = viommu.allocHwQueue({ type: QUEUE_TYPE, index: 0, iova: BASE, length: 4096 });
    const window = queue.mmap();
    assert.equal(window.read32(0), 0x600d);
    assert.match(refused('EBUSY', () => viommu.destroy()).message, /mmap of/);
    window.unmap();
    const entries = { type: 0xdead_beef, entryLength: 12, entries: new Uint8Array(0) };
    assert.equal(viommu.invalidate(entries), 0);
    const events = viommu.allocVeventq({ depth: 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    for (const object of [events, queue, viommu, parent]) object.destroy();
    assert(meddled >= 12);
  });
});
