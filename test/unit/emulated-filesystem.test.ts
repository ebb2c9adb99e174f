// Paths of an emulated machine: nodes, texts, links and the folders they lie in.
import assert from 'node:assert/strict';
import { Filesystem } from '../../lib/emulated/process/filesystem.js';
import { CharacterFile } from '../../lib/emulated/process/plain-files.js';

const [ENOENT, ENOTDIR, EISDIR, EINVAL] = [-2, -20, -21, -22];

function stage(): Filesystem {
  const files = new Filesystem();
  files.addNode('/dev/null', { major: 1, minor: 3, open: () => new CharacterFile('nothing') });
  files.addNode('/dev/vfio/b', { major: 9, minor: 1, open: () => -19 });
  files.addText('/sys/a/name', 'eth0\n');
  files.addText('/sys/a/empty', '');
  files.addLink('/sys/b', '../a');
  return files;
}

describe('paths of the emulated machine', () => {
  it('lead to what was put there', () => {
    const files = stage();
    assert(files.open('/dev/null') instanceof CharacterFile);
    assert.equal(files.open('/dev/vfio/b'), -19);
    assert.deepEqual(files.status('/dev/null'), { kind: 'character-device', major: 1, minor: 3, size: 0 });
    assert.deepEqual(files.status('/sys/a/name'), { kind: 'file', major: 0, minor: 0, size: 4096 });
    assert.deepEqual(files.status('/sys/b'), { kind: 'link', major: 0, minor: 0, size: 0 });
    assert.equal(files.readText('/sys/a/name'), 'eth0\n');
    assert.equal(files.readText('/sys/a/empty'), '');
    assert.equal(files.readLink('/sys/b'), '../a');
  });

  it('lie in folders, up to the root', () => {
    const files = stage();
    assert.deepEqual(files.list('/'), ['dev', 'sys']);
    assert.deepEqual(files.list('/dev'), ['null', 'vfio']);
    assert.deepEqual(files.list('/sys'), ['a', 'b']);
    for (const path of ['/', '/dev', '/dev/vfio', '/sys/a']) {
      assert.deepEqual(files.status(path), { kind: 'directory', major: 0, minor: 0, size: 0 });
      assert.equal(files.open(path), EISDIR);
      assert.equal(files.readText(path), EISDIR);
      assert.equal(files.readLink(path), EINVAL);
    }
  });

  it('that are nothing, or something else, are refused', () => {
    const files = stage();
    for (const path of ['', '/no', 'dev/null', '/dev/null/x', '__proto__', '/sys/constructor']) {
      const answers = [
        files.open(path),
        files.status(path),
        files.readText(path),
        files.readLink(path),
        files.list(path),
      ];
      assert.deepEqual(answers, Array(5).fill(ENOENT), path);
    }
    for (const path of ['/dev/null', '/sys/a/name', '/sys/b']) assert.equal(files.list(path), ENOTDIR);
    assert.equal(files.readLink('/sys/a/name'), EINVAL);
  });
});
