// The operations of devices that no emulated machine has: displays of the kernel's samples, and a physical function.
import type { VfioDevice } from '../../lib/index.js';
import { calm, type Operation } from './memory-operation.js';
import type { Site } from './memory-site.js';

const TOKEN = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const VTD = ['intel-vtd'] as const;

/** The Bochs display interface: 16-bit registers in the device's third BAR (samples/vfio-mdev/mbochs.c). */
const DISPI = 0x500;
/** Width, height, bits per pixel, width of the memory, on. */
const PICTURE = [
  [1, 640],
  [2, 480],
  [3, 32],
  [6, 640],
  [4, 1],
] as const;

/** A display with a picture, and the id of the dma-buf that has it. */
function picture(site: Site): { readonly nic: VfioDevice; readonly id: number } {
  const nic = site.bound('display-dmabuf');
  const registers = nic.region('bar2');
  for (const [register, value] of PICTURE) registers.write16(DISPI + register * 2, value);
  const { refusal, id } = planeOf(nic);
  const found = id ?? planeOf(nic).id;
  if (found === undefined) throw refusal ?? new Error('nothing is shown');
  return { nic, id: found };
}
/** The sample forgets that it has just made the buffer, and answers ENOMEM the first time. */
function planeOf({ graphics }: VfioDevice): { readonly id?: number | undefined; readonly refusal?: unknown } {
  try {
    return { id: graphics.plane({ via: 'dmabuf' })?.dmabufId };
  } catch (refusal) {
    return { refusal };
  }
}

export const KERNEL_OPERATIONS: readonly Operation[] = [
  calm(
    'Graphics.supports',
    (site) => {
      const { graphics } = site.bound('display');
      return () => graphics.supports('region');
    },
    VTD,
  ),
  calm(
    'Graphics.plane',
    (site) => {
      const { graphics } = site.bound('display');
      return () => graphics.plane({ via: 'region' });
    },
    VTD,
  ),
  calm(
    'Graphics.dmabuf',
    (site) => {
      const { nic, id } = picture(site);
      return () => nic.graphics.dmabuf(id);
    },
    VTD,
  ),
  calm(
    'GraphicsDmabuf.close',
    (site) => {
      const { nic, id } = picture(site);
      const file = nic.graphics.dmabuf(id);
      return () => file.close();
    },
    VTD,
  ),
  calm(
    'DeviceFeatures.setVfToken',
    (site) => {
      const { features } = site.bound('sriov');
      return () => features.setVfToken(TOKEN);
    },
    VTD,
  ),
];
