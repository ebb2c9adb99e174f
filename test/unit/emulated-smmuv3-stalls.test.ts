// Accesses that wait at the emulated SMMUv3 for their faults to be mended (SMMUv3 manual, IHI 0070, 3.12.2).
import assert from 'node:assert/strict';
import { COMMANDS, type ContextFields, PAGE, record, Smmuv3Guest, STREAM } from './emulated-smmuv3-guest.js';

const VA = 0x1234_5000;
const VA_PAGE = VA / PAGE;
const STALL = 1 << 31;
const READ_IN = (2 << 8) | (1 << 3);
const STALL_MAX = 128;

function stage(context: ContextFields = { stalls: true }) {
  const guest = new Smmuv3Guest();
  const made = guest.simple(context);
  made.stream.mayStall = true;
  const read = (page = VA_PAGE) => made.stream.translate(page, 0, false, 0);
  return { guest, ...made, read };
}
const stalled = (tag: number) => record(0x10, STREAM, STALL | tag, READ_IN, VA);

describe('emulated SMMUv3: stalls', () => {
  it('an access waits until it is to be tried again', async () => {
    const { guest, tables, stream, read } = stage();
    assert.equal(read(), -1);
    assert.equal(stream.stalledTag, 0);
    assert.deepEqual(guest.events, [stalled(0)]);
    const waiting = stream.waitFor(0);
    tables.map(BigInt(VA), guest.page(), PAGE);
    guest.smmu.resume(STREAM, 0, true);
    assert.equal(await waiting, true);
    assert(read() >= 0);
    assert.equal(stream.stalledTag, -1);
  });

  it('or is refused, by command too', async () => {
    const { guest, stream, read } = stage();
    read();
    const waiting = stream.waitFor(stream.stalledTag);
    assert.equal(guest.smmu.execute(...COMMANDS.resume(0, false)), 0);
    assert.equal(await waiting, false);
    read();
    const again = stream.waitFor(stream.stalledTag);
    assert.equal(guest.smmu.execute(...COMMANDS.resume(0, true)), 0);
    assert.equal(await again, true);
    read();
    const aborted = stream.waitFor(stream.stalledTag);
    assert.equal(guest.smmu.execute(0x44 | (2 << 12), STREAM, 0, 0), 0, 'Abort');
    assert.equal(await aborted, false);
    read();
    const terminated = stream.waitFor(stream.stalledTag);
    assert.equal(guest.smmu.execute(0x45, STREAM, 0, 0), 0, 'CMD_STALL_TERM');
    assert.equal(await terminated, false);
  });

  it('may be answered before anybody waits, even while it is told', async () => {
    const { guest, stream, read } = stage();
    guest.smmu.onEvent = ([, of = 0, tag = 0]) => {
      guest.smmu.resume(of, tag & 0xffff, true);
      guest.smmu.resume(of, tag & 0xffff, false);
    };
    read();
    assert.equal(await stream.waitFor(stream.stalledTag), true);
    assert.equal(await stream.waitFor(0), false, 'its wait is over');
  });

  it('has a tag of its own, which is of its stream alone', async () => {
    const { guest, stream, read } = stage();
    const answers: Promise<boolean>[] = [];
    for (const tag of [0, 1, 2]) {
      read();
      assert.equal(stream.stalledTag, tag);
      answers.push(stream.waitFor(tag));
    }
    guest.smmu.resume(STREAM + 1, 1, false);
    guest.smmu.resume(STREAM, 77, false);
    guest.smmu.resume(STREAM, 1, true);
    guest.smmu.resume(STREAM, 1, false);
    assert.equal(await answers[1], true);
    read();
    assert.equal(stream.stalledTag, 1, 'tags that are free are used again');
    guest.smmu.resume(STREAM, 0, false);
    guest.smmu.resume(STREAM, 2, true);
    assert.deepEqual(await Promise.all([answers[0], answers[2]]), [false, true]);
  });

  it('no more than there are tags: the next ones are refused at once', () => {
    const { guest, stream, read } = stage();
    for (let i = 0; i < STALL_MAX; i++) read();
    assert.equal(stream.stalledTag, STALL_MAX - 1);
    read();
    assert.equal(stream.stalledTag, -1);
    assert.equal(guest.events.at(-1), record(0x10, STREAM, 0, READ_IN, VA));
  });

  it('waits where its context lets it, whether that records faults or not', () => {
    for (const [fields, tag, events] of [
      [{ stalls: true, records: false }, 0, 1],
      [{ stalls: false }, -1, 1],
      [{ stalls: false, records: false }, -1, 0],
    ] as const) {
      const { guest, stream, read } = stage(fields);
      read();
      assert.equal(stream.stalledTag, tag);
      assert.equal(guest.events.length, events);
    }
  });

  it('does not wait where its device cannot: it is refused, and told of', () => {
    const { guest, stream, read } = stage();
    stream.mayStall = false;
    read();
    assert.equal(stream.stalledTag, -1);
    assert.deepEqual(guest.events, [record(0x10, STREAM, 0, READ_IN, VA)]);
  });

  it('does not wait for what is wrong in tables', () => {
    const { guest, stream, read } = stage({ stalls: true, valid: false });
    read();
    assert.equal(stream.stalledTag, -1);
    assert.deepEqual(guest.events, [record(0x0a, STREAM)]);
  });

  it('waits for stage 2, and for the tables of the kernel, where these say so', () => {
    const { guest, stream } = stage();
    stream.install({ kind: 'bypass', stage2: { ...guest.stage2, stalls: true } });
    assert.equal(stream.translate(0, 0, true, 0), -1);
    assert.deepEqual(guest.events.splice(0), [record(0x10, STREAM, STALL, (2 << 8) | (1 << 7))]);
    stream.install({ kind: 'table', table: { translation: undefined, stalls: true } });
    stream.setPasid(4, { translation: undefined, stalls: true });
    assert.equal(stream.translate(0, 0, true, 4), -1);
    assert.equal(stream.stalledTag, 1);
    assert.deepEqual(guest.events, [record(0x10 | (1 << 11) | (4 << 12), STREAM, STALL | 1, 2 << 8)]);
  });
});
