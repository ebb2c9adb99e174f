// Programs as processes of an emulated machine: whatever an ioctl of theirs is about lies in their own memory.
import assert from 'node:assert/strict';
import { openSync } from 'node:fs';
import { deviceSpec } from '../../lib/emulated/device-options.js';
import { MockDevice } from '../../lib/emulated/hardware/selftest/mock-device.js';
import * as selftest from '../../lib/emulated/hardware/selftest/uapi.js';
import { Process, type ProcessRights } from '../../lib/emulated/kernel/process.js';
import { Machine } from '../../lib/emulated/machine.js';
import type { RemoteAddressSpace } from '../../lib/emulated/remote/address-space.js';
import { RemoteMemoryFile } from '../../lib/emulated/remote/memory-file.js';
import { RemoteMemory } from '../../lib/emulated/remote/remote-memory.js';
import * as uapi from '../../lib/uapi/index.js';
import {
  type Fields,
  type Input,
  type Ioctl,
  iommufd_ioas_map_flags,
  type Layout,
  type Values,
} from '../../lib/uapi/index.js';
import { MappedProgram, PAGE } from './mapped-program.js';
import { atEnd, spaceOf } from './remote-stage.js';

const ADDRESS = '0000:01:00.0';
const NODE = '/dev/vfio/devices/vfio0';
export const APERTURE = 1n << 24n;
const MAP_FLAGS = iommufd_ioas_map_flags.values;
const { IOMMU_IOAS_MAP_FIXED_IOVA: FIXED, IOMMU_IOAS_MAP_READABLE: READ } = MAP_FLAGS;
const { IOMMU_IOAS_MAP_WRITEABLE: WRITE } = MAP_FLAGS;

export const ROOT: ProcessRights = { ipcLock: true, sysResource: true, sysRawio: true, lockedPages: 0 };

/** One program. */
export class Guest {
  readonly process: Process;

  constructor(
    readonly machine: Machine,
    readonly remote: RemoteMemory,
    readonly memory: RemoteAddressSpace,
    /** A page of the program's where a struct has room. */
    readonly scratch: number,
    rights: ProcessRights = ROOT,
  ) {
    this.process = new Process(memory, machine.files, rights);
  }
  /** Another process, forked from this one. */
  forked(pid: number): Guest {
    return new Guest(this.machine, this.remote, spaceOf(this.remote, pid), this.scratch, this.process.rights);
  }

  /** The program calls: what the machine does for it then. */
  calls<T>(work: () => T): T {
    this.machine.process.actFor(this.process);
    this.memory.enter();
    return work();
  }
  /** ioctl(2) with a struct at an address: 0 or -errno. */
  raw(fd: number, request: number, address: number): number {
    return this.calls(() => this.machine.files.get(fd)?.ioctlValue(request, address) ?? -9);
  }
  put(address: number, bytes: Uint8Array): void {
    this.memory.enter();
    assert(this.memory.write(address, bytes), 'the program has no room there');
  }
  get(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.memory.enter();
    assert(this.memory.read(address, bytes));
    return bytes;
  }

  /** ioctl(2) with a struct in the scratch page: what it is then, or -errno. */
  ioctl<F extends Fields>(fd: number, { layout, request }: Ioctl<F>, input: Input<F>): Values<F> | number {
    const view = new DataView(new ArrayBuffer(layout.size));
    layout.encode(view, 0, input);
    // `size` or `argsz`, as every struct starts.
    view.setUint32(0, layout.size, true);
    this.put(this.scratch, new Uint8Array(view.buffer));
    const rc = this.raw(fd, request, this.scratch);
    if (rc !== 0) return rc;
    return layout.decode(new DataView(this.get(this.scratch, layout.size).buffer), 0);
  }
  /** One that must work. */
  must<F extends Fields>(fd: number, ioctl: Ioctl<F>, input: Input<F>): Values<F> {
    const answer = this.ioctl(fd, ioctl, input);
    if (typeof answer === 'number') throw new Error(`${ioctl.name} failed: ${answer}`);
    return answer;
  }
  /** IOMMU_TEST_CMD. */
  test<F extends Fields>(
    fd: number,
    op: keyof typeof selftest.iommu_test_op.values,
    layout: Layout<F>,
    input: Input<F>,
  ): Values<F> | number {
    const ioctl = { ...selftest.IOMMU_TEST_CMD, layout } as unknown as Ioctl<F>;
    return this.ioctl(fd, ioctl, { ...input, op: selftest.iommu_test_op.values[op] } as unknown as Input<F>);
  }
  mustTest<F extends Fields>(...args: Parameters<typeof this.test<F>>): Values<F> {
    const answer = this.test(...args);
    if (typeof answer === 'number') throw new Error(`${args[1]} failed: ${answer}`);
    return answer;
  }

  /** Maps memory of the program at an IOVA; 0 or -errno. */
  map(fd: number, ioas_id: number, address: number, length: number, iova: bigint, write = true): number {
    const flags = FIXED | READ | (write ? WRITE : 0);
    const input = { ioas_id, flags, user_va: BigInt(address), length: BigInt(length), iova };
    const answer = this.ioctl(fd, uapi.IOMMU_IOAS_MAP, input);
    return typeof answer === 'number' ? answer : 0;
  }
  /** The same of a file of the program's; `offset` in bytes. */
  mapFile(fd: number, ioas_id: number, file: number, offset: number, length: number, iova: bigint): number {
    const flags = FIXED | READ | WRITE;
    const input = { ioas_id, flags, fd: file, start: BigInt(offset), length: BigInt(length), iova };
    const answer = this.ioctl(fd, uapi.IOMMU_IOAS_MAP_FILE, input);
    return typeof answer === 'number' ? answer : 0;
  }
  /** An fd of the program as one of the machine. */
  openFile(fd: number): number {
    const own = openSync(`/proc/${this.memory.pid}/fd/${fd}`, 'r+');
    return this.machine.files.installOwned(new RemoteMemoryFile(this.remote, own));
  }
}

export interface GuestOptions {
  readonly rights?: ProcessRights;
  readonly scatter?: boolean;
}

/** A machine with a mock device, and a program that has it open, with an IOAS. */
export async function guestStage({ rights = ROOT, scatter = false }: GuestOptions = {}) {
  const machine = new Machine({
    name: 'selftest',
    devices: [deviceSpec({ address: ADDRESS })],
    memorySize: 2 ** 26,
    scatter,
    hugePageSizes: [],
    openFiles: 64,
    rights: ROOT,
    dialect: 'linux',
  });
  const remote = new RemoteMemory(machine.physical);
  const program = await MappedProgram.start();
  atEnd(() => program.end());
  const memory = spaceOf(remote, program.pid);
  const guest = new Guest(machine, remote, memory, await program.map(PAGE), rights);
  const [fd, node] = guest.calls(() => [machine.seam.open('/dev/iommu', 2), machine.seam.open(NODE, 2)] as const);
  assert(fd >= 0 && node >= 0);
  let isOpen = true;
  /** Closes all that is open there, as the program's end does. */
  const close = () => {
    if (isOpen) for (const each of [node, fd]) machine.seam.close(each);
    isOpen = false;
  };
  atEnd(close);
  const { out_ioas_id: ioas } = guest.must(fd, uapi.IOMMU_IOAS_ALLOC, {});
  const mock = machine.endpointAt(ADDRESS);
  assert(mock instanceof MockDevice);
  /** Binds the device and attaches it to an IOAS or a page table; answers its id. */
  const attach = (to = ioas): number => {
    const { out_devid } = guest.must(node, uapi.VFIO_DEVICE_BIND_IOMMUFD, { iommufd: fd });
    guest.must(node, uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT, { pt_id: to });
    return out_devid;
  };
  /** Attaches the device that only tests have; answers the page table. */
  const mockDomain = (of = guest): number | { hwpt: number; stdev: number } => {
    const answer = of.test(fd, 'IOMMU_TEST_OP_MOCK_DOMAIN', selftest.test_mock_domain, { id: ioas });
    return typeof answer === 'number' ? answer : { hwpt: answer.out_hwpt_id, stdev: answer.out_stdev_id };
  };
  return { machine, remote, program, memory, guest, fd, node, ioas, mock, attach, mockDomain, close };
}
