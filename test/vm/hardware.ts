// What devices the machines have: QEMU's options, and the shell commands that give them to vfio-pci, as their user would.
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import path from 'node:path';

/**
 * `mock`: no IOMMU but the kernel's own mock, and QEMU's edu device (at 0000:00:05.0) without any. `vtd`: an emulated Intel
 * IOMMU with edu behind it at the same place, and more devices. `smmuv3`: an arm64 machine with an SMMUv3, and edu behind it
 * at the same place.
 */
export type MachineName = 'mock' | 'vtd' | 'smmuv3';

/** Bytes of the NVMe device's medium. */
const DISK_SIZE = 16 << 20;

/** A PCI Express root port at a slot of the root bus, and what is plugged into it. */
function rootPort(name: string, slot: number, ...devices: string[]): string[] {
  const port = `pcie-root-port,id=${name},chassis=${slot},slot=${slot},addr=${slot}`;
  return [port, ...devices.map((device) => `${device},bus=${name}`)].flatMap((device) => ['-device', device]);
}

/** QEMU's options for a machine's devices. What they need of files is made in `folder`. */
export function deviceOptions(machine: MachineName, folder: string): string[] {
  // On its own it has 28 address bits: without an IOMMU it must reach wherever memory is, and behind an SMMUv3 all that a
  // guest's page tables translate.
  if (machine === 'mock' || machine === 'smmuv3') return ['-device', 'edu,addr=5,dma_mask=0xffffffffffffffff'];
  const disk = path.join(folder, 'disk.raw');
  const fd = openSync(disk, 'w');
  ftruncateSync(fd, DISK_SIZE);
  closeSync(fd);
  return [
    // Scalable mode is what nesting needs; the device's own IOTLB is told of what the IOMMU forgets.
    ...['-device', 'intel-iommu,intremap=on,caching-mode=on,device-iotlb=on,x-scalable-mode=on'],
    ...['-device', 'edu,addr=5'],
    // A PCI Express device with everything: it can be reset and sleep, and has MSI-X.
    ...['-drive', `if=none,id=disk,format=raw,file=${disk}`],
    ...rootPort('nvme-port', 6, 'nvme,serial=iommufd,drive=disk'),
    // Two functions that one reset takes, and that one IOMMU group holds.
    ...rootPort('pair-port', 7, 'edu,addr=0.0,multifunction=on', 'edu,addr=0.1,multifunction=on'),
    // A device with virtual functions. Queues and vectors for them are set aside of its 64 and 65.
    ...['-device', 'nvme-subsys,id=subsystem'],
    ...rootPort(
      'sriov-port',
      8,
      'nvme,serial=sriov,subsys=subsystem,sriov_max_vfs=1,sriov_vq_flexible=2,sriov_vi_flexible=1',
    ),
  ];
}

/** Every edu and NVMe device goes to vfio-pci. */
const BIND = `
for device in /sys/bus/pci/devices/*; do
  case $(cat $device/vendor):$(cat $device/device) in
    0x1234:0x11e8 | 0x1b36:0x0010)
      echo vfio-pci > $device/driver_override
      echo \${device##*/} > /sys/bus/pci/drivers_probe
      ;;
  esac
done
`;

/** Without an IOMMU, vfio-pci takes a device only where that is allowed outright. */
const ALLOW_NOIOMMU = 'echo 1 > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode\n';

/** A virtual function: vfio-pci makes some only where that is allowed, and takes them itself. */
const VIRTUAL_FUNCTIONS = `
echo 1 > /sys/module/vfio_pci/parameters/enable_sriov
for count in /sys/bus/pci/devices/*/sriov_numvfs; do
  if [ -e $count ]; then echo 1 > $count; fi
done
`;

/** Mediated devices of the kernel's samples, by parent and type: serial ports, and displays. */
const MEDIATED = [
  ['mtty', 'mtty-2', '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'],
  ['mtty', 'mtty-2', '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002'],
  ['mdpy', 'mdpy-vga', '83b8f4f2-509f-382f-3c1e-e6bfe0fa1003'],
  ['mbochs', 'mbochs-small', '83b8f4f2-509f-382f-3c1e-e6bfe0fa1004'],
] as const;

function mediated(): string {
  const make = ([parent, type, uuid]: (typeof MEDIATED)[number]) => {
    const create = `/sys/devices/virtual/${parent}/${parent}/mdev_supported_types/${type}/create`;
    return `if [ -e ${create} ]; then echo ${uuid} > ${create}; fi\n`;
  };
  return MEDIATED.map(make).join('');
}

/** The addon of the machine's architecture in place of this one's, for as long as it runs. */
const OTHER_ADDON = 'mount -o bind /run/results/addon /run/checkout/build/Release\n';

/** Shell commands that set a machine's devices up, for VFIO to open. */
export function setUp(machine: MachineName): string {
  if (machine === 'smmuv3') return OTHER_ADDON + BIND;
  return machine === 'mock' ? ALLOW_NOIOMMU + BIND : BIND + VIRTUAL_FUNCTIONS + mediated();
}
