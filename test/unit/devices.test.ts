// VFIO devices on the stub seam: opening, binding, attaching, and their end.
import assert from 'node:assert/strict';
import { HwptPaging } from '../../lib/objects/hwpt-paging.js';
import { IOMMU_DESTROY, VFIO_DEVICE_ATTACH_IOMMUFD_PT, VFIO_DEVICE_BIND_IOMMUFD } from '../../lib/uapi/index.js';
import { codeOf, codeOfAsync, deviceStage, leftovers, NODE, NOTHING, stage, viommuStage } from './stage.js';

describe('VFIO device', () => {
  it('is opened by path, with a readable fd and no device before bind', () => {
    const { host, seam } = stage();
    const nic = host.openDevice(NODE);
    assert.equal(seam.files.has(nic.fd), true);
    assert.equal(
      codeOf(() => nic.device),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    assert.equal(
      codeOf(() => nic.detach()),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    assert.throws(() => host.openDevice('/dev/vfio/devices/vfio9'), { code: 'ENOENT', syscall: 'open' });
    nic.close();
    nic.close();
    assert.equal(seam.badCloses, 0);
    assert.equal(
      codeOf(() => nic.fd),
      'ERR_IOMMUFD_DESTROYED',
    );
  });

  it('stays unbound where bind is refused, and can be bound then', () => {
    const { host, iommufd, seam } = stage();
    const nic = host.openDevice(NODE);
    seam.on(VFIO_DEVICE_BIND_IOMMUFD, -22);
    assert.throws(() => nic.bind(iommufd), { code: 'EINVAL', message: /vfio0/ });
    assert.equal(
      codeOf(() => nic.device),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    assert.deepEqual(iommufd.objects, []);
    seam.on(VFIO_DEVICE_BIND_IOMMUFD, (input, { set }) => {
      assert.equal(input.iommufd, iommufd.fd);
      set({ out_devid: 12 });
      return 0;
    });
    assert.equal(nic.bind(iommufd).id, 12);
  });

  it('keeps its device where a second bind is refused', () => {
    const { nic, device, iommufd, seam } = deviceStage();
    seam.on(VFIO_DEVICE_BIND_IOMMUFD, -22);
    assert.equal(
      codeOf(() => nic.bind(iommufd)),
      'EINVAL',
    );
    assert.equal(nic.device, device);
  });

  it('cannot be bound to what is closed, or is no iommufd', () => {
    const { host, iommufd } = stage();
    const nic = host.openDevice(NODE);
    iommufd.close();
    assert.equal(
      codeOf(() => nic.bind(iommufd)),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(
      codeOf(() => nic.bind({} as typeof iommufd)),
      'ERR_INVALID_ARG_TYPE',
    );
  });

  it('goes with its iommufd, with its device, or by its own close', () => {
    for (const end of ['iommufd', 'device', 'nic'] as const) {
      const base = deviceStage();
      const { seam, nic, device, iommufd } = base;
      if (end === 'iommufd') iommufd.close();
      else if (end === 'device') device.destroy();
      else nic.close();
      nic.close();
      iommufd.close();
      assert.equal(device.destroyed, true);
      assert.deepEqual(leftovers(seam), NOTHING, end);
      assert.equal(seam.made('IOMMU_DESTROY').length, 0, 'VFIO destroys the device itself');
    }
  });

  it('refuses to go before its vDEVICE; dispose takes that first', () => {
    const { viommu, device, nic, seam } = viommuStage();
    const vdevice = viommu.allocVdevice(device, { virtId: 0x100n });
    assert.throws(() => device.destroy(), { code: 'ERR_IOMMUFD_BUSY', message: new RegExp(vdevice.describe()) });
    assert.equal(
      codeOf(() => nic.close()),
      'ERR_IOMMUFD_BUSY',
    );
    assert.equal(seam.files.has(nic.fd), true);
    nic[Symbol.dispose]();
    assert.deepEqual([vdevice.destroyed, device.destroyed], [true, true]);
  });

  it('keeps its fd owned where the vDEVICE will not go', () => {
    const { viommu, device, nic, seam } = viommuStage();
    viommu.allocVdevice(device, { virtId: 0x100n });
    seam.on(IOMMU_DESTROY, -16);
    assert.equal(
      codeOf(() => nic[Symbol.dispose]()),
      'EBUSY',
    );
    assert.equal(seam.files.has(nic.fd), true);
  });
});

describe('attaching', () => {
  /** Attaching to an IOAS answers page table 900 plus its id. */
  function autoStage() {
    const base = deviceStage();
    const isIoas = (id: number) => base.iommufd.objects.some((object) => object.id === id && object.type === 'ioas');
    base.seam.on(VFIO_DEVICE_ATTACH_IOMMUFD_PT, ({ pt_id }, { set }) => {
      if (isIoas(pt_id)) set({ pt_id: 900 + pt_id });
      return 0;
    });
    return base;
  }

  it('to an IOAS answers the page table the kernel made, which goes with its last device', () => {
    const { iommufd, device, host } = autoStage();
    const second = host.openDevice(NODE).bind(iommufd);
    const ioas = iommufd.allocIoas();
    const hwpt = device.attach(ioas);
    assert(hwpt instanceof HwptPaging);
    assert.deepEqual([hwpt.id, hwpt.auto, hwpt.ioas], [900 + ioas.id, true, ioas]);
    assert.equal(second.attach(ioas), hwpt, 'the same page table is the same object');
    assert.equal(device.attach(ioas), hwpt, 'attaching again changes nothing');
    assert.equal(
      codeOf(() => hwpt.destroy()),
      'ERR_IOMMUFD_BORROWED',
    );
    device.detach();
    assert.equal(hwpt.destroyed, false);
    second.detach();
    second.detach();
    assert.equal(hwpt.destroyed, true);
    assert.deepEqual(ioas.heldBy, []);
    assert.notEqual(device.attach(ioas), hwpt, 'a new one with an old id is a new object');
  });

  it('replaces what was attached', () => {
    const { iommufd, device, seam } = autoStage();
    const ioas = iommufd.allocIoas();
    const auto = device.attach(ioas);
    const own = ioas.allocHwpt(device);
    assert.equal(device.attach(own), own);
    assert.equal(auto.destroyed, true);
    assert.deepEqual(own.heldBy, [`attached ${device.describe()}`]);
    assert.equal(device.attachedTo(), own);
    assert.equal(seam.made('VFIO_DEVICE_DETACH_IOMMUFD_PT').length, 0);
  });

  it('keeps what was attached where the replacement is refused', async () => {
    const { iommufd, device, seam } = autoStage();
    const ioas = iommufd.allocIoas();
    const hwpt = device.attach(ioas);
    const own = ioas.allocHwpt(device);
    seam.on(VFIO_DEVICE_ATTACH_IOMMUFD_PT, -22);
    assert.equal(device.tryAttach(own).refusal?.code, 'EINVAL');
    assert.equal(
      codeOf(() => device.attach(own)),
      'EINVAL',
    );
    assert.equal(await codeOfAsync(device.attachAsync(own)), 'EINVAL');
    assert.equal(device.attachedTo(), hwpt);
    assert.deepEqual(own.heldBy, []);
  });

  it('keeps PASIDs apart from each other and from plain DMA', () => {
    const { iommufd, device, seam } = autoStage();
    const hwpt = iommufd.allocIoas().allocHwpt(device, { pasid: true });
    device.attach(hwpt, { pasid: 1 });
    device.attach(hwpt, { pasid: 0xf_ffff });
    assert.equal(device.attachedTo(), undefined);
    device.detach();
    assert.equal(seam.made('VFIO_DEVICE_DETACH_IOMMUFD_PT').length, 0);
    device.detach({ pasid: 1 });
    assert.deepEqual(seam.made('VFIO_DEVICE_DETACH_IOMMUFD_PT')[0]?.input, { argsz: 12, flags: 1, pasid: 1 });
    assert.deepEqual(hwpt.heldBy, [`attached ${device.describe()} PASID 1048575`]);
    for (const pasid of [0, 2 ** 20])
      assert.equal(
        codeOf(() => device.attach(hwpt, { pasid })),
        'ERR_OUT_OF_RANGE',
      );
  });

  it('is undone by the end of either side', () => {
    const { iommufd, device, seam } = autoStage();
    const ioas = iommufd.allocIoas();
    const hwpt = ioas.allocHwpt(device);
    device.attach(hwpt);
    hwpt[Symbol.dispose]();
    assert.equal(seam.made('VFIO_DEVICE_DETACH_IOMMUFD_PT').length, 1);
    assert.equal(device.attachedTo(), undefined);
    const auto = device.attach(ioas);
    device.destroy();
    assert.equal(auto.destroyed, true);
    ioas.destroy();
  });

  it('is undone by the end of the device, though its file would not be closed well', () => {
    const { iommufd, device, seam, nic } = autoStage();
    const ioas = iommufd.allocIoas();
    device.attach(ioas);
    seam.fail('close', -9);
    assert.equal(
      codeOf(() => nic.close()),
      'EBADF',
    );
    assert.equal(device.destroyed, true);
    assert.deepEqual(ioas.heldBy, []);
    nic.close();
    iommufd.close();
  });

  it('on the thread pool leaves nothing to hold on to where the device is closed meanwhile', async () => {
    const { iommufd, device, seam, nic } = autoStage();
    const ioas = iommufd.allocIoas();
    seam.holdPool = true;
    const pending = device.attachAsync(ioas);
    nic.close();
    seam.deliver();
    assert.equal(await codeOfAsync(pending), 'ERR_IOMMUFD_DESTROYED');
    assert.deepEqual(ioas.heldBy, []);
    ioas.destroy();
  });

  it('is left to whoever bound an adopted device', () => {
    const { iommufd } = stage();
    const adopted = iommufd.adoptDevice(33);
    assert.equal(
      codeOf(() => adopted.attach(iommufd.allocIoas())),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    adopted.destroy();
    assert.equal(adopted.destroyed, true);
  });
});
