// Recording and replaying whole sessions: a replay answers as the host did, and stops at the first difference.
import assert from 'node:assert/strict';
import { UsageError } from '../../lib/index.js';
import { recordingHost, replayHost } from '../../lib/recording-host.js';
import { hostSeam } from '../../lib/unsafe.js';
import { codeOf, EDU, IOVA, machine, record, replay, type Session, TEST, wholeGraph } from './recording-session.js';

/** The first difference of a replay. */
async function difference(transcript: string, session: Session): Promise<UsageError> {
  try {
    await replay(transcript, session);
  } catch (error) {
    assert(error instanceof UsageError && error.code === 'ERR_IOMMUFD_REPLAY', String(error));
    return error;
  }
  assert.fail('the replay saw no difference');
}

const short: Session = (host, _hardware, seen) => {
  const iommufd = host.openIommufd();
  const ram = host.allocateMemory(0x4000);
  const ioas = iommufd.allocIoas();
  seen.push(ioas.map(ram, { iova: IOVA, length: 0x1000 }));
  iommufd.close();
  ram.free();
};

/** edu's registers, its interrupt and its DMA. */
const interrupts: Session = async (host, _hardware, seen) => {
  const iommufd = host.openIommufd();
  const nic = host.openDevice(EDU);
  const device = nic.bind(iommufd);
  const ioas = iommufd.allocIoas();
  device.attach(ioas);
  const ram = host.allocateMemory(0x1000, { backing: 'anonymous' });
  ioas.map(ram, { iova: IOVA });
  nic.config.enable({ memory: true, busMaster: true });
  const registers = nic.region('bar0').mmap();
  const [vector] = nic.interrupts('msi').enable();
  registers.write32(0x60, 4);
  seen.push(await vector?.wait(), registers.read32(0x24));
  registers.write32(0x64, 4);
  ram.write(0, Buffer.from('there and back'));
  for (const [source, target, command] of [
    [IOVA, 0x4_0000n, 1n],
    [0x4_0000n, IOVA + 0x800n, 3n],
  ] as const) {
    registers.write64(0x80, source);
    registers.write64(0x88, target);
    registers.write64(0x90, 14n);
    registers.write64(0x98, command);
    // Turns of the event loop, as the device does: of a timer it does not know how many come before it is done.
    while ((registers.read64(0x98) & 1n) !== 0n) await new Promise((resolve) => setImmediate(resolve));
  }
  seen.push(Buffer.from(ram.read(0x800, 14)).toString());
  seen.push(
    nic.region('config').read16(0),
    nic.info,
    codeOf(() => nic.reset()),
  );
  registers.unmap();
  nic.close();
  iommufd.close();
  ram.free();
};

/** Memory that is looked at by timers, with no call in between. */
const polling: Session = async (host, hardware, seen) => {
  const iommufd = host.openIommufd();
  const device = host.openDevice(TEST).bind(iommufd);
  const ioas = iommufd.allocIoas();
  const ram = host.allocateMemory(0x2000);
  device.attach(ioas);
  ioas.map(ram, { iova: IOVA });
  ram.write(0, Buffer.from('asked'));
  setTimeout(() => hardware((emulated) => emulated.device(TEST).dmaWrite(IOVA + 0x1000n, Buffer.from('done'))), 5);
  while (ram.read(0x1000, 1)[0] === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  seen.push(Buffer.from(ram.read(0x1000, 4)).toString(), Buffer.from(ram.read(0, 5)).toString());
  device.detach();
  iommufd.close();
  ram.free();
};

/** Page requests that are read by an iterator and answered. */
const faults: Session = async (host, hardware, seen) => {
  const iommufd = host.openIommufd();
  const device = host.openDevice(TEST).bind(iommufd);
  const ioas = iommufd.allocIoas();
  const faultQueue = iommufd.allocFaultQueue();
  const hwpt = ioas.allocHwpt(device, { faultQueue });
  device.attach(hwpt);
  setImmediate(() => hardware((emulated) => emulated.device(TEST).requestPage({ address: IOVA })));
  for await (const group of faultQueue.read()) {
    seen.push(group);
    faultQueue.respond(group, 'success');
    seen.push(codeOf(() => faultQueue.respond(group, 'success')));
    break;
  }
  device.detach();
  iommufd.close();
};

/** The device's state as a stream, with the file that the kernel makes for it. */
const migration: Session = (host, _hardware, seen) => {
  const iommufd = host.openIommufd();
  const nic = host.openDevice(TEST);
  nic.bind(iommufd);
  seen.push(
    codeOf(() => nic.migration.state),
    nic.features.list(),
  );
  const stream = nic.migration.setState('stop-copy');
  seen.push(stream === undefined ? 'none' : 'a stream');
  nic.close();
  iommufd.close();
};

describe('recording', () => {
  for (const [name, session] of Object.entries({ wholeGraph, short, interrupts, polling, faults, migration })) {
    it(`${name}: a replay answers as the host did`, async () => {
      const { transcript, seen } = await record(session);
      assert(seen.length > 0);
      assert.deepEqual(await replay(transcript, session), seen);
    });
    it(`${name}: is the same text every time`, async () => {
      assert.equal((await record(session)).transcript, (await record(session)).transcript);
    });
  }

  it('changes nothing for the program', async () => {
    const plain: unknown[] = [];
    const emulated = machine();
    await wholeGraph(emulated, (work) => work(emulated), plain);
    assert.deepEqual((await record(wholeGraph)).seen, plain);
  });

  it('can be recorded again while it is replayed', async () => {
    const { transcript } = await record(interrupts);
    const again = recordingHost(replayHost(transcript));
    await interrupts(again, () => undefined, []);
    const [, ...calls] = again.transcript().split('\n');
    assert.deepEqual(calls, transcript.split('\n').slice(1));
  });

  it('tells every line as it is written', () => {
    const lines: string[] = [];
    const host = recordingHost(machine(), { write: (line) => lines.push(line) });
    host.openIommufd().close();
    assert.equal(host.transcript(), '');
    assert.match(lines[0] ?? '', /^\{"format":"iommufd-transcript","version":1,"host":"emulated".*\}\n$/);
    assert.match(lines.at(-1) ?? '', /^\{"call":"close","fd":"fd:0","result":0\}\n$/);
  });

  it('has neither addresses nor file descriptors in it', async () => {
    const { transcript } = await record(wholeGraph);
    assert.doesNotMatch(transcript, /0x1[0-9a-f]{13}\b/, 'an address');
    assert.doesNotMatch(transcript, /"\w*fd":[1-9]/, 'a file descriptor');
  });

  it('tells a refusal by its name, and what a device wrote by content', async () => {
    const { transcript } = await record(wholeGraph);
    assert.match(transcript, /"name":"IOMMU_IOAS_MAP_FILE".*"iova":"0x1000000"\},"result":"EEXIST"/);
    assert.match(transcript, /"before":\{"mem:0\+0x1080":"66726f6d207468652064657669636500"\}/);
  });

  it('has a kind of its own', async () => {
    assert.equal(recordingHost(machine()).kind, 'recording');
    assert.equal(replayHost((await record(short)).transcript).kind, 'replay');
  });

  it('shows what is recorded of an emulated host to that host', async () => {
    const emulated = machine();
    const other = machine();
    const host = recordingHost(recordingHost(emulated));
    using iommufd = host.openIommufd();
    const device = host.openDevice(TEST).bind(iommufd);
    assert.equal(emulated.deviceOf(device).constructor.name, 'EmulatedDevice');
    assert.throws(() => other.deviceOf(device), { code: 'ERR_IOMMUFD_UNAVAILABLE' });
  });

  it('warns once of memory that is too large to be followed, where nobody said how much is', async () => {
    const warnings: (string | undefined)[] = [];
    const listen = (warning: Error & { code?: string }) => warnings.push(warning.code);
    process.on('warning', listen);
    for (const options of [{}, { followMemory: 4096 }]) {
      const host = recordingHost(machine(), options);
      using iommufd = host.openIommufd();
      using ram = host.allocateMemory((64 << 20) + 4096);
      const ioas = iommufd.allocIoas();
      ioas.map(ram, { iova: IOVA });
      ioas.map(ram);
    }
    await new Promise((resolve) => setImmediate(resolve));
    process.off('warning', listen);
    assert.deepEqual(warnings, ['IOMMUFD_NOT_FOLLOWED']);
  });
  it('refuses what is no host', () => {
    assert.throws(() => recordingHost({} as never), { code: 'ERR_INVALID_ARG_TYPE' });
    assert.throws(() => recordingHost(machine(), { followMemory: -1 }), { code: 'ERR_OUT_OF_RANGE' });
    assert.throws(() => recordingHost(machine(), { wrong: 1 } as never), TypeError);
  });
});

describe('replay', () => {
  it('stops where an argument differs, and says which', async () => {
    const { transcript } = await record(short);
    const { message } = await difference(transcript, (host) => {
      const iommufd = host.openIommufd();
      const ram = host.allocateMemory(0x4000);
      iommufd.allocIoas().map(ram, { iova: IOVA, length: 0x2000 });
    });
    const line = transcript.split('\n').findIndex((text) => text.includes('IOMMU_IOAS_MAP_FILE')) + 1;
    assert.match(message, new RegExp(`^transcript:${line}: the program does not do what was recorded\n`));
    assert.match(message, /expected: .*"name":"IOMMU_IOAS_MAP_FILE".*"length":"0x1000"/);
    assert.match(message, /came: .*"name":"IOMMU_IOAS_MAP_FILE".*"length":"0x2000"/);
    assert.match(message, /first at in\.length: expected "0x1000", came "0x2000"$/);
  });
  it('stops at another call', async () => {
    const { transcript } = await record(short);
    const { message } = await difference(transcript, (host) => {
      host.openIommufd();
      host.createEventfd();
    });
    assert.match(message, /expected: \{"call":"allocateMemory".*\n\s+came:\s+\{"call":"eventfd","initial":0\}/);
  });
  it('stops at one call too many, and at the end where there are too few', async () => {
    const { transcript } = await record(short);
    const more = await difference(transcript, async (host, hardware, seen) => {
      await short(host, hardware, seen);
      host.openIommufd();
    });
    assert.match(more.message, /expected: nothing more: the transcript ends here\n\s+came:\s+\{"call":"open"/);
    const fewer = await difference(transcript, (host) => {
      host.openIommufd();
    });
    assert.match(fewer.message, /expected: \{"call":"allocateMemory".*\n\s+came:\s+nothing more/);
  });
  it('stops where data differs', async () => {
    const write = (text: string): Session => {
      return (host) => {
        const eventfd = host.createEventfd();
        const seam = hostSeam(host);
        seam.arena.bytes.set(Buffer.from(text), 0);
        seam.write(eventfd.fd, 0, 8);
        eventfd.close();
      };
    };
    const { transcript } = await record(write('\x01\0\0\0\0\0\0\0'));
    await replay(transcript, write('\x01\0\0\0\0\0\0\0'));
    const { message } = await difference(transcript, write('\x02\0\0\0\0\0\0\0'));
    assert.match(message, /first at bytes: expected "0100000000000000", came "0200000000000000"/);
  });
  it('answers nothing any more after a difference', async () => {
    const { transcript } = await record(short);
    const heard: UsageError[] = [];
    const host = replayHost(transcript, { name: 'short.jsonl', onDifference: (error) => heard.push(error) });
    const before = host.difference;
    assert.equal(before, undefined);
    assert.equal(
      codeOf(() => host.createEventfd()),
      'ERR_IOMMUFD_REPLAY',
    );
    assert.equal(
      codeOf(() => host.openIommufd()),
      'ERR_IOMMUFD_REPLAY',
    );
    const message = host.difference?.message ?? '';
    assert.match(message, /^short\.jsonl:2: /);
    assert.throws(() => host.finish(), { message });
    assert.deepEqual(heard, [host.difference]);
    assert.throws(() => replayHost(transcript, { onDifference: 1 as never }), { code: 'ERR_INVALID_ARG_TYPE' });
  });
  it('lets a program clean up after a difference', () => {
    const recorded = recordingHost(machine());
    const made = recorded.openIommufd();
    made.allocIoas();
    made.close();
    const host = replayHost(recorded.transcript());
    const iommufd = host.openIommufd();
    const ioas = iommufd.allocIoas();
    assert.equal(
      codeOf(() => host.createEventfd()),
      'ERR_IOMMUFD_REPLAY',
    );
    ioas.unmapAll();
    ioas.destroy();
    iommufd.close();
    assert.throws(() => host.finish(), { code: 'ERR_IOMMUFD_REPLAY' });
  });

  it('refuses what is no transcript of this version', async () => {
    const { transcript } = await record(short);
    const [header = '', ...rest] = transcript.split('\n');
    for (const [text, reason] of [
      ['', /^nic\.jsonl: .* it is empty$/],
      ['nonsense', /does not start with/],
      ['{"format":"other"}', /does not start with/],
      [header.replace('"version":1', '"version":2'), /^nic\.jsonl: .* version 2, this library knows version 1/],
      [header.replace('"pageSize":4096', '"pageSize":"x"'), /header is not complete/],
      [`${header}\nnonsense\n`, /line 2 is not JSON/],
      [`${header}\n\n${rest.join('\n')}`, /line 2 is not JSON/],
      [transcript.slice(0, -20), new RegExp(`^nic\\.jsonl: .* line ${rest.length}, its last, was cut short`)],
      [`${header}\n[]`, /line 2 is not an object/],
      [`${header}\n{}`, /line 2 is neither a call nor an event/],
      [`${rest.join('\n')}`, /does not start with/],
    ] as const) {
      assert.throws(() => replayHost(text, { name: 'nic.jsonl' }), { code: 'ERR_IOMMUFD_REPLAY', message: reason });
    }
    assert.throws(() => replayHost(1 as never), { code: 'ERR_INVALID_ARG_TYPE' });
  });
  it('says which line cannot be answered from, and answers nothing after it', async () => {
    const { transcript } = await record(short);
    for (const [was, is, reason] of [
      ['"out":{"out_ioas_id":1}', '"out":{"out_ioas_id":"x"}', /Cannot convert x to a BigInt/],
      ['"out":{"out_ioas_id":1}', '"out":{"nothing":1}', /has no field nothing/],
      ['"result":"fd:0"', '"result":"EWHAT"', /"EWHAT" is no result/],
      ['"result":"mem:0"', '"result":"mem:7"', /mem:7 comes where mem:0 would be next/],
    ] as const) {
      const text = transcript.replace(was, is);
      assert.notEqual(text, transcript);
      const line = text.split('\n').findIndex((each) => each.includes(is)) + 1;
      const { message } = await difference(text, short);
      assert.match(message, new RegExp(`^transcript:${line}: this is no transcript that can be replayed: `));
      assert.match(message, reason);
    }
  });
  it('says so where what comes by an event cannot be answered from', async () => {
    const waits: Session = async (host) => {
      const iommufd = host.openIommufd();
      await iommufd.allocIoas().mapAsync(host.allocateMemory(0x1000), { iova: IOVA });
    };
    const { transcript } = await record(waits);
    const text = transcript.replaceAll(/("event":"done".*"result":)0/g, '$1"EWHAT"');
    assert.notEqual(text, transcript);
    assert.match((await difference(text, waits)).message, /^transcript:\d+: this is no .*"EWHAT" is no result$/);
  });
  it('throws what a host threw for misuse', async () => {
    const misuse: Session = (host, _hardware, seen) => {
      const seam = hostSeam(host);
      for (const call of [
        () => seam.createEventfd(-1),
        () => seam.createEventfd(1n as never),
        () => seam.mapMmio(1.5, undefined as never, 1),
        () => seam.allocateBlock(1),
        () => seam.close(99),
        () => seam.read(99, 0, 8),
        () => seam.open('/dev/nothing', 2),
        () => seam.readText('/sys/nothing'),
      ]) {
        try {
          seen.push(call());
        } catch (error) {
          seen.push(
            String(error),
            codeOf(() => assert.fail(error as Error)),
          );
        }
      }
    };
    const { transcript, seen } = await record(misuse);
    assert(seen.includes('ERR_OUT_OF_RANGE') && seen.includes(-9) && seen.includes(-2));
    assert.deepEqual(await replay(transcript, misuse), seen);
  });
  it('shares a memfd that is imported, and knows what one from elsewhere held', async () => {
    const shared: Session = (host, _hardware, seen) => {
      const ram = host.allocateMemory(0x1000);
      const again = host.unsafeImportMemory(ram.fd, 0x1000);
      ram.write(0, Buffer.from('shared'));
      seen.push(Buffer.from(again.read(0, 6)).toString());
      again.free();
      ram.free();
    };
    const own = await record(shared);
    assert.deepEqual(await replay(own.transcript, shared), ['shared']);

    const emulated = machine();
    const guest = emulated.allocateMemory(0x2000);
    guest.write(0x1234, Buffer.from('image'));
    const read = (host: Parameters<Session>[0], fd: number) => {
      const ram = host.unsafeImportMemory(fd, 0x2000);
      return Buffer.from(ram.read(0x1234, 5)).toString();
    };
    const host = recordingHost(emulated);
    assert.equal(read(host, guest.fd), 'image');
    assert.equal(read(replayHost(host.transcript()), 17), 'image');
  });
  it('does not follow memory beyond the limit', async () => {
    const emulated = machine();
    const host = recordingHost(emulated, { followMemory: 0x8000 });
    await wholeGraph(host, (work) => work(emulated), []);
    assert.doesNotMatch(host.transcript(), /"(memory|before)"/);
  });
});
