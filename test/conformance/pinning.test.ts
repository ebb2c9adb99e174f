// When pages are pinned and let go: counted by the mock, also where pinning fails half-way.
import assert from 'node:assert/strict';
import { test_memory_limit } from '../../lib/emulated/hardware/selftest/uapi.js';
import { MOCK_APERTURE } from '../rig/mock.js';
import { ask, checkMap, checkPins, NOWHERE } from '../rig/mock-checks.js';
import { type Bench, conformance, PAGE, refused } from '../rig/suite.js';

const IOVA = MOCK_APERTURE.start;
/** What the kernel starts with. */
const USUAL_LIMIT = 65_536;

function setLimit(t: Bench, limit: number): string {
  return ask(t, 'IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT', test_memory_limit, { limit }).code;
}

/** Lets the kernel have this little scratch memory while it pins, until the end of the case. */
function limited(t: Bench, limit: number): void {
  assert.equal(setLimit(t, limit), 'ok');
  t.later(() => assert.equal(setLimit(t, USUAL_LIMIT), 'ok'));
}

conformance('pinning', (test) => {
  for (const limit of [16, 4096]) {
    test(`scratch-${limit}`, `pins and unpins all pages with ${limit} bytes of scratch memory`, (t) => {
      limited(t, limit);
      const { device } = t.mockDevice();
      const ioas = t.iommufd.allocIoas();
      const ram = t.memory(300n * PAGE);
      const length = BigInt(ram.size);
      ioas.map(ram, { iova: IOVA });
      const [first, second] = [ioas.allocHwpt(device), ioas.allocHwpt(device)];
      for (const hwpt of [first, second]) assert.equal(checkMap(t, hwpt, IOVA, ram.address, length), 'ok');
      assert.equal(checkPins(t, ram.address, length, 1), 'ok');
      first.destroy();
      assert.equal(checkMap(t, second, IOVA, ram.address, length), 'ok');
      assert.equal(ioas.unmapAll(), length);
      assert.equal(checkPins(t, ram.address, length, 0), 'ok');
    });
  }
  test('scratch-refused', 'lets all go again when pinning fails in the middle, with little scratch memory', (t) => {
    limited(t, 16);
    const { device } = t.mockDevice();
    const ioas = t.iommufd.allocIoas();
    const [before, after] = [t.memory(64n * PAGE), t.memory(64n * PAGE)];
    const length = 64n * PAGE;
    ioas.map(before, { iova: IOVA });
    ioas.unsafeMapAddress(NOWHERE, { iova: IOVA + length, length: PAGE });
    ioas.map(after, { iova: IOVA + length + PAGE });
    refused('EFAULT', () => device.attach(ioas));
    for (const ram of [before, after]) assert.equal(checkPins(t, ram.address, length, 0), 'ok');
    ioas.unmap(IOVA + length, PAGE);
    device.attach(ioas);
    for (const ram of [before, after]) assert.equal(checkPins(t, ram.address, length, 1), 'ok');
  });
  test('scratch-least', 'needs room for one element at least', (t) => {
    const limits = [0, 1, 11];
    for (const limit of limits) assert.equal(setLimit(t, limit), 'EINVAL');
  });
  test('huge-page', 'pins of a huge page are counted where the mock does not look', { needs: 'huge-pages' }, (t) => {
    const HUGE = 2 << 20;
    const ram = t.memory(HUGE, { hugePageSize: HUGE });
    const ioas = t.iommufd.allocIoas();
    ioas.map(ram, { iova: IOVA, offset: 0x3000, length: 0x2000 });
    for (const refs of [0, 1]) assert.equal(checkPins(t, ram.address, BigInt(ram.size), refs), 'ok');
    ioas.allocHwpt(t.mockDevice().device);
    for (const refs of [0, 1]) assert.equal(checkPins(t, ram.address, BigInt(ram.size), refs), 'ok');
  });
  test('several-mappings', 'pins memory once for each time it is mapped', (t) => {
    const { device } = t.mockDevice();
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    const length = BigInt(ram.size);
    ioas.map(ram, { iova: IOVA });
    ioas.map(ram, { iova: IOVA + length });
    device.attach(ioas);
    assert.equal(checkPins(t, ram.address, length, 2), 'ok');
    ioas.unmap(IOVA, length);
    assert.equal(checkPins(t, ram.address, length, 1), 'ok');
  });
  test('copies', 'pins memory once for all copies of a mapping', (t) => {
    const { device } = t.mockDevice();
    const [ioas, other] = [t.iommufd.allocIoas(), t.iommufd.allocIoas()];
    const ram = t.memory();
    const length = BigInt(ram.size);
    ioas.map(ram, { iova: IOVA });
    other.copy(ioas, { sourceIova: IOVA, length, iova: IOVA + length });
    const first = ioas.allocHwpt(device);
    const second = other.allocHwpt(device);
    assert.equal(checkPins(t, ram.address, length, 1), 'ok');
    assert.equal(checkMap(t, second, IOVA + length, ram.address, length), 'ok');
    first.destroy();
    ioas.destroy();
    assert.equal(checkPins(t, ram.address, length, 1), 'ok');
    assert.equal(checkMap(t, second, IOVA + length, ram.address, length), 'ok');
  });
  test('map-nothing-there', 'with a page table, finds out at once about an address with nothing there', (t) => {
    const { device } = t.mockDevice();
    const ioas = t.iommufd.allocIoas();
    const hwpt = ioas.allocHwpt(device);
    refused('EFAULT', () => ioas.unsafeMapAddress(NOWHERE, { iova: IOVA, length: PAGE }));
    const ram = t.memory();
    ioas.map(ram, { iova: IOVA });
    assert.equal(checkMap(t, hwpt, IOVA, ram.address), 'ok');
  });
  test('freed-memory', 'keeps pages whose memory was freed while they are mapped', (t) => {
    const { device } = t.mockDevice();
    const ioas = t.iommufd.allocIoas();
    const ram = t.memory();
    const { address } = ram;
    const length = BigInt(ram.size);
    ioas.map(ram, { iova: IOVA });
    const hwpt = ioas.allocHwpt(device);
    ram.free();
    assert.equal(checkMap(t, hwpt, IOVA, address, length), 'ok');
    assert.equal(checkPins(t, address, length, 1), 'ok');
    ioas.unmapAll();
    assert.equal(checkPins(t, address, length, 1), 'EFAULT');
  });
});
