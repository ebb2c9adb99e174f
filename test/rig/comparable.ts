// What two kernels must answer alike, of what a case asked: its transcript without what no two machines share. Everything
// that is left out or changed is left out here, each with the reason why it cannot be the same.
import { createHash } from 'node:crypto';
import { bytesText } from '../../lib/recording/bytes.js';
import type { Json, Line } from '../../lib/recording/transcript.js';
import { iommu_hw_info_type, iommufdIoctls } from '../../lib/uapi/iommufd.js';
import { vfioIoctls } from '../../lib/uapi/vfio.js';
import { testCommandLine } from './test-command.js';

type Fields = Record<string, Json | undefined>;

/**
 * What sysfs tells of a machine is the machine's; whether an fd is owned no kernel knows; and how often the event loop finds a
 * file readable takes its time: what was in it is told by the reads.
 */
const NOT_TOLD: ReadonlySet<unknown> = new Set([
  ...['status', 'readText', 'readLink', 'list'],
  ...['own', 'disown'],
  'readable',
]);

/** Longer content is told by a digest. */
const LONGEST = 256;
const DIGITS = 16;

export function digestOf(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex').slice(0, DIGITS);
}

/** What memory holds: written out where that is short. */
export function contentOf(bytes: Uint8Array): string {
  const text = bytesText(bytes);
  return text.length > LONGEST ? `${bytes.length} bytes, sha256 ${digestOf(bytes)}` : text;
}

const SIZES: ReadonlyMap<string, number> = new Map(
  [...iommufdIoctls, ...vfioIoctls].map(({ name, layout }) => [name, layout.size]),
);

const isNothing = (value: Json | undefined): boolean =>
  value === 0 || value === '0x0' || value === undefined || (Array.isArray(value) && value.every(isNothing));

const ZEROS = /^00\*\d+$/;
const unlessEmpty = (fields: Fields): Fields | undefined => (Object.keys(fields).length === 0 ? undefined : fields);

/** Fields that are 0 are left out (as results are that are 0), and the size where it is what the struct has: so files stay small. */
function told(name: string, fields: Fields): Fields {
  const size = SIZES.get(name);
  return Object.fromEntries(
    Object.entries(fields).filter(
      ([field, value]) => !isNothing(value) && !((field === 'size' || field === 'argsz') && value === size),
    ),
  );
}

function shortened(value: Json | undefined): Json | undefined {
  if (typeof value === 'string') {
    return value.length > LONGEST ? `${value.length} characters, sha256 ${digestOf(value)}` : value;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return mapFields(value as Fields, shortened);
}
function mapFields(fields: Fields, change: (value: Json | undefined, name: string) => Json | undefined): Fields {
  return Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, change(value, name)]));
}

/** What is thrown for misuse is worded by the host. */
function unworded(line: Line): Line {
  if (line.throws === undefined) return line;
  const { name, code } = line.throws as Line;
  return { ...line, throws: { name, code } };
}

/** The command register in configuration space, and what firmware may leave there: decoding of I/O ports, and SERR#. */
const COMMAND = '0x70000000004';
const FIRMWARE = 0x0101;
function withoutFirmware(line: Line): Line {
  const { call, position, data, bytes } = line;
  if ((call !== 'pread' && call !== 'pwrite') || position !== COMMAND) return line;
  const masked = (text: Json | undefined) => {
    const value = Buffer.from(String(text), 'hex');
    if (value.length !== 2) return text;
    value.writeUInt16LE(value.readUInt16LE() & ~FIRMWARE);
    return value.toString('hex');
  };
  return {
    ...line,
    ...(data === undefined ? {} : { data: masked(data) }),
    ...(bytes === undefined ? {} : { bytes: masked(bytes) }),
  };
}

/** Which number a device's node has depends on what other devices the machine has. */
function withoutNumber(line: Line): Line {
  return typeof line.path === 'string' ? { ...line, path: line.path.replace(/vfio\d+$/, 'vfio*') } : line;
}

/** Registers that identify the hardware, in IOMMU_GET_HW_INFO: Intel's, and those of Arm's SMMUv3. */
const HARDWARE: ReadonlySet<unknown> = new Set([
  iommu_hw_info_type.values.IOMMU_HW_INFO_TYPE_INTEL_VTD,
  iommu_hw_info_type.values.IOMMU_HW_INFO_TYPE_ARM_SMMUV3,
]);
function withoutIdentity(line: Line): Line {
  const { name, in: asked, out, filled } = line;
  const kind = { ...(asked as Fields), ...(out as Fields) };
  const isHardware = HARDWARE.has(kind.out_data_type) || HARDWARE.has(kind.in_data_type);
  return name === 'IOMMU_GET_HW_INFO' && filled !== undefined && isHardware
    ? { ...line, filled: 'of the hardware' }
    : line;
}

/** The fd that the mock's DMABUF_GET was to answer: Linux makes it, and answers 0. */
function madeFile(result: Json | undefined): Json | undefined {
  return typeof result === 'number' ? 0 : result;
}

/** A range of IOVAs that the kernel chose. */
interface Chosen {
  readonly start: bigint;
  readonly length: bigint;
}

const FIXED_IOVA = 1;
/** The field that answers the IOVA which a call chose. */
const CHOSEN_BY: ReadonlyMap<Json | undefined, string> = new Map([
  ['IOMMU_IOAS_MAP', 'iova'],
  ['IOMMU_IOAS_MAP_FILE', 'iova'],
  ['IOMMU_IOAS_COPY', 'dst_iova'],
]);
const IOVA_FIELD = /iova$/;
/** The mock names accesses by their fds. */
const BY_ACCESS = new Set(['access_pages', 'access_rw', 'access_replace_ioas', 'destroy_access_pages']);

/** The lines of one case. */
class Case {
  readonly #lines: Line[] = [];
  readonly #chosen: Chosen[] = [];
  readonly #accesses: Json[] = [];
  readonly #eventfds = new Set<Json | undefined>();

  add(line: Line): void {
    if (NOT_TOLD.has(line.call ?? line.event) || this.#isLooking(line)) return;
    const plain = withoutNumber(this.#ioctl(testCommandLine(line) ?? withoutIdentity(line)));
    if (!this.#isAnswerOfJob(plain)) this.#put(shortened(unworded(withoutFirmware(plain))) as Line);
  }

  /** How often a program looks and finds nothing, how often interrupts came until it looked, and whether it had to wait. */
  #isLooking({ call, fd, result }: Line): boolean {
    if (call === 'eventfd') this.#eventfds.add(result);
    if (call === 'duplicate' && this.#eventfds.has(fd)) this.#eventfds.add(result);
    if (call === 'watch') return this.#eventfds.has(fd);
    return call === 'read' && (result === 0 || this.#eventfds.has(fd));
  }

  /** When the thread pool is done with a call is nobody's promise: its answer is told with the call. */
  #isAnswerOfJob({ event, job, ...answer }: Line): boolean {
    const at = event === 'done' ? this.#lines.findIndex((line) => line.job === job) : -1;
    const asked = this.#lines[at];
    if (asked === undefined) return false;
    const told = shortened(answer) as Line;
    const out = this.#out(asked.ioctl, (asked.in ?? {}) as Fields, (told.out ?? {}) as Fields, told.result === 0);
    this.#lines[at] = { ...asked, ...told, ...(told.out === undefined ? {} : { out }) };
    return true;
  }

  /** How often a program polls takes its time: of reads that follow each other the last is told. */
  #put(line: Line): void {
    const last = this.#lines.at(-1);
    if (last !== undefined && isRead(line) && sameQuestion(line, last)) this.#lines.pop();
    this.#lines.push(line);
  }

  #ioctl(line: Line): Line {
    const { call, fd, name, in: asked, behind, tail, result, out, ...rest } = line;
    if (call !== 'ioctl' || typeof name !== 'string' || asked === undefined) return line;
    const input = told(
      name,
      mapFields(asked as Fields, (value, field) => this.#named(field, value)),
    );
    const answer = this.#out(name, asked as Fields, (out ?? {}) as Fields, result === 0);
    const test = /^IOMMU_TEST_CMD (.*)/.exec(name)?.[1];
    if (test !== undefined) this.#access(test, input, answer);
    const given = tail === undefined || ZEROS.test(String(tail)) ? undefined : tail;
    // What is undefined is left out, and these come in the order of their use.
    return {
      ...{ ioctl: name, fd, in: unlessEmpty(input), behind, tail: given },
      ...{ result: test === 'dmabuf_get' ? madeFile(result) : result, out: unlessEmpty(answer), ...rest },
    };
  }

  /** IOVAs that the kernel chose suit where memory lies and what the IOMMU translates. */
  #out(name: Json | undefined, asked: Fields, out: Fields, worked: boolean): Fields {
    const field = CHOSEN_BY.get(name);
    if (field === undefined || !worked || (Number(asked.flags ?? 0) & FIXED_IOVA) !== 0) {
      return mapFields(out, (value, field) => this.#named(field, value));
    }
    const start = BigInt(String(out[field] ?? asked[field]));
    this.#chosen.push({ start, length: BigInt(String(asked.length)) });
    return { ...out, [field]: `chosen:${this.#chosen.length - 1}` };
  }
  #named(field: string, value: Json | undefined): Json | undefined {
    if (!IOVA_FIELD.test(field) || typeof value !== 'string' || !value.startsWith('0x')) return value;
    const iova = BigInt(value);
    const at = this.#chosen.findIndex(({ start, length }) => iova >= start && iova < start + length);
    const range = this.#chosen[at];
    return range === undefined ? value : `chosen:${at}+0x${(iova - range.start).toString(16)}`;
  }

  #access(test: string, input: Fields, out: Fields): void {
    const { out_access_fd: fd } = out;
    if (fd !== undefined) {
      this.#accesses.push(fd);
      out.out_access_fd = `access:${this.#accesses.length - 1}`;
    }
    const at = BY_ACCESS.has(test) ? this.#accesses.indexOf(input.id ?? 0) : -1;
    if (at >= 0) input.id = `access:${at}`;
    // A number in a struct that the library does not know: it is told as it is.
    if (test === 'dmabuf_revoke' && input.dmabuf_fd !== -1) input.dmabuf_fd = 'an fd';
  }

  text(): string[] {
    return this.#lines.map((line) => JSON.stringify(line.result === 0 ? { ...line, result: undefined } : line));
  }
}

const READS = /^(?:pread|read(?:8|16|32|64))$/;
function isRead({ call }: Line): boolean {
  return typeof call === 'string' && READS.test(call);
}
const ANSWERS = new Set(['result', 'value', 'data', 'throws']);
function sameQuestion(one: Line, other: Line): boolean {
  const asked = (line: Line) => JSON.stringify(Object.entries(line).filter(([name]) => !ANSWERS.has(name)));
  return asked(one) === asked(other);
}

/** The lines of a case that are the same on every machine that does what Linux does. */
export function comparable(lines: readonly Line[]): string[] {
  const theCase = new Case();
  for (const line of lines) theCase.add(line);
  return theCase.text();
}
