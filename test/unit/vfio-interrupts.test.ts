// Interrupts: what the kernel is told, and that nothing is left where it refuses, lies, or is asked while others ask too.
import assert from 'node:assert/strict';
import type { EventfdLike } from '../../lib/host/eventfd.js';
import { Host } from '../../lib/host-object.js';
import * as uapi from '../../lib/uapi/vfio.js';
import { VfioDevice } from '../../lib/vfio/device.js';
import type { VfioInterrupts } from '../../lib/vfio/interrupts.js';
import { codeOf, NODE, stage, turn } from './stage.js';
import { StubSeam } from './stub-seam.js';
import { answering, onceAfter, start } from './vfio-interrupts-stage.js';

const INFO = uapi.vfio_irq_info_flags.values;
const SET = uapi.vfio_irq_set_flags.values;
const CONNECT = SET.VFIO_IRQ_SET_DATA_EVENTFD | SET.VFIO_IRQ_SET_ACTION_TRIGGER;
const TRIGGER = SET.VFIO_IRQ_SET_DATA_NONE | SET.VFIO_IRQ_SET_ACTION_TRIGGER;
const [EBADF, EINVAL, EMFILE, ENOTTY, EIO] = [-9, -22, -24, -25, -5];

describe('interrupts', () => {
  it('have names and abilities', () => {
    const { nic, end } = start({ flags: INFO.VFIO_IRQ_INFO_NORESIZE | INFO.VFIO_IRQ_INFO_MASKABLE });
    const msi = nic.interrupts('msi');
    const { name, index, count, eventfd, maskable, automasked, resizable } = msi;
    assert.deepEqual(
      [name, index, count, eventfd, maskable, automasked, resizable],
      ['msi', 1, 4, true, true, false, false],
    );
    assert.equal(nic.interrupts(1), msi);
    for (const [which, code] of [
      ['MSI', 'ERR_OUT_OF_RANGE'],
      [-1, 'ERR_OUT_OF_RANGE'],
      [1.5, 'ERR_OUT_OF_RANGE'],
      [undefined, 'ERR_INVALID_ARG_TYPE'],
      [5, 'EINVAL'],
    ] as const) {
      assert.equal(
        codeOf(() => nic.interrupts(which as unknown as number)),
        code,
      );
    }
    end();
  });

  it('are turned on with an eventfd each', () => {
    const { msix, asked, end } = start();
    const vectors = msix.enable({ start: 1, count: 2 });
    assert.deepEqual(
      vectors.map(({ index }) => index),
      [1, 2],
    );
    const fds = vectors.map(({ eventfd }) => eventfd.fd);
    assert.deepEqual(asked, [{ flags: CONNECT, index: 2, start: 1, count: 2, fds }]);
    end();
    assert.equal(asked.length, 1, 'the device turns them off when it is closed');
    assert.equal(vectors[0]?.eventfd.closed, true);
  });

  it('leave nothing where an eventfd cannot be had', () => {
    const { msix, seam, asked, end } = start();
    const before = seam.files.size;
    const real = seam.createEventfd.bind(seam);
    let made = 0;
    seam.createEventfd = () => (++made === 3 ? EMFILE : real());
    assert.equal(
      codeOf(() => msix.enable()),
      'EMFILE',
    );
    assert.deepEqual([made, seam.files.size, asked.length], [3, before, 0]);
    assert.equal(msix.enable().length, 4);
    end();
  });

  it('leave nothing where the kernel refuses, or has fewer', () => {
    for (const [answer, code, message] of [
      [EINVAL, 'EINVAL', /exclude each other/],
      [2, 'ENOSPC', /only 2 of 4/],
    ] as const) {
      const { msix, seam, answers, end } = start();
      const before = seam.files.size;
      answers.push(answer);
      assert.throws(() => msix.enable(), { code, message, syscall: 'VFIO_DEVICE_SET_IRQS' });
      assert.equal(seam.files.size, before);
      assert.equal(msix.enable().length, 4);
      end();
    }
  });

  it('are not made in numbers that no device has', () => {
    const { msix, seam, asked, end } = start({ count: 0xffff_ffff });
    const before = seam.files.size;
    for (const options of [{}, { count: 2049 }, { start: 0xffff_fffe, count: 2 }, { start: 0xffff_ffff }]) {
      assert.equal(
        codeOf(() => msix.enable(options)),
        'ERR_OUT_OF_RANGE',
      );
    }
    assert.equal(
      codeOf(() => msix.connect(new Array(0xffff_ffff))),
      'ERR_OUT_OF_RANGE',
    );
    assert.deepEqual([seam.files.size, asked.length], [before, 0]);
    assert.equal(msix.enable({ count: 2048 }).length, 2048);
    end();
  });

  it('say how to have more where they cannot be added to', () => {
    const { msix, answers, end } = start({ flags: INFO.VFIO_IRQ_INFO_NORESIZE });
    msix.enable({ count: 2 });
    answers.push(EINVAL);
    assert.throws(() => msix.enable({ start: 2, count: 1 }), { code: 'EINVAL', message: /with 2 vectors.*at once/ });
    msix.disable();
    assert.equal(msix.enable().length, 4);
    end();
  });

  it('cannot be triggered in no number: that would turn all of them off', () => {
    const { msix, asked, end } = start();
    for (const act of [msix.trigger, msix.mask, msix.unmask]) {
      assert.equal(
        codeOf(() => act.call(msix, 0, 0)),
        'ERR_OUT_OF_RANGE',
      );
      assert.equal(
        codeOf(() => act.call(msix, 3, 2)),
        'ERR_OUT_OF_RANGE',
      );
    }
    assert.equal(asked.length, 0);
    msix.trigger(1, 3);
    assert.deepEqual(asked, [{ flags: TRIGGER, index: 2, start: 1, count: 3, fds: [] }]);
    end();
  });

  it('are off where the kernel says that nothing was on, and else it is told', () => {
    const { msix, asked, answers, end } = start();
    answers.push(EINVAL, EIO);
    msix.disable();
    assert.deepEqual(asked, [{ flags: TRIGGER, index: 2, start: 0, count: 0, fds: [] }]);
    assert.equal(
      codeOf(() => msix.disable()),
      'EIO',
    );
    end();
  });

  it("are turned off at the device's end where its file is somebody else's", () => {
    const { host, iommufd, seam } = stage();
    const { asked } = answering(seam);
    const nic = VfioDevice.fromFd(seam.open(NODE), { host, ownership: 'borrowed' });
    nic.bind(iommufd);
    nic.interrupts('msi').enable({ count: 1 });
    nic.interrupts('error');
    nic.close();
    assert.deepEqual(
      asked.map(({ index, count }) => [index, count]),
      [
        [1, 1],
        [1, 0],
      ],
    );
  });
});

describe("interrupts with the caller's eventfds", () => {
  it('take eventfds, fds, and none', () => {
    const { msix, host, asked, end } = start();
    const own = host.createEventfd();
    msix.connect([own, 77, undefined, -1]);
    assert.deepEqual(asked[0]?.fds, [own.fd, 77, -1, -1]);
    // biome-ignore lint/suspicious/noSparseArray: what a caller may give
    msix.connect([, own], { start: 1 });
    assert.deepEqual(asked[1]?.fds, [-1, own.fd]);
    own.close();
    end();
  });

  it('refuse what is none before the kernel is asked', () => {
    const { msix, asked, end } = start();
    const foreign = new Host(new StubSeam()).createEventfd();
    for (const [eventfds, code] of [
      [undefined, 'ERR_INVALID_ARG_TYPE'],
      [{ length: 1 }, 'ERR_INVALID_ARG_TYPE'],
      [[], 'ERR_OUT_OF_RANGE'],
      [[1, 2, 3, 4, 5], 'ERR_OUT_OF_RANGE'],
      [['1'], 'ERR_INVALID_ARG_TYPE'],
      [[null], 'ERR_INVALID_ARG_TYPE'],
      [[-2], 'ERR_OUT_OF_RANGE'],
      [[2 ** 31], 'ERR_OUT_OF_RANGE'],
      [[{ fd: 3 }], 'ERR_INVALID_ARG_TYPE'],
      [[foreign], 'ERR_IOMMUFD_FOREIGN_HOST'],
    ] as const) {
      assert.equal(
        codeOf(() => msix.connect(eventfds as unknown as EventfdLike[])),
        code,
      );
    }
    assert.equal(asked.length, 0);
    foreign.close();
    end();
  });

  it('are looked at after everything that may run code', () => {
    const { msix, host, asked, end } = start();
    const own = host.createEventfd();
    const list: EventfdLike[] = [own, 1];
    Object.defineProperty(list, 1, {
      get: () => {
        own.close();
        return 1;
      },
    });
    assert.equal(
      codeOf(() => msix.connect(list)),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(asked.length, 0);
    end();
  });

  it('are let go of where the kernel refuses some of a range that had others', () => {
    const { msix, asked, answers, end } = start();
    const [first, second, third] = msix.enable({ count: 3 });
    answers.push(EBADF);
    assert.equal(
      codeOf(() => msix.connect([77, 78], { start: 1 })),
      'EBADF',
    );
    assert.deepEqual(asked.at(-1), { flags: CONNECT, index: 2, start: 1, count: 2, fds: [-1, -1] });
    assert.deepEqual(
      [first, second, third].map((vector) => vector?.eventfd.closed),
      [false, true, true],
    );
    assert.equal(msix.enable({ start: 1, count: 2 }).length, 2);
    end();
  });

  it('are left alone where the kernel refuses a range that had none', () => {
    const { msix, asked, answers, end } = start();
    answers.push(EBADF);
    assert.equal(
      codeOf(() => msix.connect([77])),
      'EBADF',
    );
    assert.equal(asked.length, 1);
    end();
  });

  it('unmask by eventfd, and no more', () => {
    const { msix, host, asked, answers, end } = start();
    const resample = host.createEventfd();
    const flags = SET.VFIO_IRQ_SET_DATA_EVENTFD | SET.VFIO_IRQ_SET_ACTION_UNMASK;
    msix.unmaskOn(resample);
    msix.unmaskOn(undefined);
    assert.deepEqual(asked, [
      { flags, index: 2, start: 0, count: 1, fds: [resample.fd] },
      { flags, index: 2, start: 0, count: 1, fds: [-1] },
    ]);
    answers.push(ENOTTY);
    assert.equal(
      codeOf(() => msix.unmaskOn(resample)),
      'ENOTTY',
    );
    resample.close();
    end();
  });
});

describe('interrupts and listeners', () => {
  for (const [what, act, code] of [
    ['closes the device', (nic: VfioDevice) => nic.close(), 'ERR_IOMMUFD_DESTROYED'],
    ['turns them off', (_: VfioDevice, msix: VfioInterrupts) => msix.disable(), 'ERR_IOMMUFD_DESTROYED'],
  ] as const) {
    it(`leave nothing where one ${what} meanwhile`, () => {
      const { msix, nic, end } = start();
      onceAfter('VFIO_DEVICE_SET_IRQS', () => act(nic, msix));
      assert.equal(
        codeOf(() => msix.enable()),
        code,
      );
      end();
    });
  }

  it('are off where one turns them off while one more is turned on', () => {
    const { msix, nic, answers, end } = start({ flags: INFO.VFIO_IRQ_INFO_NORESIZE });
    onceAfter('VFIO_DEVICE_SET_IRQS', () => msix.disable());
    assert.equal(
      codeOf(() => msix.enable({ count: 1 })),
      'ERR_IOMMUFD_DESTROYED',
    );
    answers.push(EINVAL);
    assert.throws(
      () => msix.enable({ count: 2 }),
      (error: Error) => !/was turned on with/.test(error.message),
    );
    assert.equal(nic.interrupts('msix').enable().length, 4);
    end();
  });

  it('tell a wait that they are gone, by their name', async () => {
    const { msix, nic, end } = start();
    const [vector] = msix.enable({ start: 2, count: 1 });
    const wait = vector?.wait();
    await turn();
    nic.close();
    await assert.rejects(wait ?? Promise.resolve(), { code: 'ERR_IOMMUFD_DESTROYED', message: /msix 2 of/ });
    end();
  });

  it('begin at a number', () => {
    const { msix, end } = start();
    for (const first of [1n, '1', null]) {
      assert.equal(
        codeOf(() => msix.enable({ start: first as unknown as number })),
        'ERR_INVALID_ARG_TYPE',
      );
    }
    end();
  });

  it('are busy where one turns them on meanwhile', () => {
    const { msix, end } = start();
    let inner = '';
    onceAfter('VFIO_DEVICE_SET_IRQS', () => {
      inner = codeOf(() => msix.enable());
    });
    assert.equal(msix.enable().length, 4);
    assert.equal(inner, 'ERR_IOMMUFD_BUSY');
    end();
  });

  it('keep what one connected meanwhile, where the outer call was refused', () => {
    const { msix, answers, end } = start();
    answers.push(EBADF);
    onceAfter('VFIO_DEVICE_SET_IRQS', () => msix.connect([99]));
    assert.equal(
      codeOf(() => msix.connect([77])),
      'EBADF',
    );
    assert.deepEqual(msix.toJSON().connected, [0]);
    end();
  });
});
