// An emulated machine, for tests that let its kernel's allocations fail.
import assert from 'node:assert/strict';
import { createEmulatedHost, type EmulatedHost, type MachineName } from '../../lib/emulated-host.js';
import type { Device, HwptPaging } from '../../lib/index.js';
import { hostSeam } from '../../lib/unsafe.js';
import { Lacks, type Place, type Role } from './memory-place.js';
import { SIZE, type Site } from './memory-site.js';
import { requestMockPage } from './mock-page-request.js';

const ADDRESS = '0000:01:00.0';
const SIBLING = '0000:01:00.1';
const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001';
const NO_IOMMU = '0000:00:09.0';

const NAMES: Readonly<Partial<Record<Role, string>>> = {
  ...{
    nic: ADDRESS,
    msix: ADDRESS,
    resettable: ADDRESS,
    slot: ADDRESS,
    peer: ADDRESS,
    migrates: ADDRESS,
    logs: ADDRESS,
  },
  ...{ sibling: SIBLING, 'slot-mate': SIBLING, serial: UUID, 'no-iommu': NO_IOMMU },
};

export class EmulatedPlace implements Place {
  readonly host: EmulatedHost;
  readonly nests = true;

  constructor(readonly machine: MachineName) {
    const capable = machine !== 'selftest';
    const model = { model: 'test', pasid: true, ats: capable, recoverableFaults: capable } as const;
    this.host = createEmulatedHost({
      machine,
      // Pinned pages are charged to somebody, but for the machine with the device that takes privilege.
      limits: { privileged: machine === 'selftest', lockedMemory: 64 * SIZE },
      devices: [
        { address: ADDRESS, ...model },
        { address: SIBLING, ...model },
        { uuid: UUID, model: 'serial' },
        { address: NO_IOMMU, iommu: false },
      ],
    });
  }

  name(role: Role): string {
    const name = NAMES[role];
    if (name === undefined) throw new Lacks(`no ${role}`);
    return name;
  }
  needs(): void {
    // Every emulated machine has it.
  }
  emulated(): EmulatedHost {
    return this.host;
  }
  device(site: Site): Device {
    return site.nic.device;
  }
  inspect(): unknown {
    return this.host.inspect();
  }
  write(site: Site, _hwpt: HwptPaging, iova: bigint): void {
    site.own.dmaWrite(iova, Uint8Array.of(1));
  }
  requestPage(site: Site, iova: bigint): Promise<unknown> {
    if (this.machine === 'selftest') return requestMockPage(hostSeam(this.host), site, iova);
    return site.own.dmaReadAsync(iova, 4).catch(() => undefined);
  }
  loseEvent(site: Site): void {
    this.host.failAllocation();
    assert.throws(() => site.own.raiseEvent(), { code: 'ENOMEM' });
  }
}
