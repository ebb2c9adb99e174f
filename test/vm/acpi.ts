// A replacement for an ACPI table, as Linux takes it from an initrd (CONFIG_ACPI_TABLE_UPGRADE): QEMU's IORT does not say that
// PCI traffic is always cache coherent, without which the SMMUv3 driver grants no virtual IOMMU.

/** Offsets in a table's header (ACPI 6.5, 5.2.6), and in the IORT's (Arm DEN0049). */
const CHECKSUM = 9;
const OEM_REVISION = 24;
const NODE_COUNT = 36;
const FIRST_NODE = 40;
/** A node of PCI root complexes, and where it tells of memory accesses: bit 2 says that they are always coherent (CANWBS). */
const ROOT_COMPLEX = 2;
const MEMORY_ACCESS_FLAGS = 23;
const ALWAYS_COHERENT = 1 << 2;

/** An IORT whose root complexes are always coherent, newer than the one it takes the place of. */
export function coherentIort(table: Uint8Array): Uint8Array {
  const bytes = Uint8Array.from(table);
  const view = new DataView(bytes.buffer);
  let node = view.getUint32(FIRST_NODE, true);
  let found = 0;
  for (let left = view.getUint32(NODE_COUNT, true); left > 0; left--) {
    if (bytes[node] === ROOT_COMPLEX) {
      found++;
      const at = node + MEMORY_ACCESS_FLAGS;
      bytes[at] = (bytes[at] ?? 0) | ALWAYS_COHERENT;
    }
    node += view.getUint16(node + 1, true);
  }
  if (found === 0) throw new Error('the IORT has no PCI root complex');
  view.setUint32(OEM_REVISION, view.getUint32(OEM_REVISION, true) + 1, true);
  bytes[CHECKSUM] = 0;
  bytes[CHECKSUM] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
  return bytes;
}

/** An uncompressed cpio archive (format newc) of files, as an initrd may be. */
export function cpio(files: Readonly<Record<string, Uint8Array>>): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const [name, content] of [...Object.entries(files), ['TRAILER!!!', new Uint8Array()] as const]) {
    // Inode, mode, owner, group, links, time, size, device, node, length of the name, checksum.
    const fields = [parts.length + 1, 0o100644, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length + 1, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`;
    parts.push(padded(Buffer.from(header)), padded(content));
  }
  return Buffer.concat(parts);
}

/** Every part starts at a multiple of 4. */
function padded(bytes: Uint8Array): Uint8Array {
  return Buffer.concat([bytes, Buffer.alloc(-bytes.length & 3)]);
}
