// Public members that need no case where the kernel's allocations fail, each group with why.
export const NOT_ASKED: readonly { readonly why: string; readonly members: string }[] = [
  {
    why: 'tells what the object knows: nothing is asked of the kernel',
    members: `Device.attachedTo DirtyBitmap.ranges DirtyBitmap.dirtyPages DirtyBitmap.isDirty DmaBufMapping.iova
      DmaBufMapping.length DmaBufMapping.mapped DmaBufMapping.revoked DmaBufMapping.whenRevoked FaultQueue.fd Handover.status
      HwQueue.typeNumber HwQueue.mmapRegion HwptPaging.settle Ioas.mappingCount Iommufd.fd Iommufd.closed Iommufd.objects
      Iommufd.drawGraph KernelObject.id KernelObject.iommufd KernelObject.destroyed KernelObject.heldBy KernelObject.parents
      KernelObject.describe Veventq.fd Viommu.typeNumber Viommu.mmapRegion PciConfig.size VfioDevice.fd VfioDevice.device
      DmaBuf.fd DmaBuf.closed VfioInterrupts.count VfioInterrupts.eventfd VfioInterrupts.maskable VfioInterrupts.automasked
      VfioInterrupts.resizable Ioeventfd.closed MigrationStream.fd MigrationStream.closed Eventfd.fd Eventfd.closed
      DmaMemory.size DmaMemory.address DmaMemory.fd DmaMemory.freed DmaMemory.mappings MmioRegion.mapped MmioRegion.address
      Host.kind Host.pageSize Host.release`,
  },
  {
    why: 'as JSON, of what the object knows',
    members: `DmaBufMapping.toJSON Handover.toJSON Iommufd.toJSON KernelObject.toJSON VfioDevice.toJSON DmaBuf.toJSON
      InterruptVector.toJSON VfioInterrupts.toJSON Ioeventfd.toJSON MigrationStream.toJSON VfioRegion.toJSON
      IommufdError.toJSON Eventfd.toJSON DmaMemory.toJSON MmioRegion.toJSON Host.toJSON`,
  },
  {
    why: 'a place for other operations, which have cases of their own',
    members: 'VfioDevice.features VfioDevice.migration VfioDevice.dmaLogging VfioDevice.graphics VfioDevice.lowPower',
  },
  {
    why: 'the event loop of this process, or its own memory and windows into it',
    members: `FaultQueue.ref FaultQueue.unref Veventq.ref Veventq.unref InterruptVector.ref InterruptVector.unref Eventfd.ref
      Eventfd.unref DmaMemory.window DmaMemory.read DmaMemory.write MmioRegion.read8 MmioRegion.read16 MmioRegion.read32
      MmioRegion.read64 MmioRegion.write8 MmioRegion.write16 MmioRegion.write32 MmioRegion.write64 MmioRegion.subregion
      MmioRegion.unsafeView DirtyBitmap.free`,
  },
  {
    why: 'the counter of an eventfd: a read or a write of eight bytes, for which no kernel allocates',
    members: `InterruptVector.wait InterruptVector.read Eventfd.signal Eventfd.drain Eventfd.wait Eventfd.read Eventfd.close`,
  },
  {
    why: 'another width, or another name, of an operation with a case',
    members: `PciConfig.vendorId PciConfig.deviceId PciConfig.read8 PciConfig.read32 PciConfig.write8 PciConfig.write32
      PciConfig.command PciConfig.findCapability VfioRegion.read8 VfioRegion.read16 VfioRegion.read64 VfioRegion.write8
      VfioRegion.write16 VfioRegion.write64 InterruptVector.trigger InterruptVector.mask InterruptVector.unmask Iommufd.open
      KernelObject.release Handover.abort EmulatedHost.returnDevice EmulatedDevice.dmaWriteAsync`,
  },
  {
    why: 'no device has it, emulated or in the lane: ENOTTY before anything is allocated',
    members: 'DeviceFeatures.setBusMaster DeviceFeatures.zpciError',
  },
  {
    why: 'tells what the object knows of a device that no emulated machine has',
    members: 'GraphicsDmabuf.fd GraphicsDmabuf.closed',
  },
  {
    why: 'the machine itself, beside its kernel',
    members: `EmulatedHost.devices EmulatedHost.device EmulatedHost.deviceOf EmulatedHost.hwQueue EmulatedHost.failAllocation
      EmulatedHost.failurePending EmulatedHost.inspect EmulatedDevice.name EmulatedDevice.answersInvalidations
      EmulatedDevice.reportError`,
  },
  {
    why: 'the device is told, not the program: emulated-events.test.ts',
    members: 'EmulatedDevice.dmaReadAsync EmulatedDevice.requestPage',
  },
];
