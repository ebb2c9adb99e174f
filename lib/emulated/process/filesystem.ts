// The paths that a program finds on an emulated machine: device nodes, and what discovery reads of sysfs.
import type { FileStatus } from '../../host/seam.js';
import { ERRNO } from '../../uapi/errno.js';
import type { OpenFile } from '../kernel/file.js';

interface Node {
  readonly major: number;
  readonly minor: number;
  open(): OpenFile | number;
}

/** A file that is made of something else when it is read. */
interface LiveFile {
  /** Bytes. */
  readonly size: number;
  open(): OpenFile | number;
}

export class Filesystem {
  readonly #nodes = new Map<string, Node>();
  readonly #files = new Map<string, LiveFile>();
  readonly #texts = new Map<string, string>();
  readonly #links = new Map<string, string>();
  /** Names in every folder that has any. */
  readonly #folders = new Map<string, Set<string>>();

  /** A character device. */
  addNode(path: string, node: Node): void {
    this.#nodes.set(path, node);
    this.#enter(path);
  }
  addFile(path: string, file: LiveFile): void {
    this.#files.set(path, file);
    this.#enter(path);
  }
  addText(path: string, text: string): void {
    this.#texts.set(path, text);
    this.#enter(path);
  }
  addLink(path: string, target: string): void {
    this.#links.set(path, target);
    this.#enter(path);
  }
  /** Takes a path away, and what is below it. */
  remove(path: string): void {
    for (const name of this.#folders.get(path) ?? []) this.remove(`${path}/${name}`);
    for (const kind of [this.#nodes, this.#files, this.#texts, this.#links, this.#folders]) kind.delete(path);
    const slash = path.lastIndexOf('/');
    this.#folders.get(path.slice(0, slash) || '/')?.delete(path.slice(slash + 1));
  }
  #enter(path: string): void {
    const slash = path.lastIndexOf('/');
    if (path === '/') return;
    const parent = path.slice(0, slash) || '/';
    const names = this.#folders.get(parent) ?? new Set();
    names.add(path.slice(slash + 1));
    this.#folders.set(parent, names);
    this.#enter(parent);
  }

  open(path: string): OpenFile | number {
    const file = this.#nodes.get(path) ?? this.#files.get(path);
    if (file !== undefined) return file.open();
    return this.#folders.has(path) ? -ERRNO.EISDIR : -ERRNO.ENOENT;
  }
  status(path: string): FileStatus | number {
    const node = this.#nodes.get(path);
    if (node !== undefined) return { kind: 'character-device', major: node.major, minor: node.minor, size: 0 };
    const plain = { major: 0, minor: 0, size: 0 };
    if (this.#links.has(path)) return { ...plain, kind: 'link' };
    if (this.#texts.has(path)) return { ...plain, kind: 'file', size: 4096 };
    const file = this.#files.get(path);
    if (file !== undefined) return { ...plain, kind: 'file', size: file.size };
    return this.#folders.has(path) ? { ...plain, kind: 'directory' } : -ERRNO.ENOENT;
  }
  readText(path: string): string | number {
    const text = this.#texts.get(path);
    if (text !== undefined) return text;
    return this.#folders.has(path) ? -ERRNO.EISDIR : -ERRNO.ENOENT;
  }
  readLink(path: string): string | number {
    const target = this.#links.get(path);
    if (target !== undefined) return target;
    return typeof this.status(path) === 'number' ? -ERRNO.ENOENT : -ERRNO.EINVAL;
  }
  list(path: string): string[] | number {
    const names = this.#folders.get(path);
    if (names !== undefined) return [...names].sort();
    return typeof this.status(path) === 'number' ? -ERRNO.ENOENT : -ERRNO.ENOTDIR;
  }
}
