// What GET_HW_INFO tells of each kind of IOMMU, from bytes laid out by hand: no lane here has all the hardware.
import assert from 'node:assert/strict';
import { decodeHwInfo, type HwInfo, hwInfoType } from '../../lib/objects/hw-info.js';

/** Bytes of u32 words, little-endian. */
function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

function info(
  type: number,
  room: Uint8Array,
  more: { length?: number; capabilities?: bigint; pasid?: number } = {},
): HwInfo {
  const { length = room.length, capabilities = 0n, pasid = 0 } = more;
  return decodeHwInfo(
    {
      size: 40,
      flags: 0,
      dev_id: 1,
      data_len: length,
      data_uptr: 0n,
      in_data_type: type,
      out_data_type: type,
      out_max_pasid_log2: pasid,
      __reserved: [0, 0, 0],
      out_capabilities: capabilities,
    },
    room,
  );
}

describe('hardware info', () => {
  it('decodes Intel VT-d', () => {
    const { type, fields } = info(1, words(1, 0, 0x11, 0x22, 0x33, 0x44));
    assert.equal(type, 'intel-vtd');
    assert.deepEqual(fields, { flags: 1, cap_reg: 0x22_0000_0011n, ecap_reg: 0x44_0000_0033n });
  });

  it('decodes Arm SMMUv3', () => {
    const { type, fields } = info(2, words(1, 0, 10, 11, 12, 13, 14, 15, 0x43b, 0x2));
    assert.equal(type, 'arm-smmuv3');
    assert.deepEqual(fields, { flags: 1, idr: [10, 11, 12, 13, 14, 15], iidr: 0x43b, aidr: 2 });
  });

  it('decodes Tegra241 CMDQV', () => {
    const { type, fields } = info(3, words(0, 0x00_04_07_01));
    assert.equal(type, 'tegra241-cmdqv');
    assert.deepEqual(fields, { flags: 0, version: 1, log2vcmdqs: 7, log2vsids: 4 });
  });

  it('decodes AMD', () => {
    const { type, fields } = info(4, words(1, 2, 3, 4));
    assert.equal(type, 'amd');
    assert.deepEqual(fields, { efr: 0x2_0000_0001n, efr2: 0x4_0000_0003n });
  });

  it('has no fields for kinds not known here, for none, and for less data than the struct', () => {
    assert.deepEqual([info(0xfeed, words(7)).type, info(0xfeed, words(7)).fields], [0xfeed, {}]);
    assert.deepEqual([info(0, words()).type, info(0, words()).fields], ['none', {}]);
    assert.deepEqual(info(2, words(1, 0, 10)).fields, {});
  });

  it('answers the data that came: no more than the kernel has, or than there was room for', () => {
    assert.deepEqual([...info(4, words(1, 2, 3, 4, 0, 0), { length: 16 }).data], [...words(1, 2, 3, 4)]);
    assert.equal(info(4, words(1, 2, 3, 4), { length: 1000 }).data.length, 16);
  });

  it('tells capabilities: ATS by the absence of its bit', () => {
    assert.deepEqual(info(1, words(), { capabilities: 0n, pasid: 20 }).capabilities, {
      dirtyTracking: false,
      pasidExec: false,
      pasidPriv: false,
      ats: true,
    });
    assert.deepEqual(info(1, words(), { capabilities: 0b1111n }).capabilities, {
      dirtyTracking: true,
      pasidExec: true,
      pasidPriv: true,
      ats: false,
    });
    assert.equal(info(1, words(), { pasid: 20 }).maxPasidLog2, 20);
  });

  it('prints as JSON', () => {
    const { fields, data } = JSON.parse(JSON.stringify(info(4, words(1, 2, 3, 4))));
    assert.deepEqual([fields, data], [{ efr: '0x200000001', efr2: '0x400000003' }, [...words(1, 2, 3, 4)]]);
  });

  it('takes kinds by name or number, and nothing else', () => {
    assert.deepEqual([hwInfoType('tegra241-cmdqv'), hwInfoType(9)], [3, 9]);
    assert.throws(() => hwInfoType('smmu' as never), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => hwInfoType(undefined as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => hwInfoType(-1), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
  });
});
