// Programs look into debugfs for fault injection before they use it. The emulated kernel has no debugfs: they are shown a folder
// that looks as theirs does, in a mount namespace of their own, which takes root.
import { spawnSync } from 'node:child_process';

const FOLDER = '/sys/kernel/debug';
const SETTINGS = ['failslab/ignore-gfp-wait', 'fail_page_alloc/ignore-gfp-wait', 'fail_page_alloc/ignore-gfp-highmem'];

const SCRIPT = [
  `mount -t tmpfs tmpfs ${FOLDER}`,
  ...SETTINGS.map((file) => `mkdir -p ${FOLDER}/${file.split('/')[0]} && : > ${FOLDER}/${file}`),
  'exec "$0" "$@"',
].join(' && ');

/** The same command, with such a folder. */
export function withFaultInjection(command: readonly string[]): string[] {
  return ['unshare', '--mount', 'sh', '-c', SCRIPT, ...command];
}

export function canInjectFaults(): boolean {
  const [program = '', ...args] = withFaultInjection(['true']);
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}
