// Every public class and its members, as they are in this build: for tests that must leave none out.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const build = fileURLToPath(new URL('../../lib/', import.meta.url));

type Class = (new (...given: never[]) => unknown) & { readonly prototype: object };

function isClass(value: unknown): value is Class {
  return typeof value === 'function' && Function.prototype.toString.call(value).startsWith('class');
}

/** The files that have classes which programs meet. */
function files(): string[] {
  const rooms = ['objects', 'vfio', 'host'].flatMap((room) =>
    readdirSync(path.join(build, room)).map((file) => `${room}/${file}`),
  );
  const all = [...rooms, 'host-object.js', 'emulated-host.js', 'emulated/emulated-device.js'];
  return all.filter((file) => file.endsWith('.js'));
}

/** What a class has of its own, static members included. */
function membersOf(theClass: Class): string[] {
  const own = Object.getOwnPropertyNames(theClass.prototype).filter((name) => name !== 'constructor');
  const of = Object.entries(Object.getOwnPropertyDescriptors(theClass));
  const statics = of.filter(([, { value, writable }]) => typeof value === 'function' && writable === true);
  return [...own, ...statics.map(([name]) => name)];
}

/** `Class.member` of all classes that lib/index.ts or lib/emulated-host.ts export, as a class or a type. */
export async function publicMembers(): Promise<Set<string>> {
  const exports = ['index.ts', 'emulated-host.ts'].map((file) => readFileSync(path.join(root, 'lib', file), 'utf8'));
  const names = new Set(exports.join().match(/\b[A-Z]\w+\b/g));
  const found = new Set<string>();
  for (const file of files()) {
    const module: Record<string, unknown> = await import(pathToFileURL(path.join(build, file)).href);
    for (const [name, value] of Object.entries(module)) {
      if (!isClass(value) || !names.has(name)) continue;
      for (const member of membersOf(value)) found.add(`${name}.${member}`);
    }
  }
  return found;
}
