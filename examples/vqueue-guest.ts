// What the vQUEUE is for. A VMM lends its guest a command queue of the IOMMU; from then on the guest changes its page tables and
// tells the hardware by itself: no call of the VMM's, no way out of the guest. This program plays both. What the VMM does are
// calls into the kernel; what the guest does are loads and stores alone, in its memory and in the page of registers that
// the VMM maps into it. The guest's driver is in test/rig/vqueue-guest.ts.
//
//   node dist/examples/vqueue-guest.js                          on an emulated machine with a Tegra241: no hardware needed
//   node dist/examples/vqueue-guest.js --device 0000:01:00.0    on this machine's /dev/iommu, if it is such a machine (NVIDIA
//                                                               Grace); what the device itself has to do is left out
import assert from 'node:assert/strict';
import { subscribe } from 'node:diagnostics_channel';
import { parseArgs } from 'node:util';
import {
  type Device,
  type DmaMemory,
  type Host,
  type HwQueue,
  type Ioas,
  type Iommufd,
  type MmioRegion,
  openHost,
  type Veventq,
  type Viommu,
} from 'iommufd';
import { createEmulatedHost, type EmulatedDevice } from 'iommufd/emulated';
import {
  FORGET_ASID,
  forgetPage,
  GuestQueue,
  GuestTables,
  NOT_FOR_GUESTS,
  RAM_SIZE,
  SYNC,
  VA,
} from '../test/rig/vqueue-guest.js';

/** Where the guest finds its memory: the IOVA of the nesting parent is the guest's physical address. */
const GUEST_RAM = 0x4000_0000n;
/** What the guest calls its device: the StreamID. */
const STREAM = 7;
/** What stands in the guest's pages 0 and 1. */
const TEXTS = ['the old page', 'the new page'] as const;
const [OLD, NEW] = TEXTS;
const MANY = 32;
const PAGE = 4096;

const hex = (value: bigint | number) => `0x${value.toString(16)}`;
const chapter = (title: string) => console.log(`\n${title}`);
const tell = (who: 'VMM' | 'guest' | 'device' | '', text: string) => console.log(`  ${who.padEnd(8)}${text}`);

/** Calls into the kernel, be it the emulated one: each is published. */
let calls = 0;
subscribe('iommufd:call', () => calls++);

async function callsOf(work: () => unknown): Promise<number> {
  const before = calls;
  await work();
  return calls - before;
}

interface Machine {
  readonly what: string;
  readonly host: Host;
  readonly address: string;
  /** The device's own side, which makes it do DMA. A real device does what its own driver tells it. */
  readonly itself: EmulatedDevice | undefined;
}

function findMachine(address: string | undefined): Machine {
  if (address === undefined) {
    const place = '0000:01:00.0';
    const host = createEmulatedHost({ machine: 'tegra241-cmdqv', devices: [{ address: place }] });
    const what = 'an emulated Tegra241 (SMMUv3 with CMDQV): a program plays the kernel and the hardware';
    return { what, host, address: place, itself: host.device(place) };
  }
  return {
    what: `this one, by its kernel, with ${address}`,
    host: openHost({ kind: 'kernel' }),
    address,
    itself: undefined,
  };
}

/** Holds the device to what it should read, and tells of it. */
function reads({ itself }: Machine, expected: string, remark = ''): void {
  if (itself === undefined) return;
  const text = Buffer.from(itself.dmaRead(VA, expected.length)).toString();
  assert.equal(text, expected);
  tell('device', `reads ${hex(VA)}: "${text}"${remark}`);
}

/** What a VMM has for a guest. */
interface Lent {
  readonly device: Device;
  readonly ram: DmaMemory;
  readonly ioas: Ioas;
  readonly viommu: Viommu;
  readonly events: Veventq;
  readonly page0: MmioRegion;
  readonly queue: HwQueue;
  /** The guest's driver of the queue. */
  readonly guest: GuestQueue;
}

function makeGuest({ host, address }: Machine, iommufd: Iommufd): Lent {
  chapter('1. The VMM makes a guest');
  const device = host.openDevice(address).bind(iommufd);
  const { fields } = device.hwInfo('tegra241-cmdqv');
  tell(
    'VMM',
    `asks what there is: a CMDQV, version ${fields.version}, with ${2 ** Number(fields.log2vcmdqs)} queues a guest`,
  );
  const ram = host.allocateMemory(RAM_SIZE);
  const ioas = iommufd.allocIoas();
  ioas.map(ram, { iova: GUEST_RAM });
  const parent = ioas.allocHwpt(device, { nestParent: true });
  tell(
    'VMM',
    `maps the guest's memory, ${ram.size / 1024} KiB at ${hex(GUEST_RAM)} as the guest sees it: stage 2 (IOAS_MAP)`,
  );
  const viommu = parent.allocViommu(device, { type: 'tegra241-cmdqv' });
  viommu.allocVdevice(device, { virtId: STREAM });
  tell('VMM', `makes a vIOMMU, in which the device is stream ${STREAM} (VIOMMU_ALLOC, VDEVICE_ALLOC)`);
  const events = viommu.allocVeventq({ depth: 16 });
  const page0 = viommu.mmap();
  tell('VMM', `maps its registers, ${page0.length / 1024} KiB: KVM gives that page to the guest as it is (mmap)`);
  const guest = new GuestQueue(ram, page0);
  const { offset, length } = guest.place;
  const queue = viommu.allocHwQueue({ index: 0, iova: GUEST_RAM + offset, length });
  tell('VMM', `hands the IOMMU the vQUEUE, ${length} bytes of guest memory at ${hex(queue.iova)} (HW_QUEUE_ALLOC)`);
  return { device, ram, ioas, viommu, events, page0, queue, guest };
}

async function startDriver(machine: Machine, { device, ram, viommu, guest }: Lent): Promise<GuestTables> {
  chapter("2. The guest's driver starts");
  const tables = new GuestTables(ram, GUEST_RAM);
  TEXTS.forEach((text, page) => {
    ram.write(tables.offset(page), Buffer.from(text));
  });
  tables.map(0, 0);
  tell('guest', `writes page tables into its own memory: ${hex(VA)} leads to its page 0. That is stage 1`);
  device.attach(viommu.allocNestedHwpt(device, { ste: tables.ste() }));
  tell('VMM', 'attaches the device to them (HWPT_ALLOC with the stream table entry of the guest)');
  assert(await guest.start());
  tell('guest', 'turns its queue on, by a register');
  reads(machine, OLD);
  return tables;
}

async function changePage(machine: Machine, { viommu, guest }: Lent, tables: GuestTables): Promise<void> {
  chapter('3. The guest changes a page table, and tells the IOMMU by its queue');
  tables.map(0, 1);
  tell('guest', `changes a word of its page table: ${hex(VA)} leads to its page 1`);
  reads(machine, OLD, ', since the IOMMU keeps what it found before');
  const byQueue = await callsOf(async () => {
    guest.submit(forgetPage(VA), SYNC);
    assert(await guest.completed());
  });
  assert.equal(byQueue, 0);
  tell('guest', 'writes TLBI_NH_VA and CMD_SYNC into the queue, rings the doorbell (PROD), and sees CONS arrive');
  reads(machine, NEW);
  tell('', `calls into the kernel from doorbell to completion: ${byQueue}`);
  const byKernel = await callsOf(() => viommu.invalidate({ smmuv3: BigUint64Array.from(forgetPage(VA)) }));
  assert.equal(byKernel, 1);
  tell('', `without a queue: ${byKernel} (HWPT_INVALIDATE), and the way out of the guest and back in`);
}

async function changeManyPages(machine: Machine, { guest }: Lent, tables: GuestTables): Promise<void> {
  chapter(`4. ${MANY} pages, one doorbell`);
  for (let i = 0; i < MANY; i++) tables.map(i, 0);
  const commands = Array.from({ length: MANY }, (_, i) => forgetPage(VA + BigInt(i * PAGE)));
  const byQueue = await callsOf(async () => {
    guest.submit(...commands, SYNC);
    assert(await guest.completed());
  });
  assert.equal(byQueue, 0);
  tell('guest', `writes ${MANY} commands and CMD_SYNC, and rings once; calls into the kernel: ${byQueue}`);
  reads(machine, OLD, ' again');
}

async function makeMistake(machine: Machine, { guest, events }: Lent, tables: GuestTables): Promise<void> {
  chapter('5. The guest makes a mistake');
  tables.map(0, 1);
  guest.submit(NOT_FOR_GUESTS, FORGET_ASID, SYNC);
  assert.equal(await guest.completed(), false);
  const { index, reason } = guest.stoppedAt;
  assert.equal(reason, 1);
  tell('guest', `writes CFGI_ALL, which no guest may: the queue stops at entry ${index} (CERROR_ILL)`);
  for await (const event of events.read({ signal: AbortSignal.timeout(5000) })) {
    assert(event.type === 'event' && event.event.kind === 'tegra241-cmdqv');
    assert.deepEqual(event.event.queues, [0]);
    tell('VMM', `hears of an error on queue ${event.event.queues.join(', ')} by a vEVENT, and interrupts the guest`);
    break;
  }
  reads(machine, OLD, ': what stands behind the mistake waits');
  guest.skip();
  guest.acknowledge();
  assert(await guest.completed());
  tell('guest', 'puts CMD_SYNC in its place and acknowledges (GERRORN): the queue goes on');
  reads(machine, NEW);
}

function takeBack({ device, ram, ioas, page0, queue, guest }: Lent, iommufd: Iommufd): void {
  chapter('6. Down again, in the order the kernel needs');
  assert.throws(() => ioas.unmapAll(), { code: 'EBUSY' });
  tell('VMM', "cannot unmap the guest's memory while the queue lives in it: EBUSY");
  guest.disable();
  page0.unmap();
  queue.destroy();
  device.detach();
  iommufd.close();
  ram.free();
  tell('VMM', 'takes back the page, the queue, the device, and all the rest');
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { device: { type: 'string' } } });
  const machine = findMachine(values.device);
  console.log(`Machine: ${machine.what}`);
  const iommufd = machine.host.openIommufd();
  try {
    const lent = makeGuest(machine, iommufd);
    const tables = await startDriver(machine, lent);
    await changePage(machine, lent, tables);
    await changeManyPages(machine, lent, tables);
    await makeMistake(machine, lent, tables);
    takeBack(lent, iommufd);
  } finally {
    iommufd.close();
  }
  console.log('\nAll of this was checked on the way.');
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
