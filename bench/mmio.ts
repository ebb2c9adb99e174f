// What a register access costs. Ordinary memory stands for the registers: a device's own time would hide ours.
import { MmioMapping, MmioRegion } from '../lib/host/mmio.js';
import { kernelSeam } from '../lib/unsafe.js';
import { cLoop } from './c-loops.js';
import { loop } from './measure.js';
import type { Benchmark } from './report.js';

const LENGTH = 4096;

/** Where what was read goes, so that no read is left out. */
export const sink = { number: 0, bigint: 0n };

export function* mmio(): Generator<Benchmark> {
  const block = kernelSeam().allocateBlock(LENGTH);
  if (typeof block === 'number') throw new Error(`no memory: ${block}`);
  const region = new MmioRegion({ mapping: new MmioMapping(block, () => {}), base: 0, length: LENGTH });
  const window = block.window(0, LENGTH);
  const view = new DataView(window.buffer, window.byteOffset, LENGTH);
  yield* [
    {
      bench: 'read32',
      contenders: [
        cLoop('read32'),
        loop('DataView', (iterations) => {
          let sum = 0;
          for (let i = 0; i < iterations; i++) sum = (sum + view.getUint32((i & 63) << 2, true)) | 0;
          sink.number = sum;
        }),
        loop('MmioRegion', (iterations) => {
          let sum = 0;
          for (let i = 0; i < iterations; i++) sum = (sum + region.read32((i & 63) << 2)) | 0;
          sink.number = sum;
        }),
      ],
    },
    {
      bench: 'write32',
      contenders: [
        cLoop('write32'),
        loop('DataView', (iterations) => {
          for (let i = 0; i < iterations; i++) view.setUint32((i & 63) << 2, i, true);
        }),
        loop('MmioRegion', (iterations) => {
          for (let i = 0; i < iterations; i++) region.write32((i & 63) << 2, i);
        }),
      ],
    },
    {
      bench: 'read64',
      contenders: [
        cLoop('read64'),
        loop('DataView', (iterations) => {
          for (let i = 0; i < iterations; i++) sink.bigint = view.getBigUint64((i & 63) << 3, true);
        }),
        loop('MmioRegion', (iterations) => {
          for (let i = 0; i < iterations; i++) sink.bigint = region.read64((i & 63) << 3);
        }),
      ],
    },
    {
      bench: 'write64',
      contenders: [
        cLoop('write64'),
        loop('DataView', (iterations) => {
          for (let i = 0; i < iterations; i++) view.setBigUint64((i & 63) << 3, 0x1234_5678_9abc_def0n, true);
        }),
        loop('MmioRegion', (iterations) => {
          for (let i = 0; i < iterations; i++) region.write64((i & 63) << 3, 0x1234_5678_9abc_def0n);
        }),
      ],
    },
  ];
  region.unmap();
}
