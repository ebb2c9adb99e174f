// A stage for tests of the command queues of an emulated Tegra241 CMDQV: an interface with memory, and an SMMU that only notes
// what it is asked to do.
import assert from 'node:assert/strict';
import { REGISTER } from '../../lib/emulated/hardware/tegra241/registers.js';
import type { VirtualCommandQueue } from '../../lib/emulated/hardware/tegra241/virtual-command-queue.js';
import { VirtualInterface } from '../../lib/emulated/hardware/tegra241/virtual-interface.js';
import { type Backing, PAGE_SIZE } from '../../lib/emulated/memory/backing.js';
import { PhysicalMemory } from '../../lib/emulated/memory/physical.js';

export const { cons: CONS, prod: PROD, config: CONFIG, status: STATUS, gerror: GERROR, gerrorn: GERRORN } = REGISTER;
export const SLOT = 128;
export const COMMAND = 16;

export const VMID = 0x55;
export const FOREIGN_VMID = 0xbad;
export const ASID = 0x1234;
/** What the guest calls its device, and the SMMU does. */
export const STREAM = 7;
export const REAL_STREAM = 0x100;

export type Command = readonly [number, number, number, number];

export const SYNC: Command = [0x46, 0, 0, 0];
export const FORGET_ASID: Command = [0x11, ((ASID << 16) | FOREIGN_VMID) >>> 0, 0, 0];
export const FORGET_ADDRESS: Command = [0x12, ((ASID << 16) | FOREIGN_VMID) >>> 0, 0x8000_1001, 0xffff];
export const FORGET_ATC: Command = [0x40, STREAM, 52, 0];
/** As the SMMU gets them. */
export const FORGOT_ASID: Command = [0x11, ((ASID << 16) | VMID) >>> 0, 0, 0];
export const FORGOT_ADDRESS: Command = [0x12, ((ASID << 16) | VMID) >>> 0, 0x8000_1001, 0xffff];
export const FORGOT_ATC: Command = [0x40, REAL_STREAM, 52, 0];
export const ILLEGAL: Command = [0x10, 0, 0, 0];

/** An SMMU that executes nothing. */
export class NotingSmmu {
  readonly commands: Command[] = [];
  answersAtc = true;

  /** One of its queues. */
  addQueue() {
    let late = false;
    return {
      execute: (...words: [number, number, number, number]): number => {
        const command = words.map((word) => word >>> 0) as unknown as Command;
        const timedOut = late;
        if (command[0] === SYNC[0]) {
          late = false;
          return timedOut ? 3 : 0;
        }
        this.commands.push(command);
        late ||= command[0] === FORGET_ATC[0] && !this.answersAtc;
        return 0;
      },
      reset: () => {
        late = false;
      },
    };
  }
}

export interface Stage {
  readonly smmu: NotingSmmu;
  readonly hardware: VirtualInterface;
  /** The error map's first byte at each interrupt. */
  readonly interrupts: number[];
  readonly memory: Backing;
  queue(index: number): VirtualCommandQueue;
  read(register: number, queue?: number): number;
  write(register: number, value: number, queue?: number): void;
  /** Puts commands at a place of a queue. */
  put(at: number, commands: readonly Command[], queue?: number): void;
}

/** An interface with two queues of `length` commands, in a page each. */
export function stage({ log2Length = 3, enable = true } = {}): Stage {
  const physical = new PhysicalMemory({ size: 2 ** 20, scatter: false });
  const memory = physical.allocate(2 * PAGE_SIZE);
  assert(memory !== undefined);
  const smmu = new NotingSmmu();
  const hardware = new VirtualInterface(physical, smmu);
  const interrupts: number[] = [];
  hardware.enable(VMID, (map) => interrupts.push(map[0] ?? 0));
  hardware.streams.set(0, STREAM, REAL_STREAM);
  const { registers } = hardware.region;
  const s: Stage = {
    smmu,
    hardware,
    interrupts,
    memory,
    queue: (index) => {
      const queue = hardware.queues[index];
      assert(queue !== undefined);
      return queue;
    },
    read: (register, queue = 0) => registers.read(queue * SLOT + register, 4),
    write: (register, value, queue = 0) => registers.write(queue * SLOT + register, 4, value),
    put: (at, commands, queue = 0) => {
      commands.forEach((command, i) => {
        const place = queue * PAGE_SIZE + ((at + i) % 2 ** log2Length) * COMMAND;
        memory.write(place, new Uint8Array(Uint32Array.from(command).buffer));
      });
    },
  };
  hardware.queues.forEach((queue, i) => {
    queue.allocated = true;
    queue.setBase((memory.base + i) * PAGE_SIZE, log2Length);
    if (enable) s.write(CONFIG, 1, i);
  });
  return s;
}
