// File descriptors of the emulated process: which numbers, who answers for them, and how many.
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { OpenFile } from '../../lib/emulated/kernel/file.js';
import { FdTable } from '../../lib/emulated/process/fd-table.js';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import { hostSeam } from '../../lib/unsafe.js';

const FIRST = 2 ** 30;
const [EBADF, EEXIST, EMFILE] = [-9, -17, -24];

class File extends OpenFile {
  open = true;
  protected override closed(): void {
    this.open = false;
  }
}

describe('file descriptors of the emulated process', () => {
  it('are the lowest free ones, opened, owned, given away and closed', () => {
    const step = fc.tuple(fc.constantFrom('install', 'own', 'disown', 'close'), fc.nat({ max: 12 }));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.integer({ min: 1, max: 10 }), (steps, limit) => {
        const table = new FdTable(limit);
        const model = new Map<number, { file: File; owned: boolean }>();
        for (const [what, index] of steps) {
          const fd = FIRST + index;
          const known = model.get(fd);
          if (what === 'install') {
            const file = new File();
            let lowest = FIRST;
            while (model.has(lowest)) lowest++;
            const full = model.size >= limit;
            assert.equal(table.install(file), full ? EMFILE : lowest);
            if (!full) model.set(lowest, { file, owned: false });
          } else if (what === 'own') {
            assert.equal(table.own(fd), known === undefined ? EBADF : known.owned ? EEXIST : 0);
            if (known !== undefined) known.owned = true;
          } else {
            assert.equal(what === 'close' ? table.close(fd) : table.disown(fd), known?.owned === true ? 0 : EBADF);
            if (known?.owned !== true) continue;
            known.owned = false;
            if (what === 'disown') continue;
            model.delete(fd);
            assert.equal(known.file.open, false);
          }
          for (const [number, { file }] of model) assert.equal(table.get(number), file);
          assert.equal(table.open, model.size);
          assert.equal(table.owned, [...model.values()].filter(({ owned }) => owned).length);
        }
      }),
    );
  });

  it('lie where no real ones do: everything else is EBADF', () => {
    const seam = hostSeam(createEmulatedHost());
    for (const fd of [-1, 0, 1, 2, 3, FIRST - 1, FIRST, FIRST + 7, 2 ** 31 - 1, -(2 ** 31)]) {
      assert.equal(seam.own(fd), EBADF);
      assert.equal(seam.disown(fd), EBADF);
      assert.equal(seam.close(fd), EBADF);
      assert.equal(seam.duplicate(fd), EBADF);
      assert.equal(seam.ioctl(fd, 1, 0), EBADF);
      assert.equal(seam.ioctlValue(fd, 1, 0), EBADF);
      assert.equal(seam.read(fd, 0, 8), EBADF);
      assert.equal(seam.pwrite(fd, 0, 8, 0), EBADF);
      assert.equal(seam.importMemory(fd, 4096), EBADF);
      assert.equal(seam.mapMmio(fd, 0, 4096), EBADF);
      assert.equal(
        seam.watch(fd, () => {}),
        EBADF,
      );
    }
  });

  it('that are duplicates are one file, open until the last is closed', () => {
    const host = createEmulatedHost();
    const seam = hostSeam(host);
    const fd = seam.open('/dev/iommu', 2);
    const second = seam.duplicate(fd);
    assert.equal(second, fd + 1);
    assert.equal(seam.close(fd), 0);
    assert.equal(host.inspect().iommufds.length, 1);
    assert.equal(seam.own(second), EEXIST);
    assert.equal(seam.close(second), 0);
    assert.equal(host.inspect().iommufds.length, 0);
    assert.equal(seam.close(second), EBADF);
  });

  it('run out: nothing stays of what got none', () => {
    const host = createEmulatedHost({ limits: { openFiles: 1 } });
    const seam = hostSeam(host);
    const memory = host.allocateMemory(4096);
    const before = host.inspect();
    assert.equal(seam.open('/dev/iommu', 2), EMFILE);
    assert.equal(seam.createEventfd(0), EMFILE);
    assert.equal(seam.duplicate(memory.fd), EMFILE);
    assert.equal(seam.importMemory(memory.fd, 4096), EMFILE);
    assert.equal(seam.allocateMemory({ backing: 'memfd', size: 4096, hugePageSize: 0 }), EMFILE);
    assert.deepEqual(host.inspect(), before);
    memory.free();
    const fd = seam.open('/dev/iommu', 2);
    assert.equal(fd, FIRST);
    seam.close(fd);
  });
});
