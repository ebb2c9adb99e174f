// Reads the names out of a C header: its structs with their fields, its enums, and its #defines. Enough of C for the
// kernel's uAPI headers, where no macro makes declarations.

export interface CDefine {
  readonly name: string;
  /** `NAME(args)`: not a constant. */
  readonly isFunction: boolean;
}

export interface CEnum {
  /** Empty for an enum without a name. */
  readonly name: string;
  readonly enumerators: readonly string[];
}

export interface CHeader {
  /** Fields by struct; those of a named inner struct or union as `inner.field`. */
  readonly structs: ReadonlyMap<string, readonly string[]>;
  readonly enums: readonly CEnum[];
  readonly defines: readonly CDefine[];
}

export function parseHeader(source: string): CHeader {
  const text = source
    .replace(/\/\*[\s\S]*?\*\//g, ' ')
    .replace(/\/\/.*/g, '')
    .replace(/\\\r?\n/g, ' ');
  const defines: CDefine[] = [];
  const code: string[] = [];
  for (const line of text.split('\n')) {
    const define = /^\s*#\s*define\s+(\w+)(\()?/.exec(line);
    if (define !== null) defines.push({ name: define[1] ?? '', isFunction: define[2] !== undefined });
    else if (!/^\s*#/.test(line)) code.push(line);
  }
  return { ...declarations(code.join('\n')), defines };
}

function declarations(code: string): Pick<CHeader, 'structs' | 'enums'> {
  const structs = new Map<string, readonly string[]>();
  const enums: CEnum[] = [];
  for (const { head, body } of blocks(code)) {
    const start = /\b(struct|enum)\s*(\w*)\s*$/.exec(head);
    if (start === null) continue;
    const name = start[2] ?? '';
    if (start[1] === 'struct') structs.set(name, fieldNames(body, ''));
    else enums.push({ name, enumerators: enumeratorNames(body) });
  }
  return { structs, enums };
}

function enumeratorNames(body: string): string[] {
  return body
    .split(',')
    .map((entry) => /^\s*(\w+)/.exec(entry)?.[1])
    .filter((name) => name !== undefined);
}

function fieldNames(body: string, prefix: string): string[] {
  const names: string[] = [];
  for (const { head, body: inner, tail } of statements(body)) {
    if (inner !== undefined) {
      const name = /^\s*(\w+)/.exec(tail)?.[1];
      names.push(...fieldNames(inner, name === undefined ? prefix : `${prefix}${name}.`));
      continue;
    }
    const plain = head.replace(/__counted_by\s*\(\s*\w+\s*\)/, '');
    const name = /(\w+)\s*(\[[^\]]*\]\s*)*$/.exec(plain)?.[1];
    if (name !== undefined) names.push(prefix + name);
  }
  return names;
}

interface Block {
  /** The text between the block before and this one. */
  readonly head: string;
  readonly body: string;
}

/** The outermost braces of a text, each with what precedes it. */
function* blocks(code: string): Generator<Block> {
  let from = 0;
  for (let open = code.indexOf('{', from); open >= 0; open = code.indexOf('{', from)) {
    const close = matching(code, open);
    yield { head: code.slice(from, open), body: code.slice(open + 1, close) };
    from = close + 1;
  }
}

interface Statement {
  readonly head: string;
  readonly body: string | undefined;
  readonly tail: string;
}

/** The members of a struct: `head;` or `head { body } tail;`. */
function* statements(body: string): Generator<Statement> {
  let from = 0;
  while (from < body.length) {
    const end = body.indexOf(';', from);
    if (end < 0) return;
    const open = body.indexOf('{', from);
    if (open < 0 || open > end) {
      yield { head: body.slice(from, end), body: undefined, tail: '' };
      from = end + 1;
      continue;
    }
    const close = matching(body, open);
    const after = body.indexOf(';', close);
    yield { head: body.slice(from, open), body: body.slice(open + 1, close), tail: body.slice(close + 1, after) };
    from = after + 1;
  }
}

function matching(text: string, open: number): number {
  let depth = 0;
  for (let i = open; i < text.length; i++) {
    if (text[i] === '{') depth++;
    else if (text[i] === '}' && --depth === 0) return i;
  }
  throw new Error(`unmatched { in the header: ${text.slice(open, open + 60)}`);
}
