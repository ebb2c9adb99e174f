// Arguments that throw when they are looked at, that only look like objects of this package, or whose bytes are gone: what is
// wrong is told in this package's own words.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { inspect } from 'node:util';
import { runInNewContext } from 'node:vm';
import { createEmulatedHost } from '../../lib/emulated-host.js';
import type { Ioas } from '../../lib/index.js';
import { codeOf, deviceStage, viommuStage } from './stage.js';

const TYPE = 'ERR_INVALID_ARG_TYPE';
const PAGE = 4096;

function untyped<T>(value: unknown): T {
  return value as T;
}

describe('arguments that mean ill', () => {
  it('are told of, whatever happens when they are looked at', () => {
    const host = createEmulatedHost();
    const cyclic: unknown[] = [];
    cyclic.push(cyclic);
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const throwing = () => {
      throw new Error('not to be heard');
    };
    const values = [
      cyclic,
      proxy,
      { constructor: { name: Symbol('name') } },
      Object.defineProperty({}, 'constructor', { get: throwing }),
      Object.defineProperty(() => {}, 'name', { value: { toString: throwing } }),
      [Object.create(null), Symbol('s')],
    ];
    for (const value of values)
      assert.equal(
        codeOf(() => host.allocateMemory(untyped(value))),
        TYPE,
      );
    const huge = () => host.allocateMemory(1n << 100_000n);
    assert.throws(huge, ({ code, message }) => code === 'ERR_OUT_OF_RANGE' && message.length < 200);
  });

  it('are no stand-ins for objects of this package', () => {
    const { host, iommufd, nic, device } = deviceStage();
    const ioas = iommufd.allocIoas();
    const ram = host.allocateMemory(PAGE);
    const disguises = [
      (object: object) => new Proxy(object, {}),
      (object: object) => Object.create(object),
      (object: object) => Object.create(Object.getPrototypeOf(object)),
    ];
    for (const disguise of disguises) {
      const calls = [
        () => ioas.map(untyped(disguise(ram))),
        () => ioas.copy(untyped(disguise(ioas)), { sourceIova: 0n, length: PAGE }),
        () => ioas.allocHwpt(untyped(disguise(device))),
        () => nic.attach(untyped<Ioas>(disguise(ioas))),
        () => nic.bind(untyped(disguise(iommufd))),
      ];
      for (const call of calls) assert.equal(codeOf(call), TYPE, String(call));
    }
    const proxied = () => ioas.map(new Proxy(ram, {}));
    assert.throws(proxied, { message: /^memory must be a DmaMemory itself, no proxy or copy of one/ });
    iommufd.close();
  });

  it('are no options where they are objects of this package', () => {
    const { host, iommufd, device } = deviceStage();
    const ioas = iommufd.allocIoas();
    const parent = ioas.allocHwpt(device, { dirtyTracking: true });
    const ram = host.allocateMemory(PAGE);
    for (const object of [host, iommufd, device, ioas, ram]) {
      for (const options of [
        object,
        new Proxy(object, {}),
        Object.create(object),
        Object.create(Object.getPrototypeOf(object)),
      ]) {
        const calls = [
          () => parent.dirtyBitmap(untyped(options)),
          () => iommufd.adoptIoas(7, untyped(options)),
          () => host.allocateMemory(PAGE, untyped(options)),
        ];
        for (const call of calls) assert.equal(codeOf(call), TYPE, String(call));
      }
    }
    // Options may inherit others, or nothing.
    for (const options of [Object.create({ backing: 'memfd' }), Object.create(null)]) {
      assert.equal(host.allocateMemory(PAGE, options).backing, 'memfd');
    }
    iommufd.close();
  });

  it('can be shown, also where they only look like objects of this package', () => {
    const { iommufd } = deviceStage();
    const ioas = iommufd.allocIoas();
    assert.match(inspect(ioas), /type: 'ioas'/);
    for (const other of [new Proxy(ioas, {}), Object.create(ioas) as object]) {
      assert.match(inspect(other), /no Ioas/);
    }
    iommufd.close();
  });

  it('may be bytes of another realm, and may not be bytes that are gone', () => {
    const ram = createEmulatedHost().allocateMemory(PAGE);
    ram.write(8, runInNewContext('new Uint8Array([1, 2, 3])'));
    assert.deepEqual([...ram.read(8, 3)], [1, 2, 3]);
    const gone = new Uint8Array(8);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    for (const bytes of [gone, Object.create(Uint8Array.prototype), new Proxy(new Uint8Array(4), {}), [1], 'x']) {
      assert.equal(
        codeOf(() => ram.write(0, untyped(bytes))),
        TYPE,
      );
    }
    ram.write(0, new Uint8Array(0));
  });

  it('are taken for as long as they are, whatever they say', () => {
    class Lying extends Uint8Array {
      override get length(): number {
        return 1;
      }
    }
    const ram = createEmulatedHost().allocateMemory(PAGE);
    ram.write(0, Lying.of(5, 6, 7));
    assert.deepEqual([...ram.read(0, 4)], [5, 6, 7, 0]);
    class Words extends BigUint64Array {
      override get byteLength(): number {
        return 2 ** 40;
      }
    }
    const { viommu, seam } = viommuStage();
    viommu.invalidate({ smmuv3: new Words(2) });
    assert.equal(seam.made('IOMMU_HWPT_INVALIDATE').at(-1)?.input.entry_num, 1);
  });

  it('are no lists where they cannot be listed', () => {
    const iommufd = createEmulatedHost().openIommufd();
    const ioas = iommufd.allocIoas();
    const gone = new Uint8Array(8);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    const arrays = [
      gone,
      new Uint8Array(8),
      new Uint8Array(0),
      new Proxy(gone, {}),
      runInNewContext('new Uint8Array(8)'),
    ];
    const others = [
      Object.create(Uint8Array.prototype),
      { length: 0 },
      { [Symbol.iterator]: 5 },
      {},
      5,
      null,
      [null],
      [5],
    ];
    for (const list of [...arrays, ...others]) {
      const calls = [
        () => ioas.allowIovas(untyped(list)),
        () => iommufd.handOver({ memories: untyped(list) }),
        () => iommufd.adoptIoas(7, { mappings: untyped(list) }),
      ];
      for (const call of calls) assert.equal(codeOf(call), TYPE, `${inspect(list)} of ${call}`);
    }
    ioas.allowIovas(new Set([{ start: 0n, last: 0xfffn }]));
    iommufd.adoptIoas(7, { mappings: new Map([[{ iova: 0n, length: PAGE }, 1]]).keys() });
    iommufd.close();
  });

  it('must be there where they are needed', () => {
    const { device, iommufd } = deviceStage();
    const parent = iommufd.allocIoas().allocHwpt(device, { dirtyTracking: true });
    for (const options of [undefined, null, 5]) {
      assert.equal(
        codeOf(() => parent.dirtyBitmap(untyped(options))),
        TYPE,
      );
    }
    iommufd.close();
  });
});

describe('an engine without WebAssembly', () => {
  it('is told that it cannot have an emulated machine', () => {
    const module = new URL('../../lib/emulated-host.js', import.meta.url).href;
    const script = `const { createEmulatedHost } = await import('${module}');
      try { createEmulatedHost(); } catch (error) { console.log(error.code, error.message); }`;
    const args = ['--jitless', '--input-type=module', '-e', script];
    const { stdout } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    assert.match(stdout, /^ERR_IOMMUFD_UNAVAILABLE .*--jitless/);
  });
});
