// Struct layouts: sizes and offsets by C's rules, encoding and decoding.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import {
  test_dirty,
  test_pasid_detach,
  testConstants,
  testIoctls,
  testStructs,
} from '../../lib/emulated/hardware/selftest/uapi.js';
import {
  array,
  type Constants,
  ERRNO,
  errnoMeaning,
  errnoName,
  type Field,
  type Fields,
  flex,
  iommu_hw_info,
  iommu_hwpt_alloc,
  iommu_option,
  iommu_veventq_alloc,
  iommu_viommu_alloc,
  iommufd_ioas_map_flags,
  iommufdConstants,
  iommufdIoctls,
  iommufdStructs,
  type Layout,
  nested,
  overlay,
  placed,
  s32,
  struct,
  u8,
  u16,
  u32,
  u64,
  vfio_device_feature_dma_buf,
  vfio_iommu_type1_info_cap_migration,
  vfio_pci_dependent_device,
  vfioConstants,
  vfioIoctls,
  vfioOwnStructs,
  vfioStructs,
} from '../../lib/uapi/index.js';
import { uapiDocument } from '../../scripts/document-uapi.js';

const STRUCTS = [...iommufdStructs, ...vfioStructs, ...vfioOwnStructs, ...testStructs];
const CONSTANTS: readonly Constants[] = [...iommufdConstants, ...vfioConstants, ...testConstants];
const IOCTLS = [...iommufdIoctls, ...vfioIoctls, ...testIoctls];
const BITS = { u8: 8, u16: 16, u32: 32, s32: 32, u64: 64, ptr: 64 } as const;

/** A value that fills the field's width and differs from every other one. */
function distinct(field: Field, next: () => number): unknown {
  if (field.kind === 'struct') return sample(field.nested, next);
  if (field.kind === 'flex') return undefined;
  const bits = BITS[field.kind];
  const scalar = (): number | bigint => {
    const value = (0xf000_0000_0000_0000n | BigInt(next())) & ((1n << BigInt(bits)) - 1n);
    if (bits === 64) return value;
    return field.kind === 's32' ? -Number(value) - 1 : Number(value);
  };
  return field.isArray ? Array.from({ length: field.count }, scalar) : scalar();
}

function sample(layout: Layout<Fields> | undefined, next: () => number): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [name, field] of Object.entries(layout?.fields ?? {})) {
    if (field.kind === 'flex') continue;
    out[name] = field.overlays === undefined ? distinct(field, next) : out[field.overlays];
  }
  return out;
}

function counter(): () => number {
  let n = 0;
  return () => ++n;
}

function roundTrip(layout: Layout<Fields>, base: number): void {
  const bytes = new Uint8Array(base + layout.size + 8).fill(0xa5);
  const view = new DataView(bytes.buffer);
  const values = sample(layout, counter());
  layout.encode(view, base, values as never);
  assert.deepEqual(layout.decode(view, base), values);
  const around = [...bytes.subarray(0, base), ...bytes.subarray(base + layout.size)];
  assert.ok(
    around.every((byte) => byte === 0xa5),
    'nothing outside the struct is written',
  );
}

describe('uapi layouts', () => {
  for (const layout of STRUCTS) {
    it(`${layout.name} survives encode and decode`, () => {
      roundTrip(layout, 0);
      roundTrip(layout, 8);
    });
  }

  it('encodes little-endian', () => {
    const view = new DataView(new ArrayBuffer(iommu_option.size));
    iommu_option.encode(view, 0, { size: 0x0102_0304, op: 0x0506, val64: 0x1112_1314_1516_1718n });
    assert.equal(
      Buffer.from(view.buffer).toString('hex'),
      `04030201${'00'.repeat(4)}0605${'00'.repeat(6)}1817161514131211`,
    );
  });

  it('zeroes what is not given, and what lies between fields', () => {
    const bytes = new Uint8Array(test_dirty.size).fill(0xff);
    test_dirty.encode(new DataView(bytes.buffer), 0, {});
    assert.ok(bytes.every((byte) => byte === 0));
    const short = new Uint8Array(8).fill(0xff);
    struct('s', 's', { a: array('u16', 4, 'a') }).encode(new DataView(short.buffer), 0, { a: [1, 2] });
    assert.deepEqual([...short], [1, 0, 2, 0, 0, 0, 0, 0]);
  });

  it('leaves fields given as undefined at 0, and refuses unknown ones', () => {
    const view = new DataView(new ArrayBuffer(8));
    const pair = struct('pair', 'two', { a: u32('a'), b: u32('b') });
    pair.encode(view, 0, { a: undefined, b: 7 });
    assert.deepEqual(pair.decode(view, 0), { a: 0, b: 7 });
    assert.throws(() => pair.encode(view, 0, { c: 1 } as never), /pair has no field c/);
  });
});

describe('uapi alignment', () => {
  it('follows C', () => {
    const mixed = struct('mixed', 'all widths', { a: u8('a'), b: u16('b'), c: u8('c'), d: u64('d'), e: u8('e') });
    assert.deepEqual(mixed.at, { a: 0, b: 2, c: 4, d: 8, e: 16 });
    assert.equal(mixed.size, 24);
    assert.equal(mixed.align, 8);
    const small = struct('small', 'u32 only', { a: u32('a'), b: array('u8', 3, 'b') });
    assert.equal(small.size, 8);
    const outer = struct('outer', 'a struct inside', { a: u8('a'), b: nested(mixed, 'b'), c: s32('c') });
    assert.deepEqual(outer.at, { a: 0, b: 8, c: 32 });
    assert.equal(outer.size, 40);
    const tail = struct('tail', 'trailing arrays', { a: u8('a'), b: flex('s32', 'b') });
    assert.deepEqual([tail.at.b, tail.size], [4, 4]);
    const records = struct('records', 'trailing structs', { a: u32('a'), b: flex(mixed, 'b') });
    assert.deepEqual([records.at.b, records.size], [8, 8]);
  });

  it('has unions and what follows them', () => {
    const union = struct('union', 'two names', { a: u32('a'), b: overlay('a', 'b'), c: u32('c') });
    assert.deepEqual(union.at, { a: 0, b: 0, c: 4 });
    assert.throws(() => struct('bad', 'no such', { b: overlay('a', 'b') }), /overlays no earlier field/);
    const after = struct('after', 'behind a union', { a: u32('a'), z: placed(24, u32('z')) }, 8);
    assert.deepEqual([after.at.z, after.size], [24, 32]);
    assert.deepEqual([test_pasid_detach.at.last, test_pasid_detach.size], [64, 72]);
  });

  it('matches offsets known by hand', () => {
    assert.deepEqual(
      [iommu_hwpt_alloc.at.data_uptr, iommu_hwpt_alloc.at.fault_id, iommu_hwpt_alloc.size],
      [32, 40, 48],
    );
    const info = iommu_hw_info.at;
    assert.deepEqual([info.in_data_type, info.out_data_type, info.out_max_pasid_log2], [24, 24, 28]);
    assert.deepEqual([info.__reserved, info.out_capabilities, iommu_hw_info.size], [29, 32, 40]);
    assert.equal(vfio_iommu_type1_info_cap_migration.at.pgsize_bitmap, 16);
    assert.deepEqual([vfio_pci_dependent_device.at.devfn, vfio_pci_dependent_device.size], [7, 8]);
    assert.equal(vfio_device_feature_dma_buf.at.dma_ranges, 16);
    assert.deepEqual([test_dirty.at.iova, test_dirty.at.out_nr_dirty, test_dirty.size], [24, 56, 72]);
  });

  it('ends a struct where a field ends', () => {
    assert.equal(iommu_hw_info.end('__reserved'), 32);
    assert.equal(iommu_hwpt_alloc.end('__reserved'), 24);
    assert.equal(iommu_veventq_alloc.end('out_veventq_fd'), 28);
    assert.equal(iommu_viommu_alloc.end('out_viommu_id'), 24);
    assert.throws(() => iommu_hw_info.end('nothing' as never), /has no field/);
  });
});

describe('uapi ioctls', () => {
  it('has the 22 of /dev/iommu, without a gap', () => {
    const expected = Array.from({ length: 22 }, (_, i) => 0x3b80 + i);
    assert.deepEqual(
      iommufdIoctls.map((entry) => entry.request),
      expected,
    );
  });

  it('has plausible facts of each', () => {
    for (const { name, request, layout, argument, minSize, since } of IOCTLS) {
      assert.equal(request >>> 8, 0x3b, name);
      assert.ok(minSize <= layout.size, name);
      assert.match(since, /^[3-7]\.\d+$/, name);
      assert.equal(argument === 'none', layout.size === 0, name);
    }
  });

  it('uses every number once on one kind of file', () => {
    const device = vfioIoctls.filter((entry) => !entry.name.startsWith('VFIO_IOMMU_'));
    assert.equal(new Set(device.map((entry) => entry.request)).size, device.length);
  });
});

describe('uapi constants', () => {
  it('keeps values and meanings apart', () => {
    assert.equal(iommufd_ioas_map_flags.values.IOMMU_IOAS_MAP_READABLE, 4);
    assert.match(iommufd_ioas_map_flags.meanings.IOMMU_IOAS_MAP_READABLE ?? '', /read/);
  });

  it('are all numbers from 0 to 2^32 - 1', () => {
    for (const group of CONSTANTS) {
      for (const [name, value] of Object.entries(group.values)) assert.equal(value, value >>> 0, name);
    }
  });
});

describe('uapi docs', () => {
  it('says something of everything', () => {
    const docs = [
      ...STRUCTS.flatMap((s) => [s.doc, ...Object.values(s.fields).map((f) => f.doc)]),
      ...CONSTANTS.flatMap((group) => [group.doc, ...Object.values(group.meanings)]),
      ...IOCTLS.map((entry) => entry.doc),
    ];
    for (const doc of docs) assert.match(doc, /\w/);
  });

  it('docs/uapi.md is up to date: npm run docs:uapi', () => {
    const onDisk = readFileSync(new URL('../../../docs/uapi.md', import.meta.url), 'utf8');
    assert.equal(onDisk, uapiDocument());
  });
});

describe('errno', () => {
  it('names what Linux names', () => {
    assert.equal(errnoName(16), 'EBUSY');
    assert.equal(errnoName(-22), 'EINVAL');
    assert.equal(errnoName(95), 'EOPNOTSUPP');
    assert.equal(errnoName(133), 'EHWPOISON');
    assert.equal(errnoName(11), 'EAGAIN');
    assert.equal(errnoName(524), 'errno 524');
    assert.deepEqual([ERRNO.EMSGSIZE, ERRNO.EADDRINUSE, ERRNO.EOVERFLOW, ERRNO.ENOTSUP], [90, 98, 75, 95]);
  });

  it('has 1 to 133 but 41 and 58, each with a meaning', () => {
    for (let n = 1; n <= 133; n++) {
      const unused = n === 41 || n === 58;
      assert.equal(errnoName(n).startsWith('errno'), unused, String(n));
      assert.equal(errnoMeaning(n) === 'unknown error', unused, String(n));
    }
    for (const [name, n] of Object.entries(ERRNO)) {
      const alias = ['EWOULDBLOCK', 'EDEADLOCK', 'ENOTSUP'].includes(name);
      assert.equal(errnoName(n) === name, !alias, name);
    }
  });
});
