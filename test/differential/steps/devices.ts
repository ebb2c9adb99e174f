// Mock devices: what they and their PASIDs are attached to.
import * as mock from '../../../lib/emulated/hardware/selftest/uapi.js';
import { IOMMU_GET_HW_INFO } from '../../../lib/uapi/index.js';
import { type Session, U32_MAX } from '../session.js';
import type { Weighted } from './step.js';

const { MOCK_FLAGS_DEVICE_NO_DIRTY: NO_DIRTY, MOCK_FLAGS_DEVICE_PASID: PASID } = mock.mock_flags_device.values;

export function makeDevice(s: Session): void {
  const dev_flags = s.random.weighted([
    [55, PASID],
    [35, 0],
    [s.isCalm ? 0 : 8, NO_DIRTY],
    [s.isCalm ? 0 : 8, NO_DIRTY | PASID],
    [s.isCalm ? 0 : 4, 2],
  ]);
  const plain = dev_flags === 0 && s.random.percent(50);
  const op = plain ? 'IOMMU_TEST_OP_MOCK_DOMAIN' : 'IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS';
  const { result, out } = s.test(op, mock.test_mock_domain_flags, { id: s.id('ioas', 'ioas', 'paging'), dev_flags });
  if (result < 0) return;
  s.add({ id: out.out_stdev_id, kind: 'attachment', device: out.out_idev_id });
  s.pasids.set(out.out_stdev_id, new Set());
  s.add({ id: out.out_idev_id, kind: 'device' });
  s.add({ id: out.out_hwpt_id, kind: 'paging' });
}

/** What a device can be attached to; with PASIDs, mostly to what allows them. */
function target(s: Session, pasid = s.random.percent(40)): number {
  const allowing = pasid ? s.all('paging', 'nested').filter((one) => one.pasid === true) : [];
  if (allowing.length > 0 && s.random.percent(80)) return s.random.pick(allowing)?.id ?? 0;
  return s.random.percent(35) ? s.id('ioas') : s.id('paging', 'nested');
}

export function replace(s: Session): void {
  const input = { id: s.id('attachment'), pt_id: target(s) };
  const { result, out } = s.test('IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE', mock.test_mock_domain_replace, input);
  if (result === 0 && !s.things.has(out.pt_id)) s.add({ id: out.pt_id, kind: 'paging' });
}

/** PASID 1024 fails every second time, to test what is undone then. */
function somePasid(s: Session): number {
  if (s.isCalm) return s.random.pick([1, 2, 1024]);
  return s.random.weighted([
    [40, 1 + s.random.below(3)],
    [35, 1024],
    [8, 0],
    [7, (1 << 20) - 1],
    [5, 1 << 20],
    [5, U32_MAX],
  ]);
}

export function pasidAttach(s: Session): void {
  const id = s.id('attachment');
  const pasid = somePasid(s);
  const { result, out } = s.test('IOMMU_TEST_OP_PASID_ATTACH', mock.test_pasid_attach, {
    id,
    pasid,
    pt_id: target(s, true),
  });
  if (result < 0) return;
  if (pasid !== 0) s.pasids.get(id)?.add(pasid);
  if (!s.things.has(out.pt_id)) s.add({ id: out.pt_id, kind: 'paging' });
}

/** Mostly one that is attached. */
function attachedPasid(s: Session, id: number): number {
  const attached = [...(s.pasids.get(id) ?? [])];
  return (s.random.percent(85) ? s.random.pick(attached) : undefined) ?? somePasid(s);
}

function pasidReplace(s: Session): void {
  const id = s.id('attachment');
  const input = { id, pasid: attachedPasid(s, id), pt_id: target(s, true) };
  s.test('IOMMU_TEST_OP_PASID_REPLACE', mock.test_pasid_replace, input);
}

function pasidDetach(s: Session): void {
  const id = s.id('attachment');
  detachPasid(s, id, attachedPasid(s, id));
}

function detachPasid(s: Session, id: number, pasid: number): void {
  const { result } = s.test('IOMMU_TEST_OP_PASID_DETACH', mock.test_pasid_detach, { id, pasid });
  if (result === 0) s.pasids.get(id)?.delete(pasid);
}

/** Before files are closed: the kernel warns about a device that goes with PASIDs attached. */
export function detachPasids(s: Session): void {
  for (const [id, pasids] of s.pasids) {
    for (const pasid of [...pasids]) {
      s.machine.test(s.fd, 'IOMMU_TEST_OP_PASID_DETACH', mock.test_pasid_detach, { id, pasid });
      pasids.delete(pasid);
    }
  }
}

function pasidCheck(s: Session): void {
  const id = s.id('attachment');
  const hwpt_id = s.random.percent(70) ? s.id('paging', 'nested') : 0;
  s.test('IOMMU_TEST_OP_PASID_CHECK_HWPT', mock.test_pasid_check, { id, pasid: attachedPasid(s, id), hwpt_id });
}

function hwInfo(s: Session): void {
  const { random } = s;
  const room = random.pick([0, 4, 7, 8, 8, 9, 40]);
  const data_uptr = random.percent(94) ? s.buffer(new Uint8Array(room).fill(0x11)) : 0n;
  const types = mock.iommu_test_numbers.values;
  s.ioctl(IOMMU_GET_HW_INFO, {
    flags: s.flags(random.percent(50) ? 1 : 0, []),
    dev_id: s.id('device'),
    data_len: room,
    data_uptr,
    in_data_type: random.pick([0, types.IOMMU_HW_INFO_TYPE_SELFTEST, 1, 7]),
    __reserved: random.percent(2) ? [0, 1, 0] : [0, 0, 0],
  });
}

export const deviceSteps: readonly Weighted[] = [
  [5, makeDevice],
  [22, replace, 'attachment'],
  [14, pasidAttach, 'attachment'],
  [12, pasidReplace, 'attachment'],
  [8, pasidDetach, 'attachment'],
  [5, pasidCheck, 'attachment'],
  [4, hwInfo, 'device'],
];
