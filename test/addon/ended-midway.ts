// A life of everything the addon offers, step by step, for environments that end in the midst of it.

/** Each step as JavaScript, with `native` the addon, `keep` an array that lives on, and `hand` an object to put things in. */
export const STEPS: readonly string[] = [
  `hand.fd = native.createEventfd(0); hand.readable = native.createEventfd(1); keep.push(native.arena().buffer);`,
  `hand.memory = native.allocateMemory('memfd', 16 << 20, 0); hand.block = native.allocateBlock(65536);`,
  `hand.imported = native.importMemory(native.regionFd(hand.memory), 8192);
   hand.mmio = native.mapMmio(native.regionFd(hand.memory), 0, 8192);`,
  `keep.push(native.window(hand.memory, 0, 16 << 20), native.window(hand.imported, 0, 8192));
   keep.push(native.unsafeWindow(hand.mmio, 0, 4096), native.window(hand.block, 0, 65536));
   new Uint8Array(keep[1]).fill(1, 0, 8192);`,
  `hand.watch = native.watchOpen(hand.fd, () => {}); native.watchOpen(hand.fd, () => {});`,
  `native.watchArm(hand.watch); native.watchArm(native.watchOpen(hand.readable, () => { hand.told = true; }));`,
  `for (let i = 0; i < 4; i++) native.prefault(hand.memory, 0, 16 << 20, () => { hand.done = true; });
   native.ioctlAsync(hand.fd, 0x5401, hand.block, 0, () => {});`,
  `native.close(hand.fd); native.dropRegion(hand.block);`,
  `native.prefault(hand.imported, 0, 8192, () => native.freeRegion(hand.mmio)); native.dropRegion(hand.imported);`,
  `native.detachWindows(hand.memory); native.watchClose(hand.watch); native.write32(hand.mmio, 0, 5);`,
  `keep.length = 2; native.dropRegion(hand.memory);`,
];

/** The first `count` steps. */
export function steps(count: number): string {
  return `const keep = (globalThis.keep = []); const hand = (globalThis.hand = {});\n${STEPS.slice(0, count).join('\n')}`;
}
