// Whatever bytes arrive at an ioctl of the emulated kernel, it answers 0, a number or -errno; it never throws, hangs or
// forgets to give something back.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { IOMMU_TEST_CMD, iommu_test_op } from '../../lib/emulated/hardware/selftest/uapi.js';
import { createEmulatedHost, type EmulatedHost } from '../../lib/emulated-host.js';
import { type Fields, type Ioctl, iommufdIoctls, type Layout } from '../../lib/uapi/index.js';
import { hostSeam, type Seam } from '../../lib/unsafe.js';

const OPS: readonly Ioctl[] = [...iommufdIoctls, IOMMU_TEST_CMD as unknown as Ioctl];
/** The longest struct, and room for what pointers point at. */
const STRUCT = 128;
const POINTED = 4096;
const CALLS = { maxLength: 60 } as const;

/** A call: which ioctl, where random numbers for its fields come from, and how its struct's size is told. */
interface Call {
  readonly op: Ioctl;
  readonly size: number | undefined;
  readonly fields: readonly number[];
  readonly raw: Uint8Array;
  readonly isRaw: boolean;
}

const field = fc.oneof(
  { weight: 6, arbitrary: fc.nat({ max: 12 }) },
  { weight: 3, arbitrary: fc.constantFrom(4096, 8192, 0x100_0000, 0x100_1000, 0xdead_beef, 0x7fff_ffff, 0xffff_ffff) },
  { weight: 1, arbitrary: fc.nat({ max: 0xffff_ffff }) },
);
const call: fc.Arbitrary<Call> = fc.record({
  op: fc.constantFrom(...OPS),
  size: fc.option(fc.nat({ max: 200 }), { nil: undefined, freq: 6 }),
  fields: fc.array(field, { minLength: 40, maxLength: 40 }),
  raw: fc.uint8Array({ minLength: STRUCT, maxLength: STRUCT }),
  isRaw: fc.constant(false),
});

/** Where pointers and made-up fds lead: memory, the arena, nowhere. */
interface Places {
  readonly addresses: readonly bigint[];
  readonly fds: readonly number[];
}

function pick<T>(from: readonly T[], index: number): T | undefined {
  return from[index % from.length];
}

/** Fills a struct with numbers that may mean something. */
function encode(layout: Layout<Fields>, view: DataView, at: number, numbers: readonly number[], places: Places): void {
  let next = 0;
  const take = (): number => numbers[next++ % numbers.length] ?? 0;
  for (const [name, { kind, count }] of Object.entries(layout.fields)) {
    const place = at + (layout.at[name] ?? 0);
    if (kind === 'ptr' || name === 'user_va') view.setBigUint64(place, pick(places.addresses, take()) ?? 0n, true);
    else if (/fd$/.test(name)) view.setInt32(place, pick(places.fds, take()) ?? -1, true);
    else if (kind === 'u64') view.setBigUint64(place, BigInt(take()) << BigInt(take() % 40 === 0 ? 32 : 0), true);
    else if (kind === 'u32' || kind === 's32')
      for (let i = 0; i < count; i++) view.setUint32(place + 4 * i, take(), true);
  }
}

/** The mock's sub-operations have fields that no table entry of IOMMU_TEST_CMD shows; random words will do. */
function encodeTestCommand(view: DataView, at: number, numbers: readonly number[], places: Places): void {
  const ops = Object.values(iommu_test_op.values);
  view.setUint32(at + 4, pick(ops, numbers[0] ?? 0) ?? 0, true);
  view.setUint32(at + 8, numbers[1] ?? 0, true);
  for (let i = 0; i < 6; i++) {
    const [kind = 0, value = 0] = [numbers[2 + 2 * i], numbers[3 + 2 * i]];
    const address = pick(places.addresses, value) ?? 0n;
    view.setBigUint64(at + 16 + 8 * i, kind % 4 === 0 ? address : BigInt(value), true);
  }
}

function perform(seam: Seam, fd: number, { op, size, fields, raw, isRaw }: Call, places: Places): number {
  const { arena } = seam;
  const mark = arena.mark();
  const at = arena.take(STRUCT + POINTED);
  arena.bytes.fill(0, at, at + STRUCT);
  if (isRaw) arena.bytes.set(raw, at);
  else if (op.name === 'IOMMU_TEST_CMD') encodeTestCommand(arena.view, at, fields, places);
  else encode(op.layout as Layout<Fields>, arena.view, at, fields, places);
  arena.view.setUint32(at, size ?? op.layout.size, true);
  const result = seam.ioctl(fd, op.request, at);
  arena.release(mark);
  return result;
}

/** Everything that a machine could still hold. */
function leftOver(host: EmulatedHost): unknown {
  const { openFiles, regions, memory, charged, iommufds } = host.inspect();
  return { openFiles, regions, memory, charged, iommufds: iommufds.length };
}

/** Event queues and accesses that the calls made: their fds are nobody's yet. */
function closeStrays(seam: Seam): void {
  for (let fd = 2 ** 30; fd < 2 ** 30 + 200; fd++) if (seam.own(fd) === 0) seam.close(fd);
}

function survives(calls: readonly Call[], failAt: number): void {
  const host = createEmulatedHost({ machine: 'selftest', limits: { privileged: false } });
  const seam = hostSeam(host);
  const before = leftOver(host);
  const memory = host.allocateMemory(0x8000);
  const fd = seam.open('/dev/iommu', 2);
  const eventfd = seam.createEventfd(0);
  host.failAllocation(failAt);
  const { arena } = seam;
  const places = {
    addresses: [memory.address, memory.address + 0x1000n, arena.address + 0x1000n, arena.address, 0n, 0x1000n],
    fds: [memory.fd, fd, eventfd, -1, 3, ...Array.from({ length: 8 }, (_, i) => 2 ** 30 + 3 + i)],
  };
  for (const one of calls) {
    const result = perform(seam, fd, one, places);
    assert(Number.isInteger(result) && result > -200, `${one.op.name} answered ${result}`);
  }
  for (let stray = 2 ** 30; stray < 2 ** 30 + 40; stray++) {
    const at = arena.mark();
    assert(Number.isInteger(seam.read(stray, at, 64)));
    assert(Number.isInteger(seam.write(stray, at, 16)));
  }
  host.failAllocation(-1);
  closeStrays(seam);
  seam.close(eventfd);
  assert.equal(seam.close(fd), 0);
  memory.free();
  assert.deepEqual(leftOver(host), before);
}

describe('emulated kernel, given random bytes', () => {
  it('answers sequences of calls, and gives everything back', function () {
    this.timeout(120_000);
    const failAt = fc.oneof(fc.constant(-1), fc.nat({ max: 40 }));
    fc.assert(
      fc.property(fc.array(call, CALLS), failAt, (calls, after) => survives(calls, after)),
      { numRuns: 400 },
    );
  });

  it('answers bytes without any meaning', function () {
    this.timeout(120_000);
    const raw = call.map((one) => ({ ...one, isRaw: true }));
    fc.assert(
      fc.property(fc.array(raw, CALLS), (calls) => survives(calls, -1)),
      { numRuns: 100 },
    );
  });

  it('answers any request, at any place in the arena and beyond', () => {
    const host = createEmulatedHost();
    const seam = hostSeam(host);
    const fd = seam.open('/dev/iommu', 2);
    const place = fc.oneof(fc.integer({ min: -8, max: seam.arena.size + 8 }), fc.constant(2 ** 40));
    fc.assert(
      fc.property(fc.nat({ max: 0xffff_ffff }), place, (request, at) => {
        const result = seam.ioctl(fd, request, at);
        assert(Number.isInteger(result) && result > -200);
      }),
    );
    seam.close(fd);
  });
});
