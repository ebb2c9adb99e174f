// A driver of an NVMe controller: its way up and down, and what is asked of it. Small: one pair of I/O queues, transfers of
// up to two pages, one at a time in flight for data.
import type { InterruptVector, Iommufd, VfioDevice } from 'iommufd';
import * as commands from './commands.js';
import { PAGE_SIZE, type Page, Pages } from './pages.js';
import { ENTRIES, QueuePair } from './queue.js';
import { REGISTERS_SIZE, Registers } from './registers.js';

/** Pages: two rings for each of the two queues, and the data. */
const PAGES = 6;
/** Bytes that one command moves at most. */
export const MOST_DATA = 2 * PAGE_SIZE;
const IO_QUEUE = 1;
const NAMESPACE = 1;

export class NvmeController {
  readonly #device: VfioDevice;
  readonly #pages: Pages;
  readonly #data: Page;
  readonly #registers: Registers;
  readonly #admin: QueuePair;
  readonly #io: QueuePair;

  private constructor(device: VfioDevice, pages: Pages) {
    this.#device = device;
    this.#pages = pages;
    device.config.enable({ memory: true, busMaster: true });
    this.#registers = new Registers(device.region('bar0').mmap({ length: REGISTERS_SIZE }));
    if (this.#registers.mostEntries < ENTRIES) throw new Error(`queues of ${ENTRIES} entries are too long for it`);
    this.#admin = new QueuePair(0, pages.take(), pages.take(), this.#registers);
    this.#io = new QueuePair(IO_QUEUE, pages.take(), pages.take(), this.#registers);
    this.#data = pages.take(2);
  }

  /** Takes a device over: it is closed with the driver, and where the driver cannot start. */
  static async start(device: VfioDevice, iommufd: Iommufd): Promise<NvmeController> {
    let pages: Pages | undefined;
    try {
      device.bind(iommufd);
      const ioas = iommufd.allocIoas();
      device.attach(ioas);
      pages = new Pages(iommufd.host, ioas, PAGES);
      const controller = new NvmeController(device, pages);
      await controller.#start();
      return controller;
    } catch (error) {
      device.close();
      pages?.free();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const [adminVector, ioVector] = this.#device.interrupts('msix').enable({ count: 2 });
    if (adminVector === undefined || ioVector === undefined) throw new Error('the controller has too few interrupts');
    serve(adminVector, this.#admin);
    serve(ioVector, this.#io);
    await this.#registers.start(ENTRIES, this.#admin.submission.iova, this.#admin.completion.iova);
    await this.#admin.submit(commands.setQueueCount(1));
    const { completion, submission } = this.#io;
    await this.#admin.submit(commands.createCompletionQueue(IO_QUEUE, ENTRIES, completion.iova, ioVector.index));
    await this.#admin.submit(commands.createSubmissionQueue(IO_QUEUE, ENTRIES, submission.iova));
  }

  async identifyController(): Promise<commands.ControllerIdentity> {
    await this.#admin.submit(commands.identifyController(this.#data.iova));
    return commands.decodeController(this.#data.read(0, PAGE_SIZE));
  }

  async identifyNamespace(): Promise<commands.NamespaceIdentity> {
    await this.#admin.submit(commands.identifyNamespace(NAMESPACE, this.#data.iova));
    return commands.decodeNamespace(this.#data.read(0, PAGE_SIZE));
  }

  async readBlocks(block: number, blocks: number, blockSize: number): Promise<Uint8Array> {
    await this.#io.submit(commands.read(this.#transfer(block, blocks, blockSize)));
    return this.#data.read(0, blocks * blockSize);
  }

  /** Writes blocks, and waits until they are on the medium. */
  async writeBlocks(block: number, bytes: Uint8Array, blockSize: number): Promise<void> {
    const what = this.#transfer(block, bytes.length / blockSize, blockSize);
    this.#data.write(0, bytes);
    await this.#io.submit(commands.write(what));
    await this.#io.submit(commands.flush(NAMESPACE));
  }

  #transfer(block: number, blocks: number, blockSize: number): commands.Transfer {
    const length = blocks * blockSize;
    if (!Number.isInteger(blocks) || blocks < 1 || length > MOST_DATA) {
      throw new RangeError(`a command moves 1 byte to ${MOST_DATA}, in whole blocks, not ${length}`);
    }
    const { iova } = this.#data;
    const secondPage = length > PAGE_SIZE ? iova + BigInt(PAGE_SIZE) : 0n;
    return { namespace: NAMESPACE, block, blocks, data: iova, secondPage };
  }

  /** The way down: queues, the controller, the device, its memory. */
  async stop(): Promise<void> {
    try {
      await this.#admin.submit(commands.deleteSubmissionQueue(IO_QUEUE));
      await this.#admin.submit(commands.deleteCompletionQueue(IO_QUEUE));
      await this.#registers.shutDown();
      await this.#registers.stop();
    } finally {
      // This ends its DMA, its interrupts and its registers; only then memory goes.
      this.#device.close();
      const why = new Error('the driver was stopped');
      this.#admin.fail(why);
      this.#io.fail(why);
      this.#pages.free();
    }
  }
}

/** Takes completions whenever the queue's interrupt comes, until it is turned off. */
async function serve(interrupt: InterruptVector, queue: QueuePair): Promise<void> {
  try {
    for await (const _ of interrupt) queue.reap();
  } catch (error) {
    queue.fail(error instanceof Error ? error : new Error(String(error)));
  }
}
