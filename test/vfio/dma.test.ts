// DMA of a device through the IOMMU: it reaches what is mapped, where it is mapped and as it is mapped, and nothing else.
import assert from 'node:assert/strict';
import type { DmaMemory } from '../../lib/index.js';
import { EDU_MOST, Edu, EDU_IOVA as IOVA, pattern } from '../rig/edu.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

const needs = 'edu';
const SIZE = 0x4000;
const HALF = 2048;

function start(t: VfioBench) {
  const edu = new Edu(t.bound('edu'));
  const ioas = t.iommufd.allocIoas();
  const ram = t.memory(SIZE);
  return { edu, nic: edu.nic, ioas, ram };
}

/** The same, attached, the memory mapped. */
function attached(t: VfioBench) {
  const all = start(t);
  all.ioas.map(all.ram, { iova: IOVA });
  all.nic.attach(all.ioas);
  return all;
}

/** What is moved differs from one time to the next. */
let seed = 20;

/** Gives memory to the device, and fetches it back from there: shows that both ways work. */
async function checkBothWays(edu: Edu, ram: DmaMemory, iova = IOVA): Promise<void> {
  seed++;
  const bytes = pattern(HALF, seed);
  ram.write(0x1100, bytes);
  await edu.load(iova + 0x1100n, HALF);
  await edu.store(iova + 0x2080n, HALF);
  assert.deepEqual(ram.read(0x2080, HALF), bytes);
}

/** Memory that the device reaches, and where. */
interface Seen {
  readonly ram: DmaMemory;
  readonly iova: bigint;
}

/** Lets the device fetch what it should not reach, and write it where it can be seen: none of it may arrive. */
async function checkNotRead(edu: Edu, from: bigint, secret: Uint8Array, seen: Seen): Promise<void> {
  await edu.load(from, secret.length);
  await edu.store(seen.iova, secret.length);
  const got = seen.ram.read(0, secret.length);
  const leaked = got.filter((byte, i) => byte === secret[i]).length;
  assert(leaked < secret.length / 8, `${leaked} of ${secret.length} bytes arrived`);
}

function zeros(length: number): Uint8Array {
  return new Uint8Array(length);
}

vfioCases('vfio-dma', (test) => {
  test('both-ways', 'the device reads memory and writes it, at the IOVAs of a mapping', { needs }, async (t) => {
    const { edu, ram } = attached(t);
    await checkBothWays(edu, ram);
  });
  test('exact', 'writes the bytes it is told to, and none beside them', { needs }, async (t) => {
    const { edu, ram } = attached(t);
    const bytes = pattern(300);
    ram.write(5, bytes);
    await edu.load(IOVA + 5n, 300, 100);
    await edu.store(IOVA + 0x1ff3n, 300, 100);
    const around = ram.read(0x1000, 0x3000);
    assert.deepEqual(around.subarray(0xff3, 0xff3 + 300), bytes);
    assert(around.every((byte, i) => (i >= 0xff3 && i < 0xff3 + 300) || byte === 0));
  });
  test('largest', 'crosses pages that lie anywhere physically', { needs }, async (t) => {
    const { edu, ram } = attached(t);
    const bytes = pattern(EDU_MOST, 9);
    ram.write(0x801, bytes);
    await edu.load(IOVA + 0x801n, EDU_MOST);
    await edu.store(IOVA + 0x2fffn, EDU_MOST);
    assert.deepEqual(ram.read(0x2fff, EDU_MOST), bytes);
  });
  test('before-attach', 'nothing arrives before the device is attached', { needs }, async (t) => {
    const { edu, nic, ioas, ram } = start(t);
    ioas.map(ram, { iova: IOVA });
    await edu.store(IOVA, HALF);
    ram.write(0, pattern(HALF));
    await edu.load(IOVA, HALF);
    nic.attach(ioas);
    await edu.store(IOVA + 0x1000n, HALF);
    assert.notDeepEqual(ram.read(0x1000, HALF), pattern(HALF));
    await checkBothWays(edu, ram);
  });
  test('unmapped', 'at an IOVA that is not mapped, nothing is read and nothing written', { needs }, async (t) => {
    const { edu, ram } = attached(t);
    ram.write(0, pattern(HALF));
    await edu.load(IOVA, HALF);
    const before = ram.read(0, SIZE);
    await edu.store(IOVA + BigInt(SIZE), HALF);
    await edu.store(IOVA - 0x1000n, HALF);
    assert.deepEqual(ram.read(0, SIZE), before);
    await checkBothWays(edu, ram);
  });
  test('past-refused', 'a transfer goes on in the next page where one is not mapped', { needs }, async (t) => {
    const { edu, nic, ioas, ram } = start(t);
    const page = t.rig.seam.pageSize;
    ioas.map(ram, { iova: IOVA + BigInt(page) });
    nic.attach(ioas);
    const bytes = pattern(HALF);
    ram.write(page, bytes);
    await edu.load(IOVA + BigInt(2 * page), HALF);
    const refused = 100;
    await edu.store(IOVA + BigInt(page - refused), HALF);
    assert.deepEqual(ram.read(0, HALF - refused), bytes.slice(refused));
    await edu.load(IOVA + BigInt(page - refused), HALF);
    await edu.store(IOVA + BigInt(2 * page), HALF);
    const expected = new Uint8Array(HALF);
    expected.set(bytes.slice(refused), refused);
    assert.deepEqual(ram.read(page, HALF), expected, 'what is refused reads as zeros');
  });
  test('unmap', 'after an unmap the memory is out of reach at once', { needs }, async (t) => {
    const { edu, ioas, ram } = attached(t);
    const seen = { ram: t.memory(SIZE), iova: IOVA + 0x10_0000n };
    ioas.map(seen.ram, { iova: seen.iova });
    // What the IOMMU remembers of the mapping must go too.
    await checkBothWays(edu, ram);
    ram.write(0, pattern(HALF, 3));
    ioas.unmap(IOVA, BigInt(SIZE));
    await checkNotRead(edu, IOVA, pattern(HALF, 3), seen);
    const before = ram.read(0, SIZE);
    await edu.store(IOVA, HALF);
    assert.deepEqual(ram.read(0, SIZE), before);
  });
  test('read-only', 'a mapping that is not writable is read, not written', { needs }, async (t) => {
    const { edu, nic, ioas, ram } = start(t);
    const seen = t.memory(SIZE);
    ioas.map(ram, { iova: IOVA, writable: false });
    ioas.map(seen, { iova: IOVA + 0x10_0000n });
    nic.attach(ioas);
    const bytes = pattern(HALF, 4);
    ram.write(0, bytes);
    await edu.load(IOVA, HALF);
    await edu.store(IOVA + 0x1000n, HALF);
    assert.deepEqual(ram.read(0x1000, HALF), zeros(HALF));
    await edu.store(IOVA + 0x10_0000n, HALF);
    assert.deepEqual(seen.read(0, HALF), bytes);
  });
  test('detach', 'after a detach nothing arrives; attached again, it does', { needs }, async (t) => {
    const { edu, nic, ioas, ram } = attached(t);
    await checkBothWays(edu, ram);
    nic.detach();
    const before = ram.read(0, SIZE);
    await edu.store(IOVA, HALF);
    assert.deepEqual(ram.read(0, SIZE), before);
    nic.attach(ioas);
    await checkBothWays(edu, ram);
  });
  test('replace', 'moved to another address space, the device sees that one alone', { needs }, async (t) => {
    const { edu, nic, ioas, ram } = attached(t);
    const [other, memory] = [t.iommufd.allocIoas(), t.memory(SIZE)];
    other.map(memory, { iova: IOVA });
    await checkBothWays(edu, ram);
    const before = ram.read(0, SIZE);
    nic.attach(other);
    await checkBothWays(edu, memory);
    assert.deepEqual(ram.read(0, SIZE), before);
    nic.attach(ioas);
    await checkBothWays(edu, ram);
  });
  test('two-mappings', 'the same memory at two IOVAs is the same memory', { needs }, async (t) => {
    const { edu, ioas, ram } = attached(t);
    ioas.map(ram, { iova: IOVA + 0x20_0000n });
    ram.write(0, pattern(HALF, 6));
    await edu.load(IOVA, HALF);
    await edu.store(IOVA + 0x20_1000n, HALF);
    assert.deepEqual(ram.read(0x1000, HALF), pattern(HALF, 6));
  });
  test(
    'two-devices',
    'two devices in one address space reach the same memory',
    { needs: ['edu', 'pair0'] },
    async (t) => {
      const { edu, ioas, ram } = attached(t);
      const other = t.bound('pair0');
      const second = new Edu(other);
      other.attach(ioas);
      ram.write(0, pattern(HALF, 7));
      await edu.load(IOVA, HALF);
      await edu.store(IOVA + 0x1000n, HALF);
      await second.load(IOVA + 0x1000n, HALF);
      await second.store(IOVA + 0x2000n, HALF);
      assert.deepEqual(ram.read(0x2000, HALF), pattern(HALF, 7));
      // Each is on its own in there: what leaves is the one that is detached.
      edu.nic.detach();
      await second.store(IOVA + 0x3000n, HALF);
      assert.deepEqual(ram.read(0x3000, HALF), pattern(HALF, 7));
    },
  );
  test('bus-master', 'does no DMA unless it may be bus master', { needs }, async (t) => {
    const { edu, nic, ram } = attached(t);
    ram.write(0, pattern(HALF, 8));
    await edu.load(IOVA, HALF);
    nic.config.enable({ busMaster: false });
    await edu.store(IOVA + 0x1000n, HALF);
    assert.deepEqual(ram.read(0x1000, HALF), zeros(HALF));
    nic.config.enable({ busMaster: true });
    await edu.store(IOVA + 0x1000n, HALF);
    assert.deepEqual(ram.read(0x1000, HALF), pattern(HALF, 8));
  });
  test(
    'while-closed',
    'what a device was told before it was closed does not arrive afterwards',
    { needs },
    async (t) => {
      const { edu, nic, ram } = attached(t);
      await checkBothWays(edu, ram);
      const before = ram.read(0, SIZE);
      edu.beginStore(IOVA, HALF);
      nic.close();
      const again = new Edu(t.bound('edu'));
      await again.idle();
      await again.store(IOVA, HALF);
      assert.deepEqual(ram.read(0, SIZE), before);
    },
  );
});
