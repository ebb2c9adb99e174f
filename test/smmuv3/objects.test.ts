// What Linux's SMMUv3 driver makes and refuses: page tables, vIOMMUs, vDEVICEs and event queues (arm-smmu-v3.c and arm-smmu-v3-iommufd.c).
import assert from 'node:assert/strict';
import {
  IOMMU_GET_HW_INFO,
  IOMMU_HW_QUEUE_ALLOC,
  IOMMU_HWPT_ALLOC,
  IOMMU_VDEVICE_ALLOC,
  IOMMU_VEVENTQ_ALLOC,
  IOMMU_VIOMMU_ALLOC,
  iommu_hwpt_data_type,
  iommufd_hwpt_alloc_flags,
} from '../../lib/uapi/index.js';
import { NOWHERE } from '../rig/mock-checks.js';
import { smmuv3Cases } from '../rig/smmuv3-cases.js';
import { IPA, nestingParent, Smmuv3Guest } from '../rig/smmuv3-guest.js';
import { CONFIG, STREAM } from '../rig/smmuv3-words.js';
import { NO_ID, refused } from '../rig/suite.js';
import type { VfioBench } from '../rig/vfio.js';

const FLAGS = iommufd_hwpt_alloc_flags.values;
const { IOMMU_HWPT_DATA_ARM_SMMUV3: STE, IOMMU_HWPT_DATA_VTD_S1: VTD } = iommu_hwpt_data_type.values;
const STE_SIZE = 16;

function start(t: VfioBench) {
  const nic = t.bound('edu');
  return { nic, device: nic.device, ioas: t.iommufd.allocIoas() };
}

const bytesOf = (words: readonly bigint[]) => new Uint8Array(BigUint64Array.from(words).buffer);

smmuv3Cases('smmuv3-objects', (test) => {
  test('hw-info', 'tells what it is, and no other kind', (t) => {
    const { device } = start(t);
    const info = device.hwInfo();
    assert.deepEqual(info.data, device.hwInfo('arm-smmuv3').data);
    const { idr, flags } = info.fields as { idr: readonly number[]; flags: number };
    assert.deepEqual([idr.length, flags], [6, 0]);
    assert.equal(Number(idr[0]) & 3, 3, 'it has both stages');
    for (const type of ['tegra241-cmdqv', 'intel-vtd', 'amd', 99] as const) {
      refused('EOPNOTSUPP', () => device.hwInfo(type));
    }
  });
  test('hw-info-device', 'tells what the device can do', (t) => {
    const { device } = start(t);
    const { capabilities, maxPasidLog2 } = device.hwInfo();
    const { dirtyTracking, ats } = capabilities;
    assert.deepEqual([dirtyTracking, ats, maxPasidLog2], [false, false, 0]);
  });
  test('hw-info-raw', 'fills as much as there is room for', (t) => {
    const { device } = start(t);
    const ask = (input: object, room?: Uint8Array) =>
      t.ioctl(IOMMU_GET_HW_INFO, { dev_id: device.id, ...input }, room === undefined ? {} : { data_uptr: room });
    const whole = device.hwInfo().data;
    for (const length of [0, 8, 40, 64]) {
      const room = new Uint8Array(length).fill(0xff);
      const { code, out } = ask({ data_len: length }, room);
      assert.deepEqual([code, out.data_len, out.out_data_type], ['ok', whole.length, 2]);
      const expected = new Uint8Array(length);
      expected.set(whole.subarray(0, length));
      assert.deepEqual(room, expected);
    }
    assert.equal(ask({ data_len: 40, data_uptr: NOWHERE }).code, 'EFAULT');
    assert.equal(ask({ flags: 2 }).code, 'EOPNOTSUPP');
    assert.equal(ask({ dev_id: NO_ID }).code, 'ENOENT');
  });

  test('page-table-flags', 'which kinds of page tables there are', (t) => {
    const { device, ioas } = start(t);
    const faultQueue = t.iommufd.allocFaultQueue();
    const answers = (options: object) => {
      try {
        ioas.allocHwpt(device, options).destroy();
        return 'ok';
      } catch (error) {
        return error instanceof Error && 'code' in error ? error.code : error;
      }
    };
    const expected: readonly (readonly [options: object, code: string])[] = [
      [{}, 'ok'],
      [{ nestParent: true }, 'ok'],
      [{ pasid: true }, 'ok'],
      [{ dirtyTracking: true }, 'EOPNOTSUPP'],
      [{ dirtyTracking: true, nestParent: true }, 'EOPNOTSUPP'],
      [{ dirtyTracking: true, pasid: true }, 'EOPNOTSUPP'],
      [{ nestParent: true, pasid: true }, 'EOPNOTSUPP'],
      [{ faultQueue }, 'ok'],
      [{ faultQueue, pasid: true }, 'ok'],
      [{ faultQueue, nestParent: true }, 'EOPNOTSUPP'],
      [{ data: { type: STE, bytes: new Uint8Array(STE_SIZE) } }, 'EOPNOTSUPP'],
      [{ data: { type: STE, bytes: new Uint8Array(STE_SIZE) }, nestParent: true }, 'EOPNOTSUPP'],
    ];
    for (const [options, code] of expected) assert.equal(answers(options), code, JSON.stringify(options));
  });
  test('no-dirty-tracking', 'page tables track no dirty pages', (t) => {
    const { device, ioas } = start(t);
    const hwpt = ioas.allocHwpt(device);
    refused('EOPNOTSUPP', () => hwpt.setDirtyTracking(true));
  });

  test('viommu-type', 'there is a vIOMMU of its own kind, and no other', (t) => {
    const { nic, device } = start(t);
    const { parent } = nestingParent(t, nic);
    for (const type of ['tegra241-cmdqv', 0, 3, 99] as const) {
      refused('EOPNOTSUPP', () => parent.allocViommu(device, { type }));
    }
    const viommu = parent.allocViommu(device, { type: 'arm-smmuv3' });
    refused('ERR_IOMMUFD_UNAVAILABLE', () => viommu.mmap());
    assert.equal(viommu.data.length, 0);
  });
  test('viommu-parent', 'a vIOMMU wants a nesting parent', (t) => {
    const { device, ioas } = start(t);
    const plain = ioas.allocHwpt(device);
    refused('EINVAL', () => plain.allocViommu(device, { type: 'arm-smmuv3' }));
    const whole = { type: 1, dev_id: device.id, hwpt_id: plain.id };
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...whole, hwpt_id: ioas.id }).code, 'ENOENT');
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...whole, dev_id: NO_ID }).code, 'ENOENT');
    assert.equal(t.ioctl(IOMMU_VIOMMU_ALLOC, { ...whole, flags: 1 }).code, 'EOPNOTSUPP');
  });
  test('viommu-data', 'driver data is not looked at', (t) => {
    const { nic, device } = start(t);
    const { parent } = nestingParent(t, nic);
    const data = Uint8Array.of(1, 2, 3);
    const viommu = parent.allocViommu(device, { type: 1, data });
    assert.deepEqual(viommu.data, Uint8Array.of(1, 2, 3));
    const whole = { type: 1, dev_id: device.id, hwpt_id: parent.id, data_len: 8, data_uptr: NOWHERE };
    const { code, out } = t.ioctl(IOMMU_VIOMMU_ALLOC, whole);
    assert.equal(code, 'ok');
    assert.equal(t.destroyId(out.out_viommu_id), 'ok');
  });
  test('viommus', 'a parent may have several vIOMMUs', (t) => {
    const { nic, device } = start(t);
    const { parent } = nestingParent(t, nic);
    const [one, other] = [0, 1].map(() => parent.allocViommu(device, { type: 'arm-smmuv3' }));
    one?.allocVeventq({ depth: 1 });
    other?.allocVeventq({ depth: 1 });
    refused('EBUSY', () => parent.destroy());
  });

  test('nested-direct', 'a nested page table is made from a vIOMMU, not from its parent', (t) => {
    const guest = new Smmuv3Guest(t);
    const { parent, nic, ioas } = guest;
    refused('EOPNOTSUPP', () => parent.allocNestedHwpt(nic.device, { ste: guest.ste() }));
    const plain = ioas.allocHwpt(nic.device);
    refused('EOPNOTSUPP', () => plain.allocNestedHwpt(nic.device, { ste: guest.ste() }));
  });
  test('nested-flags', 'a nested page table has no flags but that of a fault queue', (t) => {
    const guest = new Smmuv3Guest(t);
    const { viommu, nic } = guest;
    refused('EOPNOTSUPP', () => viommu.allocNestedHwpt(nic.device, { ste: guest.ste(), pasid: true }));
    const bytes = bytesOf(guest.ste());
    const input = { dev_id: nic.device.id, pt_id: viommu.id, data_type: STE, data_len: STE_SIZE };
    const ask = (more: object) => t.ioctl(IOMMU_HWPT_ALLOC, { ...input, ...more }, { data_uptr: bytes }).code;
    const { IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_FAULT_ID_VALID } = FLAGS;
    for (const flags of [IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_DIRTY_TRACKING, 0x10, 0x8000_0000]) {
      assert.equal(ask({ flags }), 'EOPNOTSUPP', `flags ${flags}`);
    }
    assert.equal(ask({ flags: IOMMU_HWPT_FAULT_ID_VALID, fault_id: NO_ID }), 'ENOENT');
    assert.equal(ask({ __reserved: 1 }), 'EOPNOTSUPP');
    const faultQueue = t.iommufd.allocFaultQueue();
    const nested = viommu.allocNestedHwpt(nic.device, { ste: guest.ste(), faultQueue });
    refused('EBUSY', () => faultQueue.destroy());
    nested.destroy();
    faultQueue.destroy();
  });
  test('nested-data', 'driver data of a nested page table is two words of its kind', (t) => {
    const guest = new Smmuv3Guest(t);
    const { viommu, nic } = guest;
    const whole = bytesOf(guest.ste());
    const ask = (type: number, bytes: Uint8Array) => {
      const input = { dev_id: nic.device.id, pt_id: viommu.id, data_type: type, data_len: bytes.length };
      return t.ioctl(IOMMU_HWPT_ALLOC, input, { data_uptr: bytes }).code;
    };
    assert.equal(ask(VTD, whole), 'EINVAL');
    assert.equal(ask(99, whole), 'EINVAL');
    assert.equal(ask(0, whole), 'EINVAL');
    assert.equal(ask(0, new Uint8Array()), 'EOPNOTSUPP');
    assert.equal(ask(STE, new Uint8Array()), 'EINVAL');
    assert.equal(ask(STE, whole.subarray(0, 8)), 'EINVAL');
    assert.equal(ask(STE, Uint8Array.of(...whole, ...new Uint8Array(8))), 'EINVAL');
    const input = { dev_id: nic.device.id, pt_id: viommu.id, data_type: STE, data_len: STE_SIZE };
    assert.equal(t.ioctl(IOMMU_HWPT_ALLOC, { ...input, data_uptr: NOWHERE }).code, 'EFAULT');
  });
  test('ste-bits', 'of a stream table entry the guest may set its own fields, all others are EIO', (t) => {
    const guest = new Smmuv3Guest(t);
    const { viommu, nic } = guest;
    const bits = (high: number, low: number) => (1n << BigInt(high + 1)) - (1n << BigInt(low));
    // Config is looked at by itself; EATS may be 0 or 1.
    const allowed = [bits(5, 4) | bits(51, 6) | bits(63, 59), bits(7, 0) | bits(28, 27)] as const;
    const base = guest.ste();
    for (const word of [0, 1] as const) {
      for (let n = word === 0 ? 4 : 0; n < 64; n++) {
        const ste: [bigint, bigint] = [...base];
        ste[word] ^= 1n << BigInt(n);
        const make = () => viommu.allocNestedHwpt(nic.device, { ste }).destroy();
        if ((allowed[word] & (1n << BigInt(n))) !== 0n) make();
        else refused('EIO', make);
      }
    }
  });
  test('ste-config', 'a stream is translated, let through or refused, and nothing else', (t) => {
    const guest = new Smmuv3Guest(t);
    const make = (config: number) => guest.nested({ config }).destroy();
    for (const config of [CONFIG.abort, CONFIG.bypass, CONFIG.translate]) make(config);
    for (const config of [1, 2, 3, 6, 7]) refused('EIO', () => make(config));
    for (const ats of [2, 3]) refused('EIO', () => guest.nested({ ats }));
    for (const ats of [2, 3]) refused('EIO', () => guest.nested({ config: CONFIG.abort, ats }));
    guest.nested({ config: 6, ats: 3, valid: 0 }).destroy();
  });

  test('vdevice', 'a device is on one vIOMMU, and an id is one device', (t) => {
    const guest = new Smmuv3Guest(t);
    const { viommu, nic, parent } = guest;
    refused('EEXIST', () => viommu.allocVdevice(nic.device, { virtId: 99 }));
    const other = parent.allocViommu(nic.device, { type: 'arm-smmuv3' });
    refused('EEXIST', () => other.allocVdevice(nic.device, { virtId: STREAM }));
    guest.vdevice.destroy();
    for (const virtId of [0n, 1n << 32n, 0xffff_ffff_ffff_ffffn]) {
      other.allocVdevice(nic.device, { virtId }).destroy();
    }
    const whole = { viommu_id: viommu.id, dev_id: nic.device.id, virt_id: 5n };
    assert.equal(t.ioctl(IOMMU_VDEVICE_ALLOC, { ...whole, viommu_id: parent.id }).code, 'ENOENT');
    assert.equal(t.ioctl(IOMMU_VDEVICE_ALLOC, { ...whole, dev_id: NO_ID }).code, 'ENOENT');
  });
  test('event-queue', 'a vIOMMU has one event queue of a kind, of a depth that is sensible', (t) => {
    const guest = new Smmuv3Guest(t);
    const { viommu, events } = guest;
    refused('EEXIST', () => viommu.allocVeventq({ depth: 1 }));
    events.destroy();
    const ask = (input: object) => t.ioctl(IOMMU_VEVENTQ_ALLOC, { viommu_id: viommu.id, ...input }).code;
    assert.equal(ask({ type: 0, veventq_depth: 1 }), 'EOPNOTSUPP');
    assert.equal(ask({ type: 1, veventq_depth: 0 }), 'EINVAL');
    assert.equal(ask({ type: 1, veventq_depth: 2 ** 19 + 1 }), 'EINVAL');
    assert.equal(ask({ type: 1, veventq_depth: 1, flags: 1 }), 'EOPNOTSUPP');
    assert.equal(ask({ type: 1, veventq_depth: 1, viommu_id: NO_ID }), 'ENOENT');
    const queue = viommu.allocVeventq({ depth: 1 });
    // Linux asks no driver which kinds there are.
    viommu.allocVeventq({ depth: 1, type: 'tegra241-cmdqv' });
    viommu.allocVeventq({ depth: 1, type: 99, payloadSize: 8 });
    refused('EEXIST', () => viommu.allocVeventq({ depth: 1, type: 99, payloadSize: 8 }));
    queue.destroy();
  });
  test('hw-queue', 'there are no hardware queues', (t) => {
    const guest = new Smmuv3Guest(t);
    const { viommu } = guest;
    const options = { type: 'tegra241-cmdqv', index: 0, iova: IPA, length: 0x1000 } as const;
    refused('EOPNOTSUPP', () => viommu.allocHwQueue(options));
    const input = { viommu_id: viommu.id, type: 1, index: 0, nesting_parent_iova: IPA, length: 0n };
    assert.equal(t.ioctl(IOMMU_HW_QUEUE_ALLOC, input).code, 'EINVAL');
  });

  test('destroy-order', 'what something else needs is not destroyed', (t) => {
    const guest = new Smmuv3Guest(t);
    const { nic, viommu, parent, ioas, vdevice, events } = guest;
    const nested = guest.nested();
    nic.attach(nested);
    for (const { id } of [nested, viommu, parent, ioas]) assert.equal(t.destroyId(id), 'EBUSY');
    vdevice.destroy();
    events.destroy();
    assert.equal(t.destroyId(viommu.id), 'EBUSY');
    nic.detach();
    refused('EBUSY', () => viommu.destroy());
    nested.destroy();
    refused('EBUSY', () => parent.destroy());
    viommu.destroy();
    refused('EBUSY', () => ioas.destroy());
    parent.destroy();
    ioas.destroy();
  });
});
