// The rooms of docs/architecture.md: who may import whom, and that the public package leads to no seam.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Arena } from '../../lib/host/arena.js';
import { loadNative } from '../../lib/host/native.js';
import * as main from '../../lib/index.js';
import { NODE, viommuStage } from './stage.js';
import { StubRegion, StubWatch } from './stub-parts.js';
import { StubSeam } from './stub-seam.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const lib = path.join(root, 'lib');

/** What each room may import, besides itself; the files above all rooms may import anything of lib. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  uapi: [],
  host: ['uapi'],
  objects: ['host', 'uapi'],
  vfio: ['objects', 'host', 'uapi'],
  'emulated/memory': [],
  'emulated/kernel': ['emulated/memory', 'uapi'],
  'emulated/hardware': ['emulated/kernel', 'emulated/memory', 'uapi'],
  'emulated/process': ['emulated/kernel', 'emulated/memory', 'host', 'uapi'],
  'emulated/remote': ['emulated/kernel', 'emulated/memory', 'uapi'],
  emulated: ['emulated/memory', 'emulated/kernel', 'emulated/hardware', 'emulated/process', 'host', 'uapi'],
  recording: ['emulated/memory', 'emulated/process', 'host', 'uapi'],
  run: ['emulated', 'emulated/kernel', 'emulated/memory', 'emulated/hardware', 'emulated/remote', 'host', 'uapi'],
  cli: ['host'],
};
const ABOVE = ['host-object.ts', 'emulated-host.ts', 'recording-host.ts', 'open.ts', 'index.ts', 'unsafe.ts'];
const ALSO: Readonly<Record<string, readonly string[]>> = {
  'objects/iommufd.ts': ['host-object.ts'],
  'vfio/adopt.ts': ['host-object.ts'],
  'open.ts': ['node:fs'],
  'cli/program.ts': ['node:child_process', 'node:os'],
  'cli/signals.ts': ['node:fs'],
  'cli/claim.ts': ['node:fs', 'node:path'],
  'cli/transcript.ts': ['node:fs', 'node:os', 'node:path', 'node:url'],
  'cli/transcript-file.ts': ['node:fs', 'node:path', 'recording'],
  'cli/run.ts': ['node:fs', 'node:os', 'node:path', 'emulated', 'emulated/memory', 'run'],
  'cli/run-arguments.ts': ['emulated', 'emulated/hardware'],
  'run/server.ts': ['node:net', 'node:path'],
  'run/file-socket.ts': ['node:net'],
  'run/register-watch.ts': ['node:path'],
  'run/tree.ts': ['node:path'],
  'run/program-statuses.ts': ['node:path'],
  'run/environment.ts': ['node:url'],
  'cli/preload.ts': [
    ...['node:fs', 'node:path', 'node:worker_threads'],
    ...['host-object.ts', 'open.ts', 'recording-host.ts'],
  ],
  'cli/threads.ts': ['node:fs', 'node:path', 'node:worker_threads'],
  'objects/call.ts': ['node:diagnostics_channel'],
};

const files = readdirSync(lib, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => file.replaceAll(path.sep, '/'))
  .sort();

/** The static members of the classes that can be made from what somebody else has. */
const MAKERS: Readonly<Record<string, readonly string[]>> = {
  Iommufd: ['fromFd', 'open'],
  VfioDevice: ['adopt', 'fromFd'],
};

/** Without comments: what they speak of is imported by nobody. */
function code(file: string): string {
  return readFileSync(path.join(lib, file), 'utf8').replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
}

/** Everything a file imports, by any form of import there is. */
function imports(file: string): string[] {
  const forms = /\b(?:from|import|require(?:\.resolve)?)\s*\(?\s*(['"`])([^'"`]+)\1/g;
  return [...code(file).matchAll(forms)].flatMap((match) => match[2] ?? []);
}

/** The room that a file of lib lies in; the file itself for those above all rooms. */
function roomOf(file: string): string {
  const folder = path.posix.dirname(file);
  if (folder === '.') return file;
  const inner = Object.keys(ROOMS).find((room) => room.includes('/') && `${folder}/`.startsWith(`${room}/`));
  return inner ?? folder.split('/')[0] ?? '';
}

/** Which room of lib an import leads to, or the name of the package. */
function target(file: string, name: string): string {
  if (!name.startsWith('.')) return name;
  const inLib = path.posix.normalize(path.posix.join(path.posix.dirname(file), name)).replace(/\.js$/, '.ts');
  assert(!inLib.startsWith('..'), `${file} imports ${name}, which is outside of lib/`);
  assert(existsSync(path.join(lib, inLib)), `${file} imports ${name}, which is not there`);
  return roomOf(inLib);
}

function isAllowed(file: string, to: string): boolean {
  if (ALSO[file]?.includes(to) === true) return true;
  const room = roomOf(file);
  if (to === 'node:fs' && (room === 'emulated/remote' || room === 'run')) return true;
  if (to.startsWith('node:') || to === 'bindings') return room === 'host';
  if (ABOVE.includes(room)) return to in ROOMS || ABOVE.includes(to);
  return to === room || ROOMS[room]?.includes(to) === true;
}

describe('architecture', () => {
  it('has no file outside of the rooms', () => {
    for (const file of files) {
      const room = roomOf(file);
      assert(room in ROOMS || ABOVE.includes(room), `lib/${file} is in no known room`);
    }
  });

  for (const room of [...Object.keys(ROOMS), 'the files above']) {
    it(`lets ${room} import only what lies below`, () => {
      const mine = files.filter((file) => (room in ROOMS ? roomOf(file) === room : ABOVE.includes(file)));
      assert(mine.length > 1 && mine.some((file) => imports(file).length > 0), 'nothing was looked at');
      for (const file of mine) {
        for (const name of imports(file)) {
          assert(isAllowed(file, target(file, name)), `lib/${file} must not import ${name}`);
        }
      }
    });
  }

  it('would notice a forbidden import', () => {
    for (const [file, to] of [
      ['uapi/layout.ts', 'host'],
      ['host/memory.ts', 'objects'],
      ['objects/ioas.ts', 'vfio'],
      ['objects/ioas.ts', 'open.ts'],
      ['objects/ioas.ts', 'node:fs'],
      ['vfio/device.ts', 'bindings'],
      ['vfio/device.ts', 'open.ts'],
      ['open.ts', 'node:os'],
      ['emulated/kernel/ioas.ts', 'host'],
      ['emulated/kernel/ioas.ts', 'emulated/hardware'],
      ['emulated/memory/backing.ts', 'node:fs'],
      ['emulated/process/seam.ts', 'emulated/hardware'],
      ['emulated/kernel/pages.ts', 'emulated/remote'],
      ['emulated/remote/chunk.ts', 'emulated/hardware'],
      ['emulated/remote/chunk.ts', 'node:os'],
      ['objects/ioas.ts', 'emulated'],
      ['host/kernel.ts', 'mocha'],
      ['recording/names.ts', 'objects'],
      ['recording/replay-side.ts', 'emulated/kernel'],
      ['objects/ioas.ts', 'recording'],
      ['cli/environment.ts', 'node:fs'],
    ] as const) {
      assert.equal(isAllowed(file, to), false, `${file} -> ${to}`);
    }
    assert.deepEqual(
      imports('host/native.ts').filter((name) => !name.startsWith('node:')),
      ['bindings'],
    );
  });
});

describe('public package', () => {
  it('exports no seam, arena, region, struct or number of an ioctl', () => {
    const text = code('index.ts');
    for (const name of [
      'Seam',
      'Arena',
      'Region',
      'Watch',
      'Context',
      'MmioMapping',
      'hostSeam',
      'kernelSeam',
      'uapi',
    ]) {
      assert.doesNotMatch(text, new RegExp(`\\b${name}\\b`), name);
    }
    assert.doesNotMatch(text, /export \*|\/uapi\//);
    assert.deepEqual(Object.keys(main).sort(), [
      'Host',
      'Iommufd',
      'IommufdError',
      'UsageError',
      'VfioDevice',
      'openHost',
    ]);
  });

  it('leads to no seam through any property of its objects', () => {
    const base = viommuStage();
    const { host, iommufd, nic, device, ioas, parent, viommu } = base;
    const nested = viommu.allocNestedHwpt(device, { ste: [1n, 0n] });
    const ram = host.allocateMemory(4096);
    device.attach(nested);
    const roots: Readonly<Record<string, object>> = {
      ...{ host, iommufd, nic, device, ioas, parent, viommu, nested, ram },
      vdevice: viommu.allocVdevice(device, { virtId: 1n }),
      events: viommu.allocVeventq({ depth: 1 }),
      faults: iommufd.allocFaultQueue(),
      queue: viommu.allocHwQueue({ index: 0, iova: 0n, length: 4096n }),
      window: viommu.mmap().subregion(0, 8),
      bitmap: parent.dirtyBitmap({ iova: 0n, length: 4096n }).read(),
      another: host.openDevice(NODE),
    };
    const seen = new Set<object>();
    const walk = (value: unknown, trail: string): void => {
      if ((typeof value !== 'object' && typeof value !== 'function') || value === null || seen.has(value)) return;
      seen.add(value);
      for (const forbidden of [StubSeam, StubRegion, StubWatch, Arena]) {
        assert(!(value instanceof forbidden), `${trail} is a ${forbidden.name}`);
      }
      if (ArrayBuffer.isView(value) || value instanceof Map || value instanceof Set) return;
      for (
        let level: object | null = value;
        level !== null && level !== Object.prototype;
        level = Object.getPrototypeOf(level)
      ) {
        for (const key of Reflect.ownKeys(level)) {
          const descriptor = Object.getOwnPropertyDescriptor(level, key);
          if (descriptor === undefined || typeof descriptor.value === 'function') continue;
          walk(
            descriptor.get === undefined ? descriptor.value : read(descriptor.get, value),
            `${trail}.${String(key)}`,
          );
        }
      }
    };
    for (const [name, object] of Object.entries(roots)) walk(object, name);
    assert(seen.size > Object.keys(roots).length);
  });

  it('gives no class a way to a seam by its static members', () => {
    for (const [name, value] of Object.entries(main)) {
      const statics = Object.getOwnPropertyNames(value).filter((key) => !['length', 'name', 'prototype'].includes(key));
      const known = MAKERS[name] ?? ['captureStackTrace', 'stackTraceLimit'];
      for (const key of statics) assert(known.includes(key), `${name}.${key}`);
    }
  });

  it('needs no addon to be imported', () => {
    assert.equal(typeof loadNative, 'function');
    assert.equal(typeof main.openHost, 'function');
  });
});

function read(getter: () => unknown, self: object): unknown {
  try {
    return getter.call(self);
  } catch {
    return undefined;
  }
}
