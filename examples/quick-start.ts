// The README's first example: memory becomes visible to devices at an address of our choice, and goes again.
import { openHost } from 'iommufd';

const host = openHost(); // this machine's kernel; where there is no /dev/iommu, the emulated host
const iommufd = host.openIommufd();
const ram = host.allocateMemory(2 * 1024 * 1024); // bytes that devices may reach
ram.write(0, Buffer.from('hello, device'));

const ioas = iommufd.allocIoas(); // an I/O address space
ioas.map(ram, { iova: 0x4000_0000n }); // devices see the memory here
const { ranges, alignment } = ioas.iovaRanges();
console.log(`${host.kind} host, usable: ${ranges.length} range(s), aligned to ${alignment}`);

const bytes = ioas.unmap(0x4000_0000n, ram.size);
console.log(`unmapped ${bytes / 1024n / 1024n} MiB`);
iommufd.close(); // closes all that was made from it
ram.free();
