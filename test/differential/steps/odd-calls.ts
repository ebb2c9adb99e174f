// Calls that no program makes on purpose: structs of any length, structs that are not all there, files that are closed, calls
// that do not exist; and which files can be read.
import { IOMMU_TEST_CMD, iommu_test_cmd } from '../../../lib/emulated/hardware/selftest/uapi.js';
import { IOMMU_DESTROY, IOMMU_FAULT_QUEUE_ALLOC, IOMMU_IOAS_ALLOC, type Ioctl } from '../../../lib/uapi/index.js';
import { iommufdIoctls } from '../../../lib/uapi/iommufd.js';
import { type Session, U32_MAX } from '../session.js';
import { detachPasids } from './devices.js';
import type { Weighted } from './step.js';

const ALL: readonly Ioctl[] = [...iommufdIoctls, IOMMU_TEST_CMD as unknown as Ioctl];

/**
 * Numbers that are no call: below IOMMUFD's own (those are VFIO's), behind them, and IOMMUFD's with a direction and a size, which
 * its calls do not tell.
 */
function unknownRequest(s: Session): number {
  const { random } = s;
  const known = random.pick(ALL)?.request ?? 0;
  return random.weighted([
    [3, 0x3ba1],
    [1, 0x3bff],
    [1, 0x3b9f],
    [1, 0x3b00],
    [1, 0x3c80],
    [4, (known | random.pick([0x8000_0000, 0x4000_0000, 0xc000_0000, 0x0001_0000, 0xc028_0000])) >>> 0],
  ]);
}

/** Calls and sub-operations that do not exist. */
function unknownCall(s: Session): void {
  if (s.random.percent(40)) s.machine.test(s.fd, s.random.pick([0, 24, 25, U32_MAX]), iommu_test_cmd, {});
  else s.machine.ioctl(s.fd, { ...IOMMU_DESTROY, request: unknownRequest(s) }, {}, { size: s.random.below(300) });
}

/** A struct of zeros that says to be of any length, with anything behind what is known. */
function anyLength(s: Session): void {
  const { random } = s;
  const op = random.pick(ALL) ?? IOMMU_IOAS_ALLOC;
  const size = random.weighted<() => number>([
    [40, () => random.below(op.layout.size + 40)],
    [30, () => random.below(4200)],
    [20, () => 4096 + random.below(8) - 4],
    [10, () => random.pick([0x8000_0000, 0x7fff_ffff, U32_MAX])],
  ])();
  // Of very long ones, zeros would be looked for in what calls before left in the arena.
  const behind = size > 0x1_0000 ? 1 : random.pick([0, 1, 0xff]);
  const { result, out } = s.machine.ioctl(s.fd, op, {}, { size, behind });
  keep(s, op.request, result, out);
}

/** What came of a call that was asked with next to nothing. */
function keep(s: Session, request: number, result: number, out: Readonly<Record<string, unknown>>): void {
  if (result < 0) return;
  if (request === IOMMU_IOAS_ALLOC.request) s.add({ id: Number(out.out_ioas_id), kind: 'ioas' });
  if (request !== IOMMU_FAULT_QUEUE_ALLOC.request) return;
  s.addEvents(Number(out.out_fault_id), Number(out.out_fault_fd), 'fault');
}

/** A struct of which only the beginning is there: behind it lies nothing. Whoever makes nothing is asked. */
function atEdge(s: Session): void {
  const { random } = s;
  const ops = ALL.filter(({ request }) => request !== IOMMU_FAULT_QUEUE_ALLOC.request);
  const op = random.pick(ops) ?? IOMMU_IOAS_ALLOC;
  const { size } = op.layout;
  const there = random.percent(50) ? size : random.below(size + 1);
  const struct = new Uint8Array(Math.max(there, 1));
  const says = random.percent(60) ? size : random.pick([there, op.minSize, size + 8, 4096, U32_MAX]);
  if (there >= 4) new DataView(struct.buffer).setUint32(0, says, true);
  const { result, bytes } = s.machine.ioctlAtEdge(s.fd, op.request, struct);
  if (result < 0 || bytes.length < size) return;
  keep(s, op.request, result, op.layout.decode(new DataView(bytes.buffer), 0));
}

/** A struct's address that leads nowhere. */
function nowhere(s: Session): void {
  const { request } = s.random.pick(ALL) ?? IOMMU_IOAS_ALLOC;
  const address = s.random.pick([0, 1, 4095, 4096, 2 ** 47 - 4096, 2 ** 47, 2 ** 52 - 1]);
  s.machine.ioctlAt(s.fd, s.random.percent(75) ? request : unknownRequest(s), address);
}

/** The wrong kind of file, or none. */
function wrongFile(s: Session): void {
  const { random, machine } = s;
  const others = [
    machine.eventfd,
    machine.file.fd,
    ...s.eventFiles.map(({ fd }) => fd),
    ...s.accesses.map(({ fd }) => fd),
  ];
  const fd = random.percent(80) ? (random.pick(others) ?? -1) : random.pick([-1, 0x7fff_fff0]);
  random.weighted<() => void>([
    [4, () => machine.ioctl(fd, random.pick(ALL) ?? IOMMU_IOAS_ALLOC, {})],
    [2, () => machine.read(s.fd, random.pick([0, 8, 4096]))],
    [2, () => machine.write(s.fd, new Uint8Array(random.pick([0, 8, 4096])))],
    // Of a memfd it would be memory.
    [1, () => machine.map(fd === machine.file.fd ? machine.eventfd : fd, 0, 4096)],
  ])();
}

/** The context itself, with all that is in it; and calls on what is closed. */
function closeContext(s: Session): void {
  const { machine, random } = s;
  detachPasids(s);
  const { fd } = s;
  machine.close(fd);
  if (random.percent(50)) machine.ioctl(fd, IOMMU_IOAS_ALLOC, {});
  if (random.percent(20)) machine.read(fd, 8);
  s.reopen();
}

async function poll(s: Session): Promise<void> {
  const events = s.eventFiles.map(({ fd }) => fd);
  const others = s.random.percent(20)
    ? [s.fd, s.machine.eventfd, s.machine.file.fd, ...s.accesses.map(({ fd }) => fd)]
    : [];
  await s.machine.poll([...events, ...others]);
}

export const oddSteps: readonly Weighted[] = [
  [3, unknownCall],
  [6, anyLength],
  [4, atEdge],
  [2, nowhere],
  [2, wrongFile],
  [1, closeContext],
  [3, poll, 'events'],
];
