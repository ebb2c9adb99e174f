// Code of the caller's that is called by the addon and calls it again: callbacks that close what called them and open more,
// and a listener to traces that makes calls inside of calls.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { constants } from 'node:fs';
import { kernelSeam } from '../../lib/host/kernel.js';
import { Host } from '../../lib/host-object.js';
import type { CallTrace } from '../../lib/index.js';
import { tryCall } from '../../lib/objects/call.js';
import { IOMMU_IOAS_ALLOC } from '../../lib/uapi/index.js';
import { collectGarbage, countLeft, errno, native, page, patience, waitFor } from './support.js';

describe('addon: callbacks that call back', function () {
  this.timeout(patience);

  it('close the watch that called, and open the next', async () => {
    const before = countLeft();
    const fd = native.createEventfd(1);
    let turns = 0;
    const next = () => {
      const watch = native.watchOpen(fd, () => {
        native.watchClose(watch);
        if (++turns < 500) next();
      });
      native.watchArm(watch);
    };
    next();
    await waitFor(() => turns === 500);
    native.close(fd);
    assert.deepEqual(countLeft(), before);
  });

  it('close all other watches that are about to call', async () => {
    const before = countLeft();
    const fd = native.createEventfd(1);
    const watches: number[] = [];
    let told = 0;
    for (let count = 0; count < 50; count++) {
      const watch = native.watchOpen(fd, () => {
        told++;
        for (const one of watches.splice(0)) native.watchClose(one);
        native.close(fd);
      });
      watches.push(watch);
      native.watchArm(watch);
    }
    await waitFor(() => told > 0);
    await collectGarbage(() => false);
    assert.equal(told, 1, 'a closed watch called');
    assert.deepEqual(countLeft(), before);
  });

  it('start the next work, and free the region it was about', async () => {
    const before = countLeft();
    let done = 0;
    const next = () => {
      const region = native.allocateMemory('memfd', page, 0);
      const fd = native.createEventfd(0);
      const block = native.allocateBlock(page);
      native.ioctlAsync(fd, 0x5401, block, 0, (result) => {
        assert.equal(result, errno.ENOTTY);
        assert.equal(native.freeRegion(block), 0);
      });
      native.close(fd);
      native.prefault(region, 0, page, (result) => {
        assert.equal(result, 0);
        assert.equal(native.freeRegion(region), 0);
        if (++done < 200) next();
      });
    };
    next();
    await waitFor(() => done === 200 && native.liveRegions() === before.regions);
    assert.deepEqual(countLeft(), before);
  });

  it('make calls from inside the trace of a call', () => {
    const before = countLeft();
    const host = new Host(kernelSeam());
    // Not an iommufd, so every call is refused: by the kernel, through the addon.
    const fd = native.open('/dev/null', constants.O_RDWR);
    const ask = () => tryCall({ seam: kernelSeam(), fd }, IOMMU_IOAS_ALLOC, { flags: 0 }).result;
    const { arena } = kernelSeam();
    const mark = arena.mark();
    let depth = 0;
    let calls = 0;
    const listener = (message: unknown) => {
      assert.equal((message as CallTrace).result, errno.ENOTTY);
      calls++;
      if (++depth < 20) assert.equal(ask(), errno.ENOTTY);
      const eventfd = host.createEventfd();
      eventfd.signal(5n);
      assert.equal(eventfd.drain(), 5n);
      eventfd.close();
      const memory = host.allocateMemory(page);
      memory.write(8, Uint8Array.of(depth));
      assert.deepEqual([...memory.read(8, 1)], [depth]);
      memory.free();
      depth--;
    };
    subscribe('iommufd:call', listener);
    try {
      for (let count = 0; count < 10; count++) assert.equal(ask(), errno.ENOTTY);
    } finally {
      unsubscribe('iommufd:call', listener);
    }
    assert.equal(calls, 10 * 20);
    assert.equal(arena.mark(), mark, 'arguments were left in the arena');
    native.close(fd);
    assert.deepEqual(countLeft(), before);
  });
});
