// The emulated kernel's table of mappable registers: where regions are put, and what mmap(2) takes, as Linux and as the
// patches before it have it.
import assert from 'node:assert/strict';
import type { MmapRegion } from '../../lib/emulated/kernel/driver.js';
import { OpenFile } from '../../lib/emulated/kernel/file.js';
import { MmapTable } from '../../lib/emulated/kernel/mmap-table.js';
import { IommufdObject } from '../../lib/emulated/kernel/object-table.js';

const PAGE = 4096;
const [ENXIO, EINVAL] = [-6, -22];

class Owner extends IommufdObject {
  readonly kind = 'owner';
  destroy(): void {}
}
class File extends OpenFile {
  open = true;
  protected override closed(): void {
    this.open = false;
  }
}

function region(pages: number): MmapRegion {
  const bytes = new DataView(new ArrayBuffer(pages * PAGE));
  const registers = {
    read: (offset: number) => bytes.getUint32(offset, true),
    read64: (offset: number) => bytes.getBigUint64(offset, true),
    write: (offset: number, _width: number, value: number) => bytes.setUint32(offset, value, true),
    write64: (offset: number, value: bigint) => bytes.setBigUint64(offset, value, true),
  };
  return { length: pages * PAGE, registers };
}

describe('the mmap table of the emulated kernel', () => {
  it('hands out the lowest offsets that are free, from the second page on', () => {
    const table = new MmapTable('linux');
    const owner = new Owner();
    assert.deepEqual(
      [2, 1, 3].map((pages) => table.alloc(owner, region(pages))),
      [PAGE, 3 * PAGE, 4 * PAGE],
    );
    table.free(owner, PAGE);
    assert.equal(table.alloc(owner, region(3)), 7 * PAGE);
    assert.equal(table.alloc(owner, region(1)), PAGE);
    assert.equal(table.alloc(owner, region(1)), 2 * PAGE);
    assert.throws(() => table.free(new Owner(), PAGE));
  });

  it('takes whole pages only', () => {
    const table = new MmapTable('linux');
    for (const length of [0, 1, PAGE - 1, PAGE + 4]) {
      assert.equal(table.alloc(new Owner(), { ...region(1), length }), EINVAL);
    }
  });

  it('maps a region as a whole, and holds its owner and the file while it is mapped', () => {
    const table = new MmapTable('linux');
    const [owner, file] = [new Owner(), new File()];
    const offset = table.alloc(owner, region(2));
    for (const [at, length] of [
      [offset, PAGE],
      [offset, 3 * PAGE],
      [offset + PAGE, PAGE],
      [0, 2 * PAGE],
    ] as const) {
      assert.equal(table.map(at, length, file), ENXIO);
    }
    assert.equal(owner.users, 1);
    const mapping = table.map(offset, 2 * PAGE, file);
    assert(typeof mapping !== 'number');
    assert.equal(owner.users, 2);
    mapping.write(8, 4, 5);
    assert.deepEqual([mapping.read(8, 4), mapping.read64(8)], [5, 5n]);
    file.release();
    assert.equal(file.open, true);
    mapping.close();
    assert.deepEqual([owner.users, file.open], [1, false]);
  });

  it("in the patches' way, starts at 0, and maps less than a region, but never from its middle", () => {
    const table = new MmapTable('vqueue-v3');
    const [owner, file] = [new Owner(), new File()];
    assert.equal(table.alloc(owner, region(2)), 0);
    assert.equal(table.alloc(owner, region(1)), 2 * PAGE);
    for (const length of [PAGE, 2 * PAGE]) {
      const mapping = table.map(0, length, file);
      assert(typeof mapping !== 'number');
      mapping.close();
    }
    assert.equal(table.map(0, 3 * PAGE, file), ENXIO);
    assert.equal(table.map(PAGE, PAGE, file), ENXIO);
    assert.equal(owner.users, 1);
  });
});
