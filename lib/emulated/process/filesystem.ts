// The paths that a program finds on an emulated machine: device nodes, and what discovery reads of sysfs.
import type { FileStatus } from '../../host/seam.js';
import { ERRNO } from '../../uapi/errno.js';
import type { OpenFile } from '../kernel/file.js';

interface Node {
  readonly major: number;
  readonly minor: number;
  open(): OpenFile | number;
}

export class Filesystem {
  readonly #nodes = new Map<string, Node>();
  readonly #texts = new Map<string, string>();
  readonly #links = new Map<string, string>();
  /** Names in every folder that has any. */
  readonly #folders = new Map<string, Set<string>>();

  /** A character device. */
  addNode(path: string, node: Node): void {
    this.#nodes.set(path, node);
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
    const node = this.#nodes.get(path);
    if (node !== undefined) return node.open();
    return this.#folders.has(path) ? -ERRNO.EISDIR : -ERRNO.ENOENT;
  }
  status(path: string): FileStatus | number {
    const node = this.#nodes.get(path);
    if (node !== undefined) return { kind: 'character-device', major: node.major, minor: node.minor, size: 0 };
    const plain = { major: 0, minor: 0, size: 0 };
    if (this.#links.has(path)) return { ...plain, kind: 'link' };
    if (this.#texts.has(path)) return { ...plain, kind: 'file', size: 4096 };
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
