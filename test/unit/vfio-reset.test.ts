// Resets: what the kernel tells of them, also what it should not, and who learns that memory is gone.
import assert from 'node:assert/strict';
import * as uapi from '../../lib/uapi/vfio.js';
import { agreeable, codeOf, deviceStage, NODE, stage } from './stage.js';
import type { StubSeam } from './stub-seam.js';

const FLAGS = uapi.vfio_pci_hot_reset_flags.values;
const BY_ID = FLAGS.VFIO_PCI_HOT_RESET_FLAG_DEV_ID;
const POSSIBLE = BY_ID | FLAGS.VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
const ENTRY = uapi.vfio_pci_dependent_device;
const NOT_OWNED = 0xffff_ffff;
const [EIO, EBUSY, EAGAIN, ENODEV, EINVAL, ENOSPC] = [-5, -16, -11, -19, -22, -28];

interface Entry {
  readonly devid: number;
  readonly bus?: number;
  readonly devfn?: number;
}

/** Answers hot reset info as the kernel does; notes how many entries there was room for. */
function tellDevices(seam: StubSeam, entries: readonly Entry[], flags = POSSIBLE): number[] {
  const rooms: number[] = [];
  seam.on(uapi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, ({ argsz }, { set, tail }) => {
    const room = Math.floor((argsz - uapi.vfio_pci_hot_reset_info.size) / ENTRY.size);
    rooms.push(room);
    set({ count: entries.length });
    if (room < entries.length) return ENOSPC;
    const bytes = tail(entries.length * ENTRY.size);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (const [i, { devid, bus = 1, devfn = i }] of entries.entries()) {
      ENTRY.encode(view, i * ENTRY.size, { devid, segment: 0x1a, bus, devfn });
    }
    set({ flags });
    return 0;
  });
  return rooms;
}

describe('hot reset info', () => {
  it('has addresses, ids and owners', () => {
    const { seam, nic } = deviceStage();
    tellDevices(seam, [{ devid: 7 }, { devid: 0, devfn: (0x1f << 3) | 7 }, { devid: NOT_OWNED, bus: 0xff }], BY_ID);
    assert.deepEqual(nic.hotResetInfo(), {
      possible: false,
      devices: [
        { address: '001a:01:00.0', id: 7, owned: true },
        { address: '001a:01:1f.7', owned: true },
        { address: '001a:ff:00.2', owned: false },
      ],
      blockers: ['001a:ff:00.2'],
    });
  });

  it('knows no owner where it has numbers of groups', () => {
    const { seam, nic } = deviceStage();
    tellDevices(seam, [{ devid: 7 }], 0);
    const { possible, devices } = nic.hotResetInfo();
    assert.deepEqual([possible, devices], [false, [{ address: '001a:01:00.0', owned: false }]]);
  });

  it('asks again where there are more devices than room', () => {
    const { seam, nic } = deviceStage();
    const entries = Array.from({ length: 300 }, (_, i) => ({ devid: i + 1, bus: i >> 8, devfn: i & 0xff }));
    const rooms = tellDevices(seam, entries);
    assert.equal(nic.hotResetInfo().devices.length, 300);
    assert.deepEqual([rooms.length, rooms.at(-1)], [2, 300]);
    assert.equal(seam.arena.mark(), 0);
  });

  it('believes no number of devices that cannot be', () => {
    for (const count of [0, 16, 4097, 0xffff_ffff]) {
      const { seam, nic } = deviceStage();
      let asked = 0;
      seam.on(uapi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, (_, { set }) => {
        asked++;
        set({ count });
        return ENOSPC;
      });
      assert.equal(
        codeOf(() => nic.hotResetInfo()),
        'ENOSPC',
      );
      assert.equal(asked, 1, `${count}`);
    }
  });

  it('ends where the kernel always has one more', () => {
    const { seam, nic } = deviceStage();
    seam.on(uapi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, ({ argsz }, { set }) => {
      set({ count: argsz });
      return ENOSPC;
    });
    assert.equal(
      codeOf(() => nic.hotResetInfo()),
      'ENOSPC',
    );
  });

  it('reads no more than there was room for', () => {
    const { seam, nic } = deviceStage();
    seam.on(uapi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, (_, { set }) => {
      set({ count: 0xffff_ffff, flags: POSSIBLE });
      return 0;
    });
    assert.equal(nic.hotResetInfo().devices.length, 16);
  });
});

describe('reset', () => {
  it('takes mapped memory away, unless it was refused before anything was done', () => {
    for (const [result, mapped] of [
      [0, false],
      [EINVAL, true],
      [EAGAIN, false],
      [EIO, false],
    ] as const) {
      const { seam, nic } = deviceStage();
      seam.on(uapi.VFIO_DEVICE_RESET, result);
      const registers = nic.region('bar0').mmap();
      assert.equal(codeOf(() => nic.reset()) === 'ok', result === 0);
      assert.equal(registers.mapped, mapped, `${result}`);
      if (!mapped) assert.throws(() => registers.read32(0), { code: 'ERR_IOMMUFD_DESTROYED', message: /reset/ });
      nic.close();
      assert.equal(seam.regions.size, 0);
    }
  });
});

describe('hot reset', () => {
  /** Three devices, the last one of another iommufd, each with a BAR mapped. */
  function three() {
    const base = stage(agreeable());
    const other = base.host.openIommufd();
    const devices = [base.iommufd, base.iommufd, other].map((iommufd) => {
      const nic = base.host.openDevice(NODE);
      const { id } = nic.bind(iommufd);
      return { nic, id, registers: nic.region('bar0').mmap() };
    });
    const [first, second, third] = devices;
    assert(first && second && third);
    return { ...base, first, second, third };
  }

  it('takes the memory of all devices of the same iommufd that went through it', () => {
    const { seam, first, second, third } = three();
    tellDevices(seam, [{ devid: first.id }, { devid: second.id }, { devid: 0 }]);
    seam.on(uapi.VFIO_DEVICE_PCI_HOT_RESET, 0);
    first.nic.hotReset();
    assert.deepEqual(
      [first, second, third].map(({ registers }) => registers.mapped),
      [false, false, true],
    );
    assert.deepEqual(seam.made('VFIO_DEVICE_PCI_HOT_RESET')[0]?.input.count, 0);
  });

  it('leaves those alone that are elsewhere', () => {
    const { seam, first, second } = three();
    tellDevices(seam, [{ devid: first.id }]);
    seam.on(uapi.VFIO_DEVICE_PCI_HOT_RESET, 0);
    first.nic.hotReset();
    assert.deepEqual([first.registers.mapped, second.registers.mapped], [false, true]);
  });

  it('is not asked for where it would be refused, and says why', () => {
    const { seam, first } = three();
    tellDevices(seam, [{ devid: first.id }, { devid: NOT_OWNED }], BY_ID);
    assert.throws(() => first.nic.hotReset(), {
      code: 'EINVAL',
      syscall: 'VFIO_DEVICE_PCI_HOT_RESET',
      message: /001a:01:00\.1.*same iommufd/s,
    });
    assert.equal(first.registers.mapped, true);
  });

  it('takes the memory also where it failed half-way', () => {
    for (const [result, mapped] of [
      [ENODEV, true],
      [EBUSY, false],
      [EINVAL, false],
      [EIO, false],
    ] as const) {
      const { seam, first, second } = three();
      tellDevices(seam, [{ devid: first.id }, { devid: second.id }]);
      seam.on(uapi.VFIO_DEVICE_PCI_HOT_RESET, result);
      assert.notEqual(
        codeOf(() => first.nic.hotReset()),
        'ok',
      );
      assert.deepEqual([first.registers.mapped, second.registers.mapped], [mapped, mapped], `${result}`);
    }
  });
});
