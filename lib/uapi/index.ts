// The kernel's structs and numbers, as tables, and what works on them.
export * from './errno.js';
export * from './iommufd.js';
export * from './layout.js';
export * from './vfio.js';
