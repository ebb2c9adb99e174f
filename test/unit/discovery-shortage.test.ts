// Whichever look-up of discovery is refused for want of memory or files: that is told, and nothing is taken for missing.
import assert from 'node:assert/strict';
import type { FileStatus } from '../../lib/host/seam.js';
import { Host } from '../../lib/host-object.js';
import { type IommufdError, UsageError } from '../../lib/index.js';
import { StubSeam } from './stub-seam.js';

const ADDRESS = '0000:01:00.0';
const SYSFS = `/sys/bus/pci/devices/${ADDRESS}`;
const NODE = '/dev/vfio/devices/noiommu-vfio0';
const ENOMEM = -12;
const EMFILE = -24;
const ENFILE = -23;
const EACCES = -13;

const status = (kind: FileStatus['kind'], major = 0): FileStatus => ({ kind, major, minor: 0, size: 0 });

/** A machine with a device without an IOMMU, that refuses one look-up. */
class ShortSeam extends StubSeam {
  looks = 0;
  constructor(
    readonly refused: number,
    readonly errno: number,
  ) {
    super();
    const entries = {
      '/sys/bus/pci/devices': { list: [ADDRESS] },
      [SYSFS]: { status: status('link') },
      [`${SYSFS}/vendor`]: { text: '0x1234\n' },
      [`${SYSFS}/vfio-dev`]: { list: ['noiommu-vfio0'] },
      [`${SYSFS}/vfio-dev/noiommu-vfio0/dev`]: { text: '511:0\n' },
      '/sys/class/vfio-dev': { list: ['noiommu-vfio0'] },
      '/sys/class/vfio-dev/noiommu-vfio0/dev': { text: '511:0\n' },
      [NODE]: { status: status('character-device', 511) },
    };
    for (const [path, entry] of Object.entries(entries)) this.paths.set(path, entry);
  }
  #look<T>(look: () => T | number): T | number {
    return this.looks++ === this.refused ? this.errno : look();
  }
  override status(path: string) {
    return this.#look(() => super.status(path));
  }
  override readText(path: string) {
    return this.#look(() => super.readText(path));
  }
  override readLink(path: string) {
    return this.#look(() => super.readLink(path));
  }
  override list(path: string) {
    return this.#look(() => super.list(path));
  }
}

const ASK: Readonly<Record<string, (host: Host) => unknown>> = {
  findDevice: (host) => host.findDevice(ADDRESS),
  listDevices: (host) => host.listDevices({ all: true }),
  'openDevice, by its address': (host) => host.openDevice(ADDRESS),
  'openDevice, by its node': (host) => host.openDevice(NODE),
};

/** How many look-ups there are if none is refused. */
function looksOf(ask: (host: Host) => unknown): number {
  const seam = new ShortSeam(-1, 0);
  try {
    ask(new Host(seam));
  } catch (error) {
    assert(error instanceof UsageError, 'a device without an IOMMU is not opened');
  }
  assert(seam.looks > 0);
  return seam.looks;
}

describe('a shortage while devices are looked for', () => {
  for (const [name, ask] of Object.entries(ASK)) {
    it(`is told by ${name}`, () => {
      for (let refused = 0; refused < looksOf(ask); refused++) {
        for (const errno of [ENOMEM, EMFILE, ENFILE]) {
          assert.throws(
            () => ask(new Host(new ShortSeam(refused, errno))),
            (error: IommufdError) => error.errno === errno && error.message.includes('path'),
            `look-up ${refused}`,
          );
        }
      }
    });
  }

  it('is something else than a refusal', () => {
    for (let refused = 0; refused < looksOf((host) => host.listDevices()); refused++) {
      assert.doesNotThrow(() => new Host(new ShortSeam(refused, EACCES)).listDevices());
    }
  });
});
