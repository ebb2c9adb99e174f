// Machines with a real kernel, for tests that let its allocations fail: one with the kernel's mock IOMMU, one with QEMU's
// devices behind an Intel IOMMU.
import { test_dirty, test_trigger_vevent } from '../../lib/emulated/hardware/selftest/uapi.js';
import type { EmulatedHost, MachineName } from '../../lib/emulated-host.js';
import type { Device, HwptPaging, Iommufd } from '../../lib/index.js';
import type { Host } from '../../lib/unsafe.js';
import { kernelCensus } from './kernel-census.js';
import { Lacks, type Need, type Place, type Role } from './memory-place.js';
import { PAGE, type Site } from './memory-site.js';
import { MockDevice, testCmd } from './mock.js';
import { requestMockPage } from './mock-page-request.js';
import { type Rig, rig } from './rig.js';
import { type Role as DeviceRole, vfioRig } from './vfio-rig.js';

abstract class KernelPlace implements Place {
  abstract readonly machine: MachineName;
  abstract readonly nests: boolean;
  readonly host: Host;
  readonly rig: Rig;
  constructor() {
    this.rig = rig();
    this.host = this.rig.host;
  }

  abstract name(role: Role): string;
  abstract needs(need: Need): void;
  abstract device(site: Site): Device;
  emulated(): EmulatedHost {
    throw new Lacks('only an emulated device has a side of its own');
  }
  inspect(iommufd?: Iommufd): unknown {
    return { ...kernelCensus(this.rig.seam, iommufd), ...this.rig.census() };
  }
  write(_site: Site, _hwpt: HwptPaging, _iova: bigint): void {
    this.needs('dirty-tracking');
  }
  async requestPage(_site: Site, _iova: bigint): Promise<void> {
    this.needs('page-requests');
  }
  loseEvent(_site: Site): void {
    this.needs('events');
  }
}

/** Mock devices, and no device of VFIO but one without an IOMMU. */
export class MockPlace extends KernelPlace {
  readonly machine = 'selftest';
  readonly nests = true;

  name(role: Role): string {
    const address = role === 'no-iommu' ? this.rig.noiommuDevice() : undefined;
    if (address === undefined) throw new Lacks('no device of VFIO behind an IOMMU');
    return address;
  }
  needs(need: Need): void {
    if (need === 'hand-over') throw new Lacks('a mock device has no file that could be handed over');
  }
  device(site: Site): Device {
    return new MockDevice(site.iommufd, this.rig.seam, { pasid: true }).device;
  }
  override write(site: Site, hwpt: HwptPaging, iova: bigint): void {
    const input = { id: hwpt.id, iova, length: BigInt(PAGE), page_size: BigInt(PAGE) };
    testCmd(this.#port(site), 'IOMMU_TEST_OP_DIRTY', test_dirty, input, {
      uptr: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0),
    });
  }
  override requestPage(site: Site, iova: bigint): Promise<void> {
    return requestMockPage(this.rig.seam, site, iova);
  }
  override loseEvent(site: Site): void {
    const trigger = () =>
      testCmd(this.#port(site), 'IOMMU_TEST_OP_TRIGGER_VEVENT', test_trigger_vevent, { dev_id: site.device.id });
    trigger();
    trigger();
  }
  #port(site: Site) {
    return { seam: this.rig.seam, fd: site.iommufd.fd };
  }
}

/** Which device of the machine (test/vm/hardware.ts) has which role. */
const ROLES: Readonly<Partial<Record<Role, DeviceRole>>> = {
  ...{
    nic: 'edu',
    sibling: 'nvme',
    msix: 'nvme',
    resettable: 'nvme',
    slot: 'pair0',
    'slot-mate': 'pair1',
    peer: 'pair0',
  },
  ...{
    serial: 'serial',
    migrates: 'serial',
    logs: 'serial',
    display: 'display',
    'display-dmabuf': 'display-dmabuf',
    sriov: 'sriov',
  },
};

const ABSENT: Readonly<Partial<Record<Need, string>>> = {
  pasids: "QEMU's edu device has no PASIDs",
  'dirty-tracking': "QEMU's Intel IOMMU does not track dirty pages",
  'page-requests': "QEMU's devices request no pages",
  events: 'the Intel IOMMU has no vIOMMUs',
  nesting: "QEMU's Intel IOMMU does not nest",
};

/** Devices behind QEMU's Intel IOMMU. */
export class VtdPlace extends KernelPlace {
  readonly machine = 'intel-vtd';
  readonly nests = false;

  name(role: Role): string {
    const device = ROLES[role];
    const name = device === undefined ? undefined : vfioRig().find(device);
    if (name === undefined) throw new Lacks(`no such device: ${role}`);
    return name;
  }
  needs(need: Need): void {
    const why = ABSENT[need];
    if (why !== undefined) throw new Lacks(why);
  }
  device(site: Site): Device {
    return site.nic.device;
  }
}
