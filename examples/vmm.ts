// A small VMM's life with an IOMMU, told as it happens: guest memory, page tables, a virtual IOMMU with a hardware queue
// whose registers the guest gets, an event, and the way down. Read it from `main` on; each step is one call.
//
//   node dist/examples/vmm.js                             on this machine's /dev/iommu with the kernel's mock device; where
//                                                         there is none, on an emulated machine, and it says so
//   node dist/examples/vmm.js --device 0000:01:00.0       with a PCI device that vfio-pci drives
//   npm run start:vm                                      on a real kernel in QEMU: no hardware, no privilege needed
import { parseArgs } from 'node:util';
import { type Iommufd, openHost, type Vevent } from 'iommufd';
import { type Board, emulatedBoard, mockBoard, pciBoard } from './boards.js';

/** Where the guest finds its memory: the IOVA of the nesting parent is the guest's physical address. */
const GUEST_RAM = 0x4000_0000n;
const GUEST_RAM_SIZE = 64n << 20n;
/** The guest keeps its command queue at the start of its memory. */
const QUEUE_SIZE = 4096n;

const MiB = (bytes: bigint | number) => `${Number(bytes) / 2 ** 20} MiB`;
const hex = (value: bigint | number) => `0x${value.toString(16)}`;

function say(text: string): void {
  for (const line of text.split('\n')) console.log(`  ${line}`);
}

let steps = 0;

/** One step of the story. What this machine cannot do is named, with the reason, and the story goes on without it. */
async function step<T>(title: string, work: () => T | Promise<T>): Promise<T | undefined> {
  console.log(`\n${++steps}. ${title}`);
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof Error) || !('code' in error)) throw error;
    say(`not on this machine: ${error.message}`);
    return undefined;
  }
}

function needs<T>(thing: T | undefined, name: string): T {
  if (thing === undefined) throw Object.assign(new Error(`it needs ${name}, which is not there`), { code: 'SKIPPED' });
  return thing;
}

function describeEvent(event: Vevent): string {
  if (event.type === 'lost') return `${event.count} event(s) were lost before number ${event.sequence}`;
  const { event: detail } = event;
  if (detail.kind === 'arm-smmuv3') return `${detail.name} of stream ${detail.streamId}`;
  if (detail.kind === 'tegra241-cmdqv') return `error on queue ${detail.queues.join(', ')}`;
  return `number ${event.sequence}, ${detail.data.length} bytes: ${Buffer.from(detail.data).toString('hex')}`;
}

/** The story. Everything is made from something made before, and `using`-like order is kept by hand to show it. */
async function life(iommufd: Iommufd, board: Board): Promise<void> {
  const { host } = iommufd;
  const { device } = board;

  const info = await step("Ask what the device's IOMMU is (GET_HW_INFO)", () => device.hwInfo());
  if (info !== undefined) {
    const type = typeof info.type === 'number' ? hex(info.type) : info.type;
    say(
      `kind ${type}, ${info.maxPasidLog2} PASID bits, dirty tracking ${info.capabilities.dirtyTracking ? 'yes' : 'no'}`,
    );
  }

  const ram = host.allocateMemory(GUEST_RAM_SIZE);
  const ioas = await step('Guest memory becomes an I/O address space (IOAS_ALLOC, IOAS_MAP_FILE)', () => {
    const made = iommufd.allocIoas();
    made.map(ram, { iova: GUEST_RAM });
    say(`${MiB(ram.size)} of ${ram.backing} memory at guest physical ${hex(GUEST_RAM)}`);
    return made;
  });

  await step('The device may reach it (attach: the kernel makes a page table)', () => {
    const made = device.attach(needs(ioas, 'the address space'));
    const { ranges, alignment } = needs(ioas, 'the address space').iovaRanges();
    say(`page table ${made.id}; all guest memory is pinned now`);
    say(
      `usable IOVAs: ${ranges.map(({ start, last }) => `${hex(start)}-${hex(last)}`).join(', ')}, aligned to ${alignment}`,
    );
  });

  await step('It does: the device writes by itself, and the guest reads (DMA)', () => {
    const text = Buffer.from('written by the device');
    const iova = GUEST_RAM + 0x10_0000n;
    const back = board.dma(iova, text);
    say(
      `the guest finds "${Buffer.from(ram.read(iova - GUEST_RAM, text.length))}"; the device reads "${Buffer.from(back)}"`,
    );
  });

  const parent = await step("A page table to be the guest's stage 2 (HWPT_ALLOC with NEST_PARENT)", () => {
    const made = needs(ioas, 'the address space').allocHwpt(device, { nestParent: true });
    say(`page table ${made.id}`);
    return made;
  });

  const viommu = await step('A virtual IOMMU: a slice of the physical one for this guest (VIOMMU_ALLOC)', () => {
    const made = needs(parent, 'a nesting parent').allocViommu(device, board.viommu());
    say(`vIOMMU ${made.id}`);
    return made;
  });

  const vdevice = await step('The device gets the id that the guest knows it by (VDEVICE_ALLOC)', () => {
    const made = needs(viommu, 'a vIOMMU').allocVdevice(device, { virtId: 0x100n });
    say(`virtual id ${hex(made.virtId)}`);
    return made;
  });

  const nested = await step("The guest's own page table, on top of the parent (HWPT_ALLOC with driver data)", () => {
    const from = board.nestsFromParent ? needs(parent, 'a nesting parent') : needs(viommu, 'a vIOMMU');
    const made = from.allocNestedHwpt(device, board.nested());
    const before = device.attachedTo();
    device.attach(made);
    say(`the device went from page table ${before?.id} to ${made.id} in one step, without a gap`);
    return made;
  });

  const events = await step('A queue for what the guest must be told (VEVENTQ_ALLOC)', () => {
    const made = needs(viommu, 'a vIOMMU').allocVeventq(board.veventq());
    say(`up to ${made.depth} events wait in it`);
    return made;
  });

  const queue = await step('The vQUEUE: guest memory that the IOMMU reads by itself (HW_QUEUE_ALLOC)', () => {
    const options = { ...board.hwQueue(), index: 0, iova: GUEST_RAM, length: QUEUE_SIZE };
    const made = needs(viommu, 'a vIOMMU').allocHwQueue(options);
    say(`queue ${made.index}: ${made.length} bytes at guest physical ${hex(made.iova)}, pinned while it lives`);
    return made;
  });

  const page = await step('Its registers, for the guest to drive without a VM exit (mmap)', () => {
    const made = needs(queue, 'the vQUEUE').mmap();
    const { offset, length } = needs(queue, 'the vQUEUE').mmapRegion;
    say(`mmap offset ${hex(offset)}, ${length} bytes; a KVM memory slot would take address ${hex(made.address)}`);
    say(`first register reads ${hex(made.read32(0))}`);
    return made;
  });

  await step('Something happens, and the guest will hear of it (vEVENT)', async () => {
    const from = needs(events, 'an event queue');
    board.raiseEvent(page);
    for await (const event of from.read({ signal: AbortSignal.timeout(5000) })) {
      say(describeEvent(event));
      break;
    }
  });

  await step('What is alive now', () => say(iommufd.drawGraph()));

  await step('What is in use is not torn away', () => {
    const inUse = needs(viommu, 'a vIOMMU');
    try {
      inUse.destroy();
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      say(error.message);
    }
  });

  await step('Down again, in the order the kernel needs', () => {
    page?.unmap();
    queue?.destroy();
    events?.destroy();
    device.detach();
    nested?.destroy();
    vdevice?.destroy();
    viommu?.destroy();
    parent?.destroy();
    say(`unmapped ${MiB(ioas?.unmapAll() ?? 0n)}`);
    ioas?.destroy();
    ram.free();
    say(`left: ${iommufd.objects.map((object) => object.describe()).join(', ')}`);
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { device: { type: 'string' } } });
  const host = openHost();
  console.log(`Host: ${host.kind}${host.kind === 'emulated' ? ': a program plays the kernel and the hardware' : ''}`);
  // Closing the iommufd closes all that was made from it, the device too, whatever happened until then.
  const iommufd = host.openIommufd();
  try {
    const missing = iommufd.probe().filter(({ supported }) => !supported);
    for (const { name, since } of missing) console.log(`This kernel lacks ${name} (Linux ${since})`);
    const board =
      values.device === undefined ? (emulatedBoard(iommufd) ?? mockBoard(iommufd)) : pciBoard(iommufd, values.device);
    console.log(`Device: ${board.what}`);
    await life(iommufd, board);
  } finally {
    iommufd.close();
  }
  console.log('\nAll closed. Nothing is left.');
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
