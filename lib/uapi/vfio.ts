// linux/vfio.h: what a device cdev and the type1 compatibility calls use of it, under its C names, and as lists for
// tools.
import { type Constants, type Fields, type Ioctl, Layout } from './layout.js';
import * as constants from './vfio-constants.js';
import * as features from './vfio-features.js';
import * as ioctls from './vfio-ioctls.js';
import * as structs from './vfio-structs.js';
import * as type1 from './vfio-type1.js';

export * from './vfio-constants.js';
export * from './vfio-features.js';
export * from './vfio-ioctls.js';
export * from './vfio-structs.js';
export * from './vfio-type1.js';

/** Structs of ours, for arguments and data that have none in the header. */
export const vfioOwnStructs: readonly Layout<Fields>[] = [
  features.vfio_device_feature_pci_vf_token,
  ioctls.vfio_extension_argument,
  ioctls.vfio_set_iommu_argument,
  ioctls.vfio_gfx_dmabuf_argument,
];

const all: readonly Layout<Fields>[] = [...Object.values(structs), ...Object.values(features), ...Object.values(type1)];

export const vfioStructs: readonly Layout<Fields>[] = all.filter((layout) => !vfioOwnStructs.includes(layout));
export const vfioConstants: readonly Constants[] = Object.values(constants);
/** By number; some numbers occur twice, for different files. */
export const vfioIoctls: readonly Ioctl[] = Object.values<object>(ioctls)
  .filter((entry): entry is Ioctl => !(entry instanceof Layout))
  .sort((a, b) => a.request - b.request);
