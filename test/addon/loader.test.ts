// What people are told where the addon is not there.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { loadNative } from '../../lib/host/native.js';
import { native } from './support.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const compiled = fileURLToPath(new URL('../../lib/host/native.js', import.meta.url));

describe('addon: the loader', function () {
  // Other processes are started, and machines are busy.
  this.timeout(20_000);
  // A package of the same name with only the loader in it.
  let copy: string;

  beforeEach(() => {
    copy = mkdtempSync(path.join(tmpdir(), 'iommufd-loader-'));
    mkdirSync(path.join(copy, 'dist/lib/host'), { recursive: true });
    writeFileSync(path.join(copy, 'package.json'), '{ "name": "iommufd", "type": "module" }');
    copyFileSync(compiled, path.join(copy, 'dist/lib/host/native.js'));
    symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
  });

  afterEach(() => rmSync(copy, { recursive: true }));

  function put(file: string, content: string): void {
    mkdirSync(path.dirname(path.join(copy, file)), { recursive: true });
    writeFileSync(path.join(copy, file), content);
  }

  function load(before = ''): { code: string; message: string; cause?: string; pageSize?: number } {
    const script = `${before}
      import('./dist/lib/host/native.js').then(({ loadNative }) => ({ pageSize: loadNative().pageSize }))
        .catch(({ code, message, cause }) => ({ code, message, cause: cause?.code }))
        .then((result) => console.log(JSON.stringify(result)));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['-e', script], { cwd: copy, encoding: 'utf8' });
    assert.equal(stderr, '');
    return JSON.parse(stdout);
  }

  it('loads the addon once', () => {
    assert.equal(loadNative(), native);
  });

  it('says that the addon was not built, and how to build it', () => {
    const { code, message } = load();
    assert.equal(code, 'ERR_IOMMUFD_ADDON_MISSING');
    assert.match(message, /was not built/);
    assert.match(message, /npm run build/);
  });

  it('quotes what the build said at its end', () => {
    const noise = Array.from({ length: 100 }, (_, line) => `line ${line}`).join('\n');
    put('build/addon-build.log', `${noise}\nnative/addon.cc:1: error: the compiler's reason\ngyp ERR! not ok\n`);
    const { code, message } = load();
    assert.equal(code, 'ERR_IOMMUFD_ADDON_MISSING');
    assert.match(message, /the compiler's reason/);
    assert.match(message, /line 99/);
    assert.doesNotMatch(message, /line 50\n|gyp ERR/);
    assert.ok(message.includes(path.join(copy, 'build/addon-build.log')));
  });

  it('says that other systems have none', () => {
    const { code, message } = load(`Object.defineProperty(process, 'platform', { value: 'darwin' });`);
    assert.equal(code, 'ERR_IOMMUFD_ADDON_MISSING');
    assert.match(message, /for Linux, and this is darwin/);
  });

  it('tells an addon that does not load from one that is not there', () => {
    put('build/Release/iommufd.node', 'no shared object');
    const { code, message, cause } = load();
    assert.equal(code, 'ERR_IOMMUFD_ADDON_BROKEN');
    assert.equal(cause, 'ERR_DLOPEN_FAILED');
    assert.match(message, /built but does not load/);
  });

  it('takes a prebuild where nothing was built, and what was built before that', () => {
    const prebuilt = path.join(copy, `prebuilds/${process.platform}-${process.arch}`);
    mkdirSync(prebuilt, { recursive: true });
    copyFileSync(path.join(root, 'build/Release/iommufd.node'), path.join(prebuilt, 'iommufd.node'));
    assert.equal(load().pageSize, native.pageSize);
    put('build/Release/iommufd.node', 'no shared object');
    assert.equal(load().code, 'ERR_IOMMUFD_ADDON_BROKEN');
  });
});
