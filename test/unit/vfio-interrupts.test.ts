// Interrupts: what the kernel is told, and that nothing is left where it refuses, lies, or is asked while others ask too.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { EventfdLike } from '../../lib/host/eventfd.js';
import { Host } from '../../lib/host-object.js';
import * as uapi from '../../lib/uapi/vfio.js';
import { VfioDevice } from '../../lib/vfio/device.js';
import type { VfioInterrupts } from '../../lib/vfio/interrupts.js';
import { agreeable, codeOf, codeOfAsync, deviceStage, leftovers, NODE, NOTHING, stage, turn } from './stage.js';
import { StubSeam } from './stub-seam.js';

const INFO = uapi.vfio_irq_info_flags.values;
const SET = uapi.vfio_irq_set_flags.values;
const CONNECT = SET.VFIO_IRQ_SET_DATA_EVENTFD | SET.VFIO_IRQ_SET_ACTION_TRIGGER;
const TRIGGER = SET.VFIO_IRQ_SET_DATA_NONE | SET.VFIO_IRQ_SET_ACTION_TRIGGER;
const [EBADF, EINVAL, EMFILE, ENOTTY, EIO] = [-9, -22, -24, -25, -5];

interface Asked {
  readonly flags: number;
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** What is behind the struct, as s32. */
  readonly fds: readonly number[];
}

/** Every index has 4 interrupts that can be added to, unless told otherwise; notes what is asked. */
function answering(seam: StubSeam, { count = 4, flags = 0 as number } = {}) {
  const asked: Asked[] = [];
  const answers: number[] = [];
  seam.on(uapi.VFIO_DEVICE_GET_IRQ_INFO, ({ index }, { set }) => {
    set({ count, flags: INFO.VFIO_IRQ_INFO_EVENTFD | flags });
    return index < 5 ? 0 : EINVAL;
  });
  seam.on(uapi.VFIO_DEVICE_SET_IRQS, (input, { tail }) => {
    const bytes = tail(input.argsz - uapi.vfio_irq_set.size);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const fds = Array.from({ length: bytes.length / 4 }, (_, i) => view.getInt32(i * 4, true));
    const { flags, index, start, count } = input;
    asked.push({ flags, index, start, count, fds });
    return answers.shift() ?? 0;
  });
  return { asked, answers };
}

function start(more: Parameters<typeof answering>[1] = {}) {
  const base = deviceStage(agreeable());
  const { asked, answers } = answering(base.seam, more);
  /** Closes everything; what is left then is a leak. */
  const end = () => {
    base.nic.close();
    base.iommufd.close();
    assert.deepEqual(leftovers(base.seam), NOTHING);
    assert.equal(base.seam.arena.mark(), 0);
  };
  return { ...base, asked, answers, end, msix: base.nic.interrupts('msix') };
}

/** Runs `listener` after the next call of this name, as a listener to traces. */
function onceAfter(syscall: string, listener: () => void): void {
  const hear = (message: unknown) => {
    if ((message as { syscall: string }).syscall !== syscall) return;
    unsubscribe('iommufd:call', hear);
    listener();
  };
  subscribe('iommufd:call', hear);
}

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

describe('events of a device', () => {
  const counted = (count: bigint) => new Uint8Array(BigUint64Array.of(count).buffer);

  /** The fds that the error and the request index were connected to. */
  function listening() {
    const base = start({ count: 1 });
    const events = base.nic.events();
    const [error, request] = base.asked.map(({ fds }) => fds[0] ?? -1);
    assert(error !== undefined && request !== undefined);
    return { ...base, events, error, request };
  }

  it('are of two types', async () => {
    const { events, seam, error, request, end } = listening();
    const next = events.next();
    await turn();
    seam.feed(request, counted(3n));
    assert.deepEqual(await next, { done: false, value: { type: 'request', count: 3n } });
    seam.feed(error, counted(1n));
    assert.deepEqual(await events.next(), { done: false, value: { type: 'error', count: 1n } });
    await events.return?.();
    end();
  });

  it('wait for the next loop where two came at once', async () => {
    const { events, seam, error, request, nic, end } = listening();
    seam.feed(request, counted(1n));
    seam.feed(error, counted(1n));
    const seen: string[] = [];
    for await (const { type } of events) {
      seen.push(type);
      break;
    }
    await turn();
    for await (const { type } of nic.events()) {
      seen.push(type);
      break;
    }
    assert.deepEqual(seen.sort(), ['error', 'request']);
    end();
  });

  it('end with the device', async () => {
    const { events, nic, end } = listening();
    const next = events.next();
    await turn();
    nic.close();
    assert.deepEqual(await next, { done: true, value: undefined });
    assert.deepEqual(await events.next(), { done: true, value: undefined });
    end();
  });

  it('begin anew after their interrupts were turned off', async () => {
    const { events, nic, asked, seam, end } = listening();
    const next = events.next();
    await turn();
    nic.interrupts('error').disable();
    assert.deepEqual(await next, { done: true, value: undefined });
    const again = nic.events();
    seam.feed(asked.at(-1)?.fds[0] ?? -1, counted(2n));
    assert.deepEqual(await again.next(), { done: false, value: { type: 'error', count: 2n } });
    await again.return?.();
    end();
  });

  it('are turned off again where only one of them can be had', () => {
    const { nic, seam, asked, end } = start({ count: 1 });
    nic.interrupts('request').enable();
    const before = seam.files.size;
    assert.equal(
      codeOf(() => nic.events()),
      'ERR_IOMMUFD_BUSY',
    );
    assert.equal(seam.files.size, before);
    assert.deepEqual(asked.at(-1)?.count, 0);
    end();
  });

  it('tell of a read that fails', async () => {
    const { events, seam, error, nic, end } = listening();
    seam.feed(error, EIO);
    assert.equal(await codeOfAsync(events.next()), 'EIO');
    await nic.events().return?.();
    end();
  });

  it('keep the process alive while somebody waits, and no longer', async () => {
    const { events, seam, end } = listening();
    const next = events.next();
    await turn();
    const keeping = () => [...seam.watches].filter(({ armed, referenced }) => armed && referenced).length;
    assert.equal(keeping(), 2);
    await events.return?.();
    await next;
    assert.equal(keeping(), 0);
    end();
  });

  it('can be waited for again at once, and where a wait failed', async () => {
    const { events, nic, seam, request, end } = listening();
    const first = events.next();
    await turn();
    void events.return?.();
    const again = nic.events();
    const next = again.next();
    assert.equal((await first).done, true);
    seam.feed(request, counted(2n));
    assert.deepEqual(await next, { done: false, value: { type: 'request', count: 2n } });
    await again.return?.();
    end();

    const other = start({ count: 1 });
    other.seam.fail('watch', EMFILE);
    assert.equal(await codeOfAsync(other.nic.events().next()), 'EMFILE');
    const waiting = other.nic.events().next();
    await turn();
    other.end();
    assert.equal((await waiting).done, true);
  });

  it('are none where the device has neither', () => {
    const { nic, end } = start({ count: 0 });
    assert.equal(
      codeOf(() => nic.events()),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    end();
  });
});
