// Migration: the states of a device, and the stream of its state, shown on serial ports (samples/vfio-mdev/mtty.c).
import assert from 'node:assert/strict';
import type { MigrationStream, MigrationTarget, VfioDevice } from '../../lib/index.js';
import { refused } from '../rig/suite.js';
import { type VfioBench, vfioCases } from '../rig/vfio.js';

/** The scratch register of the first port: it keeps what is written to it, and goes where the device goes. */
const SCRATCH = 7;

function streamOf(nic: VfioDevice, state: MigrationTarget): MigrationStream {
  const stream = nic.migration.setState(state);
  assert(stream !== undefined, `no stream was opened on the way to ${state}`);
  return stream;
}

async function allOf(stream: MigrationStream, size?: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream.chunks(size === undefined ? {} : { size })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The whole state of a stopped device, and the device in 'stop' again. */
async function save(nic: VfioDevice): Promise<Uint8Array> {
  const stream = streamOf(nic, 'stop-copy');
  const state = await allOf(stream);
  stream.close();
  nic.migration.setState('stop');
  return state;
}

/**
 * A serial port, running, and running again after the case: the sample forgets its streams when it is closed, but not its
 * state, and Linux falls when it looks for a stream that is gone on the way out of 'resuming'.
 */
function serial(t: VfioBench, role: 'serial' | 'serial1' = 'serial'): VfioDevice {
  const nic = t.bound(role);
  nic.reset();
  t.later(() => {
    if (nic.toJSON().closed !== true) nic.reset();
  });
  return nic;
}

/** vfio_mig_get_next_state. */
const NEVER_ENDS = 'looks for a way between two states for ever where there is none';

vfioCases('migration', (test) => {
  test('supported', 'the serial port has all states', { needs: 'serial' }, (t) => {
    const { migration } = serial(t);
    assert.deepEqual(migration.supported, { stopCopy: true, p2p: true, preCopy: true });
    assert.equal(migration.state, 'running');
  });

  test('cannot', 'a device of vfio-pci cannot migrate', { needs: 'edu' }, (t) => {
    const { migration } = t.bound('edu');
    assert.equal(migration.supported, undefined);
    assert.match(refused('ENOTTY', () => migration.state).message, /cannot migrate/);
    refused('ENOTTY', () => migration.setState('stop'));
    refused('ENOTTY', () => migration.estimatedStopCopyBytes());
    refused('EINVAL', () => migration.enablePrecopyInfoV2());
  });

  test('moves', 'a device goes from one state to the other, and back', { needs: 'serial' }, (t) => {
    const { migration } = serial(t);
    for (const state of ['running-p2p', 'stop', 'running-p2p', 'running', 'stop', 'running', 'running'] as const) {
      assert.equal(migration.setState(state), undefined);
      assert.equal(migration.state, state);
    }
  });

  test(
    'async',
    'goes from state to state on the thread pool, and is busy meanwhile',
    { needs: 'serial' },
    async (t) => {
      const nic = serial(t);
      const { migration } = nic;
      const way = migration.setStateAsync('stop-copy');
      refused('ERR_IOMMUFD_BUSY', () => nic.close());
      const stream = await way;
      assert.equal(stream?.direction, 'save');
      assert((stream?.read().length ?? 0) > 0);
      stream?.close();
      if (!t.onLinux('6.12')) {
        await assert.rejects(migration.setStateAsync('pre-copy'), { code: 'EINVAL', message: /'stop-copy' now/ });
      }
      assert.equal(await migration.setStateAsync('running'), undefined);
      assert.equal(migration.state, 'running');
    },
  );

  test('cycle', 'a device goes on in another one where it stopped', { needs: ['serial', 'serial1'] }, async (t) => {
    const source = serial(t);
    const target = serial(t, 'serial1');
    source.region('bar0').write8(SCRATCH, 0xa5);
    target.region('bar0').write8(SCRATCH, 0);
    const state = await save(source);
    const stream = streamOf(target, 'resuming');
    assert.equal(target.migration.state, 'resuming');
    stream.write(state);
    target.migration.setState('running');
    stream.close();
    assert.equal(target.migration.state, 'running');
    assert.equal(target.region('bar0').read8(SCRATCH), 0xa5);
    assert.equal(source.migration.state, 'stop');
  });

  test('cut', 'a state is read and written in pieces of any size', { needs: ['serial', 'serial1'] }, async (t) => {
    const source = serial(t);
    const target = serial(t, 'serial1');
    source.region('bar0').write8(SCRATCH, 0x3c);
    const saving = streamOf(source, 'stop-copy');
    const state = await allOf(saving, 7);
    assert(state.length > 7);
    const loading = streamOf(target, 'resuming');
    // The head of the state is checked when it is complete.
    for (let at = 0; at < state.length; at += 5) loading.write(state.subarray(at, at + 5));
    target.migration.setState('stop');
    target.migration.setState('running');
    assert.equal(target.region('bar0').read8(SCRATCH), 0x3c);
  });

  test('size', 'the estimate is what stop-copy gives', { needs: 'serial' }, async (t) => {
    const nic = serial(t);
    const estimate = nic.migration.estimatedStopCopyBytes();
    assert(estimate > 0n);
    assert.equal(BigInt((await save(nic)).length), estimate);
  });

  test(
    'pre-copy',
    'a running device gives a first part, and one stream goes on to the end',
    { needs: 'serial' },
    async (t) => {
      const nic = serial(t);
      const whole = nic.migration.estimatedStopCopyBytes();
      const stream = streamOf(nic, 'pre-copy');
      const { initialBytes, dirtyBytes, reinitialized } = stream.precopyInfo();
      assert(initialBytes > 0n && initialBytes < whole);
      assert.equal(dirtyBytes, 0n);
      assert.equal(reinitialized, undefined);
      const first = await allOf(stream, 9);
      assert.equal(BigInt(first.length), initialBytes);
      assert.deepEqual(stream.precopyInfo(), { initialBytes: 0n, dirtyBytes: 0n, reinitialized: undefined });
      assert.equal(stream.read().length, 0);
      assert.equal(nic.migration.setState('pre-copy-p2p'), undefined);
      assert.equal(nic.migration.setState('stop-copy'), undefined);
      refused('EINVAL', () => stream.precopyInfo());
      const rest = await allOf(stream);
      assert.equal(BigInt(first.length + rest.length), whole);
      assert.equal(stream.read().length, 0);
    },
  );

  test('pre-copy-p2p', 'pre-copy can start without peer to peer, and can be given up', { needs: 'serial' }, (t) => {
    const nic = serial(t);
    nic.migration.setState('running-p2p');
    const stream = streamOf(nic, 'pre-copy-p2p');
    assert(stream.precopyInfo().initialBytes > 0n);
    assert.equal(nic.migration.setState('pre-copy'), undefined);
    assert.equal(nic.migration.setState('running'), undefined);
    refused('ENODEV', () => stream.read());
    assert.equal(streamOf(nic, 'pre-copy').read().length > 0, true);
  });

  test(
    'precopy-info-v2',
    'the info tells whether data starts anew once that is asked for',
    { needs: 'serial' },
    (t) => {
      const nic = serial(t);
      nic.migration.enablePrecopyInfoV2();
      assert.equal(streamOf(nic, 'pre-copy').precopyInfo().reinitialized, false);
    },
  );

  test('no-way', 'there is no way back from stop-copy to pre-copy', { needs: 'serial' }, (t) => {
    t.notOn('6.12', NEVER_ENDS);
    const nic = serial(t);
    streamOf(nic, 'stop-copy');
    for (const state of ['pre-copy', 'pre-copy-p2p'] as const) {
      const error = refused('EINVAL', () => nic.migration.setState(state));
      assert.match(error.message, /the device is in state 'stop-copy' now/);
    }
    assert.equal(nic.migration.state, 'stop-copy');
  });

  test('ended', 'a stream ends when the device leaves its state', { needs: 'serial' }, (t) => {
    const nic = serial(t);
    const stream = streamOf(nic, 'stop-copy');
    nic.migration.setState('running');
    refused('ENODEV', () => stream.read());
    const loading = streamOf(nic, 'resuming');
    nic.reset();
    assert.equal(nic.migration.state, 'running');
    assert.match(refused('ENODEV', () => loading.write(new Uint8Array(1))).message, /left 'resuming', or was reset/);
  });

  test(
    'short',
    'a state that is not complete is refused, and more of it can come',
    { needs: ['serial', 'serial1'] },
    async (t) => {
      const state = await save(serial(t));
      const nic = serial(t, 'serial1');
      const stream = streamOf(nic, 'resuming');
      stream.write(state.subarray(0, state.length - 1));
      const error = refused('EINVAL', () => nic.migration.setState('stop'));
      assert.match(error.message, /the device is in state 'resuming' now/);
      stream.write(state.subarray(state.length - 1));
      nic.migration.setState('running');
      assert.equal(nic.migration.state, 'running');
    },
  );

  test('foreign', 'a state of something else is refused while it is written', { needs: 'serial' }, (t) => {
    const nic = serial(t);
    const stream = streamOf(nic, 'resuming');
    refused('EFAULT', () => stream.write(new Uint8Array(24)));
  });

  test('too-long', 'more than a state is refused', { needs: ['serial', 'serial1'] }, async (t) => {
    const state = await save(serial(t));
    const stream = streamOf(serial(t, 'serial1'), 'resuming');
    stream.write(state);
    const error = refused('ENOMEM', () => stream.write(new Uint8Array(1)));
    assert.equal((error as unknown as { syscall: string }).syscall, 'migration write');
  });

  test('pci', 'a PCI device takes its memory and registers along', { needs: 'test' }, async (t) => {
    const nic = t.bound('test');
    nic.config.enable({ memory: true });
    const memory = nic.region('bar2');
    memory.write(100, Uint8Array.of(1, 2, 3));
    const stream = streamOf(nic, 'pre-copy');
    const chunks = [await allOf(stream)];
    memory.write(103, Uint8Array.of(4));
    nic.migration.setState('stop-copy');
    chunks.push(await allOf(stream));
    nic.migration.setState('stop');
    stream.close();
    nic.reset();
    assert.equal(nic.migration.state, 'running');
    nic.config.enable({ memory: true });
    assert.deepEqual(memory.read(100, 4), new Uint8Array(4));
    const loading = streamOf(nic, 'resuming');
    for (const chunk of chunks) loading.write(chunk);
    nic.migration.setState('running');
    assert.deepEqual(memory.read(100, 4), Uint8Array.of(1, 2, 3, 4));
  });

  test('directions', 'a stream is read or written, as its state has it', { needs: 'serial' }, async (t) => {
    const nic = serial(t);
    const saving = streamOf(nic, 'stop-copy');
    assert.equal(saving.direction, 'save');
    assert.throws(() => saving.write(new Uint8Array(1)), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    nic.migration.setState('stop');
    const loading = streamOf(nic, 'resuming');
    assert.equal(loading.direction, 'load');
    assert.throws(() => loading.read(), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    assert.throws(() => loading.precopyInfo(), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
    await assert.rejects(allOf(loading), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
  });

  test('closed', 'a stream closes with its device', { needs: 'serial' }, async (t) => {
    const nic = serial(t);
    const stream = streamOf(nic, 'stop-copy');
    assert.equal(stream.closed, false);
    nic.close();
    assert.equal(stream.closed, true);
    assert.throws(() => stream.read(), { code: 'ERR_IOMMUFD_DESTROYED' });
    assert.throws(() => stream.fd, { code: 'ERR_IOMMUFD_DESTROYED' });
    await assert.rejects(allOf(stream), { code: 'ERR_IOMMUFD_DESTROYED' });
    stream.close();
    serial(t);
  });

  test('reset', 'a reset ends whatever was under way', { needs: 'serial' }, (t) => {
    const nic = serial(t);
    for (const state of ['stop-copy', 'resuming', 'pre-copy'] as const) {
      const stream = streamOf(nic, state);
      nic.reset();
      assert.equal(nic.migration.state, 'running');
      refused('ENODEV', () => (stream.direction === 'save' ? stream.read() : stream.write(new Uint8Array(1))));
      stream.close();
    }
  });
});
