// What stands behind the example: a PCI device and its IOMMU, the kernel's mock, or an emulated machine. It says which kinds
// of objects its IOMMU takes; the story in vmm.ts is the same for all.
import type { Device, Iommufd, MmioRegion, NestedOptions, VeventqOptions, ViommuOptions } from 'iommufd';
import { EmulatedHost, mock } from 'iommufd/emulated';
import { hostSeam } from 'iommufd/unsafe';
import { test_trigger_vevent } from '../lib/emulated/hardware/selftest/uapi.js';
import { MockDevice, testCmd } from '../test/rig/mock.js';

export interface Board {
  readonly what: string;
  readonly device: Device;
  /** The IOMMU nests page tables straight on the parent, without a vIOMMU (VT-d). */
  readonly nestsFromParent: boolean;
  viommu(): ViommuOptions;
  veventq(): VeventqOptions;
  hwQueue(): { readonly type?: number };
  nested(): NestedOptions;
  /** Makes the hardware report something; `page`: the registers of the vQUEUE, which a guest would have. */
  raiseEvent(page: MmioRegion | undefined): void;
  /** Makes the device write to memory by itself, and read it back. */
  dma(iova: bigint, bytes: Uint8Array): Uint8Array;
}

class NotHere extends Error {
  readonly code = 'NOT_HERE';
}

/** What an IOMMU takes that Linux's public headers name. */
function namedKinds(device: Device): Omit<Board, 'what' | 'device' | 'dma'> {
  const kind = device.hwInfo().type;
  const queues = hasCmdqv(device);
  return {
    nestsFromParent: kind === 'intel-vtd',
    viommu: () => ({ type: queues ? 'tegra241-cmdqv' : 'arm-smmuv3' }),
    veventq: () => ({ depth: 64 }),
    hwQueue: () => ({}),
    // An SMMUv3 stream that bypasses stage 1 (STE: V, Cfg 0b100), or a VT-d table of 4 levels at the start of memory.
    nested: () =>
      kind === 'intel-vtd' ? { vtd: { pageTable: 0x4000_1000n, addressWidth: 48 } } : { ste: [1n | (4n << 1n), 0n] },
    raiseEvent: (page) => {
      if (!queues || page === undefined) throw new NotHere('it takes a guest driver to make this device fault');
      submitNonsense(page);
    },
  };
}

/** Registers of a vQUEUE of Tegra241's (tegra241-cmdqv.c). */
const PROD = 0x04;
const CONFIG = 0x08;

/** A guest turns its queue on, and rings for a command that is none: all its bytes are zero. */
function submitNonsense(page: MmioRegion): void {
  page.write32(CONFIG, 1);
  page.write32(PROD, 1);
}

/** A device that vfio-pci drives. */
export function pciBoard(iommufd: Iommufd, address: string): Board {
  const device = iommufd.host.openDevice(address).bind(iommufd);
  return {
    ...namedKinds(device),
    what: `${address}, behind ${device.hwInfo().type}`,
    device,
    dma: () => {
      throw new NotHere("it takes this device's own driver to make it do DMA");
    },
  };
}

function hasCmdqv(device: Device): boolean {
  try {
    return device.hwInfo('tegra241-cmdqv').type === 'tegra241-cmdqv';
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EOPNOTSUPP') return false;
    throw error;
  }
}

/** Kinds of objects that the kernel's mock IOMMU takes. */
const mockKinds = {
  nestsFromParent: false,
  viommu: () => mock.viommu(0xcafe),
  veventq: () => ({ depth: 64, ...mock.veventq() }),
  hwQueue: () => mock.hwQueue(),
  nested: () => mock.nested(),
};

/** The mock device of a kernel with CONFIG_IOMMUFD_TEST. */
export function mockBoard(iommufd: Iommufd): Board {
  const seam = hostSeam(iommufd.host);
  const { device } = new MockDevice(iommufd, seam);
  return {
    ...mockKinds,
    what: "the kernel's mock device",
    device,
    raiseEvent: () => {
      testCmd({ seam, fd: iommufd.fd }, 'IOMMU_TEST_OP_TRIGGER_VEVENT', test_trigger_vevent, { dev_id: device.id });
    },
    dma: () => {
      throw new NotHere("the kernel's mock device does no DMA");
    },
  };
}

/** The first device of an emulated machine; undefined on any other host. */
export function emulatedBoard(iommufd: Iommufd): Board | undefined {
  const { host } = iommufd;
  const address = host instanceof EmulatedHost ? host.devices[0] : undefined;
  if (!(host instanceof EmulatedHost) || address === undefined) return undefined;
  const device = host.openDevice(address).bind(iommufd);
  const itself = host.device(address);
  return {
    ...namedKinds(device),
    what: `${address} of an emulated machine: a program, no hardware`,
    device,
    dma: (iova, bytes) => {
      itself.dmaWrite(iova, bytes);
      return itself.dmaRead(iova, bytes.length);
    },
  };
}
