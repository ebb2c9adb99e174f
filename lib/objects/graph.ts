// The live objects as text: a tree by what was made from what, with attachments and mmaps where they hold something.
import { holders, type KernelObject } from './kernel-object.js';

/** What an object says of itself beside kind and id. */
function detail(object: KernelObject): string {
  const told = object as {
    virtId?: unknown;
    index?: unknown;
    viommuType?: unknown;
    auto?: unknown;
    nestParent?: unknown;
  };
  const parts: string[] = [];
  if (typeof told.viommuType === 'string') parts.push(told.viommuType);
  if (typeof told.viommuType === 'number') parts.push(`type 0x${told.viommuType.toString(16)}`);
  if (typeof told.virtId === 'bigint') parts.push(`virtual id 0x${told.virtId.toString(16)}`);
  if (typeof told.index === 'number') parts.push(`index ${told.index}`);
  if (told.nestParent === true) parts.push('nesting parent');
  if (told.auto === true) parts.push('made by the kernel');
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}

/** Draws objects as a tree; one that was made from several things stands under the first. */
export function drawGraph(objects: readonly KernelObject[]): string {
  const lines: string[] = [];
  const draw = (object: KernelObject, lead: string, branch: string, rest: string): void => {
    const others = object.parents.slice(1).map((parent) => parent.describe());
    const also = others.length === 0 ? '' : ` -> ${others.join(', ')}`;
    lines.push(`${lead}${branch}${object.describe()}${detail(object)}${also}`);
    const children = objects.filter((child) => child.parents[0] === object);
    const notes = holders(object).filter((holder) => !objects.some((known) => known === holder));
    const below = lead + rest;
    notes.forEach((holder, i) => {
      const isLast = i === notes.length - 1 && children.length === 0;
      lines.push(`${below}${isLast ? '└─ ' : '├─ '}[${holder.describe()}]`);
    });
    children.forEach((child, i) => {
      const isLast = i === children.length - 1;
      draw(child, below, isLast ? '└─ ' : '├─ ', isLast ? '   ' : '│  ');
    });
  };
  for (const object of objects) if (object.parents.length === 0) draw(object, '', '', '');
  return lines.join('\n');
}
