// A table of the kernel's that answers by a function, which is told pages: for tests of hardware alone.
import type { Translation } from '../../lib/emulated/kernel/driver.js';

const PAGE = 4096;

/** @param frame the physical page behind a page, or -1 */
export function translationBy(frame: Translation['frame']): Translation {
  return {
    frame,
    translate(page, offset, write) {
      const found = frame(page, write);
      return found < 0 ? -1 : found * PAGE + offset;
    },
  };
}
