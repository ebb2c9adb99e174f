// The fuzzer itself: two kernels that are alike agree, and one that is wrong in one thing is found, its session made small, and
// told as a transcript. Both are emulated here; `npm run test:differential` runs it against Linux.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import {
  ERRNO,
  IOMMU_DESTROY,
  IOMMU_HWPT_INVALIDATE,
  IOMMU_IOAS_ALLOC,
  IOMMU_IOAS_UNMAP,
  type Ioctl,
  VFIO_DEVICE_GET_INFO,
} from '../../lib/uapi/index.js';
import { type Host, hostSeam } from '../../lib/unsafe.js';
import { type FuzzOptions, fuzz, type Outcome } from '../differential/fuzz.js';
import type { Lane } from '../differential/lane.js';
import { type Pair, runInLockstep } from '../differential/lockstep.js';
import { mockLane } from '../differential/mock-lane.js';
import { parsePlan, plans } from '../differential/plan.js';
import { Tape } from '../differential/tape.js';
import { tellSession } from '../differential/transcript.js';
import { vfioLane } from '../differential/vfio/lane.js';

type Change = (host: Host) => void;

/** A host that answers an ioctl otherwise than it should. */
function answering(op: Ioctl, change: (result: number, view: DataView, at: number) => number): Change {
  return (host) => {
    const seam = hostSeam(host);
    const { ioctl } = seam;
    seam.ioctl = (fd, request, at) => {
      const result = ioctl.call(seam, fd, request, at);
      return request === op.request ? change(result, seam.arena.view, at) : result;
    };
  };
}

function hostsOf(lane: Lane, change: Change = () => undefined): Pair<Host> {
  const hosts = { kernel: lane.emulatedHost(), emulated: lane.emulatedHost() };
  change(hosts.emulated);
  return hosts;
}
function run(lane: Lane, hosts: Pair<Host>, options: Partial<FuzzOptions> = {}): Promise<Outcome> {
  const sides = { kernel: lane.side(hosts.kernel, false), emulated: lane.side(hosts.emulated, false) };
  return fuzz(lane, sides, { seed: 7, calls: 2000, enough: 1, ...options });
}

/** A lane that tells which steps it was asked for. */
function listing(lane: Lane): { readonly lane: Lane; readonly steps: ReadonlySet<string> } {
  const steps = new Set<string>();
  const side: Lane['side'] = (host, isKernel) => {
    const inner = lane.side(host, isKernel);
    return {
      begin: async (random) => {
        const life = await inner.begin(random);
        const { run } = life;
        life.run = (step, choices) => {
          steps.add(step);
          return run.call(life, step, choices);
        };
        return life;
      },
      get calls() {
        return inner.calls;
      },
    };
  };
  return { lane: { ...lane, side }, steps };
}

interface Mistake {
  readonly name: string;
  readonly lane: Lane;
  readonly change: Change;
  /** Calls that the smallest session takes at most, from its start to the difference. */
  readonly most: number;
  readonly expected: RegExp;
  readonly came: RegExp;
}

const MISTAKES: readonly Mistake[] = [
  {
    name: 'another errno',
    lane: mockLane,
    change: answering(IOMMU_DESTROY, (result) => (result === -ERRNO.EBUSY ? -ERRNO.EINVAL : result)),
    most: 12,
    expected: /IOMMU_DESTROY.*"EBUSY"/,
    came: /IOMMU_DESTROY.*"EINVAL"/,
  },
  {
    name: 'a refusal that is none',
    lane: mockLane,
    change: answering(IOMMU_IOAS_UNMAP, (result) => (result === -ERRNO.ENOENT ? 0 : result)),
    most: 6,
    expected: /IOMMU_IOAS_UNMAP.*"ENOENT"/,
    came: /IOMMU_IOAS_UNMAP.*"result":0/,
  },
  {
    name: 'a field that is written back wrong',
    lane: mockLane,
    change: answering(IOMMU_HWPT_INVALIDATE, (result, view, at) => {
      // How many entries were done, where one was refused.
      const done = at + IOMMU_HWPT_INVALIDATE.layout.at.entry_num;
      if (result < 0 && view.getUint32(done, true) === 0) view.setUint32(done, 1, true);
      return result;
    }),
    most: 16,
    expected: /IOMMU_HWPT_INVALIDATE.*"entry_num":0/,
    came: /IOMMU_HWPT_INVALIDATE/,
  },
  {
    name: 'an id that is given twice',
    lane: mockLane,
    change: answering(IOMMU_IOAS_ALLOC, (result, view, at) => {
      const id = at + IOMMU_IOAS_ALLOC.layout.at.out_ioas_id;
      if (result === 0 && view.getUint32(id, true) > 2) view.setUint32(id, 2, true);
      return result;
    }),
    most: 8,
    expected: /IOMMU_IOAS_ALLOC.*"out_ioas_id":[3-9]/,
    came: /IOMMU_IOAS_ALLOC.*"out_ioas_id":2/,
  },
  {
    name: 'an event that is not read',
    lane: mockLane,
    change: (host) => {
      const seam = hostSeam(host);
      const { read } = seam;
      seam.read = (fd, at, length) => {
        const result = read.call(seam, fd, at, length);
        return result > 0 ? 0 : result;
      };
    },
    most: 16,
    expected: /"call":"read".*"data"/,
    came: /"call":"read".*"result":0/,
  },
  {
    name: 'a field of a VFIO device',
    lane: vfioLane,
    change: answering(VFIO_DEVICE_GET_INFO, (result, view, at) => {
      if (result === 0) view.setUint32(at + VFIO_DEVICE_GET_INFO.layout.at.num_irqs, 1, true);
      return result;
    }),
    most: 100,
    expected: /VFIO_DEVICE_GET_INFO.*"num_irqs":5/,
    came: /VFIO_DEVICE_GET_INFO.*"num_irqs":1\b/,
  },
];

describe('differential: two kernels that are alike', () => {
  for (const [name, lane] of Object.entries({ mock: mockLane, vtd: vfioLane })) {
    it(`agree on ${name}, and every step comes`, async () => {
      const { lane: listed, steps } = listing(lane);
      const outcome = await run(listed, hostsOf(lane), { calls: 6000 });
      assert.deepEqual(outcome.found, []);
      assert(outcome.calls >= 6000);
      assert.deepEqual(
        [...lane.steps].filter((step) => !steps.has(step)),
        [],
      );
    });
  }

  it('are asked the same for the same seed', async () => {
    const [one, two] = [await run(mockLane, hostsOf(mockLane)), await run(mockLane, hostsOf(mockLane))];
    assert.deepEqual(one, two);
    const other = await run(mockLane, hostsOf(mockLane), { seed: 8 });
    assert.notEqual(other.calls, one.calls);
  });

  it('are asked all the same where several programs share the batches', async () => {
    const shared = async (options: Partial<FuzzOptions>): Promise<number> => {
      const { sessions, calls } = await run(mockLane, hostsOf(mockLane), { calls: 1, ...options });
      assert.equal(sessions, 20);
      return calls;
    };
    const batches: number[] = [];
    const onBatch = (batch: number) => batches.push(batch);
    const all = await run(mockLane, hostsOf(mockLane), { first: 4, every: 3, calls: 2500, onBatch });
    assert.deepEqual(batches, [4, 7, 10].slice(0, batches.length));
    assert(batches.length > 1);
    let sum = 0;
    for (const first of batches) sum += await shared({ first });
    assert.equal(all.calls, sum);
  });

  it('are at fault where one complains', async () => {
    let sessions = 0;
    const complaints = () => (++sessions > 25 ? ['WARNING: something'] : []);
    const { found } = await run(mockLane, hostsOf(mockLane), { complaints });
    assert.match(found[0]?.error ?? '', /the kernel complained: WARNING: something/);
    assert.equal(found[0]?.batch, 1);
  });
});

describe('differential: a kernel that is wrong', () => {
  for (const { name, lane, change, most, expected, came } of MISTAKES) {
    it(`is found, and the session made small: ${name}`, async () => {
      const hosts = hostsOf(lane, change);
      const { found } = await run(lane, hosts, { calls: 20_000 });
      const [first] = found;
      assert(first?.difference !== undefined, first?.error);

      const told = await tellSession(lane, hosts, first.plan);
      const [was, came2] = told.slice(-2);
      assert.match(was ?? '', /^expected: /);
      assert.match(was ?? '', expected);
      assert.match(came2 ?? '', /^came: /);
      assert.match(came2 ?? '', came);
      assert(told.length - 2 <= most, `${told.length - 2} calls:\n${told.join('\n')}`);

      // What was printed repeats it, on hosts that were never used.
      const plan = parsePlan(JSON.stringify(first.plan), lane);
      const fresh = hostsOf(lane, change);
      const sides = { kernel: lane.side(fresh.kernel, false), emulated: lane.side(fresh.emulated, false) };
      assert.deepEqual(await runInLockstep(sides, plan), first.difference);
    });
  }

  it('is found until there were enough differences', async () => {
    const change = answering(IOMMU_IOAS_ALLOC, () => -ERRNO.ENOMEM);
    const { found, sessions } = await run(mockLane, hostsOf(mockLane, change), { enough: 3 });
    assert.deepEqual(
      found.map(({ batch }) => batch),
      [0, 1, 2],
    );
    assert(sessions >= 3);
  });
});

describe('differential: plans', () => {
  it('become simpler in every number', () => {
    const tape = Tape.of([5, 0, 9]);
    const random = tape.play();
    for (let i = 0; i < 4; i++) random.u32();
    const simpler = [...tape.simpler()].map((one) => {
      const play = one.play();
      return [play.u32(), play.u32(), play.u32()];
    });
    assert.deepEqual(simpler, [
      [0, 0, 0],
      [0, 0, 9],
      [5, 0, 0],
      [2, 0, 9],
      [5, 0, 4],
    ]);
    assert.deepEqual(Tape.of([]).used, []);
  });

  it('are usual where all numbers are 0', () => {
    const random = Tape.of([]).play();
    assert.equal(random.percent(51), true);
    assert.equal(random.percent(49), false);
    assert.equal(random.pick(['first', 'second']), 'first');
    assert.equal(
      random.weighted([
        [1, 'rare'],
        [9, 'other'],
      ]),
      'rare',
    );
  });

  it('are of any length', () => {
    const lengths = fc.sample(plans(mockLane), { seed: 1, numRuns: 100 }).map(({ moves }) => moves.length);
    assert(Math.min(...lengths) < 10 && Math.max(...lengths) > mockLane.longest - 10);
  });

  it('refuse steps that are not there', () => {
    assert.throws(() => parsePlan('{"begin":[],"moves":[["jump",[]]],"end":[]}', mockLane), /there is no step jump/);
  });
});
