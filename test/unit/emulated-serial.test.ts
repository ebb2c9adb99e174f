// The emulated serial device, where no program can be shown the same on Linux: states that make no sense, and what Linux's
// sample would break by.
import assert from 'node:assert/strict';
import { EventFile } from '../../lib/emulated/kernel/event-file.js';
import type { OpenFile } from '../../lib/emulated/kernel/file.js';
import type { UserBuffer } from '../../lib/emulated/kernel/vfio/driver.js';
import { readIrqSet } from '../../lib/emulated/kernel/vfio/irq-set.js';
import { SerialDevice } from '../../lib/emulated/kernel/vfio-mdev/serial.js';
import { PORT_SIZE, Uart } from '../../lib/emulated/kernel/vfio-mdev/uart.js';
import { vfio_device_mig_state } from '../../lib/uapi/vfio-constants.js';
import {
  VFIO_DEVICE_BIND_IOMMUFD,
  VFIO_DEVICE_GET_INFO,
  VFIO_DEVICE_RESET,
  VFIO_DEVICE_SET_IRQS,
} from '../../lib/uapi/vfio-ioctls.js';
import { coreStage } from './vfio-core-stage.js';

const [EBADF, ENOMEM, EFAULT, EINVAL] = [-9, -12, -14, -22];
const {
  VFIO_DEVICE_STATE_STOP: STOP,
  VFIO_DEVICE_STATE_RUNNING: RUNNING,
  VFIO_DEVICE_STATE_STOP_COPY: STOP_COPY,
  VFIO_DEVICE_STATE_RESUMING: RESUMING,
  VFIO_DEVICE_STATE_PRE_COPY: PRE_COPY,
} = vfio_device_mig_state.values;
const REGION = 2 ** 40;
const CONFIG = 7 * REGION;

function serial(ports: 1 | 2 = 2) {
  const stage = coreStage();
  const driver = new SerialDevice(stage.kernel, ports);
  const node = stage.node(undefined, driver);
  const open = () => {
    const file = stage.open(node);
    assert.equal(stage.call(file, VFIO_DEVICE_BIND_IOMMUFD, { iommufd: stage.iommufdFd }).result, 0);
    return file;
  };
  return { stage, driver, open, migration: driver.migration };
}
function read(file: OpenFile, position: number, length = 1): number[] {
  const bytes = new Uint8Array(length).fill(0xee);
  assert.equal(file.pread(bytes, position), length);
  return [...bytes];
}
function write(file: OpenFile, position: number, ...bytes: number[]): void {
  assert.equal(file.pwrite(Uint8Array.from(bytes), position), bytes.length);
}
/** The file that going to a state makes. */
function fileOf(made: OpenFile | undefined | number): OpenFile {
  assert(typeof made === 'object');
  return made;
}

describe('the emulated serial device', () => {
  it('gives back what it is sent, also across a new opening', () => {
    const { open } = serial();
    const file = open();
    write(file, REGION, 65);
    write(file, REGION, 66);
    file.release();
    const again = open();
    assert.deepEqual([read(again, REGION + 5), read(again, 5)], [[0x01], [0x60]]);
    assert.deepEqual([read(again, REGION, 4), read(again, REGION), read(again, REGION)], [[65, 0, 0, 0], [66], [0]]);
  });

  it('has nothing behind its configuration space, its ports and its regions', () => {
    const { open } = serial(1);
    const file = open();
    assert.deepEqual(read(file, CONFIG + 0xfc, 8), [0, 0, 0, 0, 0, 0, 0, 0]);
    assert.deepEqual(read(file, CONFIG + REGION - 4, 4), [0, 0, 0, 0]);
    write(file, CONFIG + 0x1_0010, 0xff, 0xff, 0xff, 0xff);
    assert.deepEqual(read(file, CONFIG + 0x10, 4), [0xf9, 0xff, 0xff, 0xff]);
    for (const region of [2, 3, 4, 5]) {
      write(file, region * REGION, 1, 2, 3, 4);
      assert.deepEqual(read(file, region * REGION, 4), [0, 0, 0, 0]);
    }
    const bytes = new Uint8Array(8);
    for (const position of [6 * REGION, 8 * REGION, Number.MAX_SAFE_INTEGER - 8]) {
      assert.deepEqual([file.pread(bytes, position), file.pwrite(bytes, position)], [EFAULT, EFAULT]);
    }
    // From its last bytes on into what is no region.
    assert.equal(file.pread(bytes, 8 * REGION - 4), EFAULT);
  });

  it('survives a state that points outside of its buffer', () => {
    for (const fill of [0, 1, 15, 16, 17, 0x7f, 0xfe, 0xff]) {
      let raised = 0;
      const uart = new Uart(() => raised++);
      uart.load(new Uint8Array(PORT_SIZE).fill(fill));
      for (let round = 0; round < 40; round++) {
        for (let register = 0; register < 9; register++) {
          const value = uart.read(register);
          assert(Number.isInteger(value) && value >= 0 && value < 256, `register ${register}: ${value}`);
          uart.write(register, (round * 7 + register) & 0xff);
        }
      }
      assert.equal(uart.save().length, PORT_SIZE);
    }
    const uart = new Uart(() => {});
    const state = new Uint8Array(PORT_SIZE);
    // Head and tail far outside, room for one more.
    state.set([200, 201, 3], 24);
    state[33] = 16;
    uart.load(state);
    assert.equal(uart.read(0), 0);
    uart.write(0, 65);
    assert.deepEqual([...uart.save().subarray(8, 27)], [...new Uint8Array(16), 201 % 16, 202 % 16, 3]);
    uart.load(state.subarray(0, 5));
  });

  it('cannot go on from a state that was to be loaded when it was closed, until it is reset', () => {
    const { stage, open, migration } = serial();
    const file = open();
    fileOf(migration.setState(RESUMING)).release();
    file.release();
    const again = open();
    assert.deepEqual([migration.state, migration.setState(RUNNING), migration.state], [RESUMING, EINVAL, RESUMING]);
    assert.equal(stage.call(again, VFIO_DEVICE_RESET, {}).result, 0);
    assert.deepEqual([migration.state, migration.setState(STOP)], [RUNNING, undefined]);
  });

  it('makes no file, and stays in its state, where memory is short', () => {
    const { stage, open, migration } = serial();
    open();
    for (const [from, to] of [
      [RUNNING, PRE_COPY],
      [STOP, STOP_COPY],
      [STOP, RESUMING],
    ] as const) {
      for (const after of [0, 1]) {
        migration.setState(from);
        stage.kernel.failAllocation(after);
        assert.deepEqual([migration.setState(to), migration.state], [ENOMEM, from]);
        assert.equal(stage.kernel.failurePending, false);
      }
    }
  });

  it('takes its files away from whoever still has them', () => {
    const { open, migration } = serial(1);
    const file = open();
    const saving = fileOf(migration.setState(STOP_COPY));
    const state = new Uint8Array(100);
    assert.equal(saving.read(state), 24 + PORT_SIZE);
    file.release();
    assert.equal(saving.read(state), -19);
    saving.release();
  });

  it('checks the interrupts that are set as every driver does', () => {
    const { stage } = serial();
    const { kernel, argument, process } = stage;
    const view = new DataView(argument.bytes.buffer, argument.bytes.byteOffset);
    const at = VFIO_DEVICE_SET_IRQS.layout.at;
    const bufferAt = (start: number): UserBuffer => ({
      process,
      copyIn: (offset, into) => process.memory.read(stage.address + start + offset, into),
      copyOut: () => false,
    });
    const set = (fields: Partial<Record<keyof typeof at, number>>, start = 0) => {
      const whole = { argsz: 64, flags: 0x21, index: 1, start: 0, count: 2, ...fields };
      for (const [key, value] of Object.entries(whole)) {
        view.setUint32(start + at[key as keyof typeof at], value, true);
      }
      return readIrqSet(kernel, bufferAt(start), 3, (index) => (index === 2 ? 0 : 4));
    };
    const bytes = argument.bytes.subarray(20, 28).fill(7);
    assert.deepEqual(set({ flags: 0x22 }), {
      index: 1,
      start: 0,
      count: 2,
      data: 2,
      action: 0x20,
      bytes: bytes.slice(0, 2),
    });
    assert.deepEqual(set({ flags: 0x0c, start: 2 }), {
      index: 1,
      start: 2,
      count: 2,
      data: 4,
      action: 8,
      bytes: bytes.slice(),
    });
    for (const wrong of [
      { argsz: 19 },
      { index: 3 },
      { index: 2, count: 0 },
      { count: 2 ** 32 - 1 },
      { count: 2 ** 32 - 2, start: 1 },
      { start: 4, count: 0 },
      { start: 3 },
      { flags: 0x61 },
      { flags: 0x23 },
      { flags: 0x20 },
      { flags: 0x22, argsz: 21 },
      { flags: 0x24, argsz: 27 },
    ]) {
      assert.equal(set(wrong), EINVAL, JSON.stringify(wrong));
    }
    assert.equal(typeof set({ count: 4 }, 4096 - 20), 'object');
    assert.equal(set({ flags: 0x22 }, 4096 - 20), EFAULT);
    assert.equal(
      readIrqSet(kernel, bufferAt(4096 - 19), 3, () => 4),
      EFAULT,
    );
    kernel.failAllocation(0);
    assert.equal(set({ flags: 0x22 }), ENOMEM);
  });

  it('lets go of an eventfd when it is given another, when that is refused, and when it is closed', () => {
    const { stage, open } = serial();
    const file = open();
    class Watched extends EventFile {
      gone = false;
      protected override closed(): void {
        super.closed();
        this.gone = true;
      }
    }
    const eventfd = () => {
      const event = new Watched(0n);
      return { event, fd: stage.files.installOwned(event) };
    };
    const connect = (fd: number) => {
      const input = { flags: 0x24, index: 0, start: 0, count: 1 };
      const view = new DataView(stage.argument.bytes.buffer, stage.argument.bytes.byteOffset);
      view.setInt32(VFIO_DEVICE_SET_IRQS.layout.at.data, fd, true);
      return stage.call(file, VFIO_DEVICE_SET_IRQS, input, 24).result;
    };
    assert.equal(connect(-1), EINVAL, 'how many there are was not asked for yet');
    assert.equal(stage.call(file, VFIO_DEVICE_GET_INFO, {}, 16).result, 0);
    const [one, two] = [eventfd(), eventfd()];
    assert.equal(connect(one.fd), 0);
    stage.files.close(one.fd);
    assert.equal(one.event.gone, false);
    assert.deepEqual([connect(stage.iommufdFd), one.event.gone], [EINVAL, true]);
    assert.equal(connect(7), EBADF);
    assert.equal(connect(two.fd), 0);
    stage.files.close(two.fd);
    // It masks itself.
    for (const enable of [2, 2]) write(file, 1, enable);
    assert.deepEqual([two.event.readable(), two.event.gone], [true, false]);
    file.release();
    assert.equal(two.event.gone, true);
  });
});
