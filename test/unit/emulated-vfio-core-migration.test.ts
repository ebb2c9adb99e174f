// How the emulated kernel's VFIO core leads a device through its migration states, hands out the files that its state goes
// through, and notes what it writes to.
import assert from 'node:assert/strict';
import { OpenFile } from '../../lib/emulated/kernel/file.js';
import type { DmaLoggingOps, MigrationOps } from '../../lib/emulated/kernel/vfio/driver.js';
import { ResumingFile, SavingFile } from '../../lib/emulated/kernel/vfio/migration-file.js';
import { goThroughStates, nextState } from '../../lib/emulated/kernel/vfio/migration-states.js';
import {
  vfio_device_feature_dma_logging_control as CONTROL,
  vfio_device_feature_dma_logging_report as REPORT,
} from '../../lib/uapi/vfio-features.js';
import {
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_FEATURE,
  VFIO_MIG_GET_PRECOPY_INFO,
} from '../../lib/uapi/vfio-ioctls.js';
import { type CoreStage, coreStage, FakeDriver } from './vfio-core-stage.js';

const [E2BIG, EBADF, EFAULT, ENOMEM, EINVAL, ENODEV] = [-7, -9, -14, -12, -22, -19];
const [EMFILE, ENOTTY, ESPIPE, EOVERFLOW, EACCES] = [-24, -25, -29, -75, -13];
const [GET, SET] = [1 << 16, 1 << 17];
const PAGE = 4096n;

const NAMES = ['error', 'stop', 'running', 'stop-copy', 'resuming', 'p2p', 'pre-copy', 'pre-copy-p2p'];
const [ERROR, STOP, RUNNING, STOP_COPY, RESUMING, P2P, PRE_COPY, PRE_COPY_P2P] = [0, 1, 2, 3, 4, 5, 6, 7];

/** The states on a way; undefined where there is none. */
function way(flags: number, from: number, to: number): string | undefined {
  const names: (string | undefined)[] = [NAMES[from]];
  for (let state = from; state !== to; ) {
    state = nextState(flags, state, to);
    if (state < 0) return undefined;
    names.push(NAMES[state]);
    assert(names.length < 9, `no end from ${from} to ${to}`);
  }
  return names.join(' ');
}

class File extends OpenFile {
  isClosed = false;
  protected override closed(): void {
    this.isClosed = true;
  }
}

/** A bound device with these parts. */
function device(parts: { migration?: MigrationOps; dmaLogging?: DmaLoggingOps }, openFiles?: number) {
  const stage = coreStage(openFiles === undefined ? {} : { openFiles });
  const driver = Object.assign(new FakeDriver(), parts);
  const file = stage.open(stage.node(undefined, driver));
  const { result } = stage.call(file, VFIO_DEVICE_BIND_IOMMUFD, { iommufd: stage.iommufdFd });
  assert.equal(result, 0);
  return { stage, driver, file };
}

/** VFIO_DEVICE_FEATURE with this data behind it; answers the result, and sees what came back. */
function feature(stage: CoreStage, file: OpenFile, flags: number, data: Uint8Array, argsz = 8 + data.length): number {
  const { bytes } = stage.argument;
  bytes.set(data, 8);
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  view.setUint32(0, argsz, true);
  view.setUint32(4, flags, true);
  const result = file.ioctl(VFIO_DEVICE_FEATURE.request, stage.argument, 0);
  data.set(bytes.subarray(8, 8 + data.length));
  return result;
}
function words(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

describe('migration states of the emulated kernel', () => {
  it('goes the ways of Linux', () => {
    assert.deepEqual(
      [
        way(7, PRE_COPY, RESUMING),
        way(7, RUNNING, STOP_COPY),
        way(7, PRE_COPY, STOP_COPY),
        way(7, RESUMING, PRE_COPY),
        way(7, STOP, PRE_COPY_P2P),
        way(7, PRE_COPY_P2P, RUNNING),
        way(7, STOP_COPY, RESUMING),
        way(7, P2P, PRE_COPY),
      ],
      [
        'pre-copy running p2p stop resuming',
        'running p2p stop stop-copy',
        'pre-copy pre-copy-p2p stop-copy',
        'resuming stop p2p running pre-copy',
        'stop p2p pre-copy-p2p',
        'pre-copy-p2p p2p running',
        'stop-copy stop resuming',
        'p2p running pre-copy',
      ],
    );
  });

  it('goes around states that a device does not have', () => {
    assert.deepEqual(
      [way(1, RUNNING, STOP_COPY), way(1, RESUMING, RUNNING), way(5, PRE_COPY, STOP_COPY), way(3, STOP, RUNNING)],
      ['running stop stop-copy', 'resuming stop running', 'pre-copy stop-copy', 'stop p2p running'],
    );
  });

  it('has a way from everywhere to everywhere that a device can be, but back to copying before', () => {
    const needs = [Number.NaN, 1, 1, 1, 1, 3, 5, 7];
    for (const flags of [0, 1, 2, 3, 4, 5, 7]) {
      const has = (state: number) => ((needs[state] ?? 0) & flags) === needs[state];
      for (let from = 0; from < 9; from++) {
        for (let to = 0; to < 9; to++) {
          if (from === to) continue;
          const blocked = from === STOP_COPY && (to === PRE_COPY || to === PRE_COPY_P2P);
          const expected = has(from) && has(to) && !blocked;
          assert.equal(way(flags, from, to) !== undefined, expected, `${flags}: ${from} to ${to}`);
        }
      }
    }
    assert.equal(nextState(7, ERROR, ERROR), EINVAL);
    assert.equal(nextState(7, STOP, 2 ** 32 - 1), EINVAL);
  });

  it('stops where a step is refused, and closes a file that no step should have made', () => {
    const steps: string[] = [];
    const traveller = {
      flags: 7,
      state: RUNNING,
      step: (from: number, to: number) => {
        steps.push(`${from}-${to}`);
        return to === STOP ? -5 : undefined;
      },
    };
    assert.equal(goThroughStates(traveller, RESUMING), -5);
    assert.deepEqual([steps, traveller.state], [['2-5', '5-1'], P2P]);
    assert.equal(goThroughStates(traveller, P2P), undefined);
    assert.equal(steps.length, 2);
    const file = new File();
    const wrong = { flags: 7, state: STOP, step: () => file };
    assert.equal(goThroughStates(wrong, RUNNING), EINVAL);
    assert.deepEqual([file.isClosed, wrong.state], [true, P2P]);
    const right = new File();
    assert.equal(goThroughStates({ flags: 1, state: STOP, step: () => right }, RESUMING), right);
  });
});

describe('migration features of the emulated kernel', () => {
  function migrating(answer: () => OpenFile | undefined | number, openFiles?: number) {
    const asked: number[] = [];
    const migration: MigrationOps = {
      flags: 5,
      state: RUNNING,
      setState: (state) => {
        asked.push(state);
        return answer();
      },
      dataSize: () => 4000n,
      precopyInfoV2: false,
    };
    return { ...device({ migration }, openFiles), migration, asked };
  }

  it('tells what a device can do, its state, and how much that is', () => {
    const { stage, file, migration } = migrating(() => undefined);
    const data = words(9, 9);
    assert.equal(feature(stage, file, GET | 1, data), 0);
    assert.deepEqual(data, words(5, 0));
    assert.equal(feature(stage, file, GET | 9, data), 0);
    assert.deepEqual(data, words(4000, 0));
    assert.equal(feature(stage, file, GET | 2, data), 0);
    assert.deepEqual(data, words(RUNNING, 2 ** 32 - 1));
    assert.deepEqual(
      [1, 2, 9].map((index) => feature(stage, file, GET | index, data, 15)),
      [EINVAL, EINVAL, EINVAL],
    );
    // The header is there, and what is behind it is not.
    const { argument } = stage;
    for (const index of [1, 2, 9]) {
      argument.bytes.set(words(16, GET | index), 4088);
      assert.equal(file.ioctl(VFIO_DEVICE_FEATURE.request, argument, 4088), EFAULT);
    }
    migration.dataSize = () => -5;
    assert.equal(feature(stage, file, GET | 9, data), -5);
  });

  it('gives a file that a state comes with an fd, and none where it is refused', () => {
    let answer: OpenFile | undefined | number = -5;
    const { stage, file, asked } = migrating(() => answer);
    const data = words(STOP, 77);
    assert.equal(feature(stage, file, SET | 2, data), -5);
    assert.deepEqual(data, words(STOP, 2 ** 32 - 1));
    answer = undefined;
    data.set(words(RUNNING, 77));
    assert.equal(feature(stage, file, SET | 2, data), 0);
    assert.deepEqual(data, words(RUNNING, 2 ** 32 - 1));
    const made = new File();
    answer = made;
    assert.equal(feature(stage, file, SET | 2, data), 0);
    const fd = new DataView(data.buffer).getInt32(4, true);
    assert.equal(stage.files.get(fd), made);
    stage.files.own(fd);
    stage.files.close(fd);
    assert.deepEqual([made.isClosed, asked], [true, [STOP, RUNNING, RUNNING]]);
  });

  it('closes a file for which there is no fd', () => {
    const made = new File();
    const { stage, file } = migrating(() => made, 1);
    const data = words(STOP_COPY, 77);
    assert.equal(feature(stage, file, SET | 2, data), EMFILE);
    assert.deepEqual([data, made.isClosed], [words(STOP_COPY, 77), true]);
  });

  it('remembers that flags of the copying before count, until the device is closed', () => {
    const { stage, file, migration } = migrating(() => undefined);
    assert.equal(feature(stage, file, GET | 12, words()), EINVAL);
    assert.equal(feature(stage, file, SET | 12, words()), 0);
    assert.equal(migration.precopyInfoV2, true);
    file.release();
    assert.equal(migration.precopyInfoV2, false);
  });
});

describe('migration files of the emulated kernel', () => {
  it('give a state out in parts, and then what the device says', () => {
    const stage = coreStage();
    let end = 0;
    const file = new SavingFile(stage.process, { precopyInfoV2: false, atEnd: () => end });
    file.append(Uint8Array.of(1, 2, 3));
    file.append(Uint8Array.of(4, 5));
    const into = new Uint8Array(4);
    assert.equal(file.read(new Uint8Array(0)), 0);
    assert.deepEqual([file.read(into), [...into], file.left], [4, [1, 2, 3, 4], 1]);
    assert.equal(file.read(into), 1);
    end = -42;
    assert.deepEqual([file.read(into), file.read(new Uint8Array(0)), file.left], [-42, 0, 0]);
    file.append(Uint8Array.of(6));
    assert.equal(file.read(into), 1);
    assert.deepEqual(
      [file.write(), file.pread(), file.pwrite(), file.mmap(), file.readable()],
      [EBADF, ESPIPE, ESPIPE, EACCES, undefined],
    );
    file.append(Uint8Array.of(7));
    file.disable();
    assert.equal(file.read(into), ENODEV);
  });

  it('tell how much there is before the device is stopped, and write flags once they were asked for', () => {
    const stage = coreStage();
    let info: { initial: bigint; dirty: bigint; reinitialized?: boolean } | number = EINVAL;
    const part = { precopyInfoV2: false, precopyInfo: () => info };
    const file = new SavingFile(stage.process, part);
    const ask = (flags: number, argsz?: number) => stage.call(file, VFIO_MIG_GET_PRECOPY_INFO, { flags }, argsz);
    assert.deepEqual(
      [ask(9, 23).result, ask(9).result, file.ioctl(0x3b6b, stage.argument, 0)],
      [EINVAL, EINVAL, ENOTTY],
    );
    assert.equal(file.ioctl(VFIO_MIG_GET_PRECOPY_INFO.request, stage.argument, 4080), EFAULT);
    assert.equal(file.ioctlValue(VFIO_MIG_GET_PRECOPY_INFO.request, 16), EFAULT);
    info = { initial: 5n, dirty: 6n, reinitialized: true };
    const { result, view } = ask(9);
    assert.deepEqual([result, view.getUint32(4, true)], [0, 9]);
    assert.deepEqual([view.getBigUint64(8, true), view.getBigUint64(16, true)], [5n, 6n]);
    part.precopyInfoV2 = true;
    assert.equal(ask(9).view.getUint32(4, true), 1);
    info = { initial: 5n, dirty: 6n };
    assert.equal(ask(9).view.getUint32(4, true), 0);
    file.disable();
    assert.equal(ask(9).result, ENODEV);
    assert.equal(
      stage.call(new SavingFile(stage.process, { precopyInfoV2: true }), VFIO_MIG_GET_PRECOPY_INFO, {}).result,
      ENOTTY,
    );
  });

  it('take a state in up to a limit, and let the device look at it', () => {
    const seen: [number, number][] = [];
    const file = new ResumingFile(5, (state, before) => {
      seen.push([before, state.length]);
      return state[0] === 1;
    });
    assert.deepEqual([file.write(Uint8Array.of(2, 3)), file.write(Uint8Array.of(4, 5, 6, 7))], [EFAULT, ENOMEM]);
    assert.deepEqual([[...file.state], seen], [[2, 3], [[0, 2]]]);
    assert.equal(new ResumingFile(2).write(Uint8Array.of(8, 9)), 2);
    assert.deepEqual(
      [file.read(), file.pread(), file.ioctl(VFIO_MIG_GET_PRECOPY_INFO.request, coreStage().argument, 0)],
      [EBADF, ESPIPE, ENOTTY],
    );
    // It is told to be over however full it was.
    file.disable();
    assert.deepEqual([file.write(new Uint8Array(5)), file.write(new Uint8Array(6))], [ENODEV, ENOMEM]);
  });
});

describe('DMA logging of the emulated kernel', () => {
  type Range = { readonly iova: bigint; readonly length: bigint };
  function logging() {
    const asked: string[] = [];
    const dmaLogging: DmaLoggingOps = {
      start: (ranges: readonly Range[], pageSize: bigint) => {
        asked.push(`start ${pageSize}: ${ranges.map(({ iova, length }) => `${iova}+${length}`).join(' ')}`);
        return pageSize === 1n ? -5 : 2n * pageSize;
      },
      stop: () => -3,
      readAndClear: (iova, length, report) => {
        asked.push(`read ${iova}+${length}`);
        report(iova + PAGE, PAGE);
        report(iova + 9n * PAGE, 2n * PAGE);
        return 0;
      },
    };
    const made = device({ dmaLogging });
    const { stage, file } = made;
    const start = (pageSize: bigint, ranges: readonly (readonly [bigint, bigint])[], count = ranges.length) => {
      const { bytes } = stage.argument;
      bytes.set(new Uint8Array(BigUint64Array.from(ranges.flat()).buffer), 512);
      const data = new Uint8Array(CONTROL.size);
      CONTROL.encode(new DataView(data.buffer), 0, {
        page_size: pageSize,
        num_ranges: count,
        ranges: BigInt(stage.address + 512),
      });
      return { result: feature(stage, file, SET | 6, data), pageSize: new DataView(data.buffer).getBigUint64(0, true) };
    };
    return { ...made, asked, start };
  }

  it('starts with ranges that are aligned and apart, in their order', () => {
    const { stage, asked, start } = logging();
    const M = 1n << 20n;
    assert.deepEqual(
      start(PAGE, [
        [2n * M, M],
        [M, M],
      ]),
      { result: 0, pageSize: 2n * PAGE },
    );
    assert.deepEqual(asked, [`start 4096: ${M}+${M} ${2n * M}+${M}`]);
    assert.equal(start(1n, [[3n, 4n]]).result, -5);
    asked.length = 0;
    assert.deepEqual(
      [
        start(PAGE, []).result,
        start(PAGE, [], 257).result,
        start(PAGE, [[0n, 0n]], 2).result,
        start(PAGE, [[M + 1n, M]]).result,
        start(PAGE, [[M, 1n]]).result,
        start(0n, [[M, M]]).result,
        start(PAGE, [[(1n << 64n) - PAGE, PAGE]]).result,
        start(PAGE, [
          [M, M],
          [M + PAGE, PAGE],
        ]).result,
        start(PAGE, [
          [M, M],
          [0n, M + PAGE],
        ]).result,
      ],
      [EINVAL, E2BIG, EINVAL, EINVAL, EINVAL, EINVAL, EOVERFLOW, EINVAL, EINVAL],
    );
    stage.kernel.failAllocation(0);
    assert.equal(start(PAGE, [[M, M]]).result, ENOMEM);
    assert.deepEqual(asked, []);
  });

  it('stops as the driver says', () => {
    const { stage, file } = logging();
    assert.deepEqual([feature(stage, file, SET | 7, words()), feature(stage, file, GET | 7, words())], [-3, EINVAL]);
  });

  it('reports into the bitmap, and sets bits only', () => {
    const { stage, file, asked } = logging();
    const { bytes } = stage.argument;
    const report = (iova: bigint, length: bigint, pageSize: bigint, argsz?: number) => {
      const data = new Uint8Array(REPORT.size);
      const input = { iova, length, page_size: pageSize, bitmap: BigInt(stage.address + 1024) };
      REPORT.encode(new DataView(data.buffer), 0, input);
      return feature(stage, file, GET | 8, data, argsz);
    };
    bytes.set([0x80, 0, 0xff], 1024);
    assert.equal(report(0x10000n, 16n * PAGE, PAGE), 0);
    assert.deepEqual([[...bytes.subarray(1024, 1027)], asked], [[0x82, 0x06, 0xff], ['read 65536+65536']]);
    assert.deepEqual(
      [
        report(0n, PAGE, 2048n),
        report(0n, PAGE, 3n * PAGE),
        report(0n, PAGE, 0n),
        report((1n << 64n) - PAGE, PAGE, PAGE),
        report(0n, PAGE, PAGE, 39),
      ],
      [EINVAL, EINVAL, EINVAL, EOVERFLOW, EINVAL],
    );
    stage.kernel.failAllocation(0);
    assert.equal(report(0n, PAGE, PAGE), ENOMEM);
    assert.equal(asked.length, 1);
  });
});
