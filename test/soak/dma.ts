// DMA of a soaked machine's devices: what arrives is of memory that is mapped for it, page by page.
import assert from 'node:assert/strict';
import { type Device, IommufdError } from '../../lib/index.js';
import type { Life } from './life.js';
import { ioasBehind, PAGE, tagAt, writeAt } from './places.js';

/** Accesses at a time. */
const BURST = 8;
const FIRST_DATA_PAGE = 16;
const VA = 0x10_0000_0000n;
const PASIDS = [0, 0, 0, 1, 63, 5000] as const;

/** The address space behind a device, and whether a guest's tables come before it. */
function behind(device: Device, pasid: number) {
  const table = device.attachedTo(pasid === 0 ? {} : { pasid });
  if (table === undefined) return undefined;
  return { ioas: ioasBehind(table), isNested: table.type === 'hwpt-nested' };
}

/** A page that may be mapped: one that is, mostly. */
function aPage(life: Life, device: Device, pasid: number): bigint {
  const { random, places } = life;
  const what = behind(device, pasid);
  if (what?.isNested === true && life.machine !== 'selftest') return VA + BigInt(random.below(5) * PAGE);
  const placed = what && random.pick(places.of(what.ioas));
  if (placed === undefined || random.chance(10)) return 0x4000_0000n + BigInt(random.below(1024) * PAGE);
  return placed.iova + BigInt(random.below(Number(placed.length) / PAGE) * PAGE);
}

/** Several accesses of a device. Those that are refused end nothing. */
export function dma(life: Life): void {
  const device = life.device();
  if (device === undefined) return;
  const attached = PASIDS.filter((pasid) => behind(device, pasid) !== undefined);
  for (let i = 0; i < BURST; i++) {
    const pasid = life.random.pick(life.random.chance(90) ? attached : PASIDS) ?? 0;
    try {
      access(life, device, pasid);
    } catch (error) {
      if (!(error instanceof IommufdError && error.code === 'EFAULT')) throw error;
      checkRefusal(life, device, pasid, BigInt(error.args.iova as bigint));
    }
  }
}
function access(life: Life, device: Device, pasid: number): void {
  const page = aPage(life, device, pasid);
  if (life.random.chance(30)) write(life, device, page, pasid);
  else check(life, device, page, pasid, life.emulated.deviceOf(device).dmaRead(tagAt(page), 4, { pasid }));
}

/**
 * What is mapped for reading and writing is reached, by the kernel's own page tables. After an allocation that failed in a
 * reset a device may be blocked: such lives are excused.
 */
function checkRefusal(life: Life, device: Device, pasid: number, iova: bigint): void {
  const space = behind(device, pasid);
  if (space === undefined || space.isNested || life.failed) return;
  const placed = life.places.at(space.ioas, iova);
  assert(placed?.writable !== true, `${device.describe()}, PASID ${pasid}: refused at 0x${iova.toString(16)}`);
}

/** What a device has read is as it should be, at this moment. */
function check(life: Life, device: Device, page: bigint, pasid: number, read: Uint8Array): void {
  const what = `${device.describe()} at 0x${page.toString(16)}, PASID ${pasid}`;
  const space = behind(device, pasid);
  assert(space !== undefined, `${what}: read while attached to nothing`);
  const placed = life.places.at(space.ioas, page);
  const isTable = placed !== undefined && placed.offset + Number(page - placed.iova) < FIRST_DATA_PAGE * PAGE;
  life.dmas++;
  if (space.isNested) life.nested++;
  if (space.isNested && life.machine !== 'selftest') life.places.checkMapped(space.ioas, read, what);
  else if (!isTable) life.places.checkPage(space.ioas, page, read, what);
}

/** Writes where no tables are. What was not there before is there, and can be written. */
function write(life: Life, device: Device, page: bigint, pasid: number): void {
  const space = behind(device, pasid);
  if (space === undefined) return;
  const placed = life.places.at(space.ioas, page);
  const isPlain = !space.isNested || life.machine === 'selftest';
  if (isPlain && placed !== undefined && placed.offset < FIRST_DATA_PAGE * PAGE) return;
  const value = Uint8Array.from({ length: 4 }, () => life.random.below(256));
  life.emulated.deviceOf(device).dmaWrite(writeAt(page), value, { pasid });
  life.dmas++;
  if (space.isNested) life.nested++;
  if (!isPlain) return;
  assert(placed?.writable === true, `wrote at 0x${page.toString(16)}, where nothing can be written`);
  if (placed.ram.memory.freed) return;
  const offset = placed.offset + Number(writeAt(page) - placed.iova);
  assert.deepEqual(placed.ram.memory.read(offset, 4), value);
}

/** DMA that waits for what is not there: its end is some other operation's doing. */
export function dmaThatWaits(life: Life): void {
  const device = life.device();
  if (device === undefined || life.waits.size > 20) return;
  life.wait('DMA', life.emulated.deviceOf(device).dmaReadAsync(aPage(life, device, 0), 4));
}
