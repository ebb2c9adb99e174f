// What QEMU is told of a machine besides its devices: the processor, the root file system, where its console is.
import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { coherentIort, cpio } from './acpi.js';
import { checkout } from './checkout.js';
import type { MachineName } from './hardware.js';

export type Architecture = 'x86' | 'arm64';

export function architectureOf(machine: MachineName): Architecture {
  return machine === 'smmuv3' ? 'arm64' : 'x86';
}

export interface Platform {
  readonly program: string;
  readonly options: readonly string[];
  /** The folder that is the machine's root, read-only. */
  readonly root: string;
  /** What its kernel is told. */
  readonly parameters: string;
  /** Puts files into the folder of results that the machine needs, and answers where its first process is. */
  prepare(results: string, init: string): string;
}

const COMMON = ['-accel', 'tcg,thread=multi', '-smp', '2', '-m', '2G'];

/** The host's own file system is the root: Node and the checkout are simply there. */
const X86: Platform = {
  program: 'qemu-system-x86_64',
  options: ['-M', 'q35,kernel-irqchip=split', '-cpu', 'max', ...COMMON],
  root: '/',
  // A machine that is emulated on a busy one may miss the few ticks that Linux waits for at boot, and Linux panics then:
  // "timer doesn't work" (check_timer in arch/x86/kernel/apic/io_apic.c).
  parameters: 'console=ttyS0 no_timer_check',
  prepare: (_results, init) => init,
};

const ARM64_CPU = ['-cpu', 'max,pauth-impdef=on', ...COMMON];

function script(name: string, ...args: string[]): string {
  const file = path.join(checkout, 'test/vm', name);
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }).trim();
}

/** `iort`: the table in place of QEMU's own. */
function arm64(iort: Uint8Array | undefined): Platform {
  const guest = script('arm64-guest.sh');
  const share = path.join(guest, 'qemu/usr/share');
  const root = path.join(guest, 'root');
  const options = [
    ...['-L', path.join(share, 'qemu'), '-bios', path.join(share, 'qemu-efi-aarch64/QEMU_EFI.fd')],
    ...['-M', 'virt,iommu=smmuv3,gic-version=3,acpi=on', '-global', 'arm-smmuv3.stage=nested', ...ARM64_CPU],
  ];
  return {
    program: path.join(guest, 'qemu/usr/bin/qemu-system-aarch64'),
    options,
    root,
    parameters: 'console=ttyAMA0 acpi=force',
    prepare: (results, init) => {
      copyFileSync(init, path.join(root, 'init'));
      const addon = path.join(results, 'addon');
      mkdirSync(addon);
      script('cross-addon.sh', addon);
      if (iort !== undefined) {
        const archive = cpio({ 'kernel/firmware/acpi/IORT.aml': coherentIort(iort) });
        writeFileSync(path.join(results, INITRD), archive);
      }
      return '/init';
    },
  };
}

/** In the folder of results, where there is one. */
export const INITRD = 'acpi.cpio';

/** The platform of a machine; `iort` replaces the table of that name on arm64. */
export function platformOf(machine: MachineName, iort?: Uint8Array): Platform {
  return architectureOf(machine) === 'arm64' ? arm64(iort) : X86;
}
