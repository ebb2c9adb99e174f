// The arguments of `iommufd run`.
import type { EmulatedDeviceOptions } from '../emulated/device-options.js';
import { MACHINES, type MachineName } from '../emulated/hardware/platforms.js';
import type { EmulatedHostOptions } from '../emulated/host-options.js';

export const RUN_USAGE = `usage: iommufd run [--machine NAME] [--device ADDRESS]... [--privileged] -- PROGRAM [arguments]

runs PROGRAM with the device nodes of an emulated machine: /dev/iommu, and /dev/vfio/devices/vfio0 and on for its devices.
  --machine NAME    ${MACHINES.join(', ')}
  --device ADDRESS  a PCI device at this address, as 0000:01:00.0; may be repeated; "none" for no device at all
  --privileged      PROGRAM has CAP_IPC_LOCK, CAP_SYS_RESOURCE and CAP_SYS_RAWIO; else those that it really has
`;

export interface RunTask {
  readonly machine: EmulatedHostOptions;
  readonly privileged: boolean;
  readonly command: string;
  readonly args: readonly string[];
}

interface Options {
  machine?: MachineName;
  devices?: EmulatedDeviceOptions[];
}

/** Takes an option in; what is wrong with it, if anything is. */
function readOption(options: Options, name: string, value: string | undefined): string | undefined {
  if (value === undefined) return `${name} takes a value`;
  if (name === '--machine') {
    const machine = MACHINES.find((known) => known === value);
    if (machine === undefined) return `there is no machine ${value}: there are ${MACHINES.join(', ')}`;
    options.machine = machine;
    return undefined;
  }
  if (name !== '--device') return `there is no option ${name}`;
  options.devices ??= [];
  if (value !== 'none') options.devices.push({ address: value });
  return undefined;
}

/** What is to be done; a text for the user where it is not clear. */
export function readRunArguments(argv: readonly string[]): RunTask | string {
  const dashes = argv.indexOf('--');
  const [command, ...args] = dashes < 0 ? [] : argv.slice(dashes + 1);
  if (command === undefined) return RUN_USAGE;
  const options: Options = {};
  const words = argv.slice(0, dashes);
  const privileged = words.includes('--privileged');
  const pairs = words.filter((word) => word !== '--privileged');
  for (let i = 0; i < pairs.length; i += 2) {
    const problem = readOption(options, pairs[i] ?? '', pairs[i + 1]);
    if (problem !== undefined) return `iommufd run: ${problem}\n\n${RUN_USAGE}`;
  }
  return { machine: options, privileged, command, args };
}
