// A rig whose host writes down what one case asks of it: the handles of its transcript begin at 0 with every case.
import type { Header, Line } from '../../lib/recording/transcript.js';
import { recordingHost } from '../../lib/recording-host.js';
import { hostSeam } from '../../lib/unsafe.js';
import type { Rig } from './rig.js';

export interface RecordedRig<R extends Rig> {
  readonly rig: R;
  /** What was asked so far, and what came back. */
  readonly lines: readonly Line[];
}

/**
 * Memory is not followed while a case runs: what memory holds in the end is told instead (`note`), since when a device's
 * DMA comes is nobody's promise.
 */
export function recordedRig<R extends Rig>(theRig: R): RecordedRig<R> {
  const lines: Line[] = [];
  const write = (text: string) => {
    const line = JSON.parse(text) as Line | Header;
    if (!('format' in line)) lines.push(line);
  };
  const host = recordingHost(theRig.host, { followMemory: 0, write });
  const note = (line: Line) => lines.push(line);
  return { rig: { ...theRig, host, seam: hostSeam(host), bare: theRig.host, note }, lines };
}
