// Regions on the stub seam: reads, writes, mappings, and what resets and refusals leave of them.
import assert from 'node:assert/strict';
import type { IommufdError } from '../../lib/host/errors.js';
import * as uapi from '../../lib/uapi/vfio.js';
import { deviceCore } from '../../lib/vfio/device.js';
import { codeOf, deviceStage, leftovers, NOTHING } from './stage.js';
import type { StubSeam } from './stub-seam.js';

const BAR0_SIZE = 0x10000;
const CONFIG_START = 7 * 2 ** 40;
const FLAGS = uapi.vfio_region_info_flags.values;

interface Access {
  readonly position: number;
  readonly bytes: readonly number[];
}

/** Lets the device's file read as the low bytes of positions, and notes what is written. */
function script(seam: StubSeam) {
  const reads: { position: number; length: number }[] = [];
  const writes: Access[] = [];
  seam.onPread = (position, into) => {
    reads.push({ position, length: into.length });
    for (const i of into.keys()) into[i] = (position + i) & 0xff;
    return into.length;
  };
  seam.onPwrite = (position, from) => {
    writes.push({ position, bytes: [...from] });
    return from.length;
  };
  return { reads, writes };
}

function regionStage() {
  const base = deviceStage();
  return { ...base, ...script(base.seam), bar: base.nic.region('bar0') };
}

describe('VFIO region', () => {
  it('is read and written in one call a width, little-endian, at its place in the file', () => {
    const { nic, bar, reads, writes } = regionStage();
    assert.equal(bar.read8(0x83), 0x83);
    assert.equal(bar.read16(0x82), 0x8382);
    assert.equal(bar.read32(0x84), 0x87868584);
    assert.equal(bar.read64(0x88), 0x8f8e8d8c8b8a8988n);
    assert.equal(nic.region('config').read16(2), 0x0302);
    bar.write8(1, 0xfe);
    bar.write16(2, 0xfedc);
    bar.write32(4, 0xfedcba98);
    bar.write64(8, 0xfedcba9876543210n);
    assert.deepEqual(
      reads.map(({ position, length }) => [position, length]),
      [
        [0x83, 1],
        [0x82, 2],
        [0x84, 4],
        [0x88, 8],
        [CONFIG_START + 2, 2],
      ],
    );
    assert.deepEqual(writes, [
      { position: 1, bytes: [0xfe] },
      { position: 2, bytes: [0xdc, 0xfe] },
      { position: 4, bytes: [0x98, 0xba, 0xdc, 0xfe] },
      { position: 8, bytes: [0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe] },
    ]);
  });

  it('asks the kernel nothing where offset or value is wrong', () => {
    const { bar, reads, writes } = regionStage();
    for (const bad of [-1, 0.5, Number.NaN, BAR0_SIZE, BAR0_SIZE - 7, 2 ** 53, Number.POSITIVE_INFINITY]) {
      assert.equal(
        codeOf(() => bar.read64(bad)),
        'ERR_OUT_OF_RANGE',
        String(bad),
      );
    }
    for (const [work, code] of [
      [() => bar.read16(1), 'ERR_OUT_OF_RANGE'],
      [() => bar.read32(2), 'ERR_OUT_OF_RANGE'],
      [() => bar.read64(4), 'ERR_OUT_OF_RANGE'],
      [() => bar.read8('0' as never), 'ERR_INVALID_ARG_TYPE'],
      [() => bar.read8(0n as never), 'ERR_INVALID_ARG_TYPE'],
      [() => bar.write8(0, 256), 'ERR_OUT_OF_RANGE'],
      [() => bar.write16(0, 65536), 'ERR_OUT_OF_RANGE'],
      [() => bar.write32(0, 2 ** 32), 'ERR_OUT_OF_RANGE'],
      [() => bar.write32(0, -1), 'ERR_OUT_OF_RANGE'],
      [() => bar.write8(0, 1n as never), 'ERR_INVALID_ARG_TYPE'],
      [() => bar.write64(0, 1 as never), 'ERR_INVALID_ARG_TYPE'],
      [() => bar.write64(0, 1n << 64n), 'ERR_OUT_OF_RANGE'],
      [() => bar.read(0, BAR0_SIZE + 1), 'ERR_OUT_OF_RANGE'],
      [() => bar.read(BAR0_SIZE + 1, 0), 'ERR_OUT_OF_RANGE'],
      [() => bar.write(BAR0_SIZE, Uint8Array.of(1)), 'ERR_OUT_OF_RANGE'],
      [() => bar.write(0, [1] as never), 'ERR_INVALID_ARG_TYPE'],
    ] as const) {
      assert.equal(codeOf(work), code, String(work));
    }
    assert.deepEqual([reads, writes], [[], []]);
  });

  it('is read in bulk in as many calls as it takes, none of which cuts an access in two', () => {
    const { bar, reads, writes } = regionStage();
    const bytes = bar.read(3, 40000);
    assert.equal(bytes.length, 40000);
    assert(bytes.every((byte, i) => byte === ((3 + i) & 0xff)));
    assert(reads.length > 1);
    for (const { position } of reads.slice(1)) assert.equal(position % 8, 0);
    bar.write(5, bytes);
    assert.deepEqual(
      writes.flatMap((write) => write.bytes),
      [...bytes],
    );
    assert.deepEqual(
      writes.map(({ position, bytes: { length } }) => position + length).slice(0, -1),
      writes.slice(1).map(({ position }) => position),
    );
    assert.deepEqual(bar.read(0, 0), new Uint8Array(0));
  });

  it('tells a refusal with what was asked, and takes no part of an answer for one', () => {
    const { bar, seam } = regionStage();
    seam.onPread = () => -5;
    seam.onPwrite = () => -5;
    assert.throws(
      () => bar.read32(8),
      ({ code, syscall, args, hint, message }: IommufdError) => {
        assert.deepEqual([code, syscall, args], ['EIO', 'pread', { region: 'bar0', offset: 8, length: 4 }]);
        assert.match(hint ?? '', /config\.enable/);
        assert.match(message, /vfio0/);
        return true;
      },
    );
    assert.throws(() => bar.write(0, new Uint8Array(3)), { code: 'EIO', syscall: 'pwrite' });
    for (const answer of [0, 3, 5, 1000]) {
      seam.onPread = () => answer;
      assert.throws(() => bar.read32(0), { code: 'EIO', message: new RegExp(`did ${answer} bytes`) });
      assert.throws(() => bar.read(0, 4), { code: 'EIO' });
    }
  });

  it('cannot be read or written where the kernel says so', () => {
    const { nic, seam } = regionStage();
    seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, (_, { set }) => {
      set({ size: 4096n, flags: FLAGS.VFIO_REGION_INFO_FLAG_READ });
      return 0;
    });
    assert.equal(nic.region('rom').read8(0), 0);
    assert.equal(
      codeOf(() => nic.region('rom').write8(0, 0)),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    assert.equal(
      codeOf(() => nic.region('rom').write(0, new Uint8Array(1))),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, (_, { set }) => {
      set({ size: 4096n });
      return 0;
    });
    for (const use of [() => nic.region(9).read8(0), () => nic.region(9).read(0, 1)]) {
      assert.equal(codeOf(use), 'ERR_IOMMUFD_UNAVAILABLE');
    }
    assert.equal(
      codeOf(() => nic.region('bar2').mmap()),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
  });

  it('cannot be used once the device is closed, also by options that close it', () => {
    const { nic, bar, reads, seam } = regionStage();
    const closing = {
      get offset() {
        nic.close();
        return 0;
      },
    };
    assert.equal(
      codeOf(() => bar.mmap(closing)),
      'ERR_IOMMUFD_DESTROYED',
    );
    for (const use of [
      () => bar.read8(0),
      () => bar.write64(0, 0n),
      () => bar.read(0, 4),
      () => bar.write(0, new Uint8Array(4)),
      () => bar.mmap(),
      () => nic.region('bar0'),
      () => nic.config,
    ]) {
      assert.equal(codeOf(use), 'ERR_IOMMUFD_DESTROYED');
    }
    assert.deepEqual(reads, []);
    assert.equal(seam.regions.size, 0);
  });
});

describe('mapped region', () => {
  it('is mapped from its place in the file, and goes with the device', () => {
    const { nic, iommufd, bar, seam } = regionStage();
    const made: number[][] = [];
    const mapMmio = seam.mapMmio.bind(seam);
    seam.mapMmio = (fd, offset, length) => {
      made.push([fd, offset, length]);
      return mapMmio(fd, offset, length);
    };
    const whole = bar.mmap();
    const part = bar.mmap({ offset: 0x2000, length: 0x1000n });
    assert.deepEqual(made, [
      [nic.fd, 0, BAR0_SIZE],
      [nic.fd, 0x2000, 0x1000],
    ]);
    assert.deepEqual([whole.length, part.length], [BAR0_SIZE, 0x1000]);
    whole.write32(8, 0x12345678);
    assert.equal(whole.read16(10), 0x1234);
    part.unmap();
    part.unmap();
    assert.equal(seam.regions.size, 1);
    nic.close();
    assert.equal(
      codeOf(() => whole.read32(0)),
      'ERR_IOMMUFD_DESTROYED',
    );
    whole.unmap();
    iommufd.close();
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('takes whole pages of an area only, and names the areas otherwise', () => {
    const { nic, seam } = regionStage();
    const { size: behind } = uapi.vfio_region_info;
    seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, (_, { set, tail }) => {
      const words = [0x10001, 0, 2, 0, 0x1000, 0, 0x2000, 0, 0x8000, 0, 0x1800, 0];
      tail(words.length * 4).set(new Uint8Array(Uint32Array.from(words).buffer));
      const flags = FLAGS.VFIO_REGION_INFO_FLAG_MMAP | FLAGS.VFIO_REGION_INFO_FLAG_CAPS;
      set({ size: 0x10000n, flags, cap_offset: behind });
      return 0;
    });
    const bar = nic.region('bar2');
    for (const offset of [0, 0x3000, 0xa000, 0xffff_f000]) {
      assert.throws(() => bar.mmap({ offset }), {
        code: 'ERR_IOMMUFD_UNAVAILABLE',
        message: /4096 to 12287, 32768 to 38911/,
      });
    }
    for (const options of [
      { offset: 0x1001 },
      { offset: 0x1000, length: 0 },
      { offset: 0x1000, length: 0x3000 },
      { offset: 0x1000, length: 0x800 },
      { offset: 0x8000, length: 0x1900 },
      { offset: -4096 },
    ]) {
      assert.equal(
        codeOf(() => bar.mmap(options)),
        'ERR_OUT_OF_RANGE',
        JSON.stringify(options),
      );
    }
    assert.equal(
      codeOf(() => bar.mmap({ lenght: 1 } as never)),
      'ERR_UNKNOWN_OPTION',
    );
    assert.equal(bar.mmap({ offset: 0x2000 }).length, 0x1000);
    const odd = bar.mmap({ offset: 0x8000 });
    assert.equal(odd.length, 0x1800, 'an area may end within a page');
    assert.equal([...seam.regions].at(-1)?.length, 0x2000, 'which is mapped whole');
  });

  it('leaves nothing where the kernel refuses', () => {
    const { bar, seam } = regionStage();
    seam.fail('mapMmio', -22);
    assert.throws(() => bar.mmap(), { code: 'EINVAL', syscall: 'mmap', message: /bar0.*vfio0/ });
    assert.equal(seam.regions.size, 0);
  });

  for (const [why, message] of [
    ['reset', /bar0 of .*vfio0 went away in a reset/],
    ['memory off', /turned off/],
    ['low power', /sleep/],
  ] as const) {
    it(`is dead after: ${why}; its addresses stay taken until it is unmapped`, () => {
      const { nic, bar, seam } = regionStage();
      const before = bar.mmap();
      const inner = before.subregion(16, 16);
      deviceCore(nic).memoryLost(why);
      const gone = { code: 'ERR_IOMMUFD_DESTROYED', message };
      for (const window of [before, inner]) {
        assert.equal(window.mapped, false);
        for (const use of [
          () => window.read8(0),
          () => window.write64(0, 0n),
          () => window.subregion(0, 1),
          () => window.unsafeView(),
        ]) {
          assert.throws(use, gone);
        }
        // Memory slots that have it can still be found, and taken away.
        assert(window.address > 0n);
      }
      assert.equal(seam.regions.size, 1);
      const after = bar.mmap();
      assert.equal(after.read32(0), 0);
      before.unmap();
      assert.throws(() => before.address, { code: 'ERR_IOMMUFD_DESTROYED', message: /is gone/ });
      assert.equal(seam.regions.size, 1);
      assert.throws(() => before.read8(0), { code: 'ERR_IOMMUFD_DESTROYED', message: /is gone/ });
      assert.equal(after.mapped, true);
    });
  }

  it('of something else than a BAR does not go with the memory of the BARs', () => {
    const { nic, seam } = regionStage();
    seam.on(uapi.VFIO_DEVICE_GET_REGION_INFO, (_, { set }) => {
      set({ size: 4096n, flags: FLAGS.VFIO_REGION_INFO_FLAG_MMAP });
      return 0;
    });
    const own = nic.region(9).mmap();
    deviceCore(nic).memoryLost('reset');
    assert.equal(own.read32(0), 0);
  });

  it('goes also where unmapping another one fails, and the file is closed', () => {
    const { nic, bar, seam } = regionStage();
    bar.mmap();
    bar.mmap();
    seam.fail('free', -16);
    assert.throws(() => nic.close(), { code: 'EBUSY', syscall: 'munmap' });
    assert.equal(seam.regions.size, 1);
    assert.equal(seam.files.size, 1, 'that of the iommufd');
  });
});
