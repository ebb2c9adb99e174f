// The memory of programs outside of the machine: which processes there are, and which files they share. A page of a file is one
// page, whoever maps it, and at however many addresses.
import type { Frames } from '../memory/frames.js';
import type { PhysicalMemory } from '../memory/physical.js';
import { Filesystems } from './filesystems.js';
import type { Mapping, Mappings } from './mappings.js';
import { SharedFile } from './shared-file.js';

/** A process, as files that it maps see it. */
export interface Mapper {
  readonly pid: number;
  /** What it maps now. */
  mappings(): Mappings;
  readRaw(address: number, into: Uint8Array): number;
  writeRaw(address: number, from: Uint8Array): number;
}

export class RemoteMemory {
  readonly mappers = new Set<Mapper>();
  readonly #filesystems = new Filesystems();
  readonly #files = new Map<string, SharedFile>();
  /** Devices of filesystems of huge pages. */
  readonly #hugeDevices = new Set<string>();
  /** Goes up when what is known of mappings is no longer true. */
  epoch = 0;

  /** Physical memory as the machine has it. */
  constructor(readonly physical: PhysicalMemory) {}

  /** A file, by its device and inode. */
  file(key: string): SharedFile {
    let file = this.#files.get(key);
    if (file === undefined) {
      file = new SharedFile(this, key);
      this.#files.set(key, file);
    }
    return file;
  }
  /** A file that something was asked of before. */
  knownFile(key: string): SharedFile | undefined {
    return this.#files.get(key);
  }
  forgetFile(file: SharedFile): void {
    this.#files.delete(file.key);
  }

  /** Whether pinned pages of a file are reached through mappings alone. */
  get needsMappings(): boolean {
    for (const file of this.#files.values()) if (file.needsMappings) return true;
    return false;
  }

  /** What a physical page is that somebody holds. */
  memoryOf(frame: number): Frames {
    const memory = this.physical.find(frame);
    if (memory === undefined) throw new Error(`nothing has the physical page ${frame}`);
    return memory;
  }

  /** Whether a mapping consists of huge pages. */
  isHuge({ device, name }: Mapping): boolean {
    if (name.startsWith('/anon_hugepage')) this.#hugeDevices.add(device);
    return this.#hugeDevices.has(device);
  }
  addHugeDevice(device: string): void {
    this.#hugeDevices.add(device);
  }
  writesBack({ device }: Mapping): boolean {
    return this.#filesystems.writesBack(device);
  }
}
