// What valgrind says, and which of it is about an addon: Node itself, which reads its stack word by word to find pointers, is
// not what is tested.

export interface Finding {
  /** As memcheck names it: InvalidRead, UninitCondition, Leak_DefinitelyLost. */
  readonly kind: string;
  readonly text: string;
}

/** The errors in valgrind's XML that have a file in any of their stacks: where it was used, allocated or freed. */
export function findingsAbout(file: string, xml: string): Finding[] {
  const errors = xml.match(/<error>.*?<\/error>/gs) ?? [];
  return errors
    .filter((error) => error.includes(`<obj>${file}</obj>`))
    .map((error) => ({ kind: /<kind>(\w+)<\/kind>/.exec(error)?.[1] ?? 'unknown', text: describe(error) }));
}

/** Whether it came to its end: a report that breaks off says nothing. */
export function isWhole(xml: string): boolean {
  return xml.trimEnd().endsWith('</valgrindoutput>');
}

function describe(error: string): string {
  const lines: string[] = [];
  for (const [, tag, text] of error.matchAll(/<(what|text|auxwhat|fn|file|line)>([^<]*)</g)) {
    if (tag === 'fn') lines.push(`    ${text}`);
    else if (tag === 'file') lines[lines.length - 1] += ` (${text}`;
    else if (tag === 'line') lines[lines.length - 1] += `:${text})`;
    else lines.push(text ?? '');
  }
  return lines.join('\n').replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&');
}
