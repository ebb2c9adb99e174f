// NVMe commands as the controller reads them, and what it says of itself (NVM Express Base Specification 1.4, sections 5 and 6).

/** Bytes of a command. */
export const COMMAND_SIZE = 64;

interface Command {
  readonly opcode: number;
  readonly namespace?: number;
  /** Where its data is: up to two pages, the second one given where there are two. */
  readonly data?: bigint;
  readonly secondPage?: bigint;
  /** Command words 10, 11 and 12. */
  readonly words?: readonly number[];
}

const NAMESPACE = 4;
const DATA = 24;
const SECOND_PAGE = 32;
const WORDS = 40;

/** A command's bytes; its number (bytes 2 and 3) is the queue's to write. */
export function encode({ opcode, namespace = 0, data = 0n, secondPage = 0n, words = [] }: Command): Uint8Array {
  const bytes = new Uint8Array(COMMAND_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, opcode);
  view.setUint32(NAMESPACE, namespace, true);
  view.setBigUint64(DATA, data, true);
  view.setBigUint64(SECOND_PAGE, secondPage, true);
  for (const [i, word] of words.entries()) view.setUint32(WORDS + 4 * i, word, true);
  return bytes;
}

// Admin commands.
export const identifyNamespace = (namespace: number, data: bigint) =>
  encode({ opcode: 0x06, namespace, data, words: [0] });
export const identifyController = (data: bigint) => encode({ opcode: 0x06, data, words: [1] });
/** Asks for this many pairs of I/O queues. */
export const setQueueCount = (count: number) =>
  encode({ opcode: 0x09, words: [0x07, (count - 1) | ((count - 1) << 16)] });
/** A queue at these addresses, in one piece; completions interrupt with this vector. */
export const createCompletionQueue = (queue: number, entries: number, data: bigint, vector: number) =>
  encode({ opcode: 0x05, data, words: [((entries - 1) << 16) | queue, (vector << 16) | 0b11] });
export const createSubmissionQueue = (queue: number, entries: number, data: bigint) =>
  encode({ opcode: 0x01, data, words: [((entries - 1) << 16) | queue, (queue << 16) | 0b1] });
export const deleteCompletionQueue = (queue: number) => encode({ opcode: 0x04, words: [queue] });
export const deleteSubmissionQueue = (queue: number) => encode({ opcode: 0x00, words: [queue] });

/** Blocks of a namespace, and where their bytes are in memory. */
export interface Transfer {
  readonly namespace: number;
  readonly block: number;
  readonly blocks: number;
  readonly data: bigint;
  readonly secondPage?: bigint;
}

// I/O commands.
const transfer = (opcode: number, { block, blocks, ...rest }: Transfer) =>
  encode({ opcode, ...rest, words: [block >>> 0, Math.floor(block / 2 ** 32), blocks - 1] });
export const write = (what: Transfer) => transfer(0x01, what);
export const read = (what: Transfer) => transfer(0x02, what);
export const flush = (namespace: number) => encode({ opcode: 0x00, namespace });

export interface ControllerIdentity {
  readonly serial: string;
  readonly model: string;
  readonly firmware: string;
  readonly namespaces: number;
}

export interface NamespaceIdentity {
  readonly blocks: bigint;
  /** Bytes. */
  readonly blockSize: number;
}

export function decodeController(bytes: Uint8Array): ControllerIdentity {
  const text = (from: number, to: number) => Buffer.from(bytes.subarray(from, to)).toString('latin1').trim();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return { serial: text(4, 24), model: text(24, 64), firmware: text(64, 72), namespaces: view.getUint32(516, true) };
}

export function decodeNamespace(bytes: Uint8Array): NamespaceIdentity {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const format = view.getUint8(26) & 0xf;
  return { blocks: view.getBigUint64(0, true), blockSize: 2 ** view.getUint8(128 + 4 * format + 2) };
}
