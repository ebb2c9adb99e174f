// The front door: which host a program gets.
import { lstatSync } from 'node:fs';
import { createEmulatedHost, type EmulatedHost } from './emulated-host.js';
import { checkOptions, oneOf } from './host/arguments.js';
import { IommufdError, UsageError } from './host/errors.js';
import { kernelSeam } from './host/kernel.js';
import { Host, setDefaultHost } from './host-object.js';

const KINDS = ['kernel', 'emulated'] as const;
type Kind = (typeof KINDS)[number];

export interface OpenHostOptions {
  /**
   * Which host: this machine's kernel, or the emulated one. Where it is left out, IOMMUFD_HOST may name it; where that is
   * not set either, the kernel's where there is a /dev/iommu, and with a process warning the emulated one where not.
   */
  readonly kind?: Kind;
}

const shared: { kernel?: Host; emulated?: Host } = {};

/** Whether there is a node, whatever is behind it. Asked of Node: the addon may be missing where there is none. */
function hasNode(): boolean {
  try {
    lstatSync('/dev/iommu');
    return true;
  } catch (error) {
    if (!(error instanceof Error && 'errno' in error && typeof error.errno === 'number')) throw error;
    if ('code' in error && error.code === 'ENOENT') return false;
    throw new IommufdError('stat', error.errno, { path: '/dev/iommu' });
  }
}

/** The kernel's host, or the emulated one where there is no kernel's: a silent fake IOMMU would be unsafe. */
function defaultKind(): Kind {
  if (hasNode()) return 'kernel';
  if (shared.emulated === undefined) {
    process.emitWarning('there is no /dev/iommu on this machine: iommufd uses its emulated host', {
      code: 'IOMMUFD_EMULATED',
      detail: "Say which host is meant: openHost({ kind: 'kernel' }) or { kind: 'emulated' }, or IOMMUFD_HOST",
    });
  }
  return 'emulated';
}

function kernelHost(): Host {
  if (!hasNode()) {
    throw new UsageError(
      'ERR_IOMMUFD_NO_HOST',
      'there is no /dev/iommu on this machine: the kernel was built without CONFIG_IOMMUFD, or its module is not loaded (modprobe iommufd)',
    );
  }
  return new Host(kernelSeam());
}

/** Who stands between programs and their hosts: given what was asked for, answers in its place. */
export type Interposer = (kind: Kind | undefined, open: () => Host) => Host;
let interposer: Interposer | undefined;

/** For `iommufd record` and `iommufd replay`: from now on `openHost` answers what this one does. */
export function interpose(by: Interposer): void {
  interposer = by;
}

/**
 * This machine's host, or the emulated one: of each the same one whenever it is asked for. Production code says which it
 * means: `openHost({ kind: 'kernel' })`, or IOMMUFD_HOST=kernel. An option comes before the variable.
 * @throws RangeError where the option or the variable names neither; UsageError ERR_IOMMUFD_NO_HOST where the kernel is
 * asked for and there is no /dev/iommu; IommufdError where that cannot be looked at; Error ERR_IOMMUFD_ADDON_MISSING or ERR_IOMMUFD_ADDON_BROKEN where there is a /dev/iommu but no
 * addon, saying why and how to build it
 */
export function openHost(options: OpenHostOptions & { readonly kind: 'emulated' }): EmulatedHost;
export function openHost(options?: OpenHostOptions): Host;
export function openHost(options: OpenHostOptions = {}): Host {
  checkOptions(options, ['kind']);
  const { kind } = options;
  if (interposer === undefined) return openNamed(kind);
  if (kind !== undefined) oneOf(kind, KINDS, 'kind');
  return interposer(kind, () => openNamed(kind));
}

function openNamed(asked: Kind | undefined): Host {
  const named = asked ?? process.env.IOMMUFD_HOST;
  const kind = named === undefined ? defaultKind() : oneOf(named, KINDS, asked === undefined ? 'IOMMUFD_HOST' : 'kind');
  if (kind === 'kernel') {
    shared.kernel ??= kernelHost();
    return shared.kernel;
  }
  shared.emulated ??= createEmulatedHost();
  return shared.emulated;
}

setDefaultHost(openHost);
