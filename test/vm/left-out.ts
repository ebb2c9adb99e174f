// Operations that no machine of the lane can do, each with why; all others must have run on one of them at least.

/** Of the suite fail-nth. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  'EmulatedDevice.dmaRead': "an emulated device's own side",
  'EmulatedDevice.dmaWrite': "an emulated device's own side",
  'EmulatedDevice.raiseEvent': "an emulated device's own side",
  'EmulatedHost.requestDevice': 'the machine itself, beside its kernel',
  'Migration.setState: the test device': 'the same of the serial port, which the lane has',
  'HwptNested.invalidate': "QEMU's Intel IOMMU does not nest, and the mock is asked by tryInvalidate",
  'Viommu.invalidate': 'an SMMUv3: the same of the mock, which the lane has, goes the same way (viommu.c)',
  'Viommu.tryInvalidate': 'an SMMUv3: the same of the mock, which the lane has, goes the same way (viommu.c)',
};

/** The name of an operation in the title of its case: what follows is why it was skipped, or how it went. */
const nameOf = (title: string) => title.split(/ [[(]/, 1)[0] ?? '';

/** What is wrong with which operations were skipped, on every machine that these results are of. */
export function wronglyLeftOut(results: string): string[] {
  const ran = new Set<string>();
  const known = new Set<string>();
  for (const line of results.split('\n')) {
    if (line === '') continue;
    const { title, outcome }: { title: string; outcome: string } = JSON.parse(line);
    known.add(nameOf(title));
    if (outcome !== 'skipped') ran.add(nameOf(title));
  }
  const missing = [...known].filter((name) => !ran.has(name) && !(name in LEFT_OUT));
  const there = Object.keys(LEFT_OUT).filter((name) => ran.has(name) || !known.has(name));
  return [
    ...missing.map((name) => `${name} ran on no machine, and nothing says why`),
    ...there.map((name) => `${name} is said to run nowhere, which is not so`),
  ];
}
