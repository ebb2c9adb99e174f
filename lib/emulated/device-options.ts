// The devices of an emulated machine as its options name them, checked, with all that a model says about itself read once.
import { checkOptions, oneOf, toBoolean, toSize } from '../host/arguments.js';
import { invalidType, outOfRange } from '../host/errors.js';
import { EduDevice } from './hardware/devices/edu.js';
import { PlainDevice } from './hardware/devices/plain.js';
import { TestDevice } from './hardware/devices/test-device.js';
import { type FunctionSpec, freeBar } from './hardware/pci/function.js';
import type { DeviceIdentity, DeviceModel, ModelBar, ModelInterrupts } from './hardware/pci/model.js';

/** A PCI device of the machine, driven by vfio-pci: `host.openDevice(address)` opens it. */
export interface EmulatedPciDeviceOptions {
  /**
   * Its PCI address as sysfs spells it: '0000:01:00.0', in lower case. Bus 00 is the root; the functions of any other bus
   * are behind a port of their own, which resets them together.
   */
  readonly address: string;
  /**
   * What it is: `edu`, QEMU's educational device; `test`, one with everything VFIO knows, for tests; or one of your own. If
   * left out, it has no registers, and does what its own side (`host.device`) is told to.
   */
  readonly model?: 'edu' | 'test' | DeviceModel;
  /** Whether its IOMMU can track dirty pages; true if left out. */
  readonly dirtyTracking?: boolean;
  /** Whether it has PASIDs (20 bits); false if left out. */
  readonly pasid?: boolean;
  /**
   * Whether it keeps translations of its own (PCI ATS), which must be invalidated with those of the IOMMU; false if left
   * out.
   */
  readonly ats?: boolean;
  /**
   * Whether it waits for a fault to be mended where its page table has a fault queue: by stalls on an SMMUv3, by page
   * requests (PCI PRI) on VT-d, which take `ats` too. See `EmulatedDevice.dmaReadAsync`. False if left out.
   */
  readonly recoverableFaults?: boolean;
  /** False for one without an IOMMU, which reaches all of memory (VFIO's noiommu mode); true if left out. */
  readonly iommu?: boolean;
  /** The number of its IOMMU group, 0 to 65535: devices with the same one share it. One of its own if left out. */
  readonly iommuGroup?: number;
}

/** A mediated device, which has no IOMMU: what its driver does to memory, it does by IOVA. `host.openDevice(uuid)` opens it. */
export interface EmulatedMediatedDeviceOptions {
  /** As in sysfs: '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001', in lower case. */
  readonly uuid: string;
  /** Serial ports on a PCI card, as Linux's sample driver mtty makes them. */
  readonly model: 'serial';
  /** How many; 1 if left out. */
  readonly ports?: 1 | 2;
}

export type EmulatedDeviceOptions = EmulatedPciDeviceOptions | EmulatedMediatedDeviceOptions;

export interface PciDeviceSpec {
  readonly kind: 'pci';
  readonly name: string;
  readonly dirtyTracking: boolean;
  readonly pasid: boolean;
  readonly ats: boolean;
  readonly stall: boolean;
  readonly iommu: boolean;
  readonly group: number | undefined;
  readonly parts: FunctionSpec;
}
export interface MediatedDeviceSpec {
  readonly kind: 'mediated';
  readonly name: string;
  readonly ports: 1 | 2;
}
export type DeviceSpec = PciDeviceSpec | MediatedDeviceSpec;

const PCI_ADDRESS = /^[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** What IOMMUs give a device: as many as PCI has. */
const PASID_WIDTH = 20;
const MOST_MSIX = 2048;

/** Models that are in some machine. */
const plugged = new WeakSet<DeviceModel>();

export function deviceSpec(options: EmulatedDeviceOptions): DeviceSpec {
  if (typeof options !== 'object' || options === null) throw invalidType('devices[]', 'an object', options);
  return 'uuid' in options ? mediatedSpec(options) : pciSpec(options);
}

function mediatedSpec(options: EmulatedMediatedDeviceOptions): MediatedDeviceSpec {
  checkOptions(options, ['uuid', 'model', 'ports'], 'devices[]');
  const { uuid, model, ports = 1 } = options;
  if (typeof uuid !== 'string') throw invalidType('uuid', 'a UUID', uuid);
  if (!UUID.test(uuid)) throw outOfRange('uuid', 'a UUID in lower case', uuid);
  oneOf(model, ['serial'], 'model');
  if (ports !== 1 && ports !== 2) throw outOfRange('ports', '1 or 2', ports);
  return { kind: 'mediated', name: uuid, ports };
}

const PCI_OPTIONS = [
  'address',
  'model',
  'dirtyTracking',
  'pasid',
  'ats',
  'recoverableFaults',
  'iommu',
  'iommuGroup',
] as const satisfies (keyof EmulatedPciDeviceOptions)[];

function pciSpec(options: EmulatedPciDeviceOptions): PciDeviceSpec {
  checkOptions(options, PCI_OPTIONS, 'devices[]');
  const { address, model, iommuGroup } = options;
  if (typeof address !== 'string') throw invalidType('address', 'a PCI address', address);
  if (!PCI_ADDRESS.test(address)) throw outOfRange('address', "a PCI address ('0000:01:00.0')", address);
  const pasid = toBoolean(options.pasid, 'pasid', false);
  const ats = toBoolean(options.ats, 'ats', false);
  const stall = toBoolean(options.recoverableFaults, 'recoverableFaults', false);
  const iommu = toBoolean(options.iommu, 'iommu', true);
  if (iommuGroup !== undefined && !iommu) {
    throw outOfRange('iommuGroup', 'left out for a device without an IOMMU', iommuGroup);
  }
  return {
    kind: 'pci',
    name: address,
    dirtyTracking: toBoolean(options.dirtyTracking, 'dirtyTracking', true),
    ...{ pasid, iommu },
    ...{ ats, stall },
    group: iommuGroup === undefined ? undefined : toNumber(iommuGroup, 'iommuGroup', 0, 0xffff),
    parts: functionSpec(toModel(model, iommu), {
      pasid: pasid && iommu,
      ats: ats && iommu,
      pri: ats && stall && iommu,
    }),
  };
}

/** Without an IOMMU, edu has address lines enough for all of memory: what it has otherwise would reach none of it. */
function toModel(model: EmulatedPciDeviceOptions['model'], iommu: boolean): DeviceModel {
  if (model === undefined) return new PlainDevice();
  if (typeof model === 'object' && model !== null) return model;
  if (model === 'test') return new TestDevice();
  if (model === 'edu') return iommu ? new EduDevice() : new EduDevice(64);
  const expected = "'edu', 'test' or an object of yours (a DeviceModel); 'serial' goes with uuid in place of address";
  if (typeof model === 'string') throw outOfRange('model', expected, model);
  throw invalidType('model', expected, model);
}

/** What a function has because of the IOMMU it is behind: only PCI Express has room to tell of it. */
interface BehindIommu {
  readonly pasid: boolean;
  readonly ats: boolean;
  readonly pri: boolean;
}

/** Reads what a model says about itself. */
function functionSpec(model: DeviceModel, has: BehindIommu): FunctionSpec {
  for (const method of ['connect', 'read', 'write'] as const) {
    if (typeof model[method] !== 'function') throw invalidType(`model.${method}`, 'a function', model[method]);
  }
  if (plugged.has(model)) throw outOfRange('model', 'a device that is in no other machine or slot', model);
  const bars = toBars(model.bars);
  const { intx, msi, msix } = toInterrupts(model.interrupts);
  if (msix > 0 && freeBar(bars) === undefined) {
    throw outOfRange('model.bars', 'with one BAR left for the table of MSI-X', bars.length);
  }
  const spec = {
    ...{ model, identity: toIdentity(model.identity), bars, intx, msi, msix },
    pcie: toBoolean(model.pcie, 'model.pcie', false) || has.pasid || has.ats,
    resettable: toBoolean(model.resettable, 'model.resettable', false),
    scratch: toBoolean(model.scratch, 'model.scratch', false),
    dmaLogging: toBoolean(model.dmaLogging, 'model.dmaLogging', false),
    pasidWidth: has.pasid ? PASID_WIDTH : 0,
    ...{ ats: has.ats, pri: has.pri },
  };
  plugged.add(model);
  return spec;
}

function toNumber(value: number, name: string, least: number, most: number): number {
  const number = toSize(value, name);
  if (number < least || number > most) throw outOfRange(name, `between ${least} and ${most}`, value);
  return number;
}

const IDENTITY: Readonly<Record<keyof DeviceIdentity, number>> = {
  vendorId: 0xffff,
  deviceId: 0xffff,
  revision: 0xff,
  classCode: 0xff_ffff,
  subsystemVendorId: 0xffff,
  subsystemId: 0xffff,
};

function toIdentity(identity: DeviceIdentity): DeviceIdentity {
  if (typeof identity !== 'object' || identity === null) throw invalidType('model.identity', 'an object', identity);
  checkOptions(identity, Object.keys(IDENTITY), 'model.identity');
  const id = (name: keyof DeviceIdentity) => toNumber(identity[name] ?? 0, `identity.${name}`, 0, IDENTITY[name]);
  return {
    vendorId: toNumber(identity.vendorId, 'identity.vendorId', 0, 0xffff),
    deviceId: toNumber(identity.deviceId, 'identity.deviceId', 0, 0xffff),
    ...{ revision: id('revision'), classCode: id('classCode') },
    ...{ subsystemVendorId: id('subsystemVendorId'), subsystemId: id('subsystemId') },
  };
}

function toBars(bars: readonly ModelBar[] = []): Required<ModelBar>[] {
  if (!Array.isArray(bars)) throw invalidType('model.bars', 'an array', bars);
  const checked = bars.map(toBar);
  const places = checked.flatMap(({ index, kind }) => (kind === 'memory64' ? [index, index + 1] : [index]));
  if (new Set(places).size < places.length) throw outOfRange('model.bars', 'at places of their own', places.join(', '));
  return checked;
}

function toBar(bar: ModelBar): Required<ModelBar> {
  checkOptions(bar, ['index', 'size', 'kind', 'prefetchable'], 'model.bars[]');
  const kind = oneOf(bar.kind ?? 'memory32', ['memory32', 'memory64', 'io'], 'kind');
  const [least, most] = kind === 'io' ? [4, 256] : [16, 2 ** 31];
  const size = toNumber(bar.size, 'size', least, most);
  if (!Number.isInteger(Math.log2(size))) throw outOfRange('size', 'a power of two', size);
  const index = toNumber(bar.index, 'index', 0, kind === 'memory64' ? 4 : 5);
  return { index, size, kind, prefetchable: toBoolean(bar.prefetchable, 'prefetchable', false) };
}

function toInterrupts(interrupts: ModelInterrupts = {}): { intx: boolean; msi: number; msix: number } {
  checkOptions(interrupts, ['intx', 'msi', 'msix'], 'model.interrupts');
  const msi = toNumber(interrupts.msi ?? 0, 'interrupts.msi', 0, 32);
  if (msi !== 0 && !Number.isInteger(Math.log2(msi))) throw outOfRange('interrupts.msi', 'a power of two', msi);
  return {
    intx: toBoolean(interrupts.intx, 'interrupts.intx', false),
    msi,
    msix: toNumber(interrupts.msix ?? 0, 'interrupts.msix', 0, MOST_MSIX),
  };
}
