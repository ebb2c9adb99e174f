// Writes by eventfd: what the kernel is told, and when it is told to forget it.
import assert from 'node:assert/strict';
import type { Eventfd } from '../../lib/host/eventfd.js';
import * as uapi from '../../lib/uapi/vfio.js';
import { VfioDevice } from '../../lib/vfio/device.js';
import type { IoeventfdOptions } from '../../lib/vfio/ioeventfd.js';
import { agreeable, codeOf, deviceStage, leftovers, NODE, NOTHING, stage } from './stage.js';

const WIDTHS = uapi.vfio_device_ioeventfd_flags.values;
const ENOSPC = -28;

function start() {
  const base = deviceStage(agreeable());
  base.seam.on(uapi.VFIO_DEVICE_IOEVENTFD, 0);
  const bell = base.host.createEventfd();
  const asked = () => base.seam.made('VFIO_DEVICE_IOEVENTFD').map(({ input }) => input);
  return { ...base, bell, asked, bar: base.nic.region('bar0'), config: base.nic.region('config') };
}

describe('ioeventfd', () => {
  it('tells place, width, value and eventfd, and the same again to take it back', () => {
    const { bar, config, bell, asked, nic } = start();
    for (const [width, flags, value] of [
      [1, WIDTHS.VFIO_DEVICE_IOEVENTFD_8, 0xffn],
      [2, WIDTHS.VFIO_DEVICE_IOEVENTFD_16, 0xffffn],
      [4, WIDTHS.VFIO_DEVICE_IOEVENTFD_32, 0xffff_ffffn],
      [8, WIDTHS.VFIO_DEVICE_IOEVENTFD_64, 0xffff_ffff_ffff_ffffn],
    ] as const) {
      const before = asked().length;
      const write = bar.ioeventfd({ offset: bar.size - width, width, value, eventfd: bell });
      write.close();
      write[Symbol.dispose]();
      const [made, taken, ...more] = asked().slice(before);
      const expected = { flags, offset: BigInt(bar.size - width), data: value };
      const told = ({ flags, offset, data, fd }: Readonly<Record<string, unknown>>) => ({ flags, offset, data, fd });
      assert(made && taken);
      assert.deepEqual(
        [told(made), told(taken)],
        [
          { ...expected, fd: bell.fd },
          { ...expected, fd: -1 },
        ],
      );
      assert.deepEqual(more, []);
    }
    config.ioeventfd({ offset: 4, width: 2, value: 0, eventfd: bell.fd });
    assert.equal(asked().at(-1)?.offset, (7n << 40n) + 4n);
    nic.close();
  });

  it('refuses what cannot be before the kernel is asked', () => {
    const { bar, bell, asked } = start();
    const good: IoeventfdOptions = { offset: 8, width: 4, value: 1, eventfd: bell };
    for (const [wrong, code] of [
      [{ offset: bar.size }, 'ERR_OUT_OF_RANGE'],
      [{ offset: bar.size - 2 }, 'ERR_OUT_OF_RANGE'],
      [{ offset: 2 }, 'ERR_OUT_OF_RANGE'],
      [{ offset: -4 }, 'ERR_OUT_OF_RANGE'],
      [{ offset: '8' }, 'ERR_INVALID_ARG_TYPE'],
      [{ width: 3 }, 'ERR_OUT_OF_RANGE'],
      [{ width: 'toString' }, 'ERR_INVALID_ARG_TYPE'],
      [{ width: undefined }, 'ERR_INVALID_ARG_TYPE'],
      [{ value: 0x1_0000_0000n }, 'ERR_OUT_OF_RANGE'],
      [{ value: -1n }, 'ERR_OUT_OF_RANGE'],
      [{ eventfd: -1 }, 'ERR_OUT_OF_RANGE'],
      [{ eventfd: undefined }, 'ERR_INVALID_ARG_TYPE'],
      [{ eventfd: {} }, 'ERR_INVALID_ARG_TYPE'],
      [{ length: 4 }, 'ERR_UNKNOWN_OPTION'],
    ] as const) {
      assert.equal(
        codeOf(() => bar.ioeventfd({ ...good, ...wrong } as unknown as IoeventfdOptions)),
        code,
        JSON.stringify(wrong, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
      );
    }
    assert.notEqual(
      codeOf(() => bar.ioeventfd(undefined as unknown as IoeventfdOptions)),
      'ok',
    );
    assert.equal(asked().length, 0);
  });

  it('looks at eventfd and device after the options, which may run code', () => {
    for (const close of [(bell: Eventfd) => bell.close(), (_: Eventfd, nic: VfioDevice) => nic.close()]) {
      const { bar, bell, nic, asked } = start();
      const options = {
        offset: 0,
        width: 4 as const,
        eventfd: bell,
        get value(): number {
          close(bell, nic);
          return 1;
        },
      };
      assert.equal(
        codeOf(() => bar.ioeventfd(options)),
        'ERR_IOMMUFD_DESTROYED',
      );
      assert.equal(asked().length, 0);
    }
  });

  it('is over with the device, which takes it back by itself', () => {
    const { bar, bell, nic, iommufd, seam, asked } = start();
    const write = bar.ioeventfd({ offset: 0, width: 4, value: 1, eventfd: bell });
    nic.close();
    assert.equal(write.closed, true);
    write.close();
    assert.equal(asked().length, 1);
    bell.close();
    iommufd.close();
    assert.deepEqual(leftovers(seam), NOTHING);
  });

  it("is taken back where the device's file is somebody else's and stays open", () => {
    const { host, iommufd, seam } = stage();
    seam.on(uapi.VFIO_DEVICE_IOEVENTFD, 0);
    const fd = seam.open(NODE);
    const nic = VfioDevice.fromFd(fd, { host, ownership: 'borrowed' });
    nic.bind(iommufd);
    const bell = host.createEventfd();
    nic.region('bar0').ioeventfd({ offset: 0, width: 4, value: 1, eventfd: bell });
    nic.close();
    assert.deepEqual(
      seam.made('VFIO_DEVICE_IOEVENTFD').map(({ input }) => input.fd),
      [bell.fd, -1],
    );
    bell.close();
  });

  it('leaves nothing where it is refused', () => {
    const { bar, bell, nic, seam, asked } = start();
    seam.on(uapi.VFIO_DEVICE_IOEVENTFD, ENOSPC);
    assert.throws(() => bar.ioeventfd({ offset: 0, width: 4, value: 1, eventfd: bell }), {
      code: 'ENOSPC',
      syscall: 'VFIO_DEVICE_IOEVENTFD',
      message: /1000/,
    });
    nic.close();
    assert.equal(asked().length, 1);
  });
});
