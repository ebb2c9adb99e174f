// Finding a device's node in a made-up sysfs, and what is said where something is missing.
import assert from 'node:assert/strict';
import { findVfioNode, pciAddress } from '../../lib/vfio/discovery.js';
import { stage } from './stage.js';
import { type Entry, StubSeam } from './stub-seam.js';

const ADDRESS = '0000:01:00.0';
const SYSFS = `/sys/bus/pci/devices/${ADDRESS}`;
const NODE = '/dev/vfio/devices/vfio7';
const place = (kind: 'directory' | 'link' | 'file' | 'character-device', major = 0, minor = 0): Entry => ({
  status: { kind, major, minor, size: 0 },
});

/** A machine with everything in its place, then changed. */
function machine(change: Readonly<Record<string, Entry | undefined>> = {}): StubSeam {
  const seam = new StubSeam();
  const paths: Record<string, Entry | undefined> = {
    [SYSFS]: place('link'),
    [`${SYSFS}/driver`]: { link: '../../../../bus/pci/drivers/vfio-pci' },
    [`${SYSFS}/vfio-dev`]: { list: ['power', 'vfio7'] },
    [`${SYSFS}/vfio-dev/vfio7/dev`]: { text: '511:7\n' },
    [NODE]: place('character-device', 511, 7),
    ...change,
  };
  for (const [path, entry] of Object.entries(paths)) if (entry !== undefined) seam.paths.set(path, entry);
  return seam;
}

/** What is said where the node is not found. */
function complaint(change: Readonly<Record<string, Entry | undefined>>): string {
  try {
    findVfioNode(machine(change), ADDRESS);
  } catch (error) {
    assert(error instanceof Error && 'code' in error);
    assert.equal(error.code, 'ERR_IOMMUFD_UNAVAILABLE');
    return error.message;
  }
  return 'nothing';
}

describe('discovery', () => {
  it('finds the node of a PCI device', () => {
    assert.equal(findVfioNode(machine(), ADDRESS), NODE);
  });

  it('finds the node of a device without an IOMMU', () => {
    const seam = machine({
      [`${SYSFS}/vfio-dev`]: { list: ['noiommu-vfio0'] },
      [`${SYSFS}/vfio-dev/noiommu-vfio0/dev`]: { text: '511:0' },
      '/dev/vfio/devices/noiommu-vfio0': place('character-device', 511, 0),
    });
    assert.equal(findVfioNode(seam, ADDRESS), '/dev/vfio/devices/noiommu-vfio0');
  });

  it('opens a device without an IOMMU by an unsafe name only, whatever leads to its node', () => {
    const { host, seam } = stage();
    const node = '/dev/vfio/devices/noiommu-vfio0';
    const paths = machine({
      [`${SYSFS}/vfio-dev`]: { list: ['noiommu-vfio0'] },
      [`${SYSFS}/vfio-dev/noiommu-vfio0/dev`]: { text: '511:0' },
      '/sys/class/vfio-dev': { list: ['noiommu-vfio0', 'vfio7'] },
      '/sys/class/vfio-dev/noiommu-vfio0/dev': { text: '511:0\n' },
      [node]: place('character-device', 511, 0),
      '/dev/harmless': { link: 'vfio/devices/noiommu-vfio0' },
      '/dev/copy': place('character-device', 511, 0),
    }).paths;
    for (const [path, entry] of paths) seam.paths.set(path, entry);
    for (const name of [ADDRESS, node, '/dev/harmless', '/dev/copy']) {
      assert.throws(() => host.openDevice(name), { code: 'ERR_IOMMUFD_UNAVAILABLE', message: /unsafeOpenDevice/ });
    }
    host.unsafeOpenDevice(node).close();
    host.openDevice(NODE).close();
  });

  it('opens it by its address', () => {
    const { host, seam } = stage();
    for (const [path, entry] of machine().paths) seam.paths.set(path, entry);
    assert.equal(host.openDevice(ADDRESS).name, ADDRESS);
  });

  it('says how to look where there is no such device', () => {
    assert.equal(complaint({ [SYSFS]: undefined }), `there is no PCI device ${ADDRESS}: see lspci -D`);
  });

  it('says how to change the driver where another has the device', () => {
    const change = { [`${SYSFS}/driver`]: { link: '../drivers/nvme' }, [`${SYSFS}/vfio-dev`]: undefined };
    assert.equal(
      complaint(change),
      [
        `${ADDRESS} is driven by nvme, not by a VFIO driver. Mend it as root:`,
        '  modprobe vfio-pci',
        `  echo vfio-pci > ${SYSFS}/driver_override`,
        `  echo ${ADDRESS} > ${SYSFS}/driver/unbind`,
        `  echo ${ADDRESS} > /sys/bus/pci/drivers_probe`,
      ].join('\n'),
    );
  });

  it('unbinds nothing where no driver has the device', () => {
    const text = complaint({ [`${SYSFS}/driver`]: undefined, [`${SYSFS}/vfio-dev`]: undefined });
    assert.match(text, /driven by no driver/);
    assert.match(text, /modprobe vfio-pci\n.*driver_override\n.*drivers_probe$/);
    assert.doesNotMatch(text, /unbind/);
  });

  it('takes a folder without a VFIO entry for no VFIO driver', () => {
    assert.match(complaint({ [`${SYSFS}/vfio-dev`]: { list: ['power', 'vfio', 'vfio7x'] } }), /not by a VFIO driver/);
  });

  it('names the kernel option where VFIO has no device nodes', () => {
    assert.match(complaint({ [`${SYSFS}/vfio-dev/vfio7/dev`]: undefined }), /CONFIG_VFIO_DEVICE_CDEV/);
  });

  it('names udev and containers where the node is not there, or no device node', () => {
    for (const entry of [undefined, place('file'), place('directory')]) {
      assert.match(complaint({ [NODE]: entry }), /vfio7 is not there: is udev running/);
    }
  });

  it('never takes a node that belongs to another device', () => {
    for (const [major, minor] of [
      [511, 8],
      [510, 7],
      [51, 17],
    ] as const) {
      assert.equal(
        complaint({ [NODE]: place('character-device', major, minor) }),
        `${NODE} is another device (${major}:${minor}) than ${ADDRESS} (511:7)`,
      );
    }
  });

  it('tells addresses from paths', () => {
    assert.equal(pciAddress('0000:01:00.0'), '0000:01:00.0');
    assert.equal(pciAddress('FFFF:ff:1F.7'), 'ffff:ff:1f.7', 'as sysfs spells it');
    assert.equal(pciAddress('01:00.0'), '0000:01:00.0', 'without the domain');
    for (const text of ['/dev/vfio/devices/vfio0', '0000:01:00.8', '0000:01:00.0\n', '../0000:01:00.0', '1:00.0', '']) {
      assert.equal(pciAddress(text), undefined, JSON.stringify(text));
    }
  });
});
