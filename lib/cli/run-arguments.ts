// The arguments of `iommufd run`.
import type { EmulatedDeviceOptions } from '../emulated/device-options.js';
import { MACHINES, type MachineName } from '../emulated/hardware/platforms.js';
import type { EmulatedHostOptions } from '../emulated/host-options.js';

export const RUN_USAGE = `usage: iommufd run [--machine NAME] [--device ADDRESS=MODEL]... [--privileged] -- PROGRAM [arguments]

runs PROGRAM with the device nodes of an emulated machine: /dev/iommu, and /dev/vfio/devices/vfio0 and on for its devices.
  --machine NAME    ${MACHINES.join(', ')}
  --device ADDRESS=MODEL  a PCI device, as 0000:01:00.0=test or 0000:02:00.0=edu; may be repeated; "none" for none at all.
                    One test device at 0000:01:00.0 if left out
  --privileged      PROGRAM has CAP_IPC_LOCK, CAP_SYS_RESOURCE and CAP_SYS_RAWIO; else those that it really has
`;

export interface RunTask {
  readonly machine: EmulatedHostOptions;
  readonly privileged: boolean;
  readonly command: string;
  readonly args: readonly string[];
}

const MODELS = ['test', 'edu'] as const;
const DEFAULT_DEVICES: readonly EmulatedDeviceOptions[] = [{ address: '0000:01:00.0', model: 'test' }];

interface Options {
  machine?: MachineName;
  devices?: EmulatedDeviceOptions[];
}

function readDevice(options: Options, value: string): string | undefined {
  options.devices ??= [];
  if (value === 'none') return undefined;
  const [address = '', name, more] = value.split('=');
  const model = MODELS.find((known) => known === name);
  if (model === undefined || more !== undefined)
    return `${value} does not say which model: ADDRESS=${MODELS.join(' or ADDRESS=')}`;
  options.devices.push({ address, model });
  return undefined;
}

/** Takes an option in; what is wrong with it, if anything is. */
function readOption(options: Options, name: string, value: string | undefined): string | undefined {
  if (name !== '--machine' && name !== '--device') return `there is no option ${name}`;
  if (value === undefined) return `${name} takes a value`;
  if (name === '--machine') {
    const machine = MACHINES.find((known) => known === value);
    if (machine === undefined) return `there is no machine ${value}: there are ${MACHINES.join(', ')}`;
    options.machine = machine;
    return undefined;
  }
  return readDevice(options, value);
}

/** What is to be done; a text for the user where it is not clear. */
export function readRunArguments(argv: readonly string[]): RunTask | string {
  const dashes = argv.indexOf('--');
  const [command, ...args] = dashes < 0 ? [] : argv.slice(dashes + 1);
  if (command === undefined || command === '') return RUN_USAGE;
  const options: Options = {};
  const words = argv.slice(0, dashes);
  const privileged = words.includes('--privileged');
  const pairs = words.filter((word) => word !== '--privileged');
  for (let i = 0; i < pairs.length; i += 2) {
    const problem = readOption(options, pairs[i] ?? '', pairs[i + 1]);
    if (problem !== undefined) return `iommufd run: ${problem}\n\n${RUN_USAGE}`;
  }
  return { machine: { devices: DEFAULT_DEVICES, ...options }, privileged, command, args };
}
