// Migration on the stub seam: drivers that can be polled, that give data when they please, and set-ups that fail half-way.
import assert from 'node:assert/strict';
import type { MigrationStream, MigrationTarget } from '../../lib/index.js';
import { VFIO_MIG_GET_PRECOPY_INFO } from '../../lib/uapi/vfio.js';
import { during, featureStage } from './feature-stage.js';
import { codeOf, codeOfAsync, leftovers, NOTHING, turn } from './stage.js';

const EPERM = -1;
const EINVAL = -22;
const ENOMSG = -42;
const ENODEV = -19;

/** A device that goes wherever it is told to, and opens a file on the way to states that have one. */
function migrating() {
  const machine = { state: 2, result: 0, opened: -1 };
  const base = featureStage({
    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: ({ operation, probe, view }) => {
      if (probe) return 0;
      if (operation === 'get') {
        view.setUint32(0, machine.state, true);
        return 0;
      }
      assert.equal(view.getInt32(4, true), -1, 'a kernel that writes nothing has opened nothing');
      if (machine.result < 0) return machine.result;
      machine.state = view.getUint32(0, true);
      machine.opened = [3, 4, 6, 7].includes(machine.state) ? base.seam.makeFd() : -1;
      view.setInt32(4, machine.opened, true);
      return 0;
    },
    VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: () => 0,
  });
  /** What precopy infos say: -errno, or the two sizes and the flags. */
  const info = { result: EINVAL, initial: 0n, dirty: 0n, flags: 0 };
  base.seam.on(VFIO_MIG_GET_PRECOPY_INFO, (_, { set }) => {
    if (info.result >= 0) set({ initial_bytes: info.initial, dirty_bytes: info.dirty, flags: info.flags });
    return info.result;
  });
  const stream = (state: MigrationTarget): MigrationStream => {
    const opened = base.nic.migration.setState(state);
    assert(opened !== undefined);
    return opened;
  };
  const finish = () => {
    base.nic.close();
    base.iommufd.close();
    assert.deepEqual(leftovers(base.seam), NOTHING);
  };
  return { ...base, machine, info, stream, finish };
}

describe('migration', () => {
  it('says where a refused way ended, and takes no file', () => {
    const { nic, machine, seam, finish } = migrating();
    Object.assign(machine, { state: 0, result: -5 });
    const before = leftovers(seam);
    assert.throws(
      () => nic.migration.setState('running'),
      /MIG_DEVICE_STATE: EIO.*the device is in state 'error' now/s,
    );
    assert.deepEqual(leftovers(seam), before);
    finish();
  });

  it('knows no state beyond those of the header', () => {
    const { nic, machine, finish } = migrating();
    machine.state = 8;
    assert.equal(
      codeOf(() => nic.migration.state),
      'ERR_IOMMUFD_UNAVAILABLE',
    );
    assert.throws(() => nic.migration.setState('error' as MigrationTarget), RangeError);
    finish();
  });

  it('leaves no file where it cannot be owned', () => {
    const { nic, machine, seam, finish } = migrating();
    seam.fail('own', -9);
    assert.equal(
      codeOf(() => nic.migration.setState('stop-copy')),
      'EBADF',
    );
    seam.files.delete(machine.opened);
    finish();
  });

  it('leaves no file where a listener closes the device', () => {
    const { nic, seam, iommufd } = migrating();
    const stop = during('VFIO_DEVICE_FEATURE', () => nic.close());
    try {
      assert.equal(
        codeOf(() => nic.migration.setState('stop-copy')),
        'ERR_IOMMUFD_DESTROYED',
      );
    } finally {
      stop();
    }
    iommufd.close();
    assert.deepEqual(leftovers(seam), NOTHING);
  });
});

describe('migration streams', () => {
  it('read until nothing is left, and take the end of what a running device has for the end', () => {
    const { stream, seam, finish } = migrating();
    const saving = stream('pre-copy');
    seam.feed(saving.fd, Uint8Array.of(1, 2, 3), ENOMSG, Uint8Array.of(4), ENODEV);
    assert.deepEqual([...saving.read()], [1, 2, 3]);
    assert.equal(saving.read().length, 0);
    assert.deepEqual([...saving.read(1)], [4]);
    assert.equal(
      codeOf(() => saving.read()),
      'ENODEV',
    );
    for (const wrong of [0, 65_537, 1.5]) assert.throws(() => saving.read(wrong), RangeError);
    finish();
  });

  it('wait for data where the driver can be polled', async () => {
    const { stream, seam, finish } = migrating();
    const saving = stream('stop-copy');
    const chunks = saving.chunks();
    const first = chunks.next();
    await turn();
    assert.equal(seam.watches.size, 1);
    seam.feed(saving.fd, Uint8Array.of(1));
    assert.deepEqual((await first).value, Uint8Array.of(1));
    const second = chunks.next();
    await turn();
    seam.feed(saving.fd, new Uint8Array(0));
    assert.equal((await second).done, true);
    assert.equal(seam.watches.size, 0);
    finish();
  });

  it('read at once where it cannot, and let the event loop turn', async () => {
    const { stream, seam, finish } = migrating();
    const saving = stream('stop-copy');
    seam.feed(saving.fd, Uint8Array.of(1), Uint8Array.of(2));
    for (let i = 0; i < 3; i++) seam.fail('watch', EPERM);
    let turned = false;
    setImmediate(() => {
      turned = true;
    });
    const bytes: number[] = [];
    for await (const chunk of saving) bytes.push(...chunk);
    assert.deepEqual(bytes, [1, 2]);
    assert.equal(turned, true);
    finish();
  });

  it('do not wait for a running device that has nothing to give', async () => {
    const { stream, seam, info, finish } = migrating();
    const saving = stream('pre-copy');
    Object.assign(info, { result: 0, dirty: 1n });
    seam.feed(saving.fd, Uint8Array.of(7));
    const chunks = saving.chunks();
    assert.deepEqual((await chunks.next()).value, Uint8Array.of(7));
    info.dirty = 0n;
    assert.equal((await chunks.next()).done, true);
    assert.equal(seam.watches.size, 0);
    finish();
  });

  it('end a wait when they are closed, or aborted', async () => {
    const { stream, seam, finish } = migrating();
    const saving = stream('stop-copy');
    const controller = new AbortController();
    const aborted = saving.chunks({ signal: controller.signal }).next();
    await turn();
    assert.equal(await codeOfAsync(saving.chunks().next()), 'ERR_IOMMUFD_BUSY');
    controller.abort(Object.assign(new Error('enough'), { code: 'ENOUGH' }));
    assert.equal(await codeOfAsync(aborted), 'ENOUGH');
    assert.equal(seam.watches.size, 0);
    const closed = saving.chunks().next();
    await turn();
    saving.close();
    assert.equal(await codeOfAsync(closed), 'ERR_IOMMUFD_DESTROYED');
    assert.equal(seam.watches.size, 0);
    finish();
  });

  it('do not wait where they were aborted between two chunks', async () => {
    const { stream, seam, finish } = migrating();
    const saving = stream('stop-copy');
    const controller = new AbortController();
    const chunks = saving.chunks({ signal: controller.signal });
    seam.feed(saving.fd, Uint8Array.of(7));
    assert.deepEqual((await chunks.next()).value, Uint8Array.of(7));
    controller.abort(Object.assign(new Error('enough'), { code: 'ENOUGH' }));
    assert.equal(await codeOfAsync(chunks.next()), 'ENOUGH');
    assert.equal(seam.watches.size, 0);
    finish();
  });

  it('tell when they cannot be watched', async () => {
    const { stream, seam, finish } = migrating();
    const saving = stream('stop-copy');
    seam.fail('watch', -28);
    assert.equal(await codeOfAsync(saving.chunks().next()), 'ENOSPC');
    finish();
  });

  it('write everything, however little a driver takes at once', () => {
    const { stream, seam, finish } = migrating();
    const loading = stream('resuming');
    // The first call takes 10 bytes, the others all they are given.
    seam.fail('write', 10);
    const state = Uint8Array.from({ length: 150_000 }, (_, i) => i % 251);
    loading.write(state);
    const written = Buffer.concat(seam.writes.map(({ bytes }) => bytes));
    assert.deepEqual(new Uint8Array(written), state.subarray(10));
    assert.equal(seam.writes[0]?.bytes.length, 65_536);
    loading.write(new Uint8Array(0));
    finish();
  });

  it('tell how far a refused write came, and do not ask for ever', () => {
    const { stream, seam, finish } = migrating();
    const loading = stream('resuming');
    seam.fail('write', 10);
    seam.fail('write', -12);
    assert.throws(() => loading.write(new Uint8Array(100)), /migration write: ENOMEM.*written 10/s);
    seam.fail('write', 0);
    assert.equal(
      codeOf(() => loading.write(new Uint8Array(1))),
      'EIO',
    );
    finish();
  });

  it('make nothing of the flags of precopy infos until that is asked for', () => {
    const { nic, stream, info, finish } = migrating();
    const saving = stream('pre-copy');
    Object.assign(info, { result: 0, initial: 5n, flags: 1 });
    assert.deepEqual(saving.precopyInfo(), { initialBytes: 5n, dirtyBytes: 0n, reinitialized: undefined });
    nic.migration.enablePrecopyInfoV2();
    assert.equal(saving.precopyInfo().reinitialized, true);
    info.flags = 0;
    assert.equal(saving.precopyInfo().reinitialized, false);
    finish();
  });

  it('cannot be read or written after their device was closed', () => {
    const { nic, stream, finish } = migrating();
    const saving = stream('stop-copy');
    nic.close();
    assert.equal(saving.closed, true);
    assert.equal(
      codeOf(() => saving.read()),
      'ERR_IOMMUFD_DESTROYED',
    );
    assert.equal(
      codeOf(() => saving.precopyInfo()),
      'ERR_IOMMUFD_DESTROYED',
    );
    finish();
  });
});
