// Writes docs/uapi.md from the uAPI tables. npm run docs:uapi; with -- --check it only tells whether the file is up to
// date.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { iommufdConstants, iommufdIoctls, iommufdStructs } from '../lib/uapi/iommufd.js';
import type { Constants, Field, Fields, Ioctl, Layout } from '../lib/uapi/layout.js';
import { vfioConstants, vfioIoctls, vfioOwnStructs, vfioStructs } from '../lib/uapi/vfio.js';

/** From dist/scripts. */
const FILE = fileURLToPath(new URL('../../docs/uapi.md', import.meta.url));

const INTRODUCTION = `# The kernel's interface

What this package knows of \`linux/iommufd.h\` and \`linux/vfio.h\`. This file is written from the tables in \`lib/uapi\` by
\`npm run docs:uapi\`; \`npm run check:uapi\` compares the same tables with a kernel's headers.

Offsets and sizes are in bytes, numbers little-endian. *since* is the Linux release that brought a call, *at least* the
shortest struct it takes. Fields whose name starts with \`out_\` are filled in by the kernel. Errors that any IOMMUFD call may
give: ENOTTY, the kernel does not have it; E2BIG, the struct has something in a part the kernel does not know; EOPNOTSUPP, a
flag, type or reserved field the kernel or the hardware does not support; EINVAL, a value that cannot be; ENOENT, no such
object; ENOMEM; EOVERFLOW, a sum of addresses too large; EFAULT, a bad pointer.
`;

export function uapiDocument(): string {
  return [
    INTRODUCTION,
    ...part('IOMMUFD', iommufdIoctls, iommufdStructs, iommufdConstants),
    ...part('VFIO', vfioIoctls, [...vfioStructs, ...vfioOwnStructs], vfioConstants),
  ].join('\n');
}

function part(
  title: string,
  ioctls: readonly Ioctl[],
  structs: readonly Layout<Fields>[],
  groups: readonly Constants[],
): string[] {
  const shown = new Set(ioctls.map((entry) => entry.layout));
  const others = structs.filter((layout) => !shown.has(layout));
  return [
    `## ${title}: calls\n`,
    ...ioctls.map(ioctlSection),
    `## ${title}: other structs\n`,
    ...others.map((layout) => `### ${layout.name}\n\n${layout.doc} ${layout.size} bytes.\n\n${fieldTable(layout)}`),
    `## ${title}: constants\n`,
    ...groups.map(constantsSection),
  ];
}

function ioctlSection(entry: Ioctl): string {
  const { name, request, layout, argument, minSize, since, doc } = entry;
  const size = minSize === layout.size ? `${layout.size} bytes` : `${layout.size} bytes, at least ${minSize}`;
  const takes = {
    pointer: `\`struct ${layout.name}\`, ${size}`,
    value: `\`${Object.keys(layout.fields).join()}\` itself as argument`,
    none: 'no argument',
  }[argument];
  const facts = `Request 0x${request.toString(16)}, since ${since}; ${takes}.`;
  return `### ${name}\n\n${doc}\n\n${facts}\n${layout.size === 0 ? '' : `\n${fieldTable(layout)}`}`;
}

function fieldTable(layout: Layout<Fields>): string {
  const rows = Object.entries(layout.fields).map(([name, field]) => [
    String(layout.at[name]),
    typeName(field),
    `\`${name}\``,
    meaning(field),
  ]);
  return table(['Offset', 'Type', 'Field', 'Meaning'], rows);
}

function typeName(field: Field): string {
  if (field.kind === 'flex') return `${field.nested?.name ?? field.element ?? 'u8'}[]`;
  if (field.kind === 'struct') return field.nested?.name ?? '';
  return field.isArray ? `${field.kind}[${field.count}]` : field.kind;
}

const DIRECTIONS = { in: 'read', out: 'written', inout: 'read and written' };

function meaning(field: Field): string {
  const notes: string[] = [];
  if (field.overlays !== undefined) notes.push(`same place as \`${field.overlays}\``);
  if (field.direction !== undefined) notes.push(`memory is ${DIRECTIONS[field.direction]}`);
  return notes.length === 0 ? field.doc : `${field.doc} (${notes.join('; ')})`;
}

function constantsSection(group: Constants): string {
  const rows = Object.entries(group.values).map(([name, value]) => [
    `\`${name}\``,
    value > 9 ? `0x${value.toString(16)}` : String(value),
    group.meanings[name] ?? '',
  ]);
  return `### ${group.name}\n\n${group.doc}\n\n${table(['Name', 'Value', 'Meaning'], rows)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return `${[line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n')}\n`;
}

function current(): string {
  try {
    return readFileSync(FILE, 'utf8');
  } catch {
    return '';
  }
}

function main(): number {
  let check = false;
  try {
    check = parseArgs({ options: { check: { type: 'boolean' } } }).values.check ?? false;
  } catch (error) {
    console.error(`document-uapi: ${error instanceof Error ? error.message : String(error)}`);
    console.error('usage: npm run docs:uapi [-- --check]');
    return 2;
  }
  const text = uapiDocument();
  if (!check) {
    writeFileSync(FILE, text);
    return 0;
  }
  if (current() === text) return 0;
  console.error('docs/uapi.md is not up to date: run npm run docs:uapi');
  return 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main();
