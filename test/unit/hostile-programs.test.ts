// Whole programs that mean ill, each in a process of its own: on the emulated machine, and on this machine's own host where
// there is an addon. They end as programs do: no crash, no hang, with the code they ask for.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const lib = new URL('../../lib/', import.meta.url).href;
const hasAddon = existsSync(fileURLToPath(new URL('../../../build/Release/iommufd.node', import.meta.url)));

const HOSTS: Readonly<Record<string, string>> = {
  emulated: `const { createEmulatedHost } = await import('${lib}emulated-host.js'); const host = createEmulatedHost();`,
  kernel: `const { Host } = await import('${lib}host-object.js');
    const { kernelSeam } = await import('${lib}host/kernel.js'); const host = new Host(kernelSeam());`,
};

interface Program {
  readonly script: string;
  readonly flags?: readonly string[];
  /** What it prints. */
  readonly prints?: string;
  readonly code?: number;
}

/** `host` is there, and `ram` of 64 KiB, and an `eventfd`. */
const PROGRAMS: Readonly<Record<string, Program>> = {
  'uses everything as it exits': {
    script: `process.on('exit', () => {
        ram.write(0, Uint8Array.of(7)); eventfd.signal(); host.createEventfd(); host.allocateMemory(65536).window()[0] = 1;
        eventfd.wait(); ram.prefault(); console.log(ram.read(0, 1)[0], eventfd.drain()); ram.free(); eventfd.close();
      });
      eventfd.wait(); process.exit(7);`,
    prints: '7 1n\n',
    code: 7,
  },
  'goes on after exceptions that nobody caught': {
    script: `let count = 0;
      process.on('uncaughtException', () => { count++; });
      process.on('unhandledRejection', () => { count++; });
      setImmediate(() => ram.window(99999999));
      setImmediate(() => { ram.prefault({ onProgress() { ram.free(); throw new Error('mine'); } }); });
      setImmediate(() => { eventfd.wait({ signal: AbortSignal.abort() }); });
      setTimeout(() => { console.log(count, ram.freed); eventfd.signal(); console.log(eventfd.drain()); eventfd.close(); }, 200);`,
    prints: '3 true\n1n\n',
  },
  'abandons its iterators': {
    script: `for (let i = 0; i < 200; i++) { const e = host.createEventfd(1); const it = e.read(); it.next(); if (i % 2) it.return(); e.unref(); }
      const held = eventfd.read(); held.next().then(({ value }) => console.log(value));
      held.next().catch(() => {}); held.return().then(() => { eventfd.signal(); gc(); console.log(eventfd.drain()); eventfd.close(); });`,
    prints: '1n\nundefined\n',
  },
  'brings what was collected back': {
    script: `const kept = []; const registry = new FinalizationRegistry((it) => kept.push(it));
      for (let i = 0; i < 50; i++) { const one = host.allocateMemory(65536); one.window()[0] = i; registry.register(one, one.window()); }
      for (let i = 0; i < 5; i++) { gc(); await new Promise(setImmediate); }
      console.log(kept.every((window) => window.length === 65536 && window[0] < 50)); eventfd.close(); ram.free();`,
    prints: 'true\n',
  },
  'drops windows, and then their memory, in one turn': {
    // Where that ends all finalizers, memory that is forgotten afterwards stays, without a warning.
    script: `const turn = () => new Promise(setImmediate); const codes = []; process.on('warning', ({ code }) => codes.push(code));
      await (async () => { const short = host.allocateMemory(65536); (() => { short.window()[0] = 1; })(); await turn(); gc(); short.free(); })();
      gc(); gc(); await turn();
      (() => { host.allocateMemory(65536); })();
      for (let i = 0; i < 20 && codes.length === 0; i++) { gc(); await turn(); }
      console.log(...codes); ram.free(); eventfd.close();`,
    prints: 'IOMMUFD_COLLECTED\n',
  },
  'sends windows, memory and hosts to a worker': {
    // The worker is a script, not a module as the program is.
    script: `const { Worker } = await import('node:worker_threads');
      const answers = []; let heard = () => {}; let sent = 4;
      const worker = new Worker(\`const { parentPort } = require('node:worker_threads');
        parentPort.on('message', ({ w }) => { w?.fill(9); parentPort.postMessage(w ? w[65535] : 'copy'); });\`, { eval: true, execArgv: [] });
      worker.on('message', (answer) => { answers.push(answer); heard(); });
      for (const value of [ram, host, eventfd]) worker.postMessage({ value });
      const window = ram.window();
      worker.postMessage({ w: window });
      try { worker.postMessage({ w: window }, [window.buffer]); sent++; } catch (error) { if (!(error instanceof Error)) throw error; }
      ram.free();
      const next = host.allocateMemory(65536);
      while (answers.length < sent) await new Promise((resolve) => { heard = resolve; });
      console.log(...answers.slice(0, 4), next.read(0, 1)[0]); await worker.terminate(); eventfd.close();`,
    prints: 'copy copy copy 9 0\n',
  },
  'moves buffers away by the newest means': {
    flags: ['--harmony-rab-gsab-transfer'],
    script: `const before = ram.window(); before[0] = 5;
      let moved; try { moved = before.buffer.transfer?.(); } catch (error) { if (!(error instanceof TypeError)) throw error; }
      ram.write(1, Uint8Array.of(6)); console.log(...ram.read(0, 2)); ram.free();
      const other = host.allocateMemory(65536); if (moved) new Uint8Array(moved).fill(9);
      console.log(other.read(0, 1)[0], host.allocateMemory(65536).read(0, 1)[0]); eventfd.close();`,
    prints: '5 6\n0 0\n',
  },
  'ends a worker in the midst of everything': {
    script: `const { Worker } = await import('node:worker_threads');
      for (let i = 0; i < 6; i++) {
        const worker = new Worker(\`(async () => { const { parentPort } = await import('node:worker_threads');
          const { createEmulatedHost } = await import('${lib}emulated-host.js');
          const host = createEmulatedHost(); const e = host.createEventfd(); e.wait();
          parentPort.postMessage('there');
          for (;;) { const r = host.allocateMemory(65536); r.write(0, Buffer.alloc(100)); r.prefault(); await null; r.free(); } })()\`, { eval: true });
        await new Promise((resolve) => worker.once('message', resolve));
        await new Promise((resolve) => setTimeout(resolve, i)); await worker.terminate();
      }
      console.log(ram.read(0, 1)[0]); eventfd.close();`,
    prints: '0\n',
  },
  'has frozen intrinsics, and no __proto__': {
    flags: ['--frozen-intrinsics', '--disable-proto=delete'],
    script: `ram.write(0, Uint8Array.of(3)); eventfd.signal(2n); console.log(ram.read(0, 1)[0], await eventfd.wait());
      await ram.prefault(); try { ram.window(70000); } catch (error) { console.log(error.code); } ram.free(); eventfd.close();`,
    prints: '3 2n\nERR_OUT_OF_RANGE\n',
  },
  'has taken the prototypes apart': {
    script: `for (const it of [Array.prototype, Map.prototype, Promise.prototype]) for (const name of ['then2', 'x', 'signal'])
        Object.defineProperty(it, name, { get() { throw new Error('trap'); }, configurable: true });
      Error.prepareStackTrace = () => { ram.free(); throw new Error('prepare'); };
      try { ram.window(70000); } catch (error) { console.log(error.code); }
      try { ram.window(); } catch (error) { console.log(error.code ?? error.message); }
      eventfd.close();`,
    prints: 'ERR_OUT_OF_RANGE\n',
  },
  'runs out of stack in the midst of a call': {
    script: `let depth = 0; let codes = new Set();
      const dive = () => { depth++; try { ram.write(0, Uint8Array.of(1)); eventfd.signal(); eventfd.drain(); dive(); } catch (error) { codes.add(error.constructor.name); } };
      dive(); console.log(depth > 100, [...codes].join()); eventfd.drain(); eventfd.signal(3n); console.log(eventfd.drain(), ram.read(0, 1)[0]);
      ram.free(); eventfd.close();`,
    prints: 'true RangeError\n3n 1\n',
  },
};

function run(host: string, { script, flags = [] }: Program) {
  const set = `${HOSTS[host]} const ram = host.allocateMemory(65536); const eventfd = host.createEventfd();\n${script}`;
  const args = [...flags, '--expose-gc', '--no-warnings', '--input-type=module', '-e', set];
  return spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000, killSignal: 'SIGKILL' });
}

describe('whole programs that mean ill', function () {
  this.timeout(90_000);

  for (const [name, program] of Object.entries(PROGRAMS)) {
    for (const host of Object.keys(HOSTS)) {
      it(`${name} (${host})`, function () {
        if (host === 'kernel' && !hasAddon) this.skip();
        const { status, signal, stdout, stderr } = run(host, program);
        const expected = { status: program.code ?? 0, signal: null, stdout: program.prints, stderr: '' };
        assert.deepEqual({ status, signal, stdout, stderr }, expected);
      });
    }
  }
});
