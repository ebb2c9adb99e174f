// Sessions that nobody thought of: made-up calls, mostly valid, recorded and replayed.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { DmaMemory, HwptPaging, Ioas } from '../../lib/index.js';
import { bytesText, textBytes } from '../../lib/recording/bytes.js';
import { hostSeam } from '../../lib/unsafe.js';
import { codeOf, IOVA, record, replay, type Session, TEST } from './recording-session.js';

const PAGES = 16;
const PAGE = 4096;

const step = fc.oneof(
  fc.record({ do: fc.constantFrom('ioas', 'memory', 'hwpt', 'async', 'attach', 'detach', 'ranges') }),
  fc.record({ do: fc.constantFrom('map', 'unmap', 'dma', 'write'), page: fc.nat(PAGES), pages: fc.nat(PAGES) }),
  fc.record({ do: fc.constantFrom('destroy', 'free', 'info', 'event'), which: fc.nat(3) }),
);
type Step = { readonly do: string; readonly page?: number; readonly pages?: number; readonly which?: number };

/** Carries steps out; what is refused is an answer. */
function sessionOf(steps: readonly Step[]): Session {
  return async (host, hardware, seen) => {
    const seam = hostSeam(host);
    const iommufd = host.openIommufd();
    const device = host.openDevice(TEST).bind(iommufd);
    const spaces: Ioas[] = [iommufd.allocIoas()];
    const tables: HwptPaging[] = [];
    const memories: DmaMemory[] = [host.allocateMemory(PAGES * PAGE)];
    const events = host.createEventfd();
    const one = async ({ do: what, page = 0, pages = 0, which = 0 }: Step): Promise<unknown> => {
      const ioas = spaces[which % spaces.length];
      const ram = memories[which % memories.length];
      if (ioas === undefined || ram === undefined) return undefined;
      const iova = IOVA + BigInt(page * PAGE);
      switch (what) {
        case 'ioas':
          return spaces.push(iommufd.allocIoas());
        case 'memory':
          return memories.push(host.allocateMemory(PAGES * PAGE, { backing: 'anonymous' }));
        case 'hwpt':
          return tables.push(ioas.allocHwpt(device));
        case 'async':
          return tables.push(await ioas.allocHwptAsync(device, { nestParent: true }));
        case 'attach':
          return device.attach(tables.at(-1) ?? ioas);
        case 'detach':
          return device.detach();
        case 'ranges':
          return ioas.iovaRanges();
        case 'map':
          return ioas.map(ram, { iova, offset: 0, length: pages * PAGE });
        case 'unmap':
          return ioas.unmap(iova, pages * PAGE);
        case 'dma':
          hardware((machine) =>
            codeOf(() => machine.device(TEST).dmaWrite(iova, Buffer.alloc(pages * 100 + 1, page + 1))),
          );
          return device.hwInfo().type;
        case 'write':
          ram.write(0, Buffer.alloc(pages, page));
          return device.hwInfo().type;
        case 'destroy':
          return (which === 0 ? tables.at(-1) : ioas)?.destroy();
        case 'free':
          return ram.free();
        case 'info':
          return device.hwInfo().data;
        default:
          seam.arena.view.setBigUint64(0, BigInt(which + 1), true);
          seam.write(events.fd, 0, 8);
          return await events.wait();
      }
    };
    for (const each of steps) {
      try {
        seen.push(await one(each));
      } catch (error) {
        seen.push(codeOf(() => assert.fail(error as Error)));
      }
    }
    seen.push(memories.map((ram) => (ram.freed ? 'freed' : bytesText(ram.read(0, ram.size)))));
    events.close();
    iommufd.close();
    for (const ram of memories) ram.free();
  };
}

describe('random sessions', function () {
  this.timeout(120_000);

  it('replay as they were recorded, and are the same text twice', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const session = sessionOf(steps);
        const { transcript, seen } = await record(session);
        assert.deepEqual(await replay(transcript, session), seen);
        assert.equal((await record(session)).transcript, transcript);
      }),
      { numRuns: 60 },
    );
  });

  it('bytes are the same after they were text', () => {
    const runs = fc.array(fc.tuple(fc.nat(255), fc.integer({ min: 1, max: 40 })), { maxLength: 12 });
    fc.assert(
      fc.property(runs, fc.uint8Array({ maxLength: 80 }), (parts, tail) => {
        const bytes = Buffer.concat([...parts.map(([value, count]) => Buffer.alloc(count, value)), tail]);
        assert.deepEqual(Buffer.from(textBytes(bytesText(bytes), () => 0)), bytes);
      }),
    );
  });

  it('handles among bytes keep their place', () => {
    const bytes = Buffer.alloc(64, 7);
    const named = (_: Uint8Array, at: number) => (at === 16 ? ({ handle: 'mem:0+0x0', width: 8 } as const) : undefined);
    const text = bytesText(bytes, named);
    assert.equal(text, '07*16 @mem:0+0x0 07*40');
    const again = textBytes(text, () => 0x1122334455667788n);
    assert.equal(Buffer.from(again).readBigUInt64LE(16), 0x1122334455667788n);
    assert.equal(again.length, 64);
    for (const wrong of ['0x1', '0', '00*', '00*0', '00*-1', '0000*2', '00*99999999999']) {
      assert.throws(() => textBytes(wrong, () => 0), { code: 'ERR_IOMMUFD_REPLAY' }, wrong);
    }
  });
});
