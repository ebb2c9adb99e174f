// A file whose contents are not in the machine's own memory: a memfd of a program outside of it.
import type { ForeignMemory } from '../memory/foreign.js';
import { OpenFile } from './file.js';

export abstract class ForeignFile extends OpenFile {
  /** Its pages, by their number in the file. */
  abstract readonly memory: ForeignMemory;
}
