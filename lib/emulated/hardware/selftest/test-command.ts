// IOMMU_TEST_CMD: the operations by number (iommufd/selftest.c).
import { ERRNO } from '../../../uapi/errno.js';
import type { Command } from '../../kernel/command.js';
import type { SelftestMachine } from './machine.js';
import { accessPages, accessReplaceIoas, accessRw, createAccess, destroyAccessPages } from './test-access.js';
import { addReserved, setMemoryLimit } from './test-address-space.js';
import { checkCache, checkIotlb, checkMap, checkRefs } from './test-checks.js';
import { makeDevice, replaceDomain } from './test-devices.js';
import { markDirty } from './test-dirty.js';
import { getDmaBuf, revokeDmaBuf } from './test-dma-buf.js';
import { triggerIopf, triggerVevent } from './test-events.js';
import { pasidAttach, pasidCheck, pasidDetach, pasidReplace } from './test-pasid.js';
import { IOMMU_TEST_CMD, iommu_test_cmd, iommu_test_op, testOpSince } from './uapi.js';

type Operation = (command: Command, machine: SelftestMachine) => number;

const OP = iommu_test_op.values;
const operations: { readonly [op: number]: Operation } = {
  [OP.IOMMU_TEST_OP_ADD_RESERVED]: addReserved,
  [OP.IOMMU_TEST_OP_MOCK_DOMAIN]: makeDevice,
  [OP.IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS]: makeDevice,
  [OP.IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE]: replaceDomain,
  [OP.IOMMU_TEST_OP_MD_CHECK_MAP]: checkMap,
  [OP.IOMMU_TEST_OP_MD_CHECK_REFS]: checkRefs,
  [OP.IOMMU_TEST_OP_MD_CHECK_IOTLB]: checkIotlb,
  [OP.IOMMU_TEST_OP_DEV_CHECK_CACHE]: checkCache,
  [OP.IOMMU_TEST_OP_CREATE_ACCESS]: createAccess,
  [OP.IOMMU_TEST_OP_ACCESS_REPLACE_IOAS]: accessReplaceIoas,
  [OP.IOMMU_TEST_OP_ACCESS_PAGES]: accessPages,
  [OP.IOMMU_TEST_OP_ACCESS_RW]: accessRw,
  [OP.IOMMU_TEST_OP_DESTROY_ACCESS_PAGES]: destroyAccessPages,
  [OP.IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT]: setMemoryLimit,
  [OP.IOMMU_TEST_OP_DIRTY]: markDirty,
  [OP.IOMMU_TEST_OP_TRIGGER_IOPF]: triggerIopf,
  [OP.IOMMU_TEST_OP_TRIGGER_VEVENT]: triggerVevent,
  [OP.IOMMU_TEST_OP_PASID_ATTACH]: pasidAttach,
  [OP.IOMMU_TEST_OP_PASID_REPLACE]: pasidReplace,
  [OP.IOMMU_TEST_OP_PASID_DETACH]: pasidDetach,
  [OP.IOMMU_TEST_OP_PASID_CHECK_HWPT]: pasidCheck,
  [OP.IOMMU_TEST_OP_DMABUF_GET]: getDmaBuf,
  [OP.IOMMU_TEST_OP_DMABUF_REVOKE]: revokeDmaBuf,
};

/** Since when an operation is known. */
const since: ReadonlyMap<number, string> = new Map(
  Object.entries(testOpSince).map(([name, release]) => [OP[name as keyof typeof OP], release]),
);

export function testCommand(machine: SelftestMachine, command: Command): number {
  const op = command.get(iommu_test_cmd.at.op);
  const operation = operations[op];
  const isKnown = machine.kernel.has(since.get(op) ?? IOMMU_TEST_CMD.since);
  return operation === undefined || !isKnown ? -ERRNO.EOPNOTSUPP : operation(command, machine);
}
