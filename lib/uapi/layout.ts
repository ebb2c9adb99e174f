// How a C struct is written down here: one table entry a struct, from which its size and offsets, its TypeScript type,
// its encoder and decoder, its documentation (docs/uapi.md) and the check against the kernel's headers all come.

/** What a field holds. `ptr` is a 64-bit user pointer; `flex` is a trailing array without a length of its own. */
export type Kind = 'u8' | 'u16' | 'u32' | 's32' | 'u64' | 'ptr' | 'struct' | 'flex';

/** Which way the memory behind a pointer is used: by the kernel only, filled by it, or both. */
export type Direction = 'in' | 'out' | 'inout';

export interface Field<T = unknown> {
  readonly kind: Kind;
  /** In our own words: meaning, unit, range. */
  readonly doc: string;
  /** Elements of an array field; 1 otherwise. */
  readonly count: number;
  readonly isArray: boolean;
  /** Shares the place of this earlier field, as in a C union. */
  readonly overlays: string | undefined;
  /** A given byte offset, for what follows a union. */
  readonly fixedAt: number | undefined;
  readonly direction: Direction | undefined;
  readonly nested: Layout<Fields> | undefined;
  /** What a `flex` field holds when that is not a struct. */
  readonly element: 'u8' | 's32' | undefined;
  /** Only carries the type of the field's value. */
  readonly valueType?: T;
}

export type Fields = { readonly [name: string]: Field };
type ValueOf<F> = F extends Field<infer T> ? T : never;
/** A struct's value: what `decode` gives. 64-bit fields are bigint, others number. */
export type Values<F extends Fields> = { -readonly [K in keyof F]: ValueOf<F[K]> };
/** What `encode` takes: fields left out are 0. */
export type Input<F extends Fields> = { readonly [K in keyof F]?: ValueOf<F[K]> | undefined };

const SIZES: Record<Exclude<Kind, 'struct'>, number> = { u8: 1, u16: 2, u32: 4, s32: 4, u64: 8, ptr: 8, flex: 0 };

function field<T>(kind: Kind, doc: string, more: Partial<Field<T>> = {}): Field<T> {
  const plain = {
    count: 1,
    isArray: false,
    overlays: undefined,
    fixedAt: undefined,
    direction: undefined,
    nested: undefined,
  };
  return { kind, doc, ...plain, element: undefined, ...more };
}

export const u8 = (doc: string): Field<number> => field('u8', doc);
export const u16 = (doc: string): Field<number> => field('u16', doc);
export const u32 = (doc: string): Field<number> => field('u32', doc);
export const s32 = (doc: string): Field<number> => field('s32', doc);
export const u64 = (doc: string): Field<bigint> => field('u64', doc);
/** A user pointer to memory that the kernel uses in this direction. */
export const ptr = (direction: Direction, doc: string): Field<bigint> => field('ptr', doc, { direction });
export const array = (of: 'u8' | 'u16' | 'u32' | 's32', count: number, doc: string): Field<number[]> =>
  field(of, doc, { count, isArray: true });
export const array64 = (count: number, doc: string): Field<bigint[]> => field('u64', doc, { count, isArray: true });
/** A u32 in the place of an earlier field: the other name of a C union. */
export const overlay = (earlier: string, doc: string): Field<number> => field('u32', doc, { overlays: earlier });
export const nested = <F extends Fields>(layout: Layout<F>, doc: string): Field<Values<F>> =>
  field('struct', doc, { nested: layout as unknown as Layout<Fields> });
/** Puts a field at this byte offset, behind the longest member of a union. */
export const placed = <T>(offset: number, f: Field<T>): Field<T> => ({ ...f, fixedAt: offset });
/** A trailing array whose length other fields tell: only its offset is known here. */
export const flex = (of: 'u8' | 's32' | Layout<Fields>, doc: string): Field<never> =>
  field('flex', doc, typeof of === 'string' ? { element: of } : { nested: of });

/** Field names that the kernel wants zero, and that carry nothing. */
export function isPadding(name: string): boolean {
  return /^_*(reserved|pad|resv)\d*$/.test(name);
}

export class Layout<F extends Fields> {
  readonly size: number;
  readonly align: number;
  /** Byte offset of every field. */
  readonly at: { readonly [K in keyof F]: number };
  /** What `decode` reads. */
  readonly #decoded: readonly { readonly key: string; readonly f: Field; readonly at: number }[];

  constructor(
    /** The C struct's name, or for a struct of ours the name the docs give it. */
    readonly name: string,
    readonly doc: string,
    readonly fields: F,
    /** Alignment at least, where a member that is not shown needs more. */
    align = 1,
  ) {
    let end = 0;
    const at: Record<string, number> = {};
    for (const [key, f] of Object.entries(fields)) {
      const fieldAlign = alignment(f);
      align = Math.max(align, fieldAlign);
      const shared = f.overlays === undefined ? undefined : at[f.overlays];
      if (f.overlays !== undefined && shared === undefined) throw new Error(`${name}.${key} overlays no earlier field`);
      const start = f.fixedAt ?? shared ?? Math.ceil(end / fieldAlign) * fieldAlign;
      at[key] = start;
      end = Math.max(end, start + fieldSize(f));
    }
    this.at = at as { [K in keyof F]: number };
    this.#decoded = Object.entries(fields)
      .filter(([, f]) => f.kind !== 'flex')
      .map(([key, f]) => ({ key, f, at: at[key] ?? 0 }));
    this.align = align;
    this.size = Math.ceil(end / align) * align;
  }

  /** The offset behind a field: how long a struct must be to hold it. */
  end(name: keyof F & string): number {
    const f = this.fields[name];
    const at = this.at[name];
    if (f === undefined || at === undefined) throw new Error(`${this.name} has no field ${name}`);
    return at + fieldSize(f);
  }

  /** Writes the struct at `base`: zeros first, then the fields given. Unknown names are an error in our own code. */
  encode(view: DataView, base: number, values: Input<F>): void {
    const words = this.size & ~3;
    for (let i = 0; i < words; i += 4) view.setUint32(base + i, 0);
    for (let i = words; i < this.size; i++) view.setUint8(base + i, 0);
    for (const key in values) {
      const value = values[key];
      if (value === undefined) continue;
      const f = this.fields[key];
      const at = this.at[key];
      if (f === undefined || at === undefined) throw new Error(`${this.name} has no field ${key}`);
      encodeField(view, base + at, f, value);
    }
  }

  /** Reads the struct at `base`. */
  decode(view: DataView, base: number): Values<F> {
    const out: Record<string, unknown> = {};
    for (const { key, f, at } of this.#decoded) out[key] = decodeField(view, base + at, f);
    return out as Values<F>;
  }
}

/** Declares a C struct. */
export function struct<F extends Fields>(name: string, doc: string, fields: F, align?: number): Layout<F> {
  return new Layout(name, doc, fields, align);
}

function elementSize(f: Field): number {
  if (f.kind === 'struct') return f.nested?.size ?? 0;
  return SIZES[f.kind];
}

/** Bytes a field takes: all elements of an array, none for a trailing one. */
export function fieldSize(f: Field): number {
  return elementSize(f) * f.count;
}

function alignment(f: Field): number {
  if (f.nested !== undefined) return f.nested.align;
  if (f.element !== undefined) return SIZES[f.element];
  return Math.max(1, SIZES[f.kind as Exclude<Kind, 'struct'>]);
}

function encodeField(view: DataView, at: number, f: Field, value: unknown): void {
  if (f.kind === 'struct') {
    f.nested?.encode(view, at, value as Input<Fields>);
  } else if (f.isArray) {
    const elements = value as ArrayLike<number | bigint>;
    const unit = elementSize(f);
    for (let i = 0; i < f.count; i++) encodeScalar(view, at + i * unit, f.kind, elements[i] ?? 0);
  } else {
    encodeScalar(view, at, f.kind, value as number | bigint);
  }
}

function encodeScalar(view: DataView, at: number, kind: Kind, value: number | bigint): void {
  switch (kind) {
    case 'u8':
      view.setUint8(at, Number(value));
      break;
    case 'u16':
      view.setUint16(at, Number(value), true);
      break;
    case 'u32':
      view.setUint32(at, Number(value), true);
      break;
    case 's32':
      view.setInt32(at, Number(value), true);
      break;
    default:
      view.setBigUint64(at, BigInt(value), true);
  }
}

function decodeField(view: DataView, at: number, f: Field): unknown {
  if (f.kind === 'struct') return f.nested?.decode(view, at);
  if (!f.isArray) return decodeScalar(view, at, f.kind);
  const unit = elementSize(f);
  return Array.from({ length: f.count }, (_, i) => decodeScalar(view, at + i * unit, f.kind));
}

function decodeScalar(view: DataView, at: number, kind: Kind): number | bigint {
  switch (kind) {
    case 'u8':
      return view.getUint8(at);
    case 'u16':
      return view.getUint16(at, true);
    case 'u32':
      return view.getUint32(at, true);
    case 's32':
      return view.getInt32(at, true);
    default:
      return view.getBigUint64(at, true);
  }
}

/**
 * What ioctl(2)'s third argument is: a pointer to the struct; a plain number (the struct's only field); or nothing, for
 * a call whose struct is `noArgument`.
 */
export type Argument = 'pointer' | 'value' | 'none';

/** The struct of an ioctl that takes none. */
export const noArgument = struct('(none)', 'Nothing is passed.', {});

/** One ioctl: its number, its struct, and what is known of it. */
export interface Ioctl<F extends Fields = Fields> {
  readonly name: string;
  /** The request number, as ioctl(2) takes it. */
  readonly request: number;
  readonly layout: Layout<F>;
  readonly argument: Argument;
  /** The shortest struct the kernel takes: its size in the release that brought the ioctl. */
  readonly minSize: number;
  /** The Linux release that brought it. */
  readonly since: string;
  readonly doc: string;
}

/** IOMMUFD and VFIO share the ioctl type ';' and use numbers without size or direction bits: _IO(';', nr). */
const IOCTL_TYPE = 0x3b;

export function ioctl<F extends Fields>(
  name: string,
  nr: number,
  layout: Layout<F>,
  about: { since: string; minSize?: number; argument?: Argument; doc: string },
): Ioctl<F> {
  const { since, minSize = layout.size, argument = layout.size === 0 ? 'none' : 'pointer', doc } = about;
  return { name, request: (IOCTL_TYPE << 8) | nr, layout, argument, minSize, since, doc };
}

/** A named group of constants: a C enum, or the #defines that belong together. */
export interface Constants<V extends { readonly [name: string]: number } = { readonly [name: string]: number }> {
  /** The C enum's name, or our name for a group of defines. */
  readonly name: string;
  readonly doc: string;
  readonly values: V;
  /** What each value means, where its name does not say it. */
  readonly meanings: { readonly [name: string]: string };
}

type Row = number | readonly [value: number, meaning: string];
type RowValue<R> = R extends readonly [infer N extends number, string] ? N : R extends number ? R : never;

/** Declares constants: `NAME: 1`, or `NAME: [1, 'what it means']`. */
export function constants<const R extends { readonly [name: string]: Row }>(
  name: string,
  doc: string,
  rows: R,
): Constants<{ readonly [K in keyof R]: RowValue<R[K]> }> {
  const values: Record<string, number> = {};
  const meanings: Record<string, string> = {};
  for (const [key, row] of Object.entries<Row>(rows)) {
    values[key] = typeof row === 'number' ? row : row[0];
    if (typeof row !== 'number') meanings[key] = row[1];
  }
  return { name, doc, values: values as { readonly [K in keyof R]: RowValue<R[K]> }, meanings };
}
