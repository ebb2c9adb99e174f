// Finding devices in a made-up sysfs, and what is said where something is missing.
import assert from 'node:assert/strict';
import type { FileStatus } from '../../lib/host/seam.js';
import { Host } from '../../lib/host-object.js';
import type { DeviceReport } from '../../lib/vfio/device-report.js';
import { findVfioNode, pciAddress } from '../../lib/vfio/discovery.js';
import { leftovers, NOTHING, stage } from './stage.js';
import { type Entry, StubSeam } from './stub-seam.js';

const ADDRESS = '0000:01:00.0';
const SYSFS = `/sys/bus/pci/devices/${ADDRESS}`;
const NODE = '/dev/vfio/devices/vfio7';
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const place = (kind: 'directory' | 'link' | 'file' | 'character-device', major = 0, minor = 0): Entry => ({
  status: { kind, major, minor, size: 0 },
});

type Changes = Readonly<Record<string, Entry | undefined>>;

/** A machine with everything in its place, then changed. */
function machine(change: Changes = {}): StubSeam {
  return fill(new FileSeam(), change);
}

function fill(seam: StubSeam, change: Changes = {}): StubSeam {
  const paths: Changes = {
    '/sys/bus/pci/devices': { list: [ADDRESS] },
    '/sys/bus/pci/drivers/vfio-pci': place('directory'),
    '/sys/class/vfio-dev': { list: ['vfio7'] },
    '/sys/class/vfio-dev/vfio7/dev': { text: '511:7\n' },
    '/sys/class/vfio-dev/vfio7/device': { link: `../../../${ADDRESS}` },
    [SYSFS]: place('link'),
    [`${SYSFS}/vendor`]: { text: '0x1234\n' },
    [`${SYSFS}/device`]: { text: '0x11e8\n' },
    [`${SYSFS}/class`]: { text: '0x00ff00\n' },
    [`${SYSFS}/numa_node`]: { text: '1\n' },
    [`${SYSFS}/driver`]: { link: '../../../../bus/pci/drivers/vfio-pci' },
    [`${SYSFS}/iommu`]: { link: '../../virtual/iommu/dmar0' },
    [`${SYSFS}/iommu_group`]: { link: '../../../kernel/iommu_groups/3' },
    '/sys/kernel/iommu_groups/3/devices': { list: [ADDRESS] },
    [`${SYSFS}/vfio-dev`]: { list: ['power', 'vfio7'] },
    [`${SYSFS}/vfio-dev/vfio7/dev`]: { text: '511:7\n' },
    [NODE]: place('character-device', 511, 7),
    ...change,
  };
  for (const [path, entry] of Object.entries(paths)) if (entry !== undefined) seam.paths.set(path, entry);
  return seam;
}

/** A stub whose files can be refused, and whose configuration space can be read. */
class FileSeam extends StubSeam {
  readonly refusals = new Map<string, number>();
  config: Uint8Array | undefined;
  configReads = 0;
  override open(path: string): number {
    if (path === `${SYSFS}/config` && this.config !== undefined) return this.makeFd(true);
    return this.refusals.get(path) ?? super.open(path);
  }
  override pread(_fd?: number, at = 0, length = 0, position = 0): number {
    this.configReads++;
    const bytes = this.config?.subarray(position, position + length) ?? new Uint8Array();
    this.arena.bytes.set(bytes, at);
    return bytes.length;
  }
}

/** The error that something throws, by its message. */
function complaintOf(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    assert(error instanceof Error && 'code' in error);
    assert.equal(error.code, 'ERR_IOMMUFD_UNAVAILABLE');
    return error.message;
  }
  return 'nothing';
}
const complaint = (change: Changes) => complaintOf(() => findVfioNode(machine(change), ADDRESS));

/** The report of the device, after a change of the machine. */
function report(change: Changes = {}, prepare: (seam: FileSeam) => void = () => undefined): DeviceReport {
  const seam = fill(new FileSeam(), change);
  assert(seam instanceof FileSeam);
  prepare(seam);
  const found = new Host(seam).findDevice(ADDRESS);
  assert.deepEqual(leftovers(seam), NOTHING);
  return found;
}
const missing = (change: Changes = {}, prepare?: (seam: FileSeam) => void) =>
  report(change, prepare).missing.map(({ what }) => what);

/** Configuration space with these words in it. */
function config(words: Readonly<Record<number, number>>): Uint8Array {
  const bytes = new Uint8Array(4096);
  for (const [at, word] of Object.entries(words)) new DataView(bytes.buffer).setUint32(Number(at), word, true);
  return bytes;
}

/** An extended capability's header. */
const header = (id: number, next: number) => ((next << 20) | (1 << 16) | id) >>> 0;

describe('discovery', () => {
  describe('the node of a device', () => {
    it('is found by its PCI address', () => {
      assert.equal(findVfioNode(machine(), ADDRESS), NODE);
      assert.equal(findVfioNode(machine(), '01:00.0'), NODE);
    });

    it('is found for a device without an IOMMU', () => {
      const seam = machine({
        [`${SYSFS}/vfio-dev`]: { list: ['noiommu-vfio0'] },
        [`${SYSFS}/vfio-dev/noiommu-vfio0/dev`]: { text: '511:0' },
        '/dev/vfio/devices/noiommu-vfio0': place('character-device', 511, 0),
      });
      assert.equal(findVfioNode(seam, ADDRESS), '/dev/vfio/devices/noiommu-vfio0');
    });

    it('is found by the UUID of a mediated device', () => {
      const sysfs = `/sys/bus/mdev/devices/${UUID}`;
      const seam = machine({
        [sysfs]: place('link'),
        [`${sysfs}/vfio-dev`]: { list: ['vfio9'] },
        [`${sysfs}/vfio-dev/vfio9/dev`]: { text: '511:9\n' },
        '/dev/vfio/devices/vfio9': place('character-device', 511, 9),
      });
      assert.equal(findVfioNode(seam, UUID.toUpperCase()), '/dev/vfio/devices/vfio9');
    });

    it('opens a device without an IOMMU by an unsafe name only, whatever leads to its node', () => {
      const { host, seam } = stage();
      const node = '/dev/vfio/devices/noiommu-vfio0';
      fill(seam, {
        [`${SYSFS}/vfio-dev`]: { list: ['noiommu-vfio0'] },
        [`${SYSFS}/vfio-dev/noiommu-vfio0/dev`]: { text: '511:0' },
        '/sys/class/vfio-dev': { list: ['noiommu-vfio0', 'vfio7'] },
        '/sys/class/vfio-dev/noiommu-vfio0/dev': { text: '511:0\n' },
        [node]: place('character-device', 511, 0),
        '/dev/harmless': { link: 'vfio/devices/noiommu-vfio0' },
        '/dev/copy': place('character-device', 511, 0),
      });
      for (const name of [ADDRESS, node, '/dev/harmless', '/dev/copy']) {
        assert.throws(() => host.openDevice(name), { code: 'ERR_IOMMUFD_UNAVAILABLE', message: /unsafeOpenDevice/ });
      }
      host.unsafeOpenDevice(node).close();
      host.openDevice(NODE).close();
    });

    it('is what openDevice opens', () => {
      const { host, seam } = stage();
      fill(seam);
      using nic = host.openDevice(ADDRESS);
      assert.equal(nic.name, ADDRESS);
    });
  });

  describe('what is missing', () => {
    it('is said where there is no such device', () => {
      assert.equal(complaint({ [SYSFS]: undefined }), `there is no PCI device ${ADDRESS}: see lspci -D`);
      assert.equal(
        complaintOf(() => findVfioNode(machine(), UUID)),
        `there is no mediated device ${UUID}: see ls /sys/bus/mdev/devices`,
      );
    });

    it('is all of it, with the commands that mend it', () => {
      const change = {
        [`${SYSFS}/driver`]: { link: '../drivers/nvme' },
        [`${SYSFS}/vfio-dev`]: undefined,
        '/sys/bus/pci/drivers/vfio-pci': undefined,
      };
      assert.equal(
        complaint(change),
        [
          `${ADDRESS} is not ready. What is missing, and what mends it, as root:`,
          '- vfio-pci is not loaded',
          '    modprobe vfio-pci',
          `- ${ADDRESS} is driven by nvme, not by a VFIO driver`,
          `    echo vfio-pci > ${SYSFS}/driver_override`,
          `    echo ${ADDRESS} > ${SYSFS}/driver/unbind`,
          `    echo ${ADDRESS} > /sys/bus/pci/drivers_probe`,
        ].join('\n'),
      );
      assert.deepEqual(missing(change), ['module', 'driver']);
    });

    it('is nothing where a device is ready', () => {
      const { ready, missing: things } = report();
      assert.deepEqual({ ready, things }, { ready: true, things: [] });
    });

    it('unbinds nothing where no driver has the device', () => {
      const change = { [`${SYSFS}/driver`]: undefined, [`${SYSFS}/vfio-dev`]: undefined };
      const text = complaint(change);
      assert.match(text, /has no driver/);
      assert.doesNotMatch(text, /unbind|modprobe/);
      assert.deepEqual(missing(change), ['driver']);
    });

    it('is a device, in place of a bridge: no command makes VFIO take one', () => {
      const change = {
        [`${SYSFS}/class`]: { text: '0x060400\n' },
        [`${SYSFS}/driver`]: { link: '../../../../bus/pci/drivers/pcieport' },
        [`${SYSFS}/vfio-dev`]: undefined,
      };
      assert.match(complaint(change), /is a PCI bridge/);
      assert.doesNotMatch(complaint(change), /echo|modprobe/);
      assert.deepEqual(missing(change), ['driver']);
    });

    it('takes a folder without a VFIO entry for no VFIO driver', () => {
      assert.deepEqual(missing({ [`${SYSFS}/vfio-dev`]: { list: ['power', 'vfio', 'vfio7x'] } }), ['driver']);
    });

    it('is the IOMMU where there is no group, and no VFIO driver would take the device', () => {
      const change = {
        [`${SYSFS}/iommu_group`]: undefined,
        [`${SYSFS}/driver`]: undefined,
        [`${SYSFS}/vfio-dev`]: undefined,
      };
      assert.deepEqual(missing(change), ['iommu', 'driver']);
      assert.match(complaint(change), /has no IOMMU[\s\S]*intel_iommu=on/);
    });

    it('is the IOMMU in noiommu mode, where only the unsafe way is open', () => {
      const found = report({
        [`${SYSFS}/vfio-dev`]: { list: ['noiommu-vfio0'] },
        [`${SYSFS}/vfio-dev/noiommu-vfio0/dev`]: { text: '511:0' },
        '/dev/vfio/devices/noiommu-vfio0': place('character-device', 511, 0),
      });
      const { noiommu, ready, node } = found;
      assert.deepEqual(
        { noiommu, ready, node },
        { noiommu: true, ready: false, node: '/dev/vfio/devices/noiommu-vfio0' },
      );
      assert.deepEqual(
        found.missing.map(({ what }) => what),
        ['iommu'],
      );
    });

    it('is the kernel option where VFIO has no device nodes', () => {
      const change = { [`${SYSFS}/vfio-dev/vfio7/dev`]: undefined };
      assert.match(complaint(change), /CONFIG_VFIO_DEVICE_CDEV/);
      assert.deepEqual(missing(change), ['cdev']);
    });

    it('is the node where it is not there, or no device node', () => {
      for (const entry of [undefined, place('file'), place('directory')]) {
        assert.match(complaint({ [NODE]: entry }), /vfio7 is not there: is udev running/);
        assert.match(complaint({ [NODE]: entry }), /mknod \/dev\/vfio\/devices\/vfio7 c 511 7$/);
        assert.deepEqual(missing({ [NODE]: entry }), ['node']);
      }
    });

    it('is the right node where another device has that name', () => {
      for (const [major, minor] of [
        [511, 8],
        [510, 7],
        [51, 17],
      ] as const) {
        const change = { [NODE]: place('character-device', major, minor) };
        assert(complaint(change).includes(`${NODE} is another device (${major}:${minor}) than ${ADDRESS} (511:7)`));
        const { node, missing: things } = report(change);
        assert.deepEqual([node, things.map(({ what }) => what)], [undefined, ['wrong-node']]);
      }
    });

    it('is the permission where opening is refused', () => {
      const refuse = (errno: number) => (seam: FileSeam) => void seam.refusals.set(NODE, errno);
      assert.deepEqual(missing({}, refuse(-13)), ['permission']);
      assert.deepEqual(missing({}, refuse(-1)), ['permission']);
      assert.match(report({}, refuse(-13)).missing[0]?.mend ?? '', /^chown USER .*vfio7/);
      assert.match(report({}, refuse(-1)).missing[0]?.mend ?? '', /--device/);
      assert.deepEqual(missing({}, refuse(-19)), ['node'], 'it goes away just now');
      assert.throws(() => report({}, refuse(-24)), { code: 'EMFILE', syscall: 'open' });
    });

    it('is each device of the group that the host uses', () => {
      const others = ['0000:00:1c.0', '0000:01:00.1', '0000:01:00.2', '0000:01:00.3', '0000:01:00.4'];
      const driver = (member: string, name: string) => ({
        [`/sys/bus/pci/devices/${member}/driver`]: { link: `../drivers/${name}` },
      });
      const found = report({
        '/sys/kernel/iommu_groups/3/devices': { list: [...others, ADDRESS] },
        ...driver('0000:00:1c.0', 'pcieport'),
        ...driver('0000:01:00.1', 'snd_hda_intel'),
        ...driver('0000:01:00.2', 'mlx5_vfio_pci'),
        '/sys/bus/pci/devices/0000:01:00.2/vfio-dev': { list: ['vfio8'] },
        ...driver('0000:01:00.3', 'pci-stub'),
      });
      assert.deepEqual(found.groupMembers, [...others, ADDRESS]);
      assert.deepEqual(found.missing, [
        {
          what: 'group',
          message: '0000:01:00.1 is in the same IOMMU group (3), and snd_hda_intel drives it',
          mend: 'echo 0000:01:00.1 > /sys/bus/pci/devices/0000:01:00.1/driver/unbind',
        },
      ]);
    });
  });

  describe('a report', () => {
    it('has what sysfs tells', () => {
      assert.deepEqual(report(), {
        kind: 'pci',
        address: ADDRESS,
        vendorId: 0x1234,
        deviceId: 0x11e8,
        classCode: 0xff00,
        driver: 'vfio-pci',
        iommuGroup: 3,
        groupMembers: [ADDRESS],
        iommu: 'dmar0',
        cdevName: 'vfio7',
        node: NODE,
        pasidWidth: undefined,
        numaNode: 1,
        noiommu: false,
        ready: true,
        missing: [],
      });
    });

    it('leaves out what sysfs does not tell, or tells in no number', () => {
      const found = report({
        [`${SYSFS}/vendor`]: { text: 'what\n' },
        [`${SYSFS}/device`]: { text: '\n' },
        [`${SYSFS}/class`]: undefined,
        [`${SYSFS}/numa_node`]: { text: '-1\n' },
        [`${SYSFS}/iommu_group`]: { link: '../vfio-noiommu' },
        [`${SYSFS}/iommu`]: undefined,
      });
      const { vendorId, deviceId, classCode, numaNode, iommuGroup, groupMembers, iommu } = found;
      const values = [vendorId, deviceId, classCode, numaNode, iommuGroup, iommu];
      assert.deepEqual([...values, groupMembers], [...values.map(() => undefined), []]);
    });

    it('reads the width of PASIDs from the PASID capability', () => {
      const width = (words: Readonly<Record<number, number>>) =>
        report({}, (seam) => {
          seam.config = config(words);
        }).pasidWidth;
      // Abilities in the low half of the word: bits 12:8 are the width.
      assert.equal(width({ 256: header(0x1b, 0), 260: 0x1406 }), 20);
      assert.equal(width({ 256: header(1, 0x240), 576: header(0x1b, 0), 580: 0x0800 }), 8);
      assert.equal(width({ 256: header(1, 0) }), undefined, 'none');
      assert.equal(width({}), undefined, 'no extended capability');
      assert.equal(width({ 256: header(1, 0x40) }), undefined, 'a chain that leaves extended space');
      assert.equal(width({ 256: header(1, 0xffc), 4092: header(0x1b, 0) }), undefined, 'one that ends too late');
    });

    it('survives a chain of capabilities that is a loop', () => {
      const seam = fill(new FileSeam());
      assert(seam instanceof FileSeam);
      seam.config = config({ 256: header(1, 0x200), 512: header(2, 0x100) });
      assert.equal(new Host(seam).findDevice(ADDRESS).pasidWidth, undefined);
      assert(seam.configReads > 2 && seam.configReads < 1000, `${seam.configReads} reads`);
    });

    it('does without extended space where this process may not read it', () => {
      const { pasidWidth } = report({}, (seam) => {
        seam.config = config({ 256: header(0x1b, 0), 260: 0x1406 }).subarray(0, 64);
      });
      assert.equal(pasidWidth, undefined);
    });

    it('is found by the path of a node, and by links to it', () => {
      const host = new Host(machine({ '/dev/nic': { link: 'vfio/devices/vfio7' } }));
      for (const name of [NODE, '/dev/nic']) assert.equal(host.findDevice(name).address, ADDRESS);
      assert.match(
        complaintOf(() => host.findDevice('/dev/null')),
        /not the node of a VFIO device/,
      );
    });

    it('is of another bus where that has the node', () => {
      const path = '/sys/class/vfio-dev/vfio2/device';
      const seam = machine({
        '/sys/class/vfio-dev': { list: ['vfio2', 'vfio7'] },
        '/sys/class/vfio-dev/vfio2/dev': { text: '511:2\n' },
        [path]: { link: '../../../fsl-mc.3', status: { kind: 'link', major: 0, minor: 0, size: 0 } },
        [`${path}/driver`]: { link: '../drivers/vfio-fsl-mc' },
        [`${path}/vfio-dev`]: { list: ['vfio2'] },
        [`${path}/vfio-dev/vfio2/dev`]: { text: '511:2\n' },
        '/dev/vfio/devices/vfio2': place('character-device', 511, 2),
      });
      // The stub's entries have a link or a status: the node itself is none.
      const { kind, address, driver, ready } = new Host(seam).findDevice('/dev/vfio/devices/vfio2');
      const expected = { kind: 'other', address: 'fsl-mc.3', driver: 'vfio-fsl-mc', ready: true };
      assert.deepEqual({ kind, address, driver, ready }, expected);
    });

    it('takes names that make sense only', () => {
      const host = new Host(machine());
      const wrong: unknown = 7;
      assert.throws(() => host.findDevice(wrong as string), { code: 'ERR_INVALID_ARG_TYPE' });
      for (const name of ['', 'eth0', '1:00.0', `${UUID}0`]) {
        assert.throws(() => host.findDevice(name), { code: 'ERR_OUT_OF_RANGE' }, name);
      }
    });
  });

  describe('a list', () => {
    const directory: FileStatus = { kind: 'directory', major: 0, minor: 0, size: 0 };
    const other = '0000:02:00.0';
    const many = {
      '/sys/bus/pci/devices': { list: [ADDRESS, other] },
      [`/sys/bus/pci/devices/${other}`]: { status: directory },
      [`/sys/bus/pci/devices/${other}/driver`]: { link: '../drivers/nvme' },
      '/sys/bus/mdev/devices': { list: [UUID] },
      [`/sys/bus/mdev/devices/${UUID}`]: { status: directory },
    };

    it('has the devices that VFIO drivers have', () => {
      const list = new Host(machine(many)).listDevices();
      assert.deepEqual(
        list.map(({ address, ready }) => ({ address, ready })),
        [{ address: ADDRESS, ready: true }],
      );
    });

    it('has all of them when asked, and what each is missing', () => {
      const list = new Host(machine(many)).listDevices({ all: true });
      assert.deepEqual(
        list.map(({ kind, address, missing: things }) => [kind, address, things.map(({ what }) => what)]),
        [
          ['pci', ADDRESS, []],
          ['pci', other, ['iommu', 'driver']],
          ['mediated', UUID, ['driver']],
        ],
      );
    });

    it('wakes no device by reading its configuration space', () => {
      const seam = fill(new FileSeam());
      assert(seam instanceof FileSeam);
      seam.config = config({ 256: header(0x1b, 0), 260: 0x1406 });
      assert.deepEqual(
        new Host(seam).listDevices({ all: true }).map(({ pasidWidth }) => pasidWidth),
        [undefined],
      );
      assert.equal(seam.configReads, 0);
    });

    it('is empty where there is no VFIO, and leaves out what was unplugged meanwhile', () => {
      assert.deepEqual(new Host(new StubSeam()).listDevices({ all: true }), []);
      assert.deepEqual(new Host(machine({ [SYSFS]: undefined })).listDevices(), []);
    });

    it('looks at 500 devices a few times each, and at those of others only when asked', () => {
      let looks = 0;
      class CountingSeam extends FileSeam {
        override status(path: string) {
          looks++;
          return super.status(path);
        }
        override readText(path: string) {
          looks++;
          return super.readText(path);
        }
        override readLink(path: string) {
          looks++;
          return super.readLink(path);
        }
        override list(path: string) {
          looks++;
          return super.list(path);
        }
      }
      const seam = fill(new CountingSeam());
      const names = Array.from({ length: 500 }, (_, i) => `0000:${(i >> 3).toString(16).padStart(2, '0')}:00.${i & 7}`);
      seam.paths.set('/sys/bus/pci/devices', { list: names });
      for (const name of names) seam.paths.set(`/sys/bus/pci/devices/${name}`, { status: directory });
      const host = new Host(seam);
      assert.equal(host.listDevices().length, 1);
      assert(looks < 30, `${looks} look-ups for the one that VFIO has`);
      looks = 0;
      assert.equal(host.listDevices({ all: true }).length, 500);
      assert(looks < 500 * 15, `${looks} look-ups for all`);
    });

    it('knows its options', () => {
      const host = new Host(machine());
      const misspelt: object = { every: true };
      assert.throws(() => host.listDevices(misspelt), { code: 'ERR_UNKNOWN_OPTION' });
    });
  });

  it('tells addresses from paths', () => {
    assert.equal(pciAddress('0000:01:00.0'), '0000:01:00.0');
    assert.equal(pciAddress('FFFF:ff:1F.7'), 'ffff:ff:1f.7', 'as sysfs spells it');
    assert.equal(pciAddress('10000:e0:06.0'), '10000:e0:06.0', 'behind a volume management device');
    assert.equal(pciAddress('01:00.0'), '0000:01:00.0', 'without the domain');
    for (const text of ['/dev/vfio/devices/vfio0', '0000:01:00.8', '0000:01:00.0\n', '../0000:01:00.0', '1:00.0', '']) {
      assert.equal(pciAddress(text), undefined, JSON.stringify(text));
    }
  });
});
