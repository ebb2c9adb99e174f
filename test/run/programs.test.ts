// Programs in C that know nothing of the emulated machine, and what they find there.
import assert from 'node:assert/strict';
import { renameSync } from 'node:fs';
import { compile, describePrograms, RunStage, removeFolder } from './programs.js';

describePrograms('a program on an emulated machine', () => {
  let stage: RunStage;
  before(async () => {
    stage = await RunStage.start({ machine: 'selftest' });
  });
  after(() => {
    stage.close();
    removeFolder();
  });
  afterEach(() => stage.checkEmpty());

  it('maps its memory, copies mappings, and finds what the device wrote', async () => {
    const { used } = stage.machine.physical;
    assert.equal(await stage.run(compile('maps')), 'mapped\n');
    await stage.checkEmpty();
    assert.equal(stage.machine.physical.used, used);
  });

  it('duplicates fds, inherits and passes them, and is refused as on Linux', async () => {
    assert.equal(await stage.run(compile('files')), 'kept\n');
  });

  it("finds VFIO's old container", async () => {
    assert.equal(await stage.run(compile('container')), 'contained\n');
  });

  it('sees in /proc what is pinned of it', async () => {
    assert.equal(await stage.run(compile('pinned')), 'shown\n');
  });

  it('keeps what is pinned where nothing goes: refused calls, closed fds, children of vfork', async () => {
    assert.equal(await stage.run(compile('kept')), 'kept\n');
  });

  it('opens files in signal handlers', async () => {
    assert.equal(await stage.run(compile('handlers')), 'handled\n');
  });

  it('may have wild pointers', async () => {
    assert.equal(await stage.run(compile('wild')), 'refused\n');
  });

  it('loads libraries whose constructors wait for threads', async () => {
    const library = compile('constructor', '-DLIBRARY', '-shared', '-fPIC');
    const loaded = `${library}.so`;
    renameSync(library, loaded);
    assert.equal(await stage.run(compile('constructor', '-ldl'), loaded), 'loaded\n');
  });

  it('has its memory where it could not run another program', async () => {
    assert.equal(await stage.run(compile('unrun')), 'reached\n');
  });

  for (const which of ['the first', 'the first, which called', 'a worker', 'both'])
    it(`goes on when a thread ended: ${which}`, async () => {
      assert.equal(await stage.run(compile('leader'), which), 'went on\n');
    });

  it('may run what only its effective user may', async function () {
    const told = await stage.run(compile('effective'));
    if (told === 'not allowed\n') this.skip();
    assert.equal(told, 'kept\n');
  });

  it('may allow itself few system calls', async () => {
    assert.equal(await stage.run(compile('filtered')), 'read\n');
  });

  it("has tables of fds that are one thread's", async () => {
    assert.equal(await stage.run(compile('tables')), 'open\n');
  });

  it('has the number of one that ended', async function () {
    const told = await stage.run(compile('reused'));
    if (told === 'not allowed\n') this.skip();
    assert.equal(told, 'another\n');
  });

  it('lets go of registers that it unmaps, wherever they are', async () => {
    assert.equal(await stage.run(compile('remapped')), 'let go\n');
  });

  it('waits for events in a thread, and loses none', async () => {
    assert.equal(await stage.run(compile('events')), 'told\n');
  });

  it('is told of events whoever reads them, and when', async function () {
    const told = await stage.run(compile('woken'));
    if (told === 'not here\n') this.skip();
    assert.equal(told, 'woken\n');
  });

  it("says which of the kernel's allocations fails", async () => {
    assert.equal(await stage.run(compile('failing')), 'failed\n');
  });

  it('calls from many threads at once', async () => {
    assert.equal(await stage.run(compile('threads')), 'done\n');
  });
});

describePrograms('an unprivileged program', () => {
  let stage: RunStage;
  before(async () => {
    stage = await RunStage.start({ machine: 'selftest' }, false);
  });
  after(() => {
    stage.close();
    removeFolder();
  });

  it('has the limits that it really has', async () => {
    assert.equal(await stage.run(compile('limits')), 'limited\n');
    await stage.checkEmpty();
  });
});

describePrograms('a program with a device', () => {
  let stage: RunStage;
  afterEach(() => {
    stage.close();
    removeFolder();
  });

  it('has a command queue by its doorbell, and events to wait for', async () => {
    stage = await RunStage.start({ machine: 'tegra241-cmdqv', devices: [{ address: '0000:01:00.0' }] });
    assert.equal(await stage.run(compile('registers')), 'rung\n');
    await stage.checkEmpty();
  });

  it('finds it in /dev and sysfs', async () => {
    stage = await RunStage.start({ devices: [{ address: '0000:01:00.0', model: 'test' }] });
    assert.equal(await stage.run(compile('paths')), 'found\n');
    assert.equal(await stage.run(compile('paths', '-O2', '-D_FORTIFY_SOURCE=2')), 'found\n');
  });

  it('drives it: regions, DMA, interrupts', async () => {
    stage = await RunStage.start({ devices: [{ address: '0000:01:00.0', model: 'test' }] });
    assert.equal(await stage.run(compile('device')), 'interrupted\n');
    await stage.checkEmpty();
  });
});
