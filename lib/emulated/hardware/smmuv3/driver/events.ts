// What the driver does with an event of the SMMU: a stall becomes a page request, another one the guest's event, if it is about
// what the guest does (arm_smmu_handle_event, arm-smmu-v3.c; arm_vmaster_report_event, arm-smmu-v3-iommufd.c). The rest would
// be written to the kernel's log.
import { iommu_hwpt_pgfault_perm, iommu_veventq_type } from '../../../../uapi/iommufd-constants.js';
import { iommu_vevent_arm_smmuv3 } from '../../../../uapi/iommufd-driver-data.js';
import { NO_PASID } from '../../../kernel/iommu-group.js';
import { reportPageRequest } from '../../../kernel/page-requests.js';
import type { Smmuv3Device } from './device.js';
import type { Vmaster } from './master.js';

const TYPE = iommu_veventq_type.values.IOMMU_VEVENTQ_TYPE_ARM_SMMUV3;
const PERM = iommu_hwpt_pgfault_perm.values;
const WORD_BYTES = 4;

/** C_BAD_STE, F_STREAM_DISABLED, C_BAD_SUBSTREAMID, C_BAD_CD, F_TRANSLATION, F_ADDR_SIZE, F_ACCESS and F_PERMISSION. */
const KNOWN: ReadonlySet<number> = new Set([0x04, 0x06, 0x08, 0x0a, 0x10, 0x11, 0x12, 0x13]);

// Fields of a record's words of 32 bits (arm-smmu-v3.h).
const ID = 0xff;
const SSV = 1 << 11;
const SSID_SHIFT = 12;
const STAG = 0xffff;
const STALL = 1 << 31;
const PRIVILEGED = 1 << 1;
const INSTRUCTION = 1 << 2;
const READ = 1 << 3;
const STAGE_2 = 1 << 7;

export function handleEvent(devices: ReadonlyMap<number, Smmuv3Device>, record: Uint32Array): void {
  const [word0 = 0, stream = 0, word2 = 0, word3 = 0] = record;
  const device = devices.get(stream);
  if (!KNOWN.has(word0 & ID) || device === undefined) return;
  const { vmaster } = device.master;
  if ((word2 & STALL) !== 0) reportStall(device, record);
  else if (vmaster !== undefined && (word3 & STAGE_2) === 0) reportToGuest(vmaster, record);
}

function reportStall(device: Smmuv3Device, record: Uint32Array): void {
  const [word0 = 0, , word2 = 0, word3 = 0, addressLow = 0, addressHigh = 0] = record;
  const hasPasid = (word0 & SSV) !== 0;
  reportPageRequest(device, {
    address: (BigInt(addressHigh) << 32n) | BigInt(addressLow),
    pasid: hasPasid ? word0 >>> SSID_SHIFT : NO_PASID,
    hasPasid,
    group: word2 & STAG,
    perm:
      ((word3 & READ) !== 0 ? PERM.IOMMU_PGFAULT_PERM_READ : PERM.IOMMU_PGFAULT_PERM_WRITE) |
      ((word3 & INSTRUCTION) !== 0 ? PERM.IOMMU_PGFAULT_PERM_EXEC : 0) |
      ((word3 & PRIVILEGED) !== 0 ? PERM.IOMMU_PGFAULT_PERM_PRIV : 0),
    last: true,
  });
}

/** The record as it is, with the guest's own StreamID. Nobody may have asked for it. */
function reportToGuest({ viommu, virtId }: Vmaster, record: Uint32Array): void {
  const data = new Uint8Array(iommu_vevent_arm_smmuv3.size);
  const view = new DataView(data.buffer);
  for (const [i, word] of record.entries()) view.setUint32(i * WORD_BYTES, word, true);
  view.setUint32(WORD_BYTES, Number(BigInt.asUintN(32, virtId)), true);
  viommu.core.reportEvent(TYPE, data);
}
