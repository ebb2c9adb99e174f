// The rules of struct sizes, for every ioctl of the table: an older and a newer caller get along with this kernel.
import assert from 'node:assert/strict';
import { iommu_test_numbers } from '../../lib/emulated/hardware/selftest/uapi.js';
import * as uapi from '../../lib/uapi/index.js';
import { errnoName, type Fields, type Input, type Ioctl, iommufdIoctls } from '../../lib/uapi/index.js';
import { type Bench, conformance, NO_ID } from '../rig/suite.js';

const { IOMMU_IOAS_MAP_READABLE: READABLE } = uapi.iommufd_ioas_map_flags.values;
const { IOMMU_VIOMMU_TYPE_SELFTEST, IOMMU_VEVENTQ_TYPE_SELFTEST, IOMMU_HW_QUEUE_TYPE_SELFTEST } =
  iommu_test_numbers.values;

interface Probe {
  readonly input: Readonly<Record<string, number | bigint>>;
  /** What the call itself answers, once its size is accepted: never EINVAL or E2BIG. */
  readonly answer: string;
}

/** For each ioctl a struct that passes the size check, changes nothing, and has an answer of its own. */
const PROBES: Readonly<Record<string, Probe>> = {
  IOMMU_DESTROY: { input: { id: NO_ID }, answer: 'ENOENT' },
  IOMMU_IOAS_ALLOC: { input: { flags: 1 }, answer: 'EOPNOTSUPP' },
  IOMMU_IOAS_ALLOW_IOVAS: { input: { ioas_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_IOAS_COPY: { input: { flags: READABLE, src_ioas_id: NO_ID, length: 1n }, answer: 'ENOENT' },
  IOMMU_IOAS_IOVA_RANGES: { input: { ioas_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_IOAS_MAP: { input: { flags: READABLE, ioas_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_IOAS_UNMAP: { input: { ioas_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_OPTION: { input: { option_id: 2 }, answer: 'EOPNOTSUPP' },
  IOMMU_VFIO_IOAS: { input: {}, answer: 'ENODEV' },
  IOMMU_HWPT_ALLOC: { input: { dev_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_GET_HW_INFO: { input: { dev_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_HWPT_SET_DIRTY_TRACKING: { input: { hwpt_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_HWPT_GET_DIRTY_BITMAP: { input: { hwpt_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_HWPT_INVALIDATE: { input: { hwpt_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_FAULT_QUEUE_ALLOC: { input: { flags: 1 }, answer: 'EOPNOTSUPP' },
  IOMMU_IOAS_MAP_FILE: { input: { flags: READABLE, ioas_id: NO_ID, length: 1n }, answer: 'ENOENT' },
  IOMMU_VIOMMU_ALLOC: { input: { type: IOMMU_VIOMMU_TYPE_SELFTEST, dev_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_VDEVICE_ALLOC: { input: { viommu_id: NO_ID }, answer: 'ENOENT' },
  IOMMU_IOAS_CHANGE_PROCESS: { input: {}, answer: 'ok' },
  IOMMU_VEVENTQ_ALLOC: {
    input: { type: IOMMU_VEVENTQ_TYPE_SELFTEST, viommu_id: NO_ID, veventq_depth: 1 },
    answer: 'ENOENT',
  },
  IOMMU_HW_QUEUE_ALLOC: {
    input: { type: IOMMU_HW_QUEUE_TYPE_SELFTEST, viommu_id: NO_ID, length: 1n },
    answer: 'ENOENT',
  },
  IOMMU_IOAS_NOIOMMU_GET_PA: { input: { ioas_id: NO_ID, length: 1n }, answer: 'ENOENT' },
};

function probeOf(op: Ioctl): { input: Input<Fields>; answer: string } {
  const probe = PROBES[op.name];
  assert(probe !== undefined, `${op.name} has no probe`);
  return { input: probe.input as Input<Fields>, answer: probe.answer };
}

/** 'ioas-map' of IOMMU_IOAS_MAP. */
function shortName(op: Ioctl): string {
  return op.name.replace('IOMMU_', '').toLowerCase().replaceAll('_', '-');
}

function sized(t: Bench, op: Ioctl, size: number, tail?: Uint8Array): string {
  return t.ioctlSized(op, probeOf(op).input, { size, ...(tail && { tail }) }).code;
}

function lastByteSet(length: number): Uint8Array {
  const tail = new Uint8Array(length);
  tail[length - 1] = 1;
  return tail;
}

conformance('struct-sizes', (test) => {
  for (const op of iommufdIoctls) {
    const name = shortName(op);
    const { size } = op.layout;
    test(`${name}-short`, `${op.name} refuses a struct shorter than the shortest`, (t) => {
      for (const tooShort of [0, 4, op.minSize - 1]) assert.equal(sized(t, op, tooShort), 'EINVAL', `size ${tooShort}`);
    });
    test(`${name}-shortest`, `${op.name} takes the struct of the release that brought it`, (t) => {
      assert.equal(sized(t, op, op.minSize), probeOf(op).answer);
    });
    test(`${name}-zero-tail`, `${op.name} takes a longer struct whose new fields are 0`, (t) => {
      assert.equal(sized(t, op, size), probeOf(op).answer);
      for (const more of [1, 8, 64]) assert.equal(sized(t, op, size + more, new Uint8Array(more)), probeOf(op).answer);
    });
    test(`${name}-tail`, `${op.name} refuses a longer struct that uses a new field`, (t) => {
      for (const more of [1, 8, 64])
        assert.equal(sized(t, op, size + more, lastByteSet(more)), 'E2BIG', `tail ${more}`);
    });
  }

  test('all-probed', 'every ioctl of the table is in the matrix', () => {
    assert.deepEqual(iommufdIoctls.map((op) => op.name).sort(), Object.keys(PROBES).sort());
    assert.equal(iommufdIoctls.length, 22);
  });

  test('page-of-zeros', 'a zero tail of more than a page is fine', (t) => {
    const { size } = uapi.IOMMU_DESTROY.layout;
    assert.equal(sized(t, uapi.IOMMU_DESTROY, size + 6000, new Uint8Array(6000)), 'ENOENT');
    assert.equal(sized(t, uapi.IOMMU_DESTROY, size + 6000, lastByteSet(6000)), 'E2BIG');
  });

  test('tail-does-nothing', 'a refused struct has no effect', (t) => {
    const op = uapi.IOMMU_IOAS_ALLOC;
    const refusedCall = t.ioctlSized(op, {}, { size: op.layout.size + 8, tail: lastByteSet(8) });
    assert.equal(refusedCall.code, 'E2BIG');
    assert.equal(refusedCall.out.out_ioas_id, 0);
    assert.equal(t.ioctlSized(op, {}, { size: op.layout.size - 1 }).code, 'EINVAL');
    // No object exists: the option may still be set.
    t.iommufd.rlimitMode = 'process';
  });

  test('tail-before-call', 'the tail is looked at before the fields', (t) => {
    const op = uapi.IOMMU_IOAS_MAP;
    const tail = lastByteSet(8);
    const input = { flags: 0xffff_ffff, __reserved: 1, length: 1n };
    assert.equal(t.ioctlSized(op, input, { size: op.layout.size + 8, tail }).code, 'E2BIG');
  });

  test('ignored-in', 'fields beyond the given size read as 0', (t) => {
    const hwpt = uapi.IOMMU_HWPT_ALLOC;
    const withType = { dev_id: NO_ID, data_type: iommu_test_numbers.values.IOMMU_HWPT_DATA_SELFTEST };
    assert.equal(t.ioctl(hwpt, withType).code, 'EINVAL');
    assert.equal(t.ioctlSized(hwpt, withType, { size: hwpt.minSize }).code, 'ENOENT');
    const veventq = uapi.IOMMU_VEVENTQ_ALLOC;
    const withReserved = { ...PROBES.IOMMU_VEVENTQ_ALLOC?.input, __reserved: 1 };
    assert.equal(t.ioctl(veventq, withReserved).code, 'EOPNOTSUPP');
    assert.equal(t.ioctlSized(veventq, withReserved, { size: veventq.minSize }).code, 'ENOENT');
  });

  test('untouched-out', 'fields beyond the given size are not written', (t) => {
    const { device } = t.mockDevice();
    const op = uapi.IOMMU_GET_HW_INFO;
    const input = { dev_id: device.id, out_capabilities: 0x1234_5678n };
    const short = t.ioctlSized(op, input, { size: op.minSize });
    assert.equal(short.code, 'ok');
    assert.equal(short.out.out_capabilities, 0x1234_5678n);
    assert.equal(short.out.out_data_type, iommu_test_numbers.values.IOMMU_HW_INFO_TYPE_SELFTEST);
    const long = t.ioctlSized(op, input, { size: op.layout.size });
    assert.notEqual(long.out.out_capabilities, 0x1234_5678n);
  });

  test('long-out', 'what lies behind the known struct is not written', (t) => {
    const { seam } = t.rig;
    const { arena } = seam;
    const op = uapi.IOMMU_IOAS_IOVA_RANGES;
    const ioas = t.iommufd.allocIoas();
    const mark = arena.mark();
    const at = arena.take(op.layout.size + 64);
    op.layout.encode(arena.view, at, { size: op.layout.size, ioas_id: ioas.id });
    arena.bytes.fill(0xa5, at + op.layout.size, at + op.layout.size + 64);
    const result = seam.ioctl(t.iommufd.fd, op.request, at);
    const behind = arena.bytes.slice(at + op.layout.size, at + op.layout.size + 64);
    arena.release(mark);
    assert.equal(errnoName(result), 'EMSGSIZE');
    assert(behind.every((byte) => byte === 0xa5));
  });

  test('unknown-number', 'an ioctl number that no release gave out is ENOTTY', (t) => {
    const { fd } = t.iommufd;
    const numbers = [0x96, 0x97, 0x9f, 0xa1, 0xff, 0x7f, 0x00];
    for (const nr of numbers) {
      const op = { ...uapi.IOMMU_DESTROY, request: (0x3b << 8) | nr };
      assert.equal(t.ioctl(op, { id: NO_ID }, {}, fd).code, 'ENOTTY', `number 0x${nr.toString(16)}`);
    }
  });

  test('other-type', 'a known number with another type byte, or with direction and size bits, is ENOTTY', (t) => {
    const withType = { ...uapi.IOMMU_DESTROY, request: (0x3c << 8) | 0x80 };
    assert.equal(t.ioctl(withType, { id: NO_ID }).code, 'ENOTTY');
    const withSize = { ...uapi.IOMMU_DESTROY, request: (0x3b << 8) | 0x80 | (8 << 16) | (1 << 30) };
    assert.equal(t.ioctl(withSize, { id: NO_ID }).code, 'ENOTTY');
  });

  test('unknown-before-size', 'an unknown number is ENOTTY whatever the size says', (t) => {
    const op = { ...uapi.IOMMU_DESTROY, request: (0x3b << 8) | 0x9f };
    assert.equal(t.ioctlSized(op, {}, { size: 0 }).code, 'ENOTTY');
  });

  test('bad-pointer', 'a struct at an address that is not mapped is EFAULT', (t) => {
    for (const op of iommufdIoctls.filter((one) => t.has(one))) {
      assert.equal(errnoName(t.rig.seam.ioctlValue(t.iommufd.fd, op.request, 0)), 'EFAULT', op.name);
    }
  });

  test('bad-pointer-unknown', 'without a struct, an unknown call is EFAULT where its number is in the table', (t) => {
    const { seam } = t.rig;
    const answer = (request: number): string => errnoName(seam.ioctlValue(t.iommufd.fd, request, 0));
    // A hole, and known numbers with a size or another type byte: only the lowest byte says whether the struct is read.
    for (const request of [0x3b9f, 0x4008_3b80, 0x3c80]) assert.equal(answer(request), 'EFAULT', request.toString(16));
    for (const request of [0x3ba1, 0x3bff, 0x3b7f]) assert.equal(answer(request), 'ENOTTY', request.toString(16));
  });

  test('struct-past-end', 'a struct of which only the size can be read is EFAULT', (t) => {
    const { seam } = t.rig;
    const { fd } = t.iommufd;
    const block = seam.allocateBlock(seam.pageSize);
    assert(typeof block !== 'number');
    // The page behind a block is a guard page.
    block.write32(block.length - 4, uapi.IOMMU_DESTROY.layout.size);
    const result = seam.ioctlValue(fd, uapi.IOMMU_DESTROY.request, Number(block.address) + block.length - 4);
    block.free();
    assert.equal(errnoName(result), 'EFAULT');
  });
});
