// What an emulated machine may be asked to be, checked, and the machine made of it.
import { checkOptions, oneOf, toBoolean, toSize, type U64 } from '../host/arguments.js';
import { invalidType, outOfRange, UsageError } from '../host/errors.js';
import { deviceSpec, type EmulatedDeviceOptions } from './device-options.js';
import { MACHINES, type MachineName } from './hardware/platforms.js';
import { LINUXES, type Linux } from './kernel/kernel.js';
import { Machine } from './machine.js';
import { PAGE_SIZE } from './memory/backing.js';

export interface EmulatedHostOptions {
  /**
   * What machine: which IOMMU its devices are behind. `arm-smmuv3`: Arm's SMMUv3 with nested page tables in the guest's
   * memory; `tegra241-cmdqv`: the same with command queues for guests (vQUEUE); `intel-vtd`: Intel's VT-d in scalable mode;
   * `selftest`: Linux's own mock IOMMU (CONFIG_IOMMUFD_TEST), IOMMU_TEST_CMD included. `tegra241-cmdqv` if left out.
   */
  readonly machine?: MachineName;
  /** One device at 0000:01:00.0 if left out. */
  readonly devices?: readonly EmulatedDeviceOptions[];
  readonly memory?: {
    /** Bytes the machine has, 256 KiB to 1 TiB; 64 GiB if left out. This process takes what is used of them. */
    readonly size?: U64;
    /** No two pages that follow each other do so physically, huge pages aside; false if left out. */
    readonly scatter?: boolean;
    /** Sizes of huge pages that can be had, in bytes: powers of two above 4096. None if left out. */
    readonly hugePageSizes?: readonly number[];
  };
  readonly limits?: {
    /** RLIMIT_MEMLOCK in bytes, of which whole pages count: heeded without privilege. 8 MiB if left out. */
    readonly lockedMemory?: U64;
    /** RLIMIT_NOFILE; 65536 if left out. */
    readonly openFiles?: number;
    /** Whether the process has CAP_IPC_LOCK, CAP_SYS_RESOURCE and CAP_SYS_RAWIO; true if left out. */
    readonly privileged?: boolean;
  };
  /**
   * Which Linux the kernel is: '7.3' if left out. '6.12' has no calls, flags and features that came later (docs/kernels.md),
   * and answers as that kernel does: for tests of what a program does without them.
   */
  readonly linux?: Linux;
  /** `linux` (the one above), or `vqueue-v3`: hardware queues as the patches of May 2025 had them, before Linux took them. */
  readonly uapi?: 'linux' | 'vqueue-v3';
}

/** What the arguments of calls take. */
const LEAST_MEMORY = 2 ** 18;
/** Beyond that, Node takes long to find addresses for it. */
const MOST_MEMORY = 2 ** 40;

function memorySize(size: U64 = 64 * 2 ** 30): number {
  const bytes = toSize(size, 'memory.size');
  if (bytes < LEAST_MEMORY || bytes > MOST_MEMORY) {
    throw outOfRange('memory.size', `between ${LEAST_MEMORY} and ${MOST_MEMORY}`, size);
  }
  return bytes;
}

function hugePageSize(size: number): number {
  const bytes = toSize(size, 'hugePageSizes[]');
  const isPower = bytes > PAGE_SIZE && Number.isInteger(Math.log2(bytes));
  if (!isPower) throw outOfRange('hugePageSizes[]', `a power of two above ${PAGE_SIZE}`, size);
  return bytes;
}

/** @throws TypeError, RangeError on options that make no sense */
export function makeMachine(options: EmulatedHostOptions): Machine {
  if (!('WebAssembly' in globalThis)) {
    // What the memory is made of: nothing else of JavaScript can be neither moved nor detached by a program.
    throw new UsageError('ERR_IOMMUFD_UNAVAILABLE', 'an emulated machine needs WebAssembly, which --jitless turns off');
  }
  checkOptions(options, ['machine', 'devices', 'memory', 'limits', 'linux', 'uapi']);
  const { machine = 'tegra241-cmdqv', devices = [{ address: '0000:01:00.0' }], memory = {}, limits = {} } = options;
  if (!Array.isArray(devices)) throw invalidType('devices', 'an array', devices);
  checkOptions(memory, ['size', 'scatter', 'hugePageSizes'], 'memory');
  const { hugePageSizes = [] } = memory;
  if (!Array.isArray(hugePageSizes)) throw invalidType('hugePageSizes', 'an array', hugePageSizes);
  checkOptions(limits, ['lockedMemory', 'openFiles', 'privileged'], 'limits');
  const specs = devices.map(deviceSpec);
  const names = specs.map(({ name }) => name);
  if (new Set(names).size < names.length) throw outOfRange('devices', 'at addresses that differ', names.join(', '));
  const linux = oneOf(options.linux ?? '7.3', LINUXES, 'linux');
  const dialect = oneOf(options.uapi ?? 'linux', ['linux', 'vqueue-v3'], 'uapi');
  if (dialect === 'vqueue-v3' && linux !== '7.3') throw outOfRange('linux', "'7.3' where uapi is 'vqueue-v3'", linux);
  const privileged = toBoolean(limits.privileged, 'privileged', true);
  return new Machine({
    name: oneOf(machine, MACHINES, 'machine'),
    devices: specs,
    memorySize: memorySize(memory.size),
    scatter: toBoolean(memory.scatter, 'scatter', false),
    hugePageSizes: hugePageSizes.map(hugePageSize),
    openFiles: toSize(limits.openFiles ?? 65536, 'openFiles'),
    rights: {
      ipcLock: privileged,
      sysResource: privileged,
      sysRawio: privileged,
      lockedPages: Math.floor(toSize(limits.lockedMemory ?? 8 * 2 ** 20, 'lockedMemory') / PAGE_SIZE),
    },
    linux,
    dialect,
  });
}
