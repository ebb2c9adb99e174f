// Binding: what a device takes, what it refuses, and what is left of it when it is closed.
import assert from 'node:assert/strict';
import { VfioDevice } from '../../lib/index.js';
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT as ATTACH,
  VFIO_DEVICE_BIND_IOMMUFD as BIND,
  VFIO_DEVICE_DETACH_IOMMUFD_PT as DETACH,
  VFIO_DEVICE_GET_INFO as INFO,
  VFIO_DEVICE_GET_IRQ_INFO as IRQ_INFO,
  VFIO_DEVICE_GET_REGION_INFO as REGION_INFO,
} from '../../lib/uapi/index.js';
import { NO_ID, refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'edu';
const TOKEN = new Uint8Array(16).fill(7);

/** An ioctl on the device's own file, past the objects: 'ok' or the errno's name. */
function onDevice(t: VfioBench, nic: VfioDevice) {
  return {
    bind: (input: object) => t.ioctl(BIND, input, {}, nic.fd).code,
    attach: (input: object) => t.ioctl(ATTACH, input, {}, nic.fd).code,
    detach: (input: object) => t.ioctl(DETACH, input, {}, nic.fd).code,
  };
}

vfioCases('vfio-bind', (test) => {
  test('once', 'is bound to one iommufd, and is one device of it', { needs }, (t) => {
    const nic = t.open('edu');
    refused('ERR_IOMMUFD_UNAVAILABLE', () => nic.device);
    const device = nic.bind(t.iommufd);
    assert.equal(nic.device, device);
    assert.deepEqual(t.iommufd.objects, [device]);
  });
  test('twice', 'bound again, to the same iommufd or another, is refused and stays as it is', { needs }, (t) => {
    const nic = t.bound('edu');
    const { device } = nic;
    assert.match(refused('EINVAL', () => nic.bind(t.iommufd)).message, /bound already/);
    refused('EINVAL', () => nic.bind(t.openIommufd()));
    assert.equal(nic.device, device);
    nic.attach(t.iommufd.allocIoas());
  });
  test('opened-twice', 'opened twice, only one of them is bound', { needs }, (t) => {
    const first = t.open('edu');
    const second = t.open('edu');
    first.bind(t.iommufd);
    refused('EINVAL', () => second.bind(t.iommufd));
    first.close();
    second.bind(t.iommufd);
  });
  test('again', 'closed, it can be opened and bound again', { needs }, (t) => {
    const ids = Array.from({ length: 3 }, () => {
      const nic = t.bound('edu');
      nic.attach(t.iommufd.allocIoas());
      const { id } = nic.device;
      nic.close();
      return id;
    });
    assert.equal(ids.length, 3);
    assert.deepEqual(
      t.iommufd.objects.map(({ type }) => type),
      ['ioas', 'ioas', 'ioas'],
    );
    for (const object of t.iommufd.objects) object.destroy();
  });
  test('unbound', 'until it is bound, it answers to nothing', { needs }, (t) => {
    const nic = t.open('edu');
    assert.equal(t.ioctl(INFO, {}, {}, nic.fd).code, 'EINVAL');
    assert.equal(t.ioctl(REGION_INFO, {}, {}, nic.fd).code, 'EINVAL');
    assert.equal(t.ioctl(IRQ_INFO, {}, {}, nic.fd).code, 'EINVAL');
    assert.equal(t.ioctl(ATTACH, {}, {}, nic.fd).code, 'EINVAL');
    assert.equal(t.ioctl(DETACH, {}, {}, nic.fd).code, 'EINVAL');
    for (const ask of [
      () => nic.info,
      () => nic.regions,
      () => nic.region('bar0'),
      () => nic.config,
      () => nic.attach(t.iommufd.allocIoas()),
      () => nic.detach(),
      () => nic.reset(),
    ]) {
      refused('ERR_IOMMUFD_UNAVAILABLE', ask);
    }
  });
  test('closed', 'closed, it is gone, and so are all that came from it', { needs }, (t) => {
    const nic = t.bound('edu');
    const { device, config } = nic;
    const bar = nic.region('bar0');
    nic.close();
    nic.close();
    assert.equal(device.destroyed, true);
    for (const use of [
      () => nic.fd,
      () => nic.info,
      () => nic.device,
      () => bar.read32(0),
      () => bar.mmap(),
      () => config.command,
      () => nic.bind(t.iommufd),
      () => device.attach(t.iommufd.allocIoas()),
    ]) {
      refused('ERR_IOMMUFD_DESTROYED', use);
    }
  });
  test('iommufd-closed', 'goes when its iommufd does, and takes no closed one', { needs }, (t) => {
    const iommufd = t.openIommufd();
    const nic = t.bound('edu', iommufd);
    nic.attach(iommufd.allocIoas());
    iommufd.close();
    refused('ERR_IOMMUFD_DESTROYED', () => nic.fd);
    const again = t.open('edu');
    refused('ERR_IOMMUFD_DESTROYED', () => again.bind(iommufd));
    again.bind(t.iommufd);
  });
  test('not-an-iommufd', 'takes no other file for an iommufd', { needs }, (t) => {
    const nic = t.open('edu');
    const { bind } = onDevice(t, nic);
    assert.equal(bind({ iommufd: -1 }), 'EINVAL');
    assert.equal(bind({ iommufd: 0x7fff_0000 }), 'EBADF');
    assert.equal(bind({ iommufd: nic.fd }), 'EBADFD');
    nic.bind(t.iommufd);
  });
  test('sizes', 'wants its struct in one of the sizes it has had', { needs }, (t) => {
    const nic = t.open('edu');
    const { seam } = t.rig;
    /** The struct says it has this size, and all behind the fields is as given. */
    const sized = (argsz: number, behind: number) => {
      const { arena } = seam;
      const mark = arena.mark();
      const at = arena.take(64);
      arena.bytes.fill(behind, at, at + 64);
      BIND.layout.encode(arena.view, at, { argsz, iommufd: t.iommufd.fd });
      const result = seam.ioctl(nic.fd, BIND.request, at);
      arena.release(mark);
      return result;
    };
    assert.equal(sized(15, 0), -22);
    assert.equal(sized(0, 0), -22);
    // Linux 6.12 does not look behind the struct.
    if (!t.onLinux('6.12')) assert.equal(sized(64, 1), -7, 'a field that the kernel does not know');
    assert.equal(sized(64, 0), 0, 'more, of zeros');
  });
  test('flags', 'takes no flag that it does not know', { needs }, (t) => {
    const nic = t.open('edu');
    assert.equal(onDevice(t, nic).bind({ iommufd: t.iommufd.fd, flags: 2 }), 'EINVAL');
    nic.bind(t.iommufd);
  });
  test('token', 'takes no token where it is no virtual function, and stays unbound', { needs }, (t) => {
    const nic = t.open('edu');
    refused('EINVAL', () => nic.bind(t.iommufd, { vfToken: TOKEN }));
    refused('ERR_IOMMUFD_UNAVAILABLE', () => nic.device);
    nic.bind(t.iommufd);
  });
  test('token-nowhere', 'reads a token before it asks whether one is wanted', { needs: ['edu', 'serial'] }, (t) => {
    const nowhere = { iommufd: t.iommufd.fd, flags: 1, token_uuid_ptr: 0n };
    assert.equal(onDevice(t, t.open('edu')).bind(nowhere), 'EFAULT');
    assert.equal(onDevice(t, t.open('serial')).bind(nowhere), 'EINVAL', 'a mediated device knows no tokens');
  });
  test('token-misuse', 'takes 16 bytes, or a UUID, for a token', { needs }, (t) => {
    const nic = t.open('edu');
    refused('ERR_OUT_OF_RANGE', () => nic.bind(t.iommufd, { vfToken: new Uint8Array(15) }));
    refused('ERR_INVALID_ARG_TYPE', () => nic.bind(t.iommufd, { vfToken: 7 as never }));
    refused('ERR_UNKNOWN_OPTION', () => nic.bind(t.iommufd, { token: TOKEN } as never));
    refused('ERR_INVALID_ARG_TYPE', () => nic.bind({} as never));
    nic.bind(t.iommufd);
  });
  test('attach-raw', 'is attached to what can be attached to, and nothing else', { needs }, (t) => {
    const nic = t.bound('edu');
    const { attach, detach } = onDevice(t, nic);
    const ioas = t.iommufd.allocIoas();
    assert.equal(attach({ pt_id: NO_ID }), 'ENOENT');
    assert.equal(attach({ pt_id: 0 }), 'ENOENT');
    assert.equal(attach({ pt_id: nic.device.id }), 'EINVAL');
    assert.equal(attach({ pt_id: ioas.id, flags: 2 }), 'EINVAL');
    assert.equal(detach({ flags: 2 }), 'EINVAL');
    assert.equal(detach({}), 'ok', 'not attached is fine');
    assert.equal(attach({ pt_id: ioas.id }), 'ok');
    assert.equal(detach({}), 'ok');
    assert.equal(detach({}), 'ok');
    ioas.destroy();
  });
  test('foreign', 'is attached to nothing of another iommufd', { needs }, (t) => {
    const nic = t.bound('edu');
    const other = t.openIommufd().allocIoas();
    refused('ERR_IOMMUFD_FOREIGN_CONTEXT', () => nic.attach(other));
  });
  test('by-path', 'is the same device, opened by the path of its node', { needs }, (t) => {
    const { node } = t.rig.host.findDevice(t.address('edu'));
    assert(node !== undefined);
    const nic = t.rig.host.openDevice(node);
    t.later(() => nic.close());
    nic.bind(t.iommufd);
    assert.deepEqual([nic.config.vendorId, nic.config.deviceId], [0x1234, 0x11e8]);
  });

  test('from-fd', 'can be taken over by its fd, and used', { needs }, (t) => {
    const { seam, host } = t.rig;
    const opened = t.open('edu');
    const fd = seam.duplicate(opened.fd);
    seam.disown(fd);
    const nic = VfioDevice.fromFd(fd, { host });
    t.later(() => nic.close());
    opened.close();
    nic.bind(t.iommufd);
    assert.equal(nic.config.vendorId, 0x1234);
    nic.attach(t.iommufd.allocIoas());
  });
  test('from-fd-borrowed', 'borrowed, it stays open and bound, attached to nothing', { needs }, (t) => {
    const { host } = t.rig;
    const owner = t.open('edu');
    const nic = VfioDevice.fromFd(owner.fd, { host, ownership: 'borrowed' });
    nic.bind(t.iommufd);
    const ioas = t.iommufd.allocIoas();
    nic.attach(ioas);
    nic.close();
    ioas.destroy();
    assert.equal(t.ioctl(INFO, {}, {}, owner.fd).code, 'ok');
    refused('EINVAL', () => owner.bind(t.iommufd));
  });
  test('from-fd-other', 'no other file is taken for a device, and the fd stays', { needs }, (t) => {
    const { seam, host } = t.rig;
    const eventfd = seam.createEventfd(0);
    t.later(() => seam.close(eventfd));
    for (const fd of [t.iommufd.fd, eventfd]) {
      assert.match(
        refused('ENOTTY', () => VfioDevice.fromFd(fd, { host, ownership: 'borrowed' })).message,
        /VFIO device/,
      );
    }
    const loose = seam.duplicate(t.iommufd.fd);
    seam.disown(loose);
    refused('ENOTTY', () => VfioDevice.fromFd(loose, { host }));
    assert.equal(seam.own(loose), 0, 'it is open, and nobody has it');
    seam.close(loose);
    refused('EBADF', () => VfioDevice.fromFd(0x7fff_0000, { host }));
  });
  test('adopt', 'bound by somebody else, it is taken over with its id', { needs }, (t) => {
    const owner = t.bound('edu');
    const { id } = owner.device;
    const iommufd = t.iommufd;
    const nic = VfioDevice.adopt(owner.fd, { iommufd, id, ownership: 'borrowed' });
    t.later(() => nic[Symbol.dispose]());
    assert.equal(nic.device.id, id);
    assert.equal(nic.config.vendorId, 0x1234);
    const ioas = iommufd.allocIoas();
    const hwpt = ioas.allocHwpt(nic.device);
    assert.equal(nic.attach(hwpt), hwpt);
    nic.close();
    hwpt.destroy();
  });
  test('adopt-unbound', 'one that is not bound is not', { needs }, (t) => {
    const owner = t.open('edu');
    const options = { iommufd: t.iommufd, id: 1, ownership: 'borrowed' } as const;
    assert.match(refused('EINVAL', () => VfioDevice.adopt(owner.fd, options)).message, /not bound/);
    owner.bind(t.iommufd);
  });
});
