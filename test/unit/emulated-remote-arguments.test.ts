// Structs of ioctls in the memory of another process, wherever they lie there: at the end of what is mapped, where it may only
// be read, longer and shorter than the kernel's.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { argumentMemory } from '../../lib/emulated/kernel/file.js';
import * as uapi from '../../lib/uapi/index.js';
import { MAP, PAGE, PROT } from '../rig/mapped-program.js';
import { guestStage } from '../rig/remote-guest.js';
import { needsPrograms } from '../rig/remote-stage.js';

const E2BIG = -7;
const EFAULT = -14;
const EINVAL = -22;
const ENOTTY = -25;
const { request: ALLOC } = uapi.IOMMU_IOAS_ALLOC;
const ALLOC_SIZE = uapi.iommu_ioas_alloc.size;

/** A struct that says how long it is, and that many bytes of zeros. */
function sized(length: number, size = length): Uint8Array {
  const bytes = new Uint8Array(length);
  new DataView(bytes.buffer).setUint32(0, size, true);
  return bytes;
}

/** A program with two pages, and none behind them. */
async function border() {
  const one = await guestStage();
  const at = await one.program.map(3 * PAGE);
  await one.program.must('unmap', at + 2 * PAGE, PAGE);
  return { ...one, at, end: at + 2 * PAGE };
}

describe("an ioctl's struct in the memory of another process", () => {
  needsPrograms();

  it('is read and answered where it lies, across pages too', async () => {
    const { guest, fd, at, end } = await border();
    for (const address of [at, at + 1, at + PAGE - 2, at + PAGE - 6, end - ALLOC_SIZE]) {
      guest.put(address, sized(ALLOC_SIZE));
      assert.equal(guest.raw(fd, ALLOC, address), 0);
      const answer = guest.get(address, ALLOC_SIZE);
      assert(new DataView(answer.buffer).getUint32(uapi.iommu_ioas_alloc.at.out_ioas_id, true) > 0);
    }
  });

  it('is refused where it is not all there', async () => {
    const { guest, fd, at, end } = await border();
    assert.equal(guest.raw(fd, ALLOC, end), EFAULT);
    assert.equal(guest.raw(fd, ALLOC, end - 3), EFAULT);
    for (const length of [4, ALLOC_SIZE - 1]) {
      guest.put(end - length, sized(length, ALLOC_SIZE));
      assert.equal(guest.raw(fd, ALLOC, end - length), EFAULT, `${length}`);
    }
    // Too short to be looked at any further.
    guest.put(end - 4, sized(4, ALLOC_SIZE - 4));
    assert.equal(guest.raw(fd, ALLOC, end - 4), EINVAL);
    for (const address of [0, 8, 2 ** 46, 2 ** 52, 2 ** 63]) assert.equal(guest.raw(fd, ALLOC, address), EFAULT);
    assert.equal(guest.raw(fd, 0x3b00 + 0xff, at), ENOTTY);
  });

  it('is carried out, and refused, where the answer has no room', async () => {
    const { guest, program, fd, at } = await border();
    guest.put(at, sized(ALLOC_SIZE));
    await program.must('protect', at, PAGE, PROT.read);
    assert.equal(guest.raw(fd, ALLOC, at), EFAULT);
    assert.equal(guest.get(at, ALLOC_SIZE)[uapi.iommu_ioas_alloc.at.out_ioas_id], 0);
    // A call that answers nothing needs none.
    guest.put(at + PAGE, sized(ALLOC_SIZE));
    assert.equal(guest.raw(fd, ALLOC, at + PAGE), 0);
    const [id = 0] = guest.get(at + PAGE + uapi.iommu_ioas_alloc.at.out_ioas_id, 1);
    await program.must('protect', at, PAGE, PROT.both);
    const destroy = sized(uapi.iommu_destroy.size);
    destroy[uapi.iommu_destroy.at.id] = id;
    guest.put(at, destroy);
    await program.must('protect', at, PAGE, PROT.read);
    assert.equal(guest.raw(fd, uapi.IOMMU_DESTROY.request, at), 0);
  });

  it('may be longer than the kernel knows, with nothing in what it does not', async () => {
    const { guest, fd, at, end } = await border();
    for (const length of [ALLOC_SIZE + 4, 129, PAGE, 2 * PAGE]) {
      guest.put(end - length, sized(length));
      assert.equal(guest.raw(fd, ALLOC, end - length), 0, `${length}`);
      guest.put(end - 1, Uint8Array.of(1));
      assert.equal(guest.raw(fd, ALLOC, end - length), E2BIG, `${length}`);
      guest.put(end - 1, Uint8Array.of(0));
    }
    guest.put(at, sized(2 * PAGE, 2 * PAGE + 1));
    assert.equal(guest.raw(fd, ALLOC, at), EFAULT);
    guest.put(at, sized(2 * PAGE, 2 ** 32 - 1));
    assert.equal(guest.raw(fd, ALLOC, at), EFAULT);
    // The first thing that is wrong counts.
    guest.put(end - 1, Uint8Array.of(1));
    assert.equal(guest.raw(fd, ALLOC, at), E2BIG);
  });

  it('gets the answer that one in memory of the machine gets, for any bytes', async () => {
    const { guest, machine, fd, at, end } = await border();
    const backing = machine.physical.allocate(2 * PAGE);
    assert(backing !== undefined);
    const file = machine.files.get(fd);
    assert(file !== undefined);
    // Calls that change nothing but what they answer.
    const requests = [
      uapi.IOMMU_OPTION,
      uapi.IOMMU_IOAS_UNMAP,
      uapi.IOMMU_IOAS_IOVA_RANGES,
      uapi.IOMMU_IOAS_CHANGE_PROCESS,
    ];
    fc.assert(
      fc.property(
        fc.constantFrom(...requests),
        fc.oneof(fc.integer({ min: 4, max: 80 }), fc.integer({ min: 4, max: 2 * PAGE })),
        fc.oneof(fc.integer({ min: 0, max: 90 }), fc.integer({ min: 0, max: 2 * PAGE + 8 })),
        fc.array(fc.tuple(fc.integer({ min: 4, max: 79 }), fc.integer({ min: 0, max: 255 })), { maxLength: 2 }),
        ({ request }, room, size, values) => {
          const bytes = sized(room, size);
          for (const [index, value] of values) if (index < room) bytes[index] = value;
          // Both end where memory does.
          const start = 2 * PAGE - room;
          backing.write(start, bytes);
          const page = start - (start % PAGE);
          const here = file.ioctl(request, argumentMemory(backing, page), start - page);
          const answer = new Uint8Array(room);
          backing.read(start, answer);
          guest.put(end - room, bytes);
          assert.equal(guest.raw(fd, request, end - room), here);
          assert.deepEqual(guest.get(end - room, room), answer);
        },
      ),
      { numRuns: 300 },
    );
    backing.drop();
    assert(guest.memory.alive && at > 0);
  });

  it('points at arrays that lie there too', async () => {
    const { guest, program, fd, ioas, at, end } = await border();
    const ranges = (address: number, num_iovas: number) =>
      guest.ioctl(fd, uapi.IOMMU_IOAS_IOVA_RANGES, { ioas_id: ioas, num_iovas, allowed_iovas: BigInt(address) });
    const answer = ranges(at + PAGE - 8, 1);
    assert(typeof answer !== 'number');
    assert.equal(answer.num_iovas, 1);
    assert.deepEqual(guest.get(at + PAGE, 8), new Uint8Array(8).fill(0xff));
    assert.equal(ranges(end - 8, 1), EFAULT);
    await program.must('protect', at, PAGE, PROT.read);
    assert.equal(ranges(at, 1), EFAULT);
    // What is allowed is read from there.
    const allow = (address: number) =>
      guest.ioctl(fd, uapi.IOMMU_IOAS_ALLOW_IOVAS, { ioas_id: ioas, num_iovas: 1, allowed_iovas: BigInt(address) });
    assert.equal(allow(end - 8), EFAULT);
    const shared = await program.map(PAGE, { flags: MAP.shared, protection: PROT.read });
    // Two zeros are no range: it was read.
    assert.equal(allow(shared), EINVAL);
  });
});
