// What a process does that goes on with an edu device of another one: in a child, or on a host that is no other process's.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import type { HandoverState, Host } from '../../lib/index.js';
import { EDU_IOVA, Edu, pattern } from './edu.js';

/** Bytes of memory, of which each page is for something. */
export const RAM_SIZE = 0x4000;
/** Bytes of one transfer. */
export const LENGTH = 1024;
/** Where the process before wrote by itself, where its device was writing at the end, and what is for the one after. */
export const PLACES = { written: 0, underWay: 0x1000, from: 0x2000, to: 0x3000 } as const;

/** What the process before knows that the memory has. */
export interface Told {
  readonly state: HandoverState;
  /** What it wrote, and what its device loaded and then was told to store. */
  readonly bytes: readonly number[];
}

/** What the process after found. */
export interface Found {
  readonly written: readonly number[];
  readonly underWay: readonly number[];
  readonly bothWays: boolean;
  readonly interrupts: string;
}

/** Waits until bytes are there; answers what is there in the end. */
async function settle(read: () => Uint8Array, expected: readonly number[]): Promise<number[]> {
  for (let tries = 0; tries < 2000; tries++) {
    const bytes = [...read()];
    if (bytes.every((byte, i) => byte === expected[i])) return bytes;
    await pause(2);
  }
  return [...read()];
}

/** Adopts, takes over, and drives the device; gives everything back at the end. */
export async function goOn(
  host: Host,
  { state, bytes }: Told,
  fds: readonly number[],
  gone: () => Promise<void>,
): Promise<Found> {
  const { iommufd, devices, memories } = host.adoptIommufd(state, fds);
  const [nic, ram] = [devices[0], memories[0]];
  assert(nic !== undefined && ram !== undefined);
  await gone();
  iommufd.changeProcess();
  const written = [...ram.read(PLACES.written, LENGTH)];
  const underWay = await settle(() => ram.read(PLACES.underWay, LENGTH), bytes);
  const edu = new Edu(nic);
  const mine = pattern(LENGTH, 77);
  ram.write(PLACES.from, mine);
  await edu.load(EDU_IOVA + BigInt(PLACES.from), LENGTH);
  await edu.store(EDU_IOVA + BigInt(PLACES.to), LENGTH);
  const bothWays = Buffer.compare(ram.read(PLACES.to, LENGTH), mine) === 0;
  const [vector] = nic.interrupts('msi').enable();
  assert(vector !== undefined);
  edu.registers.write32(RAISE, 1);
  const interrupts = String(await vector.wait());
  edu.registers.write32(ACKNOWLEDGE, 1);
  iommufd.close();
  ram.free();
  return { written, underWay, bothWays, interrupts };
}

const RAISE = 0x60;
const ACKNOWLEDGE = 0x64;
