// What the kernel tells of a device and its regions: capability chains, also such as no kernel should answer.
import assert from 'node:assert/strict';
import type { Input } from '../../lib/uapi/layout.js';
import * as uapi from '../../lib/uapi/vfio.js';
import { codeOf, deviceStage } from './stage.js';

const DEVICE = uapi.vfio_device_flags.values;
const REGION = uapi.vfio_region_info_flags.values;
const CAP = uapi.vfio_region_info_cap.values;
const READ_WRITE_MAP =
  REGION.VFIO_REGION_INFO_FLAG_READ | REGION.VFIO_REGION_INFO_FLAG_WRITE | REGION.VFIO_REGION_INFO_FLAG_MMAP;
const WITH_CAPS = READ_WRITE_MAP | REGION.VFIO_REGION_INFO_FLAG_CAPS;
const SENSELESS = { code: 'ERR_IOMMUFD_UNAVAILABLE', message: /makes no sense/ };
/** Where what is behind the struct begins, for offsets of capabilities. */
const BEHIND = uapi.vfio_region_info.size;

/** A capability as bytes: its header, then these words. */
function cap(id: number, next: number, ...words: number[]): number[] {
  return [id | (1 << 16), next, ...words];
}

/** Answers region info with these words behind the struct. */
function withTail(words: readonly number[], more: Input<typeof uapi.vfio_region_info.fields> = {}) {
  const base = deviceStage();
  const bytes = new Uint8Array(Uint32Array.from(words).buffer);
  const rooms: number[] = [];
  base.seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, ({ argsz }, { set, tail }) => {
    const room = argsz - BEHIND;
    rooms.push(room);
    const fits = room >= bytes.length;
    if (fits) tail(bytes.length).set(bytes);
    const cap_offset = fits && bytes.length > 0 ? BEHIND : 0;
    set({ size: 0x10000n, flags: WITH_CAPS, argsz: fits ? argsz : BEHIND + bytes.length, cap_offset, ...more });
    return 0;
  });
  return { ...base, rooms };
}

describe('device info', () => {
  it('has kinds and abilities by name', () => {
    for (const [flag, kind] of [
      [DEVICE.VFIO_DEVICE_FLAGS_PCI, 'pci'],
      [DEVICE.VFIO_DEVICE_FLAGS_PLATFORM, 'platform'],
      [DEVICE.VFIO_DEVICE_FLAGS_AMBA, 'amba'],
      [DEVICE.VFIO_DEVICE_FLAGS_CCW, 'ccw'],
      [DEVICE.VFIO_DEVICE_FLAGS_AP, 'ap'],
      [DEVICE.VFIO_DEVICE_FLAGS_FSL_MC, 'fsl-mc'],
      [DEVICE.VFIO_DEVICE_FLAGS_CDX, 'cdx'],
      [1 << 20, undefined],
    ] as const) {
      const { nic, seam } = deviceStage();
      seam.on(uapi.VFIO_DEVICE_GET_INFO, (_, { set }) => {
        set({ flags: flag, num_regions: 3, num_irqs: 2 });
        return 0;
      });
      const { kind: told, canReset, regionCount, interruptCount, atomicOps, flags } = nic.info;
      assert.deepEqual([told, canReset, regionCount, interruptCount, atomicOps, flags], [kind, false, 3, 2, [], flag]);
      assert.equal(
        codeOf(() => nic.config),
        kind === 'pci' ? 'ok' : 'ERR_IOMMUFD_UNAVAILABLE',
        'configuration space is a matter of PCI',
      );
    }
  });

  it('is asked for once, and cannot be changed', () => {
    const { nic, seam } = deviceStage();
    assert.equal(nic.info, nic.info);
    assert.equal(nic.info.canReset, true);
    assert.equal(seam.made('VFIO_DEVICE_GET_INFO').length, 1);
    assert.throws(() => Object.assign(nic.info, { canReset: false }), TypeError);
  });

  it('has the AtomicOps of the root port', () => {
    const { nic, seam } = deviceStage();
    const id = uapi.vfio_device_info_cap.values.VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP;
    const { size } = uapi.vfio_device_info;
    seam.on(uapi.VFIO_DEVICE_GET_INFO, (_, { set, tail }) => {
      tail(32).set(new Uint8Array(Uint32Array.from([...cap(99, size + 8), ...cap(id, 0, 0b101, 0)]).buffer));
      set({ flags: DEVICE.VFIO_DEVICE_FLAGS_PCI | DEVICE.VFIO_DEVICE_FLAGS_CAPS, num_regions: 9, cap_offset: size });
      return 0;
    });
    assert.deepEqual(nic.info.atomicOps, [32, 128]);
  });

  it('is not believed with billions of indexes', () => {
    for (const counts of [{ num_regions: 0xffff_ffff }, { num_irqs: 0xffff_ffff }]) {
      const { nic, seam } = deviceStage();
      seam.on(uapi.VFIO_DEVICE_GET_INFO, (_, { set }) => {
        set({ flags: DEVICE.VFIO_DEVICE_FLAGS_PCI, ...counts });
        return 0;
      });
      assert.throws(() => nic.info, SENSELESS);
      assert.throws(() => nic.regions, SENSELESS);
    }
  });

  it('is refused before bind, and after close', () => {
    const { nic, host } = deviceStage();
    const unbound = host.openDevice('/dev/vfio/devices/vfio0');
    assert.equal(
      codeOf(() => unbound.info),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    nic.close();
    assert.equal(
      codeOf(() => nic.info),
      'ERR_IOMMUFD_DESTROYED',
    );
  });
});

describe('region info', () => {
  it('is asked for again with as much room as the kernel needs', () => {
    const areas = Array.from({ length: 20 }, (_, i) => [i * 0x1000, 0, 0x1000, 0]).flat();
    const { nic, rooms } = withTail(cap(CAP.VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, 20, 0, ...areas), { size: 0x20000n });
    const { mmapAreas } = nic.region('bar1');
    assert.equal(mmapAreas.length, 20);
    assert.deepEqual(mmapAreas[19], { offset: 0x13000, length: 0x1000 });
    assert.deepEqual(rooms, [256, 336], 'once with the usual room, once with what is needed');
  });

  it('has type, sparse parts and the MSI-X table, in any order', () => {
    const words = [
      ...cap(CAP.VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, BEHIND + 8),
      ...cap(77, BEHIND + 16),
      ...cap(CAP.VFIO_REGION_INFO_CAP_TYPE, BEHIND + 32, 1, 5),
      ...cap(CAP.VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, 1, 0, 0x2000, 0, 0x1000, 0),
    ];
    const { nic } = withTail(words);
    const region = nic.region(9);
    assert.deepEqual(region.type, { type: 1, subtype: 5 });
    assert.deepEqual(region.mmapAreas, [{ offset: 0x2000, length: 0x1000 }]);
    assert.deepEqual(region.flags, { readable: true, writable: true, mappable: true, msixMappable: true });
    assert.equal(region.name, 'region 9');
  });

  it('can be mapped whole where no capability says otherwise, and not at all without the flag', () => {
    assert.deepEqual(withTail([]).nic.region('bar1').mmapAreas, [{ offset: 0, length: 0x10000 }]);
    const { nic } = withTail([], { flags: REGION.VFIO_REGION_INFO_FLAG_READ });
    assert.deepEqual(nic.region('bar1').mmapAreas, []);
  });

  for (const [what, words, more] of [
    ['a chain that goes in a circle', [...cap(1, BEHIND + 8), ...cap(2, BEHIND)], {}],
    ['a capability that is its own next one', cap(77, BEHIND), {}],
    ['a next one far outside', cap(77, 0xffff_fff0), {}],
    ['a next one inside the struct', cap(77, 8), {}],
    ['a next one whose header is cut off', cap(77, BEHIND + 252), {}],
    ['a first one outside', [], { cap_offset: 0x7fff_ffff }],
    ['a first one inside the struct', [], { cap_offset: 4 }],
    ['a type that is cut off', cap(77, BEHIND + 248), {}],
    ['billions of parts', cap(CAP.VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, 0xffff_ffff, 0), {}],
    ['a part beyond the end', cap(CAP.VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, 1, 0, 0xf000, 0, 0x2000, 0), {}],
    [
      'a part whose end wraps',
      cap(CAP.VFIO_REGION_INFO_CAP_SPARSE_MMAP, 0, 1, 0, 0xffff_f000, 0xffff_ffff, 0x2000, 0),
      {},
    ],
    ['more capabilities than there can be', [], { argsz: 0xffff_ffff }],
    ['a size beyond all numbers', [], { size: 1n << 60n }],
    ['a place beyond all numbers', [], { offset: 1n << 60n }],
    ['an end beyond all numbers', [], { size: 2n ** 52n, offset: 2n ** 53n - 4096n }],
  ] as const) {
    it(`is not believed with ${what}`, () => {
      const { nic, seam } = withTail(words, more);
      if (what === 'a type that is cut off') {
        seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, (_, { set, tail }) => {
          const view = new DataView(tail(256).buffer, tail(256).byteOffset);
          view.setUint32(248, CAP.VFIO_REGION_INFO_CAP_TYPE, true);
          view.setUint32(252, 0, true);
          set({ size: 4096n, flags: WITH_CAPS, cap_offset: BEHIND + 248 });
          return 0;
        });
      }
      assert.throws(() => nic.region('bar1'), SENSELESS);
      assert.throws(() => nic.region('bar1'), SENSELESS, 'and nothing of it is kept');
    });
  }

  it('is not asked for for ever where the kernel always wants more', () => {
    const { nic, seam } = deviceStage();
    let asked = 0;
    seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, ({ argsz }, { set }) => {
      asked++;
      set({ size: 4096n, flags: WITH_CAPS, argsz: argsz + 4096 });
      return 0;
    });
    assert.throws(() => nic.region('bar0'), SENSELESS);
    assert(asked < 10, `asked ${asked} times`);
  });

  it('takes no chain where the flag does not say that there is one', () => {
    const { nic } = withTail([], { flags: READ_WRITE_MAP, cap_offset: 0xffff_ff00 });
    assert.equal(nic.region('bar0').size, 0x10000);
  });

  it('leaves holes out of the list, and those without a size', () => {
    const { nic, seam } = deviceStage();
    assert.deepEqual(
      nic.regions.map(({ name }) => name),
      ['bar0', 'config'],
    );
    const asked = seam.made('VFIO_DEVICE_GET_REGION_INFO').length;
    assert.equal(nic.regions[0], nic.region('bar0'), 'one object a region');
    assert.equal(seam.made('VFIO_DEVICE_GET_REGION_INFO').length, asked + 1, 'only the hole is asked about again');
    assert.throws(() => nic.region('vga'), {
      code: 'EINVAL',
      syscall: 'VFIO_DEVICE_GET_REGION_INFO',
      message: /vfio0/,
    });
  });

  it('takes names and indexes, and nothing else', () => {
    const { nic, seam } = deviceStage();
    assert.equal(nic.region(7), nic.region('config'));
    const asked = seam.calls.length;
    for (const [which, code] of [
      ['bar6', 'ERR_OUT_OF_RANGE'],
      ['BAR0', 'ERR_OUT_OF_RANGE'],
      [-1, 'ERR_OUT_OF_RANGE'],
      [1.5, 'ERR_OUT_OF_RANGE'],
      [null, 'ERR_INVALID_ARG_TYPE'],
      [undefined, 'ERR_INVALID_ARG_TYPE'],
    ] as const) {
      assert.equal(
        codeOf(() => nic.region(which as never)),
        code,
        String(which),
      );
    }
    assert.equal(seam.calls.length, asked);
  });
});
