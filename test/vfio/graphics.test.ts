// Planes of virtual displays, on the kernel's samples: one with its picture in a region (samples/vfio-mdev/mdpy.c), one
// that gives dma-bufs (mbochs.c).
import assert from 'node:assert/strict';
import type { GraphicsPlane, VfioDevice } from '../../lib/index.js';
import { refused } from '../rig/suite.js';
import { vfioCases } from '../rig/vfio.js';

/** DRM_FORMAT_XRGB8888: 'XR24'. */
const XRGB8888 = 0x3432_5258;

/** The Bochs display interface: 16-bit registers from here on in the device's third BAR. */
const DISPI = 0x500;
const X_RESOLUTION = 1;
const Y_RESOLUTION = 2;
const BITS_PER_PIXEL = 3;
const ENABLE = 4;
const VIRTUAL_WIDTH = 6;

function showPicture(nic: VfioDevice, width: number, height: number): void {
  const registers = nic.region('bar2');
  const set = (register: number, value: number) => registers.write16(DISPI + register * 2, value);
  set(X_RESOLUTION, width);
  set(Y_RESOLUTION, height);
  set(BITS_PER_PIXEL, 32);
  set(VIRTUAL_WIDTH, width);
  set(ENABLE, 1);
}

vfioCases('graphics', (test) => {
  test('region', 'a display has its picture in a region', { needs: 'display' }, (t) => {
    const nic = t.bound('display');
    const { graphics } = nic;
    assert.equal(graphics.supports('region'), true);
    assert.equal(graphics.supports('dmabuf'), false);
    const plane = graphics.plane({ via: 'region' });
    assert(plane !== undefined);
    assert.equal(plane.format, XRGB8888);
    assert.equal(plane.stride, plane.width * 4);
    assert(plane.size >= plane.stride * plane.height);
    assert.equal(plane.dmabufId, undefined);
    assert(plane.region !== undefined);
    assert.equal(nic.region(plane.region).size, plane.size);
    refused('EINVAL', () => graphics.plane({ via: 'dmabuf' }));
  });

  test('dmabuf', 'a display gives its picture as a dma-buf', { needs: 'display-dmabuf' }, (t) => {
    t.notOn('6.12', 'has a sample that refuses room for more than it has to tell');
    const nic = t.bound('display-dmabuf');
    const { graphics } = nic;
    assert.equal(graphics.supports('dmabuf'), true);
    assert.equal(graphics.supports('region'), false);
    assert.equal(graphics.plane({ via: 'dmabuf' }), undefined, 'nothing is shown yet');
    showPicture(nic, 640, 480);
    let plane: GraphicsPlane | undefined;
    try {
      plane = graphics.plane({ via: 'dmabuf' });
    } catch {
      // The sample forgets that it has just made the buffer, and answers ENOMEM the first time.
      plane = graphics.plane({ via: 'dmabuf' });
    }
    assert(plane?.dmabufId !== undefined);
    assert.deepEqual([plane.width, plane.height, plane.format], [640, 480, XRGB8888]);
    assert.equal(plane.region, undefined);
    const file = graphics.dmabuf(plane.dmabufId);
    assert(file.fd >= 0);
    file.close();
    assert.throws(() => file.fd, { code: 'ERR_IOMMUFD_DESTROYED' });
    refused('ENOENT', () => graphics.dmabuf(0x7fff_ffff));
    assert.equal(graphics.dmabuf(plane.dmabufId).closed, false);
    assert.equal(graphics.plane({ plane: 'cursor', via: 'dmabuf' }), undefined);
  });

  test('none', 'a device without a display says so', { needs: 'edu' }, (t) => {
    const { graphics } = t.bound('edu');
    assert.equal(graphics.supports('region'), false);
    assert.match(refused('ENOTTY', () => graphics.plane({ via: 'region' })).message, /no virtual display/);
    refused('ENOTTY', () => graphics.dmabuf(1));
    assert.throws(() => graphics.supports('shm' as 'region'), RangeError);
    assert.throws(() => graphics.plane({ plane: 'top' as 'primary', via: 'region' }), RangeError);
  });
});
