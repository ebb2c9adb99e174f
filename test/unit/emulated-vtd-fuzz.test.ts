// Calls of all kinds on a VT-d machine, in any order, with allocations that fail: nothing throws but what Linux would answer,
// and once all is detached nothing gets through and nothing is kept.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { type HwptNested, type HwptPaging, IommufdError } from '../../lib/index.js';
import { bytes, DATA, guest, PAGE, VA } from './emulated-vtd-stage.js';

const PASIDS = [0, 1, 63, 64, 5000] as const;
const pasid = fc.constantFrom(...PASIDS);
const device = fc.integer({ min: 0, max: 1 });
const step = fc.oneof(
  fc.record({ kind: fc.constant('attach' as const), device, pasid, table: fc.integer({ min: 0, max: 6 }) }),
  fc.record({ kind: fc.constant('attach' as const), device, pasid, table: fc.integer({ min: 0, max: 6 }) }),
  fc.record({ kind: fc.constant('detach' as const), device, pasid }),
  fc.record({ kind: fc.constant('dma' as const), device, pasid, write: fc.boolean() }),
  fc.record({ kind: fc.constant('dma' as const), device, pasid, write: fc.boolean() }),
  fc.record({ kind: fc.constant('invalidate' as const), table: fc.integer({ min: 0, max: 6 }) }),
  fc.record({ kind: fc.constant('remap' as const) }),
  fc.record({ kind: fc.constant('track' as const), enable: fc.boolean() }),
  fc.record({ kind: fc.constant('fail' as const), after: fc.integer({ min: 0, max: 6 }) }),
  fc.record({ kind: fc.constant('answer' as const), device, answers: fc.boolean() }),
);
/** 0 stands for requests without one. */
const optionsOf = (number: number) => (number === 0 ? {} : { pasid: number });
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function stage() {
  const base = guest({ pasid: true, ats: true, recoverableFaults: true, dirtyTracking: true });
  const { ioas, device: first, nest, tables, data, iommufd, parent } = base;
  for (let page = 0; page < 4; page++) tables.map(VA + BigInt(page * PAGE), data(page));
  const faultQueue = iommufd.allocFaultQueue();
  const all: (HwptPaging | HwptNested)[] = [
    nest({ pasid: true }),
    nest({ pasid: true, eafe: true, faultQueue }),
    nest({ pasid: true, addressWidth: 39 }),
    nest(),
    ioas.allocHwpt(first, { pasid: true }),
    ioas.allocHwpt(first, { pasid: true, dirtyTracking: true, faultQueue }),
    parent,
  ];
  const devices = [base.device, base.second] as const;
  const owns = [base.own, base.otherOwn] as const;
  const run = (each: Step): void => {
    if (each.kind === 'attach') {
      devices[each.device]?.attach(all[each.table] ?? parent, optionsOf(each.pasid));
    } else if (each.kind === 'detach') {
      devices[each.device]?.detach(optionsOf(each.pasid));
    } else if (each.kind === 'dma') {
      const [own, options] = [owns[each.device], { pasid: each.pasid }];
      if (each.write) own?.dmaWrite(VA, bytes(1, 2), options);
      else own?.dmaRead(VA + BigInt(PAGE - 1), 2, options);
    } else if (each.kind === 'invalidate') {
      const table = all[each.table];
      if (table !== undefined && 'invalidate' in table) table.invalidate({ vtd: [{ address: VA, pages: 3n }] });
    } else if (each.kind === 'remap') {
      ioas.map(base.ram, { iova: 0x9000_0000n, offset: DATA, length: PAGE });
      ioas.unmap(0x9000_0000n, PAGE);
    } else if (each.kind === 'track') {
      parent.setDirtyTracking(each.enable);
    } else if (each.kind === 'fail') {
      base.host.failAllocation(each.after);
    } else {
      const own = owns[each.device];
      if (own !== undefined) own.answersInvalidations = each.answers;
    }
  };
  const detachAll = () => {
    base.host.failAllocation(-1);
    for (const own of owns) own.answersInvalidations = true;
    for (const each of devices) {
      for (const number of PASIDS) {
        if (each.attachedTo(optionsOf(number)) === undefined) each.attach(all[4] ?? parent, optionsOf(number));
        each.detach(optionsOf(number));
      }
    }
  };
  return { ...base, run, detachAll, owns };
}

describe('emulated VT-d: calls in any order', () => {
  it('leave nothing behind', () => {
    const { run, detachAll, owns, host, parent } = stage();
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        for (const each of steps) {
          try {
            run(each);
          } catch (error) {
            assert(error instanceof IommufdError, `${JSON.stringify(each)}: ${error}`);
            assert.match(error.code, /^(EFAULT|EINVAL|ENOMEM|ENODEV|ENOENT|EEXIST)$/);
          }
        }
        detachAll();
        assert.deepEqual(host.inspect().tlb, []);
        for (const own of owns) {
          for (const number of PASIDS) assert.throws(() => own.dmaRead(VA, 1, { pasid: number }), { code: 'EFAULT' });
        }
        parent.setDirtyTracking(false);
      }),
      { numRuns: 150 },
    );
  });
});
