// README.md and its neighbours keep their word: the examples, commands and files they name are there.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { vfio_device_feature_index, vfioIoctls } from '../../lib/uapi/vfio.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const text = (file: string): string => readFileSync(path.join(root, file), 'utf8');

interface Block {
  readonly language: string;
  readonly body: string;
  /** The line before the fence. */
  readonly before: string;
}

/** The fenced blocks of a Markdown text. */
function blocks(markdown: string): Block[] {
  const fence = /(?:^|\n)([^\n]*)\n```(\w*)[^\n]*\n([\s\S]*?)\n?```(?=\n|$)/g;
  return [...markdown.matchAll(fence)].map(([, before = '', language = '', body = '']) => ({ before, language, body }));
}

/** Every example that README shows, with something that it says when it runs. */
const SAYS: Readonly<Record<string, RegExp>> = {
  'examples/quick-start.ts': /^emulated host, .*\nunmapped 2 MiB$/m,
  'examples/emulated-test.ts': /\bpass 2$/m,
  'examples/vqueue-guest.ts': /^All of this was checked on the way\.$/m,
};

/** What stands before a block: a whole example, a part of one, or a part of what one says. */
const WHOLE = /^<!-- (examples\/\S+\.ts) -->$/;
const PART = /^<!-- part of (examples\/\S+\.ts) -->$/;
const SAID = /^<!-- said by (examples\/\S+\.ts) -->$/;

/** An example without the comment lines it begins with. */
function example(file: string): string {
  return text(file)
    .replace(/^(?:\/\/[^\n]*\n)+\n*/, '')
    .trimEnd();
}

/** Without the spaces that lines begin with: a part of an example is shown as if it stood alone. */
function unindented(code: string): string {
  return code.replace(/^ +/gm, '');
}

/** What an example says on a machine without /dev/iommu. */
function said(file: string): string {
  const program = fileURLToPath(new URL(`../../${file.replace(/\.ts$/, '.js')}`, import.meta.url));
  const env = { ...process.env, IOMMUFD_HOST: 'emulated' };
  const { status, stdout, stderr } = spawnSync(process.execPath, [program], { env, encoding: 'utf8' });
  assert.equal(status, 0, `${file}: ${stdout}${stderr}`);
  return stdout;
}

/** The npm commands of a shell block: without prompts, variables and comments. */
function npmCommands(body: string): string[] {
  return body
    .split(/\n|&&|;/)
    .map((line) =>
      line
        .replace(/\s#.*$/, '')
        .replace(/^\s*(?:\$ )?(?:\w+=\S+ )*(?:sudo )?/, '')
        .trim(),
    )
    .filter((line) => /^npm\b/.test(line));
}

/** The pages of the emulated machines. */
const MACHINES = ['arm-smmuv3', 'tegra241-cmdqv', 'intel-vtd'].map((name) => `docs/machines/${name}.md`);

/** The files of the project that a text links to or names: every path in it that begins with one of our folders. */
function namedFiles(markdown: string): string[] {
  const links = [...markdown.matchAll(/\]\((?!https?:|#)([^)#]+)/g)];
  const paths = [...markdown.matchAll(/`((?:lib|native|test|docs|examples|bench|scripts|\.ci)\/[\w./-]*)/g)];
  return [...links, ...paths].flatMap((match) => match[1] ?? []);
}

describe('README', () => {
  before(() => assert(existsSync(path.join(root, 'README.md')), 'there is no README.md'));

  it('shows examples as they are', () => {
    const shown = blocks(text('README.md')).filter(({ language }) => language === 'ts');
    assert(shown.length > 0, 'it shows no example');
    for (const { before: line, body } of shown) {
      const part = PART.exec(line.trim())?.[1];
      const file = part ?? WHOLE.exec(line.trim())?.[1];
      assert(file !== undefined, `no example file is named before:\n${body}`);
      assert(existsSync(path.join(root, file)), `${file} is not there`);
      if (part === undefined) assert.equal(body.trimEnd(), example(file), file);
      else assert(unindented(text(file)).includes(unindented(body)), `${file} does not have\n${body}`);
    }
  });

  it('shows examples that run where there is no /dev/iommu', function () {
    this.timeout(60_000);
    const shown = [...text('README.md').matchAll(/<!-- (?:(?:part of|said by) )?(examples\/\S+\.ts) -->/g)];
    const files = [...new Set(shown.map(([, file = '']) => file))];
    assert.deepEqual(files.sort(), Object.keys(SAYS).sort());
    const outputs = new Map(files.map((file) => [file, said(file)]));
    for (const [file, output] of outputs) assert.match(output, SAYS[file] ?? /^$/, file);
    const parts = blocks(text('README.md')).filter(({ before: line }) => SAID.test(line.trim()));
    assert(parts.length > 0, 'it shows nothing of what an example says');
    for (const { before: line, body } of parts) {
      const file = SAID.exec(line.trim())?.[1] ?? '';
      assert(outputs.get(file)?.includes(body), `${file} does not say\n${body}`);
    }
  });

  it('names only npm commands that there are', () => {
    const { scripts } = JSON.parse(text('package.json')) as { scripts: Record<string, string> };
    const ci = text('.ci/run');
    const commands = blocks(text('README.md'))
      .filter(({ language }) => language === 'sh')
      .flatMap(({ body }) => npmCommands(body));
    assert(commands.length > 0, 'it names no command');
    for (const command of commands) {
      const name = /^npm (?:run )?(\S+)/.exec(command)?.[1] ?? '';
      assert(Object.hasOwn(scripts, name) || ci.includes(command), `${command} is in neither package.json nor .ci/run`);
    }
  });

  it('names only files that there are, as do the pages beside it', () => {
    const docs = ['docs/architecture.md', 'docs/emulated.md', 'docs/kernels.md', 'docs/live-update.md', 'docs/uapi.md'];
    for (const page of ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...docs, ...MACHINES]) {
      for (const file of namedFiles(text(page))) {
        const from = file.startsWith('.') && !file.startsWith('.ci') ? path.dirname(page) : '';
        assert(existsSync(path.join(root, from, file)), `${page} names ${file}`);
      }
    }
    assert.deepEqual(namedFiles('[a](docs/a.md#b), [c](https://c), `lib/d.ts`, `lib/e`'), [
      'docs/a.md',
      'lib/d.ts',
      'lib/e',
    ]);
  });

  it('has files of the emulated kernel and hardware where pages say what they follow', () => {
    for (const page of ['docs/emulated.md', ...MACHINES]) {
      const table =
        text(page)
          .split(/## What (?:is emulated|it models)/)[1]
          ?.split('\n## ')[0] ?? '';
      const named = [...table.matchAll(/`((?:kernel|hardware)\/[\w./-]*)`/g)].map(([, file = '']) => file);
      assert(named.length > 7, `${page} names no files`);
      for (const file of named) assert(existsSync(path.join(root, 'lib/emulated', file)), `${page} names ${file}`);
    }
  });

  it('says of every VFIO call and feature where it was shown', () => {
    const section = text('README.md').split('## What was shown where')[1]?.split('\n## ')[0] ?? '';
    const rows = section.split('\n').filter((line) => /^\| (?:— )?[A-Z]/.test(line) && !line.startsWith('| Call'));
    const told = new Map(
      rows.flatMap((row) => {
        const [calls = '', ...cells] = row.split('|').slice(1, -1);
        return [...calls.matchAll(/VFIO_\w+/g)].map(([name]) => [name, cells] as const);
      }),
    );
    const classless = section.split('\n').filter((line) => !line.startsWith('|'));
    const features = Object.keys(vfio_device_feature_index.values);
    for (const name of [...vfioIoctls.map((op) => op.name), ...features]) {
      const cells = told.get(name);
      if (cells === undefined) assert(classless.join('\n').includes(name), `nothing is said of ${name}`);
      else assert(cells.length === 3 && cells.every((cell) => cell.trim() !== ''), `a cell of ${name} is empty`);
    }
    assert.equal(told.get('VFIO_DEVICE_RESET')?.length, 3);
  });

  it('is read as it is written', () => {
    const sample = [
      '<!-- examples/a.ts -->',
      '```ts',
      'let a;',
      '```',
      '',
      '```sh',
      '$ X=1 npm test # all',
      'ls',
      '```',
    ];
    assert.deepEqual(
      blocks(sample.join('\n')).map(({ language, before: line }) => [language, line]),
      [
        ['ts', '<!-- examples/a.ts -->'],
        ['sh', ''],
      ],
    );
    assert.deepEqual(npmCommands('$ X=1 npm test # all\nls && npm run lint'), ['npm test', 'npm run lint']);
    assert.doesNotMatch(example('examples/quick-start.ts'), /^\/\//);
  });
});
