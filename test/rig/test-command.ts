// The mock's own ioctl in a transcript, which tells it as bytes since the library does not know it: by field.
import * as mock from '../../lib/emulated/hardware/selftest/uapi.js';
import { jsonSafe } from '../../lib/host/errors.js';
import type { Json, Line } from '../../lib/recording/transcript.js';
import type { Fields, Layout } from '../../lib/uapi/index.js';

export const TEST_REQUEST = `0x${mock.IOMMU_TEST_CMD.request.toString(16)}`;

/** By its sub-operation, how the command is laid out. */
const LAYOUTS = new Map<number, Layout<Fields>>();
for (const layout of Object.values(mock)) {
  if (typeof layout !== 'object' || !('fields' in layout) || !layout.name.startsWith('iommu_test_cmd.')) continue;
  const op = Object.entries(mock.iommu_test_op.values).find(([name]) => layout.doc.startsWith(`${name.slice(14)}:`));
  if (op !== undefined) LAYOUTS.set(op[1], layout as unknown as Layout<Fields>);
}

const OP_AT = 4;
const HEADER = 8;
const NOT_SHOWN = new Set(['size', 'op', 'last', '__reserved']);

interface Bytes {
  readonly bytes: Buffer;
  /** What stands for an address or an fd, by its offset. */
  readonly handles: ReadonlyMap<number, string>;
}

/** A transcript's bytes, with the handles in them. */
function parse(text: string): Bytes {
  const parts: Buffer[] = [];
  const handles = new Map<number, string>();
  let at = 0;
  const add = (part: Buffer) => {
    parts.push(part);
    at += part.length;
  };
  for (const token of text.split(' ')) {
    if (token.startsWith('@')) {
      handles.set(at, token.slice(1));
      add(Buffer.alloc(token.startsWith('@fd:') ? 4 : 8));
      continue;
    }
    const [digits = '', count = '1'] = token.split('*');
    add(Buffer.from(digits.repeat(Number(count)), 'hex'));
  }
  return { bytes: Buffer.concat(parts), handles };
}

function fieldsOf(layout: Layout<Fields>, { bytes, handles }: Bytes): Record<string, Json> {
  const whole = Buffer.alloc(layout.size);
  bytes.copy(whole);
  const values = layout.decode(new DataView(whole.buffer, whole.byteOffset, whole.length), 0);
  const told = Object.keys(values).filter((name) => !NOT_SHOWN.has(name));
  return Object.fromEntries(
    told.map((name) => [name, handles.get(layout.at[name] ?? -1) ?? (jsonSafe(values[name]) as Json)]),
  );
}

/** The line of such a call with its fields in place of bytes; undefined where it is not one, or of no known operation. */
export function testCommandLine(line: Line): Line | undefined {
  const { request, raw, out } = line;
  if (request !== TEST_REQUEST || typeof raw !== 'string') return undefined;
  const asked = parse(raw);
  const layout = asked.bytes.length < HEADER ? undefined : LAYOUTS.get(asked.bytes.readUInt32LE(OP_AT));
  if (layout === undefined) return undefined;
  const before = fieldsOf(layout, asked);
  const after = typeof out === 'string' ? fieldsOf(layout, parse(out)) : before;
  const changed = Object.entries(after).filter(([name, value]) => value !== before[name]);
  const { request: _, raw: __, out: ___, ...rest } = line;
  const name = `IOMMU_TEST_CMD ${layout.name.slice('iommu_test_cmd.'.length)}`;
  return { ...rest, name, in: before, ...(changed.length === 0 ? {} : { out: Object.fromEntries(changed) }) };
}
