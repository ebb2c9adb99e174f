// Which host a program gets: by name, by IOMMUFD_HOST, or by what the machine has.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const index = new URL('../../lib/index.js', import.meta.url).href;
const hasKernel = existsSync('/dev/iommu');

/** What a program of its own prints and warns of. */
function run(source: string, named?: string): { out: string; warnings: string } {
  const { IOMMUFD_HOST: _, ...env } = process.env;
  const script = `import { openHost, Iommufd } from '${index}';\n${source}`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    env: named === undefined ? env : { ...env, IOMMUFD_HOST: named },
    encoding: 'utf8',
  });
  return { out: stdout.trim(), warnings: stderr };
}

const told = 'try { console.log(openHost(OPTIONS).kind) } catch (error) { console.log(error.code) }';

/** What only a machine without a kernel's host can show. */
function skip(test: Mocha.Context): never {
  if (test.test) test.test.title += ' [this machine has a /dev/iommu]';
  return test.skip();
}

describe('openHost', function () {
  this.timeout(30_000);

  it('is emulated where there is no /dev/iommu, and warns once', function () {
    if (hasKernel) skip(this);
    const { out, warnings } = run(`console.log(openHost().kind, openHost() === openHost());`);
    assert.equal(out, 'emulated true');
    assert.equal(warnings.match(/IOMMUFD_EMULATED/g)?.length, 1);
  });

  it('is the host of an Iommufd that is opened without one', function () {
    if (hasKernel) skip(this);
    const { out } = run('const i = Iommufd.open(); console.log(i.host.kind, i.host === openHost()); i.close();');
    assert.equal(out, 'emulated true');
  });

  it('is never emulated where the kernel was asked for', function () {
    if (hasKernel) skip(this);
    assert.equal(run(told.replace('OPTIONS', "{ kind: 'kernel' }")).out, 'ERR_IOMMUFD_NO_HOST');
    assert.equal(run(told.replace('OPTIONS', ''), 'kernel').out, 'ERR_IOMMUFD_NO_HOST');
  });

  it('is emulated where that was asked for, without a warning', () => {
    for (const { out, warnings } of [
      run(told.replace('OPTIONS', "{ kind: 'emulated' }"), 'kernel'),
      run(told.replace('OPTIONS', ''), 'emulated'),
    ]) {
      assert.equal(out, 'emulated');
      assert.doesNotMatch(warnings, /IOMMUFD_EMULATED/);
    }
  });

  it('refuses names that it does not know', () => {
    assert.equal(run(told.replace('OPTIONS', "{ kind: 'real' }")).out, 'ERR_OUT_OF_RANGE');
    assert.equal(run(told.replace('OPTIONS', ''), 'real').out, 'ERR_OUT_OF_RANGE');
    assert.equal(run(told.replace('OPTIONS', '{ knid: 1 }')).out, 'ERR_UNKNOWN_OPTION');
  });
});
