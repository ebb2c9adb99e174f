// What is mapped into a process, as /proc/PID/maps tells it.
import { PAGE_SIZE } from '../memory/backing.js';

export interface Mapping {
  readonly start: number;
  /** Behind its last byte. */
  readonly end: number;
  readonly readable: boolean;
  readonly writable: boolean;
  readonly shared: boolean;
  /** Where in the file it starts, in bytes. */
  readonly offset: number;
  /** The file, as device and inode number; undefined for what is no file's. */
  readonly file: string | undefined;
  readonly device: string;
  readonly name: string;
}

const LINE = /^([0-9a-f]+)-([0-9a-f]+) (.)(.).(.) ([0-9a-f]+) ([0-9a-f]+:[0-9a-f]+) (\d+) *(.*)$/;

function parse(line: string): Mapping | undefined {
  const match = LINE.exec(line);
  if (match === null) return undefined;
  const [, start = '', end = '', read, write, sharing, offset = '', device = '', inode = '', name = ''] = match;
  return {
    start: Number.parseInt(start, 16),
    end: Number.parseInt(end, 16),
    readable: read === 'r',
    writable: write === 'w',
    shared: sharing === 's',
    offset: Number.parseInt(offset, 16),
    file: inode === '0' ? undefined : `${device}:${inode}`,
    device,
    name,
  };
}

function sharesPage({ shared, file, offset, start, end }: Mapping, of: string, page: number | undefined): boolean {
  if (!shared || file !== of) return false;
  if (page === undefined) return true;
  const at = page * PAGE_SIZE;
  return offset <= at && at < offset + end - start;
}

export class Mappings {
  /** Sorted, apart from each other. */
  readonly #all: readonly Mapping[];

  constructor(text: string) {
    this.#all = text.split('\n').flatMap((line) => parse(line) ?? []);
  }

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  at(address: number): Mapping | undefined {
    let low = 0;
    let high = this.#all.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#all[middle]?.end ?? 0) <= address) low = middle + 1;
      else high = middle;
    }
    const mapping = this.#all[low];
    return mapping !== undefined && mapping.start <= address ? mapping : undefined;
  }

  /** The first mapping that shares a file, or a page of it. */
  ofFile(file: string, page?: number): Mapping | undefined {
    return this.#all.find((mapping) => sharesPage(mapping, file, page));
  }
  allOfFile(file: string, page: number): Mapping[] {
    return this.#all.filter((mapping) => sharesPage(mapping, file, page));
  }
  /** What is mapped between two addresses. */
  between(start: number, end: number): Mapping[] {
    return this.#all.filter((mapping) => mapping.start < end && mapping.end > start);
  }

  /** How many bytes from an address on, of so many, are there with the rights that are asked for. */
  reach(address: number, length: number, allows: (mapping: Mapping) => boolean): number {
    let at = address;
    while (at < address + length) {
      const mapping = this.at(at);
      if (mapping === undefined || !allows(mapping)) break;
      at = mapping.end;
    }
    return Math.min(length, at - address);
  }
}
