// linux/iommufd.h: everything it declares, under its C names, and as lists for tools.
import * as constants from './iommufd-constants.js';
import * as driverData from './iommufd-driver-data.js';
import * as ioctls from './iommufd-ioctls.js';
import * as structs from './iommufd-structs.js';
import type { Constants, Fields, Ioctl, Layout } from './layout.js';

export * from './iommufd-constants.js';
export * from './iommufd-driver-data.js';
export * from './iommufd-ioctls.js';
export * from './iommufd-structs.js';

export const iommufdStructs: readonly Layout<Fields>[] = [...Object.values(structs), ...Object.values(driverData)];
export const iommufdConstants: readonly Constants[] = Object.values(constants);
/** By number. */
export const iommufdIoctls: readonly Ioctl[] = Object.values<Ioctl>(ioctls).sort((a, b) => a.request - b.request);
