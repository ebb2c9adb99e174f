// Wrong arguments are TypeError and RangeError with a code and the argument's name, before the kernel is asked.
import assert from 'node:assert/strict';
import { test_trigger_iopf } from '../../lib/emulated/hardware/selftest/uapi.js';
import { Host } from '../../lib/index.js';
import type { Seam } from '../../lib/unsafe.js';
import {
  BASE,
  MMAP_PAIR,
  makeGuest,
  makeNested,
  NESTED_TYPE,
  PAYLOAD,
  QUEUE_TYPE,
  VEVENTQ_TYPE,
  VIOMMU_TYPE,
  viommuData,
  wholeRegion,
} from '../rig/guest.js';
import {
  assertMisuse,
  assertUnknown,
  BAD_BOOLEAN,
  BAD_BYTES,
  BAD_INSTANCE,
  BAD_KIND,
  BAD_OBJECT,
  BAD_SIZE,
  BAD_U32,
  BAD_U64,
  callsOf,
  OUT_OF_RANGE,
  WRONG_TYPE,
} from '../rig/misuse.js';
import { MockDevice, testCmd } from '../rig/mock.js';
import { type Bench, conformance, portOf } from '../rig/suite.js';

function makeFaults(t: Bench) {
  const { device } = t.mockDevice();
  const queue = t.iommufd.allocFaultQueue();
  device.attach(t.iommufd.allocIoas().allocHwpt(device, { faultQueue: queue }));
  testCmd(portOf(t), 'IOMMU_TEST_OP_TRIGGER_IOPF', test_trigger_iopf, {
    dev_id: device.id,
  });
  const [group] = queue.drain();
  assert(group !== undefined);
  return { queue, group };
}

conformance('misuse', (test) => {
  test('viommu-device', 'allocViommu: the device', (t) => {
    const { parent, viommu } = makeGuest(t);
    assertMisuse('device', [...BAD_INSTANCE, [viommu, WRONG_TYPE]], (device) =>
      parent.allocViommu(device, { type: VIOMMU_TYPE }),
    );
  });

  test('viommu-options', 'allocViommu: its options', (t) => {
    const { parent, device } = makeGuest(t);
    const call = (options: never) => parent.allocViommu(device, options);
    assertMisuse('options', BAD_OBJECT, call);
    assertMisuse('options', [[undefined, WRONG_TYPE]], call);
    assertMisuse('type', [[{}, WRONG_TYPE]], call);
    assertUnknown('tpye', call, { type: VIOMMU_TYPE });
    assertMisuse('type', BAD_KIND, (type) => parent.allocViommu(device, { type }));
    assertMisuse('data', BAD_BYTES, (data) => parent.allocViommu(device, { type: VIOMMU_TYPE, data }));
  });

  test('viommu-mmap-pair', 'allocViommu: mmapPair', (t) => {
    const { parent, device } = makeGuest(t);
    const data = viommuData();
    const pair = (mmapPair: never) => parent.allocViommu(device, { type: VIOMMU_TYPE, data, mmapPair });
    assertMisuse('mmapPair', BAD_OBJECT, pair);
    assertUnknown('lenghtAt', pair, MMAP_PAIR);
    assertMisuse('mmapPair.offsetAt', BAD_U32, (offsetAt) => pair({ ...MMAP_PAIR, offsetAt } as never));
    assertMisuse('mmapPair.lengthAt', BAD_U32, (lengthAt) => pair({ ...MMAP_PAIR, lengthAt } as never));
    assertMisuse(
      'mmapPair.offsetAt',
      [
        [{}, WRONG_TYPE],
        [{ lengthAt: 8 }, WRONG_TYPE],
      ],
      pair,
    );
    const outside = (at: number) => [[at, OUT_OF_RANGE]] as const;
    assertMisuse('mmapPair.lengthAt', outside(17), (lengthAt) => pair({ ...MMAP_PAIR, lengthAt } as never));
  });

  test('mmap', 'viommu.mmap and queue.mmap: the length', (t) => {
    const guest = makeGuest(t);
    for (const owner of [guest.viommu, guest.queue(0)]) {
      assertMisuse('options', BAD_OBJECT, (options) => owner.mmap(options));
      assertUnknown('lenght', (options) => owner.mmap(options));
      assertUnknown('offset', (options) => owner.mmap(options), { length: 8 });
      const bad = [...BAD_SIZE, [0, OUT_OF_RANGE], [0n, OUT_OF_RANGE], [wholeRegion(t) + 1, OUT_OF_RANGE]] as const;
      assertMisuse('length', bad, (length) => owner.mmap({ length }));
    }
    assert.equal(guest.viommu.heldBy.length, 1);
  });

  test('vdevice', 'allocVdevice: device and virtual id', (t) => {
    const { viommu, device, ioas } = makeGuest(t);
    const bad = [...BAD_INSTANCE, [ioas, WRONG_TYPE]] as const;
    assertMisuse('device', bad, (wrong) => viommu.allocVdevice(wrong, { virtId: 1 }));
    const call = (options: never) => viommu.allocVdevice(device, options);
    assertMisuse('options', BAD_OBJECT, call);
    assertUnknown('virtID', call);
    assertMisuse('options', [[undefined, WRONG_TYPE]], call);
    assertMisuse('virtId', [[{}, WRONG_TYPE]], call);
    assertMisuse('virtId', BAD_U64, (virtId) => viommu.allocVdevice(device, { virtId }));
  });

  test('veventq', 'allocVeventq: depth, type and payload size', (t) => {
    const { viommu } = makeGuest(t);
    const good = { depth: 4, type: VEVENTQ_TYPE, payloadSize: PAYLOAD };
    const call = (options: never) => viommu.allocVeventq(options);
    assertMisuse('options', BAD_OBJECT, call);
    assertUnknown('dpeth', call, good);
    assertMisuse('options', [[undefined, WRONG_TYPE]], call);
    assertMisuse('depth', [[{ type: VEVENTQ_TYPE }, WRONG_TYPE]], call);
    assertMisuse('depth', [...BAD_U32, [0, OUT_OF_RANGE]], (depth) => viommu.allocVeventq({ ...good, depth }));
    assertMisuse('type', BAD_KIND, (type) => viommu.allocVeventq({ ...good, type }));
    const sizes = [...BAD_U32, [0, OUT_OF_RANGE], [65536, OUT_OF_RANGE]] as const;
    assertMisuse('payloadSize', sizes, (payloadSize) => viommu.allocVeventq({ ...good, payloadSize }));
    viommu.destroy();
  });

  test('hw-queue', 'allocHwQueue: index, address, length and type', (t) => {
    const { viommu, ioas, ram } = makeGuest(t);
    const good = { index: 0, iova: BASE, length: 4096, type: QUEUE_TYPE };
    const call = (options: never) => viommu.allocHwQueue(options);
    assertMisuse('options', BAD_OBJECT, call);
    assertUnknown('addr', call, good);
    assertUnknown('Index', call, good);
    assertMisuse('options', [[undefined, WRONG_TYPE]], call);
    assertMisuse('index', [[{ ...good, index: undefined }, WRONG_TYPE]], call);
    assertMisuse('index', BAD_U32, (index) => viommu.allocHwQueue({ ...good, index }));
    assertMisuse('iova', [[{ ...good, iova: undefined }, WRONG_TYPE]], call);
    assertMisuse('iova', BAD_U64, (iova) => viommu.allocHwQueue({ ...good, iova }));
    assertMisuse('length', [[{ ...good, length: undefined }, WRONG_TYPE]], call);
    assertMisuse('length', [...BAD_U64, [0, OUT_OF_RANGE], [0n, OUT_OF_RANGE]], (length) =>
      viommu.allocHwQueue({ ...good, length }),
    );
    assertMisuse('type', BAD_KIND, (type) => viommu.allocHwQueue({ ...good, type }));
    ioas.unmap(BASE, ram.size);
    viommu.destroy();
  });

  test('nested', 'allocNestedHwpt: device, kind and data', (t) => {
    const { viommu, device } = makeGuest(t);
    const data = { type: NESTED_TYPE, bytes: new Uint8Array(8) };
    const call = (options: never) => viommu.allocNestedHwpt(device, options);
    assertMisuse('device', BAD_INSTANCE, (wrong) => viommu.allocNestedHwpt(wrong, { data }));
    assertMisuse(
      'options',
      [...BAD_OBJECT, [undefined, WRONG_TYPE], [{}, WRONG_TYPE], [{ pasid: true }, WRONG_TYPE]],
      call,
    );
    assertUnknown('psaid', call, { data });
    assertUnknown('ste', call, { dte: [0n, 0n, 0n, 0n] });
    assertMisuse('data', [...BAD_OBJECT, [undefined, WRONG_TYPE]], (wrong) => call({ data: wrong } as never));
    assertUnknown('byte', (wrong) => call({ data: wrong } as never), data);
    assertMisuse('data.type', BAD_U32, (type) => viommu.allocNestedHwpt(device, { data: { ...data, type } }));
    assertMisuse('data.bytes', BAD_BYTES, (bytes) => viommu.allocNestedHwpt(device, { data: { ...data, bytes } }));
    assertMisuse('pasid', BAD_BOOLEAN, (pasid) => viommu.allocNestedHwpt(device, { data, pasid }));
    assertMisuse(
      'faultQueue',
      [
        [null, WRONG_TYPE],
        [{}, WRONG_TYPE],
        [viommu, WRONG_TYPE],
      ],
      (faultQueue) => viommu.allocNestedHwpt(device, { data, faultQueue }),
    );
  });

  test('nested-words', 'allocNestedHwpt: the words of the tables that are known', (t) => {
    const { viommu, device } = makeGuest(t);
    const lists = [
      ['x', WRONG_TYPE],
      [null, WRONG_TYPE],
      [undefined, WRONG_TYPE],
      [[0n], OUT_OF_RANGE],
    ] as const;
    assertMisuse('ste', lists, (ste) => viommu.allocNestedHwpt(device, { ste }));
    assertMisuse('dte', lists, (dte) => viommu.allocNestedHwpt(device, { dte }));
    assertMisuse('ste[1]', BAD_U64, (word) => viommu.allocNestedHwpt(device, { ste: [0n, word] }));
    const vtd = { pageTable: 0n, addressWidth: 48 };
    assertMisuse('vtd', [...BAD_OBJECT, [undefined, WRONG_TYPE]], (wrong) =>
      viommu.allocNestedHwpt(device, { vtd: wrong }),
    );
    assertUnknown('pagetable', (wrong) => viommu.allocNestedHwpt(device, { vtd: wrong }), vtd);
    assertMisuse('vtd.pageTable', BAD_U64, (pageTable) =>
      viommu.allocNestedHwpt(device, { vtd: { ...vtd, pageTable } }),
    );
    assertMisuse('vtd.addressWidth', BAD_U32, (addressWidth) =>
      viommu.allocNestedHwpt(device, { vtd: { ...vtd, addressWidth } }),
    );
    for (const name of ['sre', 'eafe', 'wpe'] as const) {
      assertMisuse(`vtd.${name}`, BAD_BOOLEAN, (flag) =>
        viommu.allocNestedHwpt(device, { vtd: { ...vtd, [name]: flag } }),
      );
    }
  });

  test('invalidate', 'invalidate and tryInvalidate, of a vIOMMU and a nested page table', (t) => {
    const { viommu, device } = makeGuest(t);
    const nested = makeNested(viommu, device);
    const good = { type: 1, entryLength: 4, entries: new Uint8Array(8) };
    for (const owner of [viommu, nested]) {
      for (const call of [(wrong: never) => owner.invalidate(wrong), (wrong: never) => owner.tryInvalidate(wrong)]) {
        const one = (more: object) => call({ ...good, ...more } as never);
        assertMisuse(
          'request',
          [
            [null, WRONG_TYPE],
            [undefined, WRONG_TYPE],
            ['x', WRONG_TYPE],
            [5, WRONG_TYPE],
          ],
          call,
        );
        assertUnknown('entrylength', call, good);
        assertUnknown('type', call, { smmuv3: new BigUint64Array(2) });
        assertMisuse('type', BAD_U32, (type) => one({ type }));
        assertMisuse('entryLength', [...BAD_U32, [0, OUT_OF_RANGE], [2 ** 20, OUT_OF_RANGE]], (entryLength) =>
          one({ entryLength }),
        );
        assertMisuse('entries', [...BAD_BYTES, [new Uint8Array(7), OUT_OF_RANGE]], (entries) => one({ entries }));
        const words = [
          [null, WRONG_TYPE],
          [[0n, 0n], WRONG_TYPE],
          [new BigUint64Array(3), OUT_OF_RANGE],
        ] as const;
        assertMisuse('smmuv3', words, (smmuv3) => call({ smmuv3 } as never));
        assertMisuse(
          'vtd',
          [
            [null, WRONG_TYPE],
            ['x', WRONG_TYPE],
          ],
          (vtd) => call({ vtd } as never),
        );
        assertMisuse(
          'vtd[0]',
          [
            [null, WRONG_TYPE],
            [5, WRONG_TYPE],
          ],
          (entry) => call({ vtd: [entry] } as never),
        );
        assertUnknown('leef', (entry) => call({ vtd: [entry] } as never), { address: 0n, pages: 1 });
        assertMisuse('vtd[0].address', BAD_U64, (address) => call({ vtd: [{ address, pages: 1 }] } as never));
        assertMisuse('vtd[0].pages', BAD_U64, (pages) => call({ vtd: [{ address: 0, pages }] } as never));
      }
    }
  });

  test('read', 'read of event queues and fault queues: the signal; a refused one takes no turn', async (t) => {
    const { viommu } = makeGuest(t);
    const events = viommu.allocVeventq({ depth: 1, type: VEVENTQ_TYPE, payloadSize: PAYLOAD });
    for (const queue of [events, t.iommufd.allocFaultQueue()]) {
      assertMisuse('options', BAD_OBJECT, (options) => queue.read(options));
      assertUnknown('singal', (options) => queue.read(options));
      const bad = [
        [null, WRONG_TYPE],
        [{}, WRONG_TYPE],
        [new AbortController(), WRONG_TYPE],
      ] as const;
      assertMisuse('signal', bad, (signal) => queue.read({ signal }));
      await queue.read().return?.();
    }
  });

  test('respond', 'faultQueue.respond: group and response; the group still waits', (t) => {
    const { queue, group } = makeFaults(t);
    const bad = [
      [null, WRONG_TYPE],
      [undefined, WRONG_TYPE],
      ['1', WRONG_TYPE],
      [1n, WRONG_TYPE],
      [true, WRONG_TYPE],
    ] as const;
    assertMisuse('group', bad, (wrong) => queue.respond(wrong, 'success'));
    const cookies = [
      [{}, WRONG_TYPE],
      [{ cookie: '1' }, WRONG_TYPE],
      [-1, OUT_OF_RANGE],
      [1.5, OUT_OF_RANGE],
    ] as const;
    assertMisuse('cookie', [...cookies, [2 ** 32, OUT_OF_RANGE]], (wrong) => queue.respond(wrong, 'success'));
    const responses = [
      [undefined, WRONG_TYPE],
      [0, WRONG_TYPE],
      [null, WRONG_TYPE],
      ['ok', OUT_OF_RANGE],
    ] as const;
    assertMisuse('response', responses, (response) => queue.respond(group, response));
    queue.respond(group, 'success');
  });

  test('foreign-host', 'what belongs to another host is ERR_IOMMUFD_FOREIGN_HOST, before the kernel is asked', (t) => {
    const { viommu, parent } = makeGuest(t);
    const seam = new Proxy(t.rig.seam, {
      get: (target, key) => {
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }) as Seam;
    const iommufd = new Host(seam).openIommufd();
    t.later(() => iommufd.close());
    const { device } = new MockDevice(iommufd, seam);
    const foreign = { name: 'UsageError', code: 'ERR_IOMMUFD_FOREIGN_HOST' };
    const calls = callsOf(() => {
      assert.throws(() => viommu.allocVdevice(device, { virtId: 1 }), foreign);
      assert.throws(() => parent.allocViommu(device, { type: VIOMMU_TYPE }), foreign);
      assert.throws(() => makeNested(viommu, device), foreign);
    });
    assert.deepEqual(calls, []);
  });
});
