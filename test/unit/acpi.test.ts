// What the arm64 machine gets in place of QEMU's ACPI table.
import assert from 'node:assert/strict';
import { coherentIort, cpio } from '../vm/acpi.js';

/** A table with nodes of these types, each 28 bytes long, and a checksum that is right. */
function iort(...types: number[]): Uint8Array {
  const bytes = new Uint8Array(48 + types.length * 28);
  const view = new DataView(bytes.buffer);
  bytes.set(Buffer.from('IORT'));
  view.setUint32(24, 7, true);
  view.setUint32(36, types.length, true);
  view.setUint32(40, 48, true);
  types.forEach((type, i) => {
    bytes[48 + i * 28] = type;
    view.setUint16(48 + i * 28 + 1, 28, true);
    bytes[48 + i * 28 + 23] = 3;
  });
  bytes[9] = -sum(bytes) & 0xff;
  return bytes;
}

function sum(bytes: Uint8Array): number {
  return bytes.reduce((total, byte) => total + byte, 0) & 0xff;
}

describe('the ACPI tables of the arm64 machine', () => {
  it('say that PCI traffic is coherent, and are newer than those before', () => {
    const before = iort(0, 4, 2);
    const after = coherentIort(before);
    assert.deepEqual(
      [48, 76, 104].map((at) => after[at + 23]),
      [3, 3, 7],
    );
    assert.equal(new DataView(after.buffer).getUint32(24, true), 8);
    assert.equal(sum(after), 0);
    assert.equal(before[104 + 23], 3, 'the table itself stays');
  });

  it('are refused where there is nothing to change', () => {
    assert.throws(() => coherentIort(iort(0, 4)), /no PCI root complex/);
  });

  it('are in an archive that Linux can read', () => {
    const archive = Buffer.from(cpio({ 'kernel/a': Uint8Array.of(1, 2, 3) }));
    assert.equal(archive.length % 4, 0);
    const header = archive.subarray(0, 110).toString('latin1');
    assert.match(header, /^070701[0-9a-f]{104}$/);
    assert.equal(Number.parseInt(header.slice(6 + 6 * 8, 6 + 7 * 8), 16), 3);
    assert.equal(archive.subarray(110, 119).toString('latin1'), 'kernel/a\0');
    assert.deepEqual([...archive.subarray(120, 124)], [1, 2, 3, 0]);
    assert(archive.subarray(124).toString('latin1').includes('TRAILER!!!'));
  });
});
