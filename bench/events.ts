// What decoding events costs, against reading the same fields by hand. No kernel is needed.
import { parseVevents } from '../lib/objects/decode-events.js';
import { iommu_veventq_type } from '../lib/uapi/index.js';
import { loop } from './measure.js';
import type { Benchmark } from './report.js';

const EVENTS = 1000;
const HEADER = 8;
const PAYLOAD = 32;
const EVENT = HEADER + PAYLOAD;

/** Translation faults of an SMMUv3, as a vEVENTQ gives them. */
function records(): DataView {
  const view = new DataView(new ArrayBuffer(EVENTS * EVENT));
  for (let i = 0; i < EVENTS; i++) {
    view.setUint32(i * EVENT + 4, i, true);
    view.setBigUint64(i * EVENT + HEADER, 0x10n | (7n << 32n), true);
    view.setBigUint64(i * EVENT + HEADER + 16, BigInt(i) << 12n, true);
  }
  return view;
}

function byHand(view: DataView): object[] {
  const events: object[] = [];
  for (let at = 0; at < view.byteLength; at += EVENT) {
    events.push({
      sequence: view.getUint32(at + 4, true),
      id: view.getUint8(at + HEADER),
      streamId: view.getUint32(at + HEADER + 4, true),
      inputAddress: view.getBigUint64(at + HEADER + 16, true),
    });
  }
  return events;
}

export function events(): Benchmark {
  const view = records();
  const type = iommu_veventq_type.values.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3;
  const queue = { type, payload: PAYLOAD, expected: 0 };
  return {
    bench: `decode ${EVENTS} SMMUv3 events`,
    per: EVENTS,
    unit: 'ns an event',
    contenders: [
      loop('four fields by hand', (iterations) => {
        for (let i = 0; i < iterations; i++) byHand(view);
      }),
      loop('parseVevents', (iterations) => {
        for (let i = 0; i < iterations; i++) parseVevents(view, 0, view.byteLength, queue);
      }),
    ],
  };
}
