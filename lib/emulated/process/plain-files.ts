// The few files besides devices that a program on an emulated machine may open or make.
import { OpenFile } from '../kernel/file.js';

/** /dev/null and /dev/zero: files that no ioctl knows and that are no memory. */
export class CharacterFile extends OpenFile {
  constructor(readonly content: 'nothing' | 'zeros') {
    super();
  }
  override read(into: Uint8Array): number {
    if (this.content === 'nothing') return 0;
    into.fill(0);
    return into.length;
  }
  override write(from: Uint8Array): number {
    return from.length;
  }
  override pread(into: Uint8Array): number {
    return this.read(into);
  }
  override pwrite(from: Uint8Array): number {
    return this.write(from);
  }
  protected override closed(): void {}
}
