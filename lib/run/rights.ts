// What a program may do, as its own kernel has it: capabilities and limits, from /proc.
import { readFileSync } from 'node:fs';
import type { ProcessRights } from '../emulated/kernel/process.js';
import { PAGE_SIZE } from '../emulated/memory/backing.js';

/** Bits of a capability set (linux/capability.h). */
const CAP = { ipcLock: 14n, sysRawio: 17n, sysResource: 24n } as const;

function readOf(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, 'utf8');
  } catch {
    // It ended: nothing is left that it could use its rights for.
    return '';
  }
}

function hasCapability(pid: number, capability: bigint): boolean {
  const effective = /^CapEff:\s+([0-9a-f]+)/m.exec(readOf(pid, 'status'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> capability) & 1n) === 1n;
}

export class ProgramRights implements ProcessRights {
  readonly #pid: number;
  readonly #privileged: boolean;

  /** `privileged`: it has capabilities also that this process lacks itself; what both have, the program can give up. */
  constructor(pid: number, privileged: boolean) {
    this.#pid = pid;
    this.#privileged = privileged;
  }

  /** Whose limits it counts towards. */
  get user(): number {
    return Number(/^Uid:\s+(\d+)/m.exec(readOf(this.#pid, 'status'))?.[1] ?? 0);
  }
  #has(capability: bigint): boolean {
    return hasCapability(this.#pid, capability) || (this.#privileged && !hasCapability(process.pid, capability));
  }
  get ipcLock(): boolean {
    return this.#has(CAP.ipcLock);
  }
  get sysResource(): boolean {
    return this.#has(CAP.sysResource);
  }
  get sysRawio(): boolean {
    return this.#has(CAP.sysRawio);
  }
  /** RLIMIT_MEMLOCK. */
  get lockedPages(): number {
    const soft = /^Max locked memory\s+(\S+)/m.exec(readOf(this.#pid, 'limits'))?.[1] ?? '0';
    return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Math.floor(Number(soft) / PAGE_SIZE);
  }
}
