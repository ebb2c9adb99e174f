// A device whose interrupts can be asked about and connected: notes what the kernel is told.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import * as uapi from '../../lib/uapi/vfio.js';
import { agreeable, deviceStage, leftovers, NOTHING } from './stage.js';
import type { StubSeam } from './stub-seam.js';

const INFO = uapi.vfio_irq_info_flags.values;
const EINVAL = -22;

interface Asked {
  readonly flags: number;
  readonly index: number;
  readonly start: number;
  readonly count: number;
  /** What is behind the struct, as s32. */
  readonly fds: readonly number[];
}

/** Every index has 4 interrupts that can be added to, unless told otherwise; notes what is asked. */
export function answering(seam: StubSeam, { count = 4, flags = 0 as number } = {}) {
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

export function start(more: Parameters<typeof answering>[1] = {}) {
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
export function onceAfter(syscall: string, listener: () => void): void {
  const hear = (message: unknown) => {
    if ((message as { syscall: string }).syscall !== syscall) return;
    unsubscribe('iommufd:call', hear);
    listener();
  };
  subscribe('iommufd:call', hear);
}
