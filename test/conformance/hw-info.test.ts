// IOMMU_GET_HW_INFO.
import assert from 'node:assert/strict';
import { iommu_test_hw_info } from '../../lib/emulated/hardware/selftest/uapi.js';
import { IOMMU_GET_HW_INFO, iommufd_hw_info_flags } from '../../lib/uapi/index.js';
import { NOWHERE, SELFTEST } from '../rig/mock-checks.js';
import { type Bench, conformance, NO_ID, refused } from '../rig/suite.js';

const { IOMMU_HW_INFO_FLAG_INPUT_TYPE: INPUT_TYPE } = iommufd_hw_info_flags.values;
const TYPE = SELFTEST.IOMMU_HW_INFO_TYPE_SELFTEST;
/** What the mock tells of itself. */
const EXPECTED = new Uint8Array(8);
new DataView(EXPECTED.buffer).setUint32(4, SELFTEST.IOMMU_HW_INFO_SELFTEST_REGVAL, true);

type Info = Parameters<typeof Bench.prototype.ioctl<typeof IOMMU_GET_HW_INFO.layout.fields>>[1];
/** The ioctl with room for `room` bytes, all 0xaa at first. */
function ask(t: Bench, input: Info, room = 8) {
  const data = new Uint8Array(room).fill(0xaa);
  const { code, out } = t.ioctl(IOMMU_GET_HW_INFO, { data_len: room, ...input }, { data_uptr: data });
  return { code, out, data };
}

conformance('hw-info', (test) => {
  test('data', 'tells what the IOMMU is, with its data', (t) => {
    const info = t.mockDevice().device.hwInfo();
    assert.equal(info.type, TYPE);
    assert.deepEqual(info.data, EXPECTED);
    assert.equal(info.data.length, iommu_test_hw_info.size);
    assert.deepEqual(info.fields, {});
  });
  test('capabilities', 'tells what the device’s IOMMU can do', (t) => {
    const { capabilities, maxPasidLog2 } = t.mockDevice().device.hwInfo();
    // Linux 6.12 does not tell that a device has none.
    const ats = t.onLinux('6.12');
    assert.deepEqual(capabilities, { dirtyTracking: true, pasidExec: false, pasidPriv: false, ats });
    assert.equal(maxPasidLog2, 0);
  });
  test('no-dirty', 'tells of a device whose pages cannot be tracked', (t) => {
    assert.equal(t.mockDevice({ noDirty: true }).device.hwInfo().capabilities.dirtyTracking, false);
  });
  test('pasid', 'tells the width of PASIDs', (t) => {
    assert.equal(t.mockDevice({ pasid: true }).device.hwInfo().maxPasidLog2, 20);
  });
  test('json', 'can be printed as JSON', (t) => {
    const told = JSON.parse(JSON.stringify(t.mockDevice().device.hwInfo()));
    assert.deepEqual([told.type, told.data, told.capabilities.dirtyTracking], [TYPE, [...EXPECTED], true]);
  });
  test('attached-or-not', 'tells the same while the device is attached', (t) => {
    const { device } = t.mockDevice();
    const before = JSON.stringify(device.hwInfo());
    device.attach(t.iommufd.allocIoas());
    assert.equal(JSON.stringify(device.hwInfo()), before);
  });
  test('shorter', 'cuts the data off where the buffer ends, and tells its whole length', (t) => {
    const dev_id = t.mockDevice().device.id;
    const { code, out, data } = ask(t, { dev_id, data_len: 6 });
    assert.deepEqual([code, out.data_len, out.out_data_type], ['ok', 8, TYPE]);
    assert.deepEqual([...data], [...EXPECTED.subarray(0, 6), 0xaa, 0xaa]);
  });
  test('longer', 'fills a longer buffer up with zeros, and tells the length of the data', (t) => {
    const dev_id = t.mockDevice().device.id;
    const { code, out, data } = ask(t, { dev_id, data_len: 60 }, 64);
    assert.deepEqual([code, out.data_len], ['ok', 8]);
    assert.deepEqual(data.subarray(0, 8), EXPECTED);
    assert.deepEqual(data.subarray(8, 60), new Uint8Array(52));
    assert.deepEqual([...data.subarray(60)], [0xaa, 0xaa, 0xaa, 0xaa]);
  });
  test('no-buffer', 'tells type and length without a buffer', (t) => {
    const dev_id = t.mockDevice().device.id;
    const { code, out } = t.ioctl(IOMMU_GET_HW_INFO, { dev_id });
    assert.deepEqual([code, out.data_len, out.out_data_type], ['ok', 8, TYPE]);
  });
  test('pointer', 'refuses a buffer at an address with nothing there', (t) => {
    const dev_id = t.mockDevice().device.id;
    assert.equal(t.ioctl(IOMMU_GET_HW_INFO, { dev_id, data_len: 8, data_uptr: NOWHERE }).code, 'EFAULT');
    assert.equal(t.ioctl(IOMMU_GET_HW_INFO, { dev_id, data_len: 8 }).code, 'EFAULT');
  });
  test('type-input', 'gives the kind of info asked for', (t) => {
    const { device } = t.mockDevice();
    assert.deepEqual(device.hwInfo(TYPE).data, EXPECTED);
    assert.deepEqual(device.hwInfo(0).type, TYPE);
  });
  test('type-unsupported', 'refuses a kind of info that the IOMMU has not', (t) => {
    const { device } = t.mockDevice();
    assert.notEqual(refused('EOPNOTSUPP', () => device.hwInfo('arm-smmuv3')).message, '');
    refused('EOPNOTSUPP', () => device.hwInfo('tegra241-cmdqv'));
    const { code, data } = ask(t, { dev_id: device.id, flags: INPUT_TYPE, in_data_type: 0x1234 });
    assert.equal(code, 'EOPNOTSUPP');
    assert.deepEqual(data, new Uint8Array(8).fill(0xaa));
  });
  test('type-ignored', 'ignores the kind without its flag', (t) => {
    const { code, out } = ask(t, { dev_id: t.mockDevice().device.id, in_data_type: 0x1234 });
    assert.deepEqual([code, out.out_data_type], ['ok', TYPE]);
  });
  test('flags-unknown', 'refuses unknown flags, before it looks for the device', (t) => {
    const dev_id = t.mockDevice().device.id;
    for (const flags of [2, 0x8000_0000]) {
      assert.equal(ask(t, { dev_id, flags }).code, 'EOPNOTSUPP');
      assert.equal(ask(t, { dev_id: NO_ID, flags }).code, 'EOPNOTSUPP');
    }
  });
  test('reserved', 'refuses each reserved byte, before it looks for the device', (t) => {
    for (const __reserved of [
      [1, 0, 0],
      [0, 1, 0],
      [0, 0, 1],
    ]) {
      assert.equal(ask(t, { dev_id: NO_ID, __reserved }).code, 'EOPNOTSUPP');
    }
  });
  test('device-unknown', 'refuses an id that is no device', (t) => {
    const ioas = t.iommufd.allocIoas();
    const mock = t.mockDevice();
    for (const dev_id of [0, NO_ID, ioas.id, mock.stdevId]) assert.equal(ask(t, { dev_id }).code, 'ENOENT');
  });
  test('size', 'answers the first release’s struct without writing behind it', (t) => {
    const dev_id = t.mockDevice().device.id;
    const { minSize } = IOMMU_GET_HW_INFO;
    const { code, out } = t.ioctlSized(IOMMU_GET_HW_INFO, { dev_id, out_capabilities: 0x5555n }, { size: minSize });
    assert.deepEqual([code, out.data_len, out.out_capabilities], ['ok', 8, 0x5555n]);
    assert.equal(t.ioctlSized(IOMMU_GET_HW_INFO, { dev_id }, { size: minSize - 1 }).code, 'EINVAL');
  });
  test('misuse', 'names wrong kinds, and is gone with its device', (t) => {
    const { device } = t.mockDevice();
    refused('ERR_OUT_OF_RANGE', () => device.hwInfo('riscv' as never));
    refused('ERR_OUT_OF_RANGE', () => device.hwInfo(-1));
    refused('ERR_INVALID_ARG_TYPE', () => device.hwInfo({} as never));
    device.destroy();
    refused('ERR_IOMMUFD_DESTROYED', () => device.hwInfo());
  });
});
