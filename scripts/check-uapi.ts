// Compares the uAPI tables with the kernel's headers: a C program, generated from the tables and compiled with the
// headers, tells every size, offset and number; and every name of the headers must be in the tables or in
// uapi-exclusions.ts.
// npm run check:uapi -- --include DIR [--test-header FILE]
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { testConstants, testIoctls, testStructs } from '../lib/emulated/hardware/selftest/uapi.js';
import { iommufdConstants, iommufdIoctls, iommufdStructs } from '../lib/uapi/iommufd.js';
import { type Constants, type Field, type Fields, fieldSize, type Ioctl, type Layout } from '../lib/uapi/layout.js';
import { vfioConstants, vfioIoctls, vfioStructs } from '../lib/uapi/vfio.js';
import { type CHeader, parseHeader } from './c-header.js';
import { type Exclusion, IOMMUFD_EXCLUSIONS, TEST_EXCLUSIONS, VFIO_EXCLUSIONS } from './uapi-exclusions.js';

interface Tables {
  /** The header, as messages name it. */
  readonly header: string;
  readonly structs: readonly Layout<Fields>[];
  readonly constants: readonly Constants[];
  readonly ioctls: readonly Ioctl[];
  readonly exclusions: readonly Exclusion[];
}

const IOMMUFD: Tables = {
  header: 'linux/iommufd.h',
  structs: iommufdStructs,
  constants: iommufdConstants,
  ioctls: iommufdIoctls,
  exclusions: IOMMUFD_EXCLUSIONS,
};

const VFIO: Tables = {
  header: 'linux/vfio.h',
  structs: vfioStructs,
  constants: vfioConstants,
  ioctls: vfioIoctls,
  exclusions: VFIO_EXCLUSIONS,
};

const TEST: Tables = {
  header: 'iommufd_test.h',
  structs: testStructs,
  constants: testConstants,
  ioctls: testIoctls,
  exclusions: TEST_EXCLUSIONS,
};

/** What one table entry claims, and the C expression that tells the truth. */
interface Claim {
  /** As messages name it: `iommu_ioas_map.iova: offset`. */
  readonly what: string;
  readonly expression: string;
  readonly value: number;
  /** Also equal when only the sign is different: C's int against our u32. */
  readonly isU32: boolean;
}

class Report {
  readonly differences: string[] = [];
  compared = 0;

  difference(text: string): void {
    this.differences.push(text);
  }
}

function main(): number {
  const options = readOptions();
  if (typeof options === 'string') {
    console.error(`check-uapi: ${options}`);
    console.error('usage: npm run check:uapi -- --include DIR [--test-header FILE]');
    return 2;
  }
  const { include, testHeader } = options;
  const sets: [Tables, string][] = [IOMMUFD, VFIO].map((tables) => [tables, join(include, tables.header)]);
  if (testHeader !== undefined) sets.push([TEST, testHeader]);

  const report = new Report();
  const claims: Claim[] = [];
  for (const [tables, file] of sets) {
    const header = parseHeader(readFileSync(file, 'utf8'));
    claims.push(...presentClaims(tables, header, report));
    completeness(tables, header, report);
  }
  try {
    compare(claims, include, testHeader, report);
  } catch (error) {
    report.difference(`no comparison: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
  }
  for (const line of report.differences) console.log(line);
  const count = report.differences.length;
  console.log(`${report.compared} compared, ${count} difference${count === 1 ? '' : 's'}`);
  return count === 0 ? 0 : 1;
}

function readOptions(): { include: string; testHeader: string | undefined } | string {
  let values: { include?: string; 'test-header'?: string };
  try {
    ({ values } = parseArgs({ options: { include: { type: 'string' }, 'test-header': { type: 'string' } } }));
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  if (values.include === undefined) return '--include is missing: the folder that has linux/iommufd.h';
  const include = resolve(values.include);
  for (const { header } of [IOMMUFD, VFIO]) {
    if (!existsSync(join(include, header))) return `--include ${values.include}: there is no ${header} in it`;
  }
  const given = values['test-header'];
  if (given === undefined) return { include, testHeader: undefined };
  const testHeader = resolve(given);
  if (!existsSync(testHeader)) return `--test-header ${given}: there is no such file`;
  return { include, testHeader };
}

/**
 * The C path of a field. A layout named `struct.member` is one member of a union in that struct, with the fields around
 * the union; a field of the member that has the name of one of those is `member_name`.
 */
function cPath(layout: Layout<Fields>, known: ReadonlySet<string>, field: string): string {
  const member = layout.name.split('.')[1];
  if (member === undefined || known.has(field)) return field;
  return `${member}.${field.startsWith(`${member}_`) ? field.slice(member.length + 1) : field}`;
}

/** Claims about what the header has; what it lacks is a difference at once, and would not compile. */
function presentClaims(tables: Tables, header: CHeader, report: Report): Claim[] {
  const claims: Claim[] = [];
  const values = new Set([...header.defines.map((d) => d.name), ...header.enums.flatMap((e) => e.enumerators)]);
  for (const layout of tables.structs) {
    const struct = layout.name.split('.')[0] ?? '';
    const fields = header.structs.get(struct);
    if (fields === undefined) {
      report.difference(`struct ${layout.name}: not in ${tables.header}`);
      continue;
    }
    claims.push({
      what: `${layout.name}: size`,
      expression: `sizeof(struct ${struct})`,
      value: layout.size,
      isU32: false,
    });
    for (const [name, field] of Object.entries(layout.fields)) {
      const path = cPath(layout, new Set(fields), name);
      if (fields.includes(path)) claims.push(...fieldClaims(layout, struct, name, path, field));
      else report.difference(`${layout.name}.${name}: not in ${tables.header}`);
    }
  }
  const numbers = tables.constants.flatMap((group) => Object.entries(group.values));
  const requests = tables.ioctls.map((entry): [string, number] => [entry.name, entry.request]);
  for (const [name, value] of [...numbers, ...requests]) {
    if (values.has(name)) claims.push({ what: `${name}: value`, expression: name, value, isU32: true });
    else report.difference(`${name}: not in ${tables.header}`);
  }
  return claims;
}

function fieldClaims(layout: Layout<Fields>, struct: string, name: string, path: string, field: Field): Claim[] {
  const what = `${layout.name}.${name}`;
  const member = `((struct ${struct} *)0)->${path}`;
  const offset = { what: `${what}: offset`, expression: `offsetof(struct ${struct}, ${path})` };
  const width =
    field.kind === 'flex'
      ? { what: `${what}: element size`, expression: `sizeof(${member}[0])`, value: elementSize(field) }
      : { what: `${what}: size`, expression: `sizeof(${member})`, value: fieldSize(field) };
  return [
    { ...offset, value: layout.at[name] ?? -1, isU32: false },
    { ...width, isU32: false },
  ];
}

function elementSize(field: Field): number {
  return field.nested?.size ?? (field.element === 's32' ? 4 : 1);
}

/** Every name of the header must be in the tables, or excluded. */
function completeness(tables: Tables, header: CHeader, report: Report): void {
  const used = new Set<Exclusion>();
  const excluded = (name: string): boolean => {
    const matching = tables.exclusions.filter((exclusion) => exclusion.pattern.test(name));
    for (const exclusion of matching) used.add(exclusion);
    return matching.length > 0;
  };
  const missing = (name: string, kind: string): void => {
    if (!excluded(name)) report.difference(`${kind}${name}: in ${tables.header}, but not in the tables`);
  };

  const paths = new Map<string, Set<string>>();
  for (const layout of tables.structs) {
    const struct = layout.name.split('.')[0] ?? '';
    const known = new Set(header.structs.get(struct) ?? []);
    const mine = paths.get(struct) ?? new Set();
    for (const name of Object.keys(layout.fields)) mine.add(cPath(layout, known, name));
    paths.set(struct, mine);
  }
  for (const [struct, fields] of header.structs) {
    const mine = paths.get(struct);
    if (mine === undefined) missing(struct, 'struct ');
    else for (const field of fields) if (!mine.has(field)) missing(`${struct}.${field}`, '');
  }

  const groups = new Map<string, string>();
  for (const group of tables.constants) {
    for (const name of Object.keys(group.values)) {
      if (groups.has(name)) report.difference(`${name}: twice in the tables`);
      groups.set(name, group.name);
    }
  }
  for (const { name: cEnum, enumerators } of header.enums) {
    for (const name of enumerators) {
      const group = groups.get(name);
      if (group === undefined) missing(name, '');
      else if (cEnum !== '' && group !== cEnum)
        report.difference(`${name}: in enum ${cEnum} in the header, in ${group} in the table`);
    }
  }
  const ioctls = new Set(tables.ioctls.map((entry) => entry.name));
  for (const { name, isFunction } of header.defines) {
    if (!groups.has(name) && !ioctls.has(name)) missing(name, isFunction ? 'macro ' : '');
  }
  for (const exclusion of tables.exclusions) {
    if (!used.has(exclusion)) {
      report.difference(
        `exclusion ${exclusion.pattern.source} (${exclusion.reason}): nothing in ${tables.header} matches`,
      );
    }
  }
}

/** Compiles and runs a program that prints one number a claim. */
function compare(claims: readonly Claim[], include: string, testHeader: string | undefined, report: Report): void {
  const compiler = process.env.CC ?? 'cc';
  const folder = mkdtempSync(join(tmpdir(), 'check-uapi-'));
  try {
    const source = join(folder, 'claims.c');
    const program = join(folder, 'claims');
    writeFileSync(source, cProgram(claims));
    const multiarch = join(include, execFileSync(compiler, ['-dumpmachine'], { encoding: 'utf8' }).trim());
    const flags = ['-w', '-I', include];
    if (existsSync(multiarch)) flags.push('-I', multiarch);
    if (testHeader !== undefined) flags.push('-include', testHeader);
    execFileSync(compiler, [...flags, '-o', program, source], { stdio: ['ignore', 'inherit', 'inherit'] });
    const lines = execFileSync(program, { encoding: 'utf8' }).trim().split('\n');
    if (lines.length !== claims.length) throw new Error(`${claims.length} claims, ${lines.length} answers`);
    for (const [i, claim] of claims.entries()) judge(claim, Number(lines[i]), report);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function judge(claim: Claim, truth: number, report: Report): void {
  report.compared++;
  const fits = truth >= -(2 ** 31) && truth < 2 ** 32;
  const equal = truth === claim.value || (claim.isU32 && fits && truth >>> 0 === claim.value >>> 0);
  if (!equal) {
    const [subject, property] = claim.what.split(': ');
    report.difference(`${subject}: ${property} ${truth} in the header, ${claim.value} in the table`);
  }
}

function cProgram(claims: readonly Claim[]): string {
  return [
    '#include <stdio.h>',
    '#include <stddef.h>',
    '#include <linux/iommufd.h>',
    '#include <linux/vfio.h>',
    'int main(void) {',
    ...claims.map(({ expression }) => `  printf("%lld\\n", (long long)(${expression}));`),
    '  return 0;',
    '}',
    '',
  ].join('\n');
}

process.exitCode = main();
