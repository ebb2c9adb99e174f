// The machine `selftest`: a mock IOMMU whose devices are made, attached and looked at through IOMMU_TEST_CMD, as on a
// kernel with CONFIG_IOMMUFD_TEST.
import { IommufdDevice } from '../../kernel/device.js';
import type { Domain } from '../../kernel/driver.js';
import type { IommufdContext } from '../../kernel/iommufd-file.js';
import type { Kernel } from '../../kernel/kernel.js';
import type { EndpointOptions, Platform } from '../platform.js';
import { SelftestIommu } from './iommu.js';
import { MockDevice } from './mock-device.js';
import { prepareCopy } from './nth-area.js';
import { testCommand } from './test-command.js';
import { IOMMU_TEST_CMD, mock_flags_device } from './uapi.js';

const FLAGS = mock_flags_device.values;

/** What the mock knows of a device. */
type MockOptions = Pick<EndpointOptions, 'name' | 'dirtyTracking' | 'pasid' | 'group'>;

export class SelftestMachine implements Platform {
  readonly iommu: SelftestIommu;
  /** Names of devices that IOMMU_TEST_CMD made. */
  readonly #names = new Set<string>();

  /** Gives the kernel the mock IOMMU. */
  constructor(readonly kernel: Kernel) {
    this.iommu = new SelftestIommu(kernel);
    kernel.testCommand = {
      request: IOMMU_TEST_CMD.request,
      size: IOMMU_TEST_CMD.layout.size,
      minSize: IOMMU_TEST_CMD.minSize,
      run: (command) => testCommand(this, command),
      prepareCopy,
    };
  }

  get blocked(): Domain {
    return this.iommu.blocked;
  }
  /** Nothing is kept: the mock's IOTLB of four entries is a page table's own. */
  tlb(): readonly [] {
    return [];
  }

  /** A device that is there from the start. */
  createDevice({ name, dirtyTracking, pasid, group }: MockOptions): MockDevice {
    const flags = (dirtyTracking ? 0 : FLAGS.MOCK_FLAGS_DEVICE_NO_DIRTY) | (pasid ? FLAGS.MOCK_FLAGS_DEVICE_PASID : 0);
    return new MockDevice(this.kernel, this.iommu, name, flags, group);
  }

  /** A device that comes and goes; its name has the lowest number that is free. */
  plug(flags: number): MockDevice {
    let number = 0;
    while (this.#names.has(mockName(number))) number++;
    const name = mockName(number);
    this.#names.add(name);
    return new MockDevice(this.kernel, this.iommu, name, flags);
  }
  unplug(device: MockDevice): void {
    device.group.remove(device);
    this.#names.delete(device.name);
  }

  /** The mock device that is bound to an iommufd with this id. */
  deviceById(context: IommufdContext, id: number): MockDevice | undefined {
    const device = context.objects.get(id, IommufdDevice)?.dev;
    return device instanceof MockDevice ? device : undefined;
  }
}

function mockName(number: number): string {
  return `iommufd_mock${number}`;
}
