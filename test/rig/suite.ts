// How a conformance case is written: a group, a stable id, what it needs, and a function over a fresh iommufd. After
// each case everything is closed, and what is left over fails it.
import assert from 'node:assert/strict';
import type { DmaMemory, Iommufd, MemoryOptions } from '../../lib/index.js';
import { errnoName, type Fields, type Input, IOMMU_DESTROY, type Ioctl, type Values } from '../../lib/uapi/index.js';
import { isOlder } from '../../lib/uapi/releases.js';
import { type Attachments, type Port, tryCall, type Unsupported, unsupported } from '../../lib/unsafe.js';
import { comparable, contentOf } from './comparable.js';
import { Lacking, lackingIn, NotHere, tellLacking } from './lacking.js';
import { MockDevice, type MockDeviceOptions } from './mock.js';
import { recordedRig } from './recorded-rig.js';
import { type Capability, type Rig, rig } from './rig.js';
import { areHeld, differenceTo, hasLines, type Lane, missingIn } from './transcripts.js';

/** Bytes of a page, as sizes of memory are told. */
export const PAGE_SIZE = 4096;
/** The same, as IOVAs and lengths of mappings are told. */
export const PAGE = 4096n;
/** Of memory up to this many bytes transcripts tell what it holds in the end. */
const MOST_TOLD = 2 ** 22;
/** An id that no object has. */
export const NO_ID = 0x7fff_0000;

/** A call's outcome: 'ok' or the errno's name, and the struct as it came back. */
export interface Answer<F extends Fields> {
  readonly code: string;
  readonly out: Values<F>;
}

export interface RawStruct {
  /** Says how long the struct is (its first u32); the layout's size if left out. */
  readonly size?: number;
  /** Bytes behind the struct. */
  readonly tail?: Uint8Array;
}

/** What a case works with. */
export class Bench {
  readonly rig: Rig;
  readonly #undo: (() => void)[] = [];
  #iommufd: Iommufd | undefined;
  #memories = 0;

  constructor(theRig: Rig) {
    this.rig = theRig;
  }

  /** This case's iommufd, opened when first asked for. */
  get iommufd(): Iommufd {
    this.#iommufd ??= this.openIommufd();
    return this.#iommufd;
  }

  /** Another iommufd, closed at the end of the case. */
  openIommufd(): Iommufd {
    const iommufd = this.rig.host.openIommufd();
    this.later(() => iommufd.close());
    return iommufd;
  }

  /** Runs at the end of the case, the last one first. */
  later(step: () => void): void {
    this.#undo.push(step);
  }

  /** Memory, freed at the end of the case; 64 KiB if no size is given. */
  memory(size: number | bigint = 0x10000, options?: MemoryOptions): DmaMemory {
    const memory = this.rig.host.allocateMemory(size, options);
    const name = `memory ${this.#memories++}`;
    this.later(() => {
      if (!memory.freed && memory.size <= MOST_TOLD)
        this.rig.note?.({ event: name, holds: contentOf(memory.window()) });
      memory.free();
    });
    return memory;
  }

  /** A mock device, bound to this case's iommufd, attached to nothing of the case's. */
  mockDevice(options?: MockDeviceOptions, iommufd: Iommufd = this.iommufd): MockDevice {
    return new MockDevice(iommufd, this.rig.seam, options);
  }

  /** An ioctl past the objects, on this case's iommufd or another fd. */
  ioctl<F extends Fields>(op: Ioctl<F>, input: Input<F>, attachments?: Attachments, fd = this.iommufd.fd): Answer<F> {
    const { result, out } = tryCall(portOf(this, fd), op, input, attachments);
    return this.#answer(op, input, result, out);
  }

  /** An ioctl whose struct has another length than the layout says, and bytes behind it. */
  ioctlSized<F extends Fields>(op: Ioctl<F>, input: Input<F>, { size, tail }: RawStruct): Answer<F> {
    const { seam } = this.rig;
    const { arena } = seam;
    const { fd } = this.iommufd;
    const mark = arena.mark();
    const at = arena.take(op.layout.size + (tail?.length ?? 0));
    op.layout.encode(arena.view, at, input);
    arena.view.setUint32(at, size ?? op.layout.size, true);
    if (tail !== undefined) arena.bytes.set(tail, at + op.layout.size);
    const result = seam.ioctl(fd, op.request, at);
    const out = op.layout.decode(arena.view, at);
    arena.release(mark);
    return this.#answer(op, input, result, out);
  }

  /** Whether this case's kernel has a call. */
  has({ name }: Ioctl): boolean {
    return this.iommufd.probe().some((call) => call.name === name && call.supported);
  }
  /** Makes the case pending where its kernel lacks a call: before it makes what it could not undo then. */
  needs(op: Ioctl): void {
    const { name: what, since } = op;
    if (!this.has(op)) throw new Lacking({ what, since, running: this.rig.seam.release });
  }
  /** Whether this case's kernel is this Linux: for what that one is known to do otherwise. */
  onLinux(release: '6.12'): boolean {
    const { release: running } = this.rig.seam;
    return !isOlder(running, release) && !isOlder(release, running);
  }

  /** Makes the case pending on a Linux that has a defect which the case would run into. */
  notOn(release: '6.12', why: string): void {
    if (this.onLinux(release)) throw new NotHere(`Linux ${release} ${why}`);
  }

  #answer<F extends Fields>(op: Ioctl<F>, args: Input<F>, result: number, out: Values<F>): Answer<F> {
    const code = codeOf(result);
    const lacking = unsupported(this.rig.seam.release, { syscall: op.name, code, args });
    if (lacking !== undefined) throw new Lacking(lacking);
    return { code, out };
  }

  /** IOMMU_DESTROY past the objects: 'ok' or the errno's name. */
  destroyId(id: number): string {
    return this.ioctl(IOMMU_DESTROY, { id }).code;
  }

  /** Undoes everything after the case failed, which is what must be told, whatever the clean-up says. */
  finishAfter(failure: unknown): never {
    try {
      this.finish();
    } catch (error) {
      console.error('the clean-up failed too:', error);
    }
    throw failure;
  }

  /** Undoes everything. */
  finish(): void {
    const errors: unknown[] = [];
    for (const step of this.#undo.splice(0).reverse()) {
      try {
        step();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length === 1) throw errors[0];
    if (errors.length > 1) throw new AggregateError(errors, 'the clean-up failed');
  }
}

/** 'ok', or the errno's name. */
export function codeOf(result: number): string {
  return result < 0 ? errnoName(result) : 'ok';
}

/** Where raw calls go: the case's iommufd, or another fd. */
export function portOf(t: Bench, fd = t.iommufd.fd): Port {
  return { seam: t.rig.seam, fd };
}

export type Case = (bench: Bench) => void | Promise<void>;

export interface CaseOptions {
  readonly needs?: Capability;
  /** What is answered depends on where memory happens to lie physically: lanes are compared by the outcome alone. */
  readonly dependsOnLayout?: boolean;
}

export interface Group {
  /** A case. Its id is `group/id`: lanes are compared by it, so it never changes. */
  (id: string, what: string, run: Case): void;
  (id: string, what: string, options: CaseOptions, run: Case): void;
}

/** What a case does, and on what. */
export interface Subject<R extends Rig, B extends Bench> {
  /** Why it cannot be run here; undefined if it can. */
  readonly lacks: () => string | undefined;
  readonly rig: () => R;
  readonly bench: (rig: R) => B;
  /** Which machine its transcript is of. */
  readonly lane: Lane;
  /** Whether lanes are compared by its calls too. */
  readonly compareCalls: boolean;
  readonly run: (bench: B) => void | Promise<void>;
}

/** Holds a case against its transcript; answers whether it has one. The real kernel's lane demands that it was recorded. */
function hold(lane: Lane, id: string, calls: readonly string[], isReal: boolean): boolean {
  const wrong = (isReal ? missingIn(lane, id) : undefined) ?? differenceTo(lane, id, calls);
  if (wrong !== undefined) assert.fail(wrong);
  return hasLines(lane, id);
}

/** A group of cases whose ids differ. */
export function declareCases<R extends Rig, B extends Bench>(
  group: string,
  declare: (add: (id: string, what: string, subject: Subject<R, B>) => void) => void,
): void {
  const seen = new Set<string>();
  describe(group, () => {
    declare((id, what, subject) => {
      assert(!seen.has(id), `${group}/${id} is there twice`);
      seen.add(id);
      it(`${group}/${id}: ${what}`, async function () {
        const reason = subject.lacks();
        if (reason !== undefined) {
          if (this.test) this.test.title += ` [${reason}]`;
          this.skip();
        }
        const theRig = subject.rig();
        const { rig: recorded, lines } = recordedRig(theRig);
        const bench = subject.bench(recorded);
        const before = theRig.census();
        let lacking: Unsupported | undefined;
        let reasonHere: string | undefined;
        try {
          await subject.run(bench);
        } catch (failure) {
          lacking = lackingIn(failure);
          reasonHere = failure instanceof NotHere ? failure.message : lacking && tellLacking(lacking);
          if (reasonHere === undefined) bench.finishAfter(failure);
        }
        bench.finish();
        const { compareCalls, lane } = subject;
        const calls = compareCalls ? comparable(lines) : [];
        // For the reporter: what lanes are compared by.
        Object.assign(this.test ?? {}, { calls, compareCalls, lacking });
        if (reasonHere !== undefined) {
          if (this.test) this.test.title += ` [${reasonHere}]`;
          this.skip();
        }
        assert.deepEqual(theRig.census(), before, 'the case left something behind');
        if (!areHeld(theRig.seam)) return;
        const held = hold(lane, `${group}/${id}`, calls, theRig.name === 'kernel');
        Object.assign(this.test ?? {}, { held });
      });
    });
  });
}

/** A group of cases of the conformance suite, mostly one per ioctl. */
export function conformance(group: string, declare: (test: Group) => void): void {
  declareCases<Rig, Bench>(group, (add) => {
    declare((id: string, what: string, ...rest: [Case] | [CaseOptions, Case]) => {
      const [options, run] = rest.length === 1 ? [{}, rest[0]] : rest;
      const { needs, dependsOnLayout } = options;
      add(id, what, {
        lacks: () => (needs === undefined ? undefined : rig().lacks(needs)),
        rig,
        lane: 'mock',
        bench: (recorded) => new Bench(recorded),
        compareCalls: dependsOnLayout !== true,
        run,
      });
    });
  });
}

/**
 * Asserts that work is refused by the kernel with this errno, and answers the error. A kernel that is too old for it all
 * makes the case pending, whatever was expected.
 */
export function refused(code: string, work: () => unknown): Error & { readonly code: string } {
  try {
    work();
  } catch (error) {
    if (lackingIn(error) !== undefined) throw error;
    assert(error instanceof Error && 'code' in error && typeof error.code === 'string', `not a refusal: ${error}`);
    assert.equal(error.code, code, error.message);
    return Object.assign(error, { code: error.code });
  }
  assert.fail(`expected ${code}, but it worked`);
}
