// The VFIO core of the emulated kernel: who may open and bind a device, what reaches its driver, and what is left of a device
// that could not be had.
import assert from 'node:assert/strict';
import { NoiommuDevice } from '../../lib/emulated/hardware/noiommu.js';
import { checkFeature } from '../../lib/emulated/kernel/vfio/check-feature.js';
import { shifted } from '../../lib/emulated/kernel/vfio/region-info.js';
import { IOMMU_HWPT_ALLOC, IOMMU_IOAS_ALLOC, IOMMU_IOAS_MAP, IOMMU_IOAS_UNMAP } from '../../lib/uapi/iommufd-ioctls.js';
import {
  VFIO_DEVICE_ATTACH_IOMMUFD_PT as ATTACH,
  VFIO_DEVICE_BIND_IOMMUFD as BIND,
  VFIO_DEVICE_DETACH_IOMMUFD_PT as DETACH,
  VFIO_DEVICE_FEATURE as FEATURE,
  VFIO_DEVICE_GET_REGION_INFO as REGION,
  VFIO_DEVICE_RESET as RESET,
} from '../../lib/uapi/vfio-ioctls.js';
import { type CoreStage, coreStage, FakeDriver } from './vfio-core-stage.js';

const [EPERM, EBADF, EFAULT, ENOMEM, EINVAL, E2BIG] = [-1, -9, -14, -12, -22, -7];
const [ENODEV, ENOTTY, ENOSPC, EOPNOTSUPP, EBADFD, EIO] = [-19, -25, -28, -95, -77, -5];
const [GET, SET, PROBE] = [1 << 16, 1 << 17, 1 << 18];
/** IOMMU_HWPT_ALLOC_PASID. */
const ALLOC_PASID = 8;

function objects({ iommufd }: CoreStage): string[] {
  return iommufd.context.objects.all().map(({ kind }) => kind);
}
function ioas(stage: CoreStage): number {
  const { result, view } = stage.call(stage.iommufd, IOMMU_IOAS_ALLOC, {});
  assert.equal(result, 0);
  return view.getUint32(IOMMU_IOAS_ALLOC.layout.at.out_ioas_id, true);
}
/** A device that is open, and bound unless told otherwise. */
function device({ mediated = false, pasid = false, bound = true } = {}) {
  const stage = coreStage();
  const driver = new FakeDriver();
  const dev = mediated ? undefined : stage.selftest.createDevice({ name: 'nic', dirtyTracking: true, pasid });
  const node = stage.node(dev, driver);
  const file = stage.open(node);
  const bind = (flags = 0, iommufd = stage.iommufdFd) => stage.call(file, BIND, { flags, iommufd });
  if (bound) assert.equal(bind().result, 0);
  driver.asked.length = 0;
  return { stage, driver, node, file, bind };
}

describe('the VFIO core of the emulated kernel', () => {
  it('lets nothing through before a device is bound', () => {
    const { stage, driver, file } = device({ bound: false });
    for (const op of [ATTACH, DETACH, FEATURE, REGION, RESET]) assert.equal(stage.call(file, op, {}).result, EINVAL);
    const bytes = new Uint8Array(4);
    assert.deepEqual(
      [file.pread(bytes, 0), file.pwrite(bytes, 0), file.read(bytes), file.write(bytes), file.mmap(0, 4096)],
      [EINVAL, EINVAL, EINVAL, EINVAL, EINVAL],
    );
    assert.deepEqual(driver.asked, []);
  });

  it('opens for those who may, as often as they like, and lets one bind', () => {
    const { stage, node, bind } = device({ bound: false });
    const other = stage.open(node);
    assert.equal(bind().result, 0);
    const input = { iommufd: stage.iommufdFd };
    assert.equal(stage.call(other, BIND, input).result, EINVAL);
    assert.equal(bind().result, EINVAL);
    stage.kernel.failAllocation(0);
    assert.equal(node.open(stage.process), ENOMEM);
    const noiommu = (sysRawio: boolean) => {
      const { node: make, process } = coreStage({ sysRawio });
      return make(new NoiommuDevice('nic'), new FakeDriver()).open(process);
    };
    assert.equal(noiommu(false), EPERM);
    assert.equal(typeof noiommu(true), 'object');
  });

  it('checks a bind in the order of Linux, wherever the struct ends', () => {
    const { stage, file, bind } = device({ bound: false });
    const { argument, address } = stage;
    assert.equal(stage.call(file, BIND, {}, 15).result, EINVAL);
    assert.equal(file.ioctl(BIND.request, argument, argument.bytes.length - 3), EFAULT);
    assert.equal(file.ioctl(BIND.request, argument, -4), EFAULT);
    assert.equal(file.ioctlValue(BIND.request, 0), EFAULT);
    // What lies behind the known fields must be there, and zero.
    assert.equal(stage.call(file, BIND, { iommufd: stage.iommufdFd }, 5000).result, EFAULT);
    argument.bytes[100] = 1;
    assert.equal(stage.call(file, BIND, { iommufd: stage.iommufdFd }, 5000).result, E2BIG);
    argument.bytes[100] = 0;
    assert.deepEqual(
      [
        bind(2),
        bind(0, -1),
        bind(1),
        bind(0, 7),
        bind(0, stage.files.installOwned(stage.open(stage.node(undefined, new FakeDriver())))),
      ].map(({ result }) => result),
      [EINVAL, EINVAL, EINVAL, EBADF, EBADFD],
    );
    // At any address, and shorter than the kernel's.
    stage.call(file, BIND, { iommufd: -1 });
    const view = new DataView(argument.bytes.buffer, argument.bytes.byteOffset);
    BIND.layout.encode(view, 64, { argsz: 16, iommufd: stage.iommufdFd });
    assert.equal(file.ioctlValue(BIND.request, address + 64), 0);
    assert.equal(view.getUint32(64 + BIND.layout.at.out_devid, true), 1);
  });

  it('asks the driver about tokens before it looks at the iommufd', () => {
    const { stage, driver, file, bind } = device({ bound: false });
    const tokens: (string | undefined)[] = [];
    driver.matchToken = (token) => {
      tokens.push(token === undefined ? undefined : Buffer.from(token).toString('hex'));
      return tokens.length < 3 ? -13 : 0;
    };
    const withToken = (token_uuid_ptr: bigint, iommufd: number) =>
      stage.call(file, BIND, { flags: 1, iommufd, token_uuid_ptr }).result;
    assert.equal(bind(0, 7).result, -13);
    stage.argument.bytes.fill(0xab, 256, 272);
    assert.equal(withToken(BigInt(stage.address + 256), 7), -13);
    assert.equal(withToken(16n, 7), EFAULT);
    assert.equal(withToken(BigInt(stage.address + 256), stage.iommufdFd), 0);
    assert.deepEqual(tokens, [undefined, 'ab'.repeat(16), 'ab'.repeat(16)]);
  });

  for (const mediated of [false, true]) {
    it(`leaves nothing of a ${mediated ? 'mediated ' : ''}device whose driver or kernel refuses`, () => {
      const { stage, driver, node, file, bind } = device({ mediated, bound: false });
      driver.refusal = EIO;
      assert.equal(bind().result, EIO);
      driver.refusal = 0;
      stage.kernel.failAllocation(0);
      assert.equal(bind().result, ENOMEM);
      assert.deepEqual([objects(stage), driver.asked, node.boundBy], [[], ['open'], undefined]);
      assert.equal(bind().result, 0);
      assert.deepEqual(objects(stage), [mediated ? 'access' : 'device']);
      file.release();
      assert.deepEqual([objects(stage), node.boundBy], [[], undefined]);
      // The driver lets go before what it is bound to goes.
      assert.equal(driver.asked.at(-1), 'close, bound by true');
    });
  }

  it('keeps the iommufd open, and goes on when the program has closed it', () => {
    const { stage, file } = device();
    const id = ioas(stage);
    stage.files.close(stage.iommufdFd);
    assert.equal(stage.call(file, ATTACH, { pt_id: id }).result, 0);
    file.release();
    assert.deepEqual(objects(stage), []);
  });

  it('attaches, replaces and detaches PASIDs, and all of them at the end', () => {
    const { stage, file } = device({ pasid: true });
    const dev_id = 1;
    const pageTable = () => {
      const input = { flags: ALLOC_PASID, dev_id, pt_id: ioas(stage) };
      const { result, view } = stage.call(stage.iommufd, IOMMU_HWPT_ALLOC, input);
      assert.equal(result, 0);
      return view.getUint32(IOMMU_HWPT_ALLOC.layout.at.out_hwpt_id, true);
    };
    const [one, two] = [pageTable(), pageTable()];
    const references = () => [one, two].map((id) => stage.iommufd.context.objects.find(id)?.users);
    const free = references();
    const attach = (pasid: number, pt_id: number, argsz?: number) =>
      stage.call(file, ATTACH, { flags: 1, pasid, pt_id }, argsz).result;
    const detach = (pasid: number, argsz?: number) => stage.call(file, DETACH, { flags: 1, pasid }, argsz).result;
    assert.deepEqual([attach(5, one, 12), attach(5, 99), attach(2 ** 31, one)], [EINVAL, -2, ENOSPC]);
    stage.kernel.failAllocation(0);
    assert.equal(attach(5, one), ENOMEM);
    assert.deepEqual([detach(5, 8), detach(5), references()], [EINVAL, 0, free]);
    for (const flags of [2, 3]) {
      assert.equal(stage.call(file, ATTACH, { pt_id: one, flags }).result, EINVAL);
      assert.equal(stage.call(file, DETACH, { flags }).result, EINVAL);
    }
    assert.deepEqual([attach(5, one), attach(6, one), attach(5, two)], [0, 0, 0]);
    assert.deepEqual(
      references(),
      free.map((users) => (users ?? 0) + 1),
    );
    assert.equal(detach(6), 0);
    file.release();
    assert.deepEqual(references(), free);
    assert.deepEqual(objects(stage), ['ioas', 'hwpt-paging', 'ioas', 'hwpt-paging']);
  });

  it('gives a mediated device an address space, and tells its driver what is unmapped', () => {
    const { stage, driver, file } = device({ mediated: true });
    const [one, two] = [ioas(stage), ioas(stage)];
    const attach = (pt_id: number) => stage.call(file, ATTACH, { pt_id });
    assert.equal(attach(99).result, -2);
    const { result, view } = attach(one);
    assert.deepEqual([result, view.getUint32(ATTACH.layout.at.pt_id, true)], [0, one]);
    assert.equal(stage.call(file, ATTACH, { pt_id: one, flags: 1, pasid: 1 }).result, EOPNOTSUPP);
    assert.equal(stage.call(file, DETACH, { flags: 1, pasid: 1 }).result, EOPNOTSUPP);
    const map = { flags: 7, ioas_id: one, user_va: BigInt(stage.address), length: 4096n, iova: 0x10000n };
    assert.equal(stage.call(stage.iommufd, IOMMU_IOAS_MAP, map).result, 0);
    const access = driver.binding?.access;
    assert(Array.isArray(access?.pinPages(0x10000n, 4096n, true)));
    driver.letGo = () => access?.unpinPages(0x10000n, 4096n);
    driver.asked.length = 0;
    const range = { ioas_id: one, iova: 0x10000n, length: 4096n };
    assert.equal(stage.call(stage.iommufd, IOMMU_IOAS_UNMAP, range).result, 0);
    assert.deepEqual(driver.asked, ['unmap 65536 4096']);
    assert.equal(attach(two).result, 0);
    assert.equal(stage.call(file, DETACH, {}).result, 0);
    assert.equal(stage.call(file, DETACH, {}).result, 0);
    assert.equal(attach(one).result, 0);
    file.release();
    assert.deepEqual(objects(stage), ['ioas', 'ioas']);
  });

  it('wakes a device for every call but bind, and refuses where it does not wake', () => {
    const { stage, driver, file } = device();
    stage.call(file, RESET, {});
    assert.deepEqual(driver.asked, ['wake', 'ioctl 111', 'sleep']);
    driver.power = EIO;
    assert.equal(stage.call(file, RESET, {}).result, EIO);
    assert.deepEqual(driver.asked.slice(3), ['wake']);
  });

  it('reads and writes at a position, or where the last one ended', () => {
    const { driver, file } = device();
    const bytes = new Uint8Array(6);
    assert.deepEqual([file.pread(bytes, 2 ** 40), file.read(bytes), file.write(bytes), file.read(bytes)], [6, 6, 6, 6]);
    assert.deepEqual(driver.asked, [`read 6 at ${2 ** 40}`, 'read 6 at 0', 'write 6 at 6', 'read 6 at 12']);
    assert.equal(file.readable(), undefined);
  });

  it('stays open while registers of it are mapped', () => {
    const { driver, file } = device();
    assert.equal(file.mmap(0, 4096), EINVAL);
    const values: number[] = [];
    driver.mapping = {
      read: (offset, width) => offset + width,
      read64: (offset) => BigInt(offset),
      write: (_offset, _width, value) => void values.push(value),
      write64: (_offset, value) => void values.push(Number(value)),
      close: () => driver.asked.push('unmapped'),
    };
    const mapping = file.mmap(0, 4096);
    assert(typeof mapping === 'object');
    file.release();
    assert.deepEqual([mapping.read(8, 4), mapping.read64(16)], [12, 16n]);
    mapping.write(0, 4, 1);
    mapping.write64(0, 2n);
    assert.deepEqual([values, driver.asked], [[1, 2], []]);
    mapping.close();
    assert.deepEqual(driver.asked, ['unmapped', 'close, bound by true']);
  });

  it('is taken back once nobody has it open, and asks for that', () => {
    const { stage, driver, node, file } = device();
    let gone = 0;
    node.unregister(() => gone++);
    node.request();
    assert.deepEqual([driver.asked, gone], [['request 0', 'request 1'], 0]);
    assert.equal(node.open(stage.process), ENODEV);
    file.release();
    assert.equal(gone, 1);
    node.register();
    node.request();
    const again = stage.open(node);
    again.release();
    assert.equal(gone, 1);
    node.unregister(() => gone++);
    assert.equal(gone, 2);
    assert.equal(driver.asked.filter((what) => what.startsWith('request')).length, 2);
  });

  it('answers what there is of a region, with capabilities where they fit', () => {
    const { stage, driver, file } = device();
    const at = REGION.layout.at;
    const chain = new Uint8Array(24);
    chain.set([3, 0, 1, 0, 8, 0, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0]);
    const ask = (argsz: number, cap_offset = 77) => stage.call(file, REGION, { cap_offset }, argsz);
    assert.equal(ask(31).result, EINVAL);
    const plain = ask(32);
    assert.deepEqual([plain.result, plain.view.getUint32(at.cap_offset, true)], [0, 77]);
    driver.region = { flags: 7, size: 0x2000n, offset: 2n ** 40n, capabilities: chain };
    const short = ask(32).view;
    assert.deepEqual(
      [short.getUint32(0, true), short.getUint32(at.flags, true), short.getUint32(at.cap_offset, true)],
      [56, 15, 0],
    );
    const { view } = ask(56);
    assert.deepEqual([view.getUint32(0, true), view.getUint32(at.cap_offset, true)], [56, 32]);
    assert.deepEqual([view.getUint32(32 + 4, true), view.getUint32(40 + 4, true)], [40, 0]);
    assert.equal(view.getBigUint64(at.offset, true), 2n ** 40n);
    assert.equal(chain[4], 8, 'the driver’s own stays');
    assert.deepEqual(shifted(new Uint8Array(8), 32), new Uint8Array(8));
    // The struct is there, and what is behind it is not.
    const { argument } = stage;
    const end = argument.bytes.length - 32;
    new DataView(argument.bytes.buffer, argument.bytes.byteOffset).setUint32(end, 56, true);
    assert.equal(file.ioctl(REGION.request, argument, end), EFAULT);
    assert.equal(file.ioctl(REGION.request, argument, end + 4), EFAULT);
    driver.region = EINVAL;
    assert.equal(ask(56).result, EINVAL);
  });

  it('checks what is asked of a feature, and passes on what it does not know', () => {
    const { stage, driver, file } = device();
    const feature = (flags: number, argsz = 8) => stage.call(file, FEATURE, { flags }, argsz).result;
    assert.deepEqual(
      [feature(PROBE, 7), feature((1 << 19) | PROBE), feature(GET | SET | 40)],
      [EINVAL, EINVAL, EINVAL],
    );
    assert.equal(file.ioctl(FEATURE.request, stage.argument, 4092), EFAULT);
    assert.equal(feature(PROBE | 40), ENOTTY);
    const calls: [number, number][] = [];
    driver.feature = (flags, argument, size) => {
      calls.push([flags, size]);
      return argument.copyOut(0, Uint8Array.of(1, 2)) ? 0 : EFAULT;
    };
    assert.equal(feature(SET | GET | PROBE | 40, 20), 0);
    assert.deepEqual(calls, [[(SET | GET | PROBE | 40) >>> 0, 12]]);
    assert.deepEqual([...stage.argument.bytes.subarray(8, 10)], [1, 2]);
    // Those of devices that migrate and log are the core's.
    assert.deepEqual(
      [1, 2, 6, 7, 8, 9, 12].map((index) => feature(PROBE | index)),
      [ENOTTY, ENOTTY, ENOTTY, ENOTTY, ENOTTY, ENOTTY, EINVAL],
    );
    assert.equal(calls.length, 1);
  });

  it('answers probes without doing anything, and wants enough bytes otherwise', () => {
    assert.deepEqual(
      [PROBE, PROBE | GET, PROBE | SET, PROBE | GET | SET, 0, GET, SET].map((flags) => checkFeature(flags, 8, GET, 8)),
      [0, 0, EINVAL, EINVAL, EINVAL, 'go', EINVAL],
    );
    assert.deepEqual([checkFeature(GET, 7, GET, 8), checkFeature(PROBE, 0, GET, 8)], [EINVAL, 0]);
  });
});
