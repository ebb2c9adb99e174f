// Devices by fd: from somebody who opened them, and from the process before a live update.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { noteAttached } from '../../lib/objects/device.js';
import * as uapi from '../../lib/uapi/index.js';
import { VfioDevice } from '../../lib/vfio/device.js';
import { codeOf, deviceStage, leftovers, NODE, NOTHING, stage } from './stage.js';

/** Runs work, with a listener to traces that does something after the first call of this name. */
function during(syscall: string, listener: () => void, work: () => void): void {
  let done = false;
  const note = (message: unknown): void => {
    if (done || (message as { syscall: string }).syscall !== syscall) return;
    done = true;
    listener();
  };
  subscribe('iommufd:call', note);
  try {
    work();
  } finally {
    unsubscribe('iommufd:call', note);
  }
}

describe('VfioDevice.fromFd', () => {
  it('takes an fd over, and closes it', () => {
    const { host, iommufd, seam } = stage();
    const fd = seam.makeFd();
    const nic = VfioDevice.fromFd(fd, { host });
    assert.deepEqual([nic.fd, nic.name], [fd, `fd ${fd}`]);
    assert.equal(seam.calls.length, 0, 'nothing was changed');
    assert.equal(nic.bind(iommufd), nic.device);
    nic.close();
    iommufd.close();
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('leaves a borrowed one open, and what it attached detached', () => {
    const { host, iommufd, seam } = stage();
    const fd = seam.makeFd();
    const nic = VfioDevice.fromFd(fd, { host, ownership: 'borrowed' });
    const device = nic.bind(iommufd);
    const ioas = iommufd.allocIoas();
    nic.attach(ioas);
    nic.attach(ioas.allocHwpt(device, { pasid: true }), { pasid: 5 });
    nic.attach(ioas.allocHwpt(device, { pasid: true }), { pasid: 6 });
    nic.detach({ pasid: 6 });
    nic.close();
    assert.deepEqual(
      seam.made('VFIO_DEVICE_DETACH_IOMMUFD_PT').map(({ input }) => input.pasid),
      [6, 0, 5],
    );
    assert.equal(seam.files.has(fd), true);
    assert.equal(seam.badCloses, 0);
    iommufd.close();
  });

  it('gives the fd back as it was where it is no VFIO device', () => {
    const { host, seam } = stage();
    const fd = seam.makeFd();
    for (const [answer, code] of [
      [-25, 'ENOTTY'],
      [-9, 'EBADF'],
      [0, 'ENOTTY'],
    ] as const) {
      seam.ioctl = () => answer;
      assert.throws(() => VfioDevice.fromFd(fd, { host }), { code, message: /VFIO device/ });
      assert.deepEqual(seam.files.get(fd), { owned: false, pending: [] });
    }
    assert.equal(seam.badCloses, 0);
  });

  it('takes only what is open, and what no other object owns', () => {
    const { host } = stage();
    assert.equal(
      codeOf(() => VfioDevice.fromFd(12345, { host })),
      'EBADF',
    );
    const nic = host.openDevice(NODE);
    assert.throws(() => VfioDevice.fromFd(nic.fd, { host }), { code: 'EEXIST', hint: /borrowed/ });
    VfioDevice.fromFd(nic.fd, { host, ownership: 'borrowed' }).close();
    nic.close();
  });

  it('opens no node that is none of a VFIO device', () => {
    const { host, seam } = stage();
    const before = leftovers(seam);
    seam.ioctl = () => -25;
    assert.throws(() => host.openDevice(NODE), { code: 'ENOTTY', message: /node of a VFIO device/ });
    assert.deepEqual(leftovers(seam), before);
  });

  it('refuses what is no fd, host or ownership', () => {
    const { host } = stage();
    for (const [work, code] of [
      [() => VfioDevice.fromFd(-1, { host }), 'ERR_OUT_OF_RANGE'],
      [() => VfioDevice.fromFd('3' as never, { host }), 'ERR_INVALID_ARG_TYPE'],
      [() => VfioDevice.fromFd(Symbol('fd') as never, { host }), 'ERR_INVALID_ARG_TYPE'],
      [() => VfioDevice.fromFd(3, { host: {} as never }), 'ERR_INVALID_ARG_TYPE'],
      [() => VfioDevice.fromFd(3, { host, ownership: 'mine' as never }), 'ERR_OUT_OF_RANGE'],
      [() => VfioDevice.fromFd(3, { host, owned: true } as never), 'ERR_UNKNOWN_OPTION'],
    ] as const) {
      assert.equal(codeOf(work), code, String(work));
    }
  });
});

describe('VfioDevice.adopt', () => {
  it('takes a bound device over, with its id, and attaches it', () => {
    const { iommufd, seam } = stage();
    const nic = VfioDevice.adopt(seam.makeFd(), { iommufd, id: 77 });
    assert.equal(nic.device.id, 77);
    assert.equal(seam.made('VFIO_DEVICE_BIND_IOMMUFD').length, 0);
    const ioas = iommufd.allocIoas();
    noteAttached(nic.device, ioas.allocHwpt(nic.device));
    assert.equal(nic.info.kind, 'pci');
    const before = nic.device.attachedTo();
    assert.equal(before?.type, 'hwpt-paging');
    const after = nic.attach(ioas);
    assert.deepEqual([nic.device.attachedTo(), before?.heldBy], [after, []]);
    nic.close();
    iommufd.close();
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('gives the fd back where the device is not bound, or something is wrong', () => {
    const { iommufd, seam } = stage();
    const fd = seam.makeFd();
    seam.on(uapi.VFIO_DEVICE_GET_INFO, -22);
    assert.throws(() => VfioDevice.adopt(fd, { iommufd, id: 1 }), { code: 'EINVAL', message: /not bound/ });
    assert.equal(seam.files.get(fd)?.owned, false);
    for (const [options, code] of [
      [undefined, 'ERR_INVALID_ARG_TYPE'],
      [{ iommufd: {}, id: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [{ iommufd, id: -1 }, 'ERR_OUT_OF_RANGE'],
      [{ iommufd, id: 1, host: 1 }, 'ERR_UNKNOWN_OPTION'],
    ] as const) {
      assert.equal(
        codeOf(() => VfioDevice.adopt(fd, options as never)),
        code,
      );
    }
    iommufd.close();
    assert.equal(
      codeOf(() => VfioDevice.adopt(fd, { iommufd, id: 1 })),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.deepEqual([seam.files.get(fd)?.owned, seam.badCloses], [false, 0]);
  });

  it('gives it back where the iommufd was made to look like one of another host', () => {
    const { iommufd, seam } = stage();
    const other = stage();
    const fd = other.seam.makeFd();
    const mine = seam.makeFd();
    Object.defineProperty(iommufd, 'host', { value: other.host });
    assert.equal(
      codeOf(() => VfioDevice.adopt(fd, { iommufd, id: 1 })),
      'ERR_IOMMUFD_FOREIGN_HOST',
    );
    assert.deepEqual([other.seam.files.get(fd)?.owned, seam.files.get(mine)?.owned], [false, false]);
  });

  it('gives it back too where a listener closes the iommufd meanwhile', () => {
    const { iommufd, seam } = stage();
    const fd = seam.makeFd();
    during(
      'VFIO_DEVICE_GET_INFO',
      () => iommufd.close(),
      () =>
        assert.equal(
          codeOf(() => VfioDevice.adopt(fd, { iommufd, id: 1 })),
          'ERR_IOMMUFD_DESTROYED',
        ),
    );
    assert.deepEqual([seam.files.get(fd)?.owned, seam.badCloses], [false, 0]);
  });
});

describe('an interrupted bind', () => {
  it('closes the device where a listener closes the iommufd: VFIO has no unbind', () => {
    const { host, iommufd, seam } = stage();
    const nic = host.openDevice(NODE);
    during(
      'VFIO_DEVICE_BIND_IOMMUFD',
      () => iommufd.close(),
      () =>
        assert.equal(
          codeOf(() => nic.bind(iommufd)),
          'ERR_IOMMUFD_DESTROYED',
        ),
    );
    assert.equal(
      codeOf(() => nic.device),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it('makes no device where a listener closes it', () => {
    const { host, iommufd, seam } = stage();
    const nic = host.openDevice(NODE);
    during(
      'VFIO_DEVICE_BIND_IOMMUFD',
      () => nic.close(),
      () =>
        assert.equal(
          codeOf(() => nic.bind(iommufd)),
          'ERR_IOMMUFD_DESTROYED',
        ),
    );
    assert.deepEqual(iommufd.objects, []);
    iommufd.close();
    assert.deepEqual(leftovers(seam), NOTHING);
  });
});

describe('a device without an IOMMU', () => {
  /** Attaching answers the id that was given: what VFIO does for mediated devices. */
  function mediated() {
    const base = deviceStage();
    base.seam.on(uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, 0);
    return { ...base, ioas: base.iommufd.allocIoas() };
  }

  it('is attached to an IOAS itself, which it holds', async () => {
    const { nic, device, ioas, seam, iommufd } = mediated();
    assert.equal(nic.attach(ioas), ioas);
    assert.equal(nic.tryAttach(ioas).attached, ioas);
    assert.equal(await nic.attachAsync(ioas), ioas);
    assert.equal(device.attachedTo(), ioas);
    assert.deepEqual(ioas.heldBy, [`attached ${device.describe()}`]);
    assert.deepEqual(iommufd.objects, [device, ioas], 'no page table was made up');
    const second = iommufd.allocIoas();
    assert.equal(nic.attach(second), second);
    assert.deepEqual([ioas.heldBy, second.heldBy], [[], [`attached ${device.describe()}`]]);
    nic.detach();
    assert.deepEqual([second.heldBy, device.attachedTo()], [[], undefined]);
    assert.equal(seam.made('VFIO_DEVICE_DETACH_IOMMUFD_PT').length, 1);
  });

  it('is detached where the IOAS is disposed of, and forgotten where it is closed', () => {
    const { nic, device, ioas, seam, iommufd } = mediated();
    nic.attach(ioas);
    ioas[Symbol.dispose]();
    assert.deepEqual([ioas.destroyed, device.attachedTo()], [true, undefined]);
    assert.equal(seam.made('VFIO_DEVICE_DETACH_IOMMUFD_PT').length, 1);
    const second = iommufd.allocIoas();
    nic.attach(second);
    nic.close();
    assert.deepEqual(second.heldBy, []);
    second.destroy();
  });
});
