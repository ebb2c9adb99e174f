// A hand-over and an adoption, with one object of every kind: on an emulated host, where both sides are this process.
import assert from 'node:assert/strict';
import { createEmulatedHost, type EmulatedHost } from '../../lib/emulated-host.js';
import { FaultQueue } from '../../lib/objects/fault-queue.js';
import { HwQueue } from '../../lib/objects/hw-queue.js';
import { HwptNested } from '../../lib/objects/hwpt-nested.js';
import { HwptPaging } from '../../lib/objects/hwpt-paging.js';
import { Vdevice } from '../../lib/objects/vdevice.js';
import { Veventq } from '../../lib/objects/veventq.js';
import { Viommu } from '../../lib/objects/viommu.js';
import { IOMMU_IOAS_MAP_FILE } from '../../lib/uapi/index.js';
import { callsOf, end, IOVA, type Machine, machine, NIC, SIZE, sent, whole } from './live-update-stage.js';
import { codeOf, stage } from './stage.js';

describe('live update', () => {
  let empty: ReturnType<EmulatedHost['inspect']>;
  /** A machine that nothing was opened on. */
  const blank = () =>
    createEmulatedHost({ machine: 'selftest', devices: [{ address: NIC }, { address: '0000:02:00.0', pasid: true }] });
  before(() => {
    empty = blank().inspect();
  });

  describe('of everything there is', () => {
    it('goes on by the same ids, with nothing unmapped, detached or destroyed', () => {
      const old = whole();
      const { host } = old;
      const kernel = host.inspect().iommufds[0];
      const ids = old.iommufd.objects.map(({ id, type }) => ({ id, type }));
      const calls = callsOf(() => {
        const handover = old.iommufd.handOver({ memories: [old.ram] });
        const adopted = host.adoptIommufd(sent(handover.state), handover.fds);
        handover.complete();
        assert.deepEqual(
          [...adopted.objects.values()].map(({ id, type }) => ({ id, type })),
          ids,
        );
        assert.deepEqual(host.inspect().iommufds, [kernel], 'the kernel has what it had');
        adopted.iommufd.changeProcess();
        const { ioases, devices, memories } = adopted;
        assert.equal(devices[0]?.name, NIC);
        assert.equal(ioases[0]?.mappingCount, 1);
        assert.equal(memories[0]?.mappings, 1);
        end(adopted, host, empty);
      });
      const first = calls.indexOf('IOMMU_IOAS_CHANGE_PROCESS');
      const before = calls.slice(0, first);
      assert.deepEqual(
        before.filter((name) => name !== 'VFIO_DEVICE_GET_INFO'),
        [],
        'nothing was asked that changes anything',
      );
    });

    it('gives objects that can do what they could', () => {
      const old = whole();
      const { host } = old;
      const ids = { nested: old.nested.id, parent: old.parent.id, queue: old.queue.id, events: old.veventq.id };
      const handover = old.iommufd.handOver({ memories: [old.ram] });
      const adopted = host.adoptIommufd(sent(handover.state), handover.fds);
      handover.complete();
      const { devices, memories, objects, ioases } = adopted;
      const device = devices[0]?.device;
      const [nested, parent] = [objects.get(ids.nested), objects.get(ids.parent)];
      const [queue, events] = [objects.get(ids.queue), objects.get(ids.events)];
      assert(nested instanceof HwptNested && parent instanceof HwptPaging);
      assert(queue instanceof HwQueue && events instanceof Veventq);
      assert(nested.parent instanceof Viommu);
      assert.equal(device?.attachedTo(), nested);
      assert(nested.parents.some((held) => held instanceof FaultQueue));
      assert.equal(nested.parent.hwpt, parent);
      assert([...objects.values()].some((object) => object instanceof Vdevice && object.virtId === 0x99n));
      assert.equal(events.drain().length, 1, 'the event that waited');
      // What holds what is known: the kernel would say EBUSY without a reason.
      assert.throws(() => parent.destroy(), { code: 'EBUSY', message: /held by viommu/ });
      const mmio = queue.mmap();
      assert.equal(mmio.read32(0), 7);
      mmio.unmap();
      memories[0]?.write(0, Buffer.from('after'));
      assert.equal(Buffer.from(host.device(NIC).dmaRead(IOVA, 5)).toString(), 'after');
      parent.setDirtyTracking(true);
      host.device(NIC).dmaWrite(IOVA + 0x3000n, Uint8Array.of(1));
      using bitmap = parent.dirtyBitmap({ iova: IOVA, length: SIZE });
      assert.deepEqual(
        [...bitmap.read().ranges()].map(({ iova }) => iova),
        [IOVA],
        'the page around it: the memory is mapped by one large page',
      );
      device?.detach();
      bitmap.free();
      assert.equal(ioases[0]?.allocHwpt(devices[0]?.device ?? assert.fail()).ioas, ioases[0]);
      end(adopted, host, empty);
    });

    it('can be done again and again', () => {
      const old = whole();
      const { host } = old;
      let handover = old.iommufd.handOver({ memories: [old.ram] });
      const first = sent(handover.state);
      let adopted = host.adoptIommufd(first, handover.fds);
      for (let i = 0; i < 3; i++) {
        handover.complete();
        handover = adopted.iommufd.handOver({ memories: adopted.memories });
        assert.deepEqual(sent(handover.state), first);
        adopted = host.adoptIommufd(sent(handover.state), handover.fds);
      }
      handover.complete();
      end(adopted, host, empty);
    });
  });

  describe('in the process that goes', () => {
    const frozen = (old: Machine) => {
      const ioas = old.iommufd.allocIoas();
      const iova = ioas.map(old.ram, { iova: IOVA });
      return { ...old, ioas, iova, handover: old.iommufd.handOver({ memories: [old.ram] }) };
    };
    const finish = ({ iommufd, ram, nic, host }: Machine) => {
      iommufd.close();
      nic.close();
      ram.free();
      assert.deepEqual(host.inspect(), empty);
    };

    it('lets nothing ask the kernel until it is complete or aborted', () => {
      const { iommufd, ioas, device, nic, ram, iova, handover, host } = frozen(machine());
      const works: (() => unknown)[] = [
        () => ioas.map(ram),
        () => ioas.unmap(iova, ram.size),
        () => ioas.destroy(),
        () => iommufd.allocIoas(),
        () => iommufd.changeProcess(),
        () => iommufd.close(),
        () => iommufd.handOver(),
        () => device.attach(ioas),
        () => device.destroy(),
        () => nic.close(),
        () => nic[Symbol.dispose](),
      ];
      for (const work of works) assert.equal(codeOf(work), 'ERR_IOMMUFD_BUSY', String(work));
      ram.write(0, Uint8Array.of(1));
      assert.deepEqual([ioas.destroyed, iommufd.closed, handover.status], [false, false, 'pending']);
      handover.abort();
      ioas.unmap(iova, ram.size);
      finish({ iommufd, ram, nic, device, host });
    });

    it('goes on after an abort as before', () => {
      const old = frozen(machine());
      old.handover.abort();
      assert.equal(old.handover.status, 'aborted');
      for (const again of [() => old.handover.abort(), () => old.handover.complete()]) {
        assert.equal(codeOf(again), 'ERR_IOMMUFD_UNAVAILABLE');
      }
      old.device.attach(old.ioas);
      old.ram.write(0, Uint8Array.of(42));
      assert.deepEqual(old.host.device(NIC).dmaRead(old.iova, 1), Uint8Array.of(42));
      old.iommufd.changeProcess();
      finish(old);
    });

    it('has nothing left after it is complete', () => {
      const old = frozen(machine());
      const { iommufd, ioas, device, nic, ram, handover, host } = old;
      handover.complete();
      assert.deepEqual(
        [iommufd.closed, ioas.destroyed, device.destroyed, ram.freed, handover.status],
        [true, true, true, true, 'completed'],
      );
      for (const work of [() => ioas.unmapAll(), () => iommufd.allocIoas(), () => nic.region('bar0'), () => ram.fd]) {
        assert.equal(codeOf(work), 'ERR_IOMMUFD_DESTROYED', String(work));
      }
      iommufd.close();
      nic.close();
      ioas[Symbol.dispose]();
      // Nobody went on: the files were the last.
      assert.deepEqual(host.inspect(), empty);
    });

    it('keeps memory that is freed meanwhile until the end, so that its fd stays what it is', () => {
      const old = frozen(machine());
      old.ram.free();
      const adopted = old.host.adoptIommufd(sent(old.handover.state), old.handover.fds);
      old.handover.complete();
      end(adopted, old.host, empty);
    });

    it('takes along what is mapped beside what was named, each once', () => {
      const old = machine();
      const [a, b] = [old.iommufd.allocIoas(), old.iommufd.allocIoas()];
      const other = old.host.allocateMemory(0x4000);
      a.map(other, { iova: IOVA, offset: 0x1000, length: 0x2000, writable: false });
      b.copy(a, { sourceIova: IOVA + 0x1000n, length: 0x1000, iova: IOVA, writable: false });
      a.map(old.ram);
      const handover = old.iommufd.handOver({ memories: [old.ram] });
      assert.deepEqual(
        handover.state.memories.map(({ size }) => size),
        [SIZE, 0x4000],
      );
      const adopted = old.host.adoptIommufd(sent(handover.state), handover.fds);
      handover.complete();
      other.free();
      assert.deepEqual(
        adopted.memories.map(({ mappings, backing }) => ({ mappings, backing })),
        [
          { mappings: 1, backing: 'memfd' },
          { mappings: 2, backing: 'memfd' },
        ],
      );
      assert.deepEqual(
        adopted.memories[1] &&
          sent(adopted.iommufd.handOver().state).objects.flatMap((object) =>
            object.type === 'ioas'
              ? object.mappings.map(({ offset, length, access }) => [offset, length, access & 6])
              : [],
          ),
        [
          [0x1000, '0x2000', 4],
          [0, '0x10000', 6],
          [0x2000, '0x1000', 4],
        ],
        'where in its memory each lies, and what devices may do',
      );
    });

    it('keeps in doubt what an unmapping may have taken', () => {
      const old = frozen(machine());
      old.handover.abort();
      assert.equal(
        codeOf(() => old.ioas.unmap(old.iova - 0x1000n, SIZE + 0x1001)),
        'ok',
      );
      const iova = old.ioas.map(old.ram);
      const half = old.ioas.map(old.ram);
      assert.equal(
        codeOf(() => old.ioas.unmap(iova, SIZE + 0x1000)),
        'ENOENT',
        String(half),
      );
      const handover = old.iommufd.handOver();
      const objects = handover.state.objects.flatMap((object) => (object.type === 'ioas' ? object.mappings : []));
      assert.deepEqual(
        objects.map(({ sure }) => sure),
        [false, true],
      );
      const adopted = old.host.adoptIommufd(sent(handover.state), handover.fds);
      const [ioas] = adopted.ioases;
      assert.equal(ioas?.mappingCount, 2);
      assert.equal(ioas.unmapAll(), BigInt(SIZE), 'the first was taken');
      assert.equal(ioas.mappingCount, 0);
      handover.complete();
      old.ram.free();
      end(adopted, old.host, empty);
    });

    it('needs a kernel that maps memory by its file', () => {
      const { iommufd, seam } = stage();
      const ioctl = seam.ioctl.bind(seam);
      seam.ioctl = (fd, request, at) => (request === IOMMU_IOAS_MAP_FILE.request ? -25 : ioctl(fd, request, at));
      assert.throws(() => iommufd.handOver(), { code: 'ERR_IOMMUFD_UNAVAILABLE', message: /Linux 6\.13/ });
      iommufd.allocIoas().destroy();
      iommufd.close();
      assert.equal(
        codeOf(() => iommufd.handOver()),
        'ERR_IOMMUFD_DESTROYED',
      );
    });

    it('names what cannot be handed over, with nothing changed', () => {
      const old = whole();
      const anonymous = old.host.allocateMemory(0x1000, { backing: 'anonymous' });
      const iova = old.ioas.map(anonymous);
      assert.throws(() => old.iommufd.handOver(), {
        code: 'ERR_IOMMUFD_UNAVAILABLE',
        message: new RegExp(`ioas ${old.ioas.id} maps something at 0x${iova.toString(16)} that is not a file`),
      });
      assert.throws(() => old.iommufd.handOver({ memories: [anonymous] }), {
        code: 'ERR_IOMMUFD_UNAVAILABLE',
      });
      old.ioas.unmap(iova, anonymous.size);
      assert.throws(() => old.iommufd.handOver({ memories: [old.ram, anonymous] }), {
        code: 'ERR_INVALID_ARG_TYPE',
        message: /memories\[1\]/,
      });
      const reading = old.veventq.read();
      assert.throws(() => old.iommufd.handOver(), { message: /veventq \d+ is being read/ });
      void reading.return?.();
      old.ioas.unsafeMapAddress(old.ram.address, { length: SIZE });
      assert.throws(() => old.iommufd.handOver(), { message: /not a file/ });
      old.device.detach();
      assert.equal(old.iommufd.allocIoas().destroyed, false, 'nothing is frozen');
      old.iommufd.close();
      old.ram.free();
      anonymous.free();
      assert.deepEqual(old.host.inspect(), empty);
    });

    it('waits for what is on the thread pool', async () => {
      const old = machine();
      const ioas = old.iommufd.allocIoas();
      const mapping = ioas.mapAsync(old.ram);
      await new Promise((resolve) => setImmediate(resolve));
      if (ioas.mappingCount === 0)
        assert.equal(
          codeOf(() => old.iommufd.handOver()),
          'ERR_IOMMUFD_BUSY',
        );
      await mapping;
      old.iommufd.handOver().complete();
      old.ram.free();
      assert.deepEqual(old.host.inspect(), empty);
    });

    it('knows its options, and takes memory of its own host', () => {
      const old = machine();
      const misspelt: object = { memory: [old.ram] };
      assert.equal(
        codeOf(() => old.iommufd.handOver(misspelt)),
        'ERR_UNKNOWN_OPTION',
      );
      const other = blank().allocateMemory(0x1000);
      assert.equal(
        codeOf(() => old.iommufd.handOver({ memories: [other] })),
        'ERR_IOMMUFD_FOREIGN_HOST',
      );
      const wrong: Iterable<never> = [undefined as never];
      assert.equal(
        codeOf(() => old.iommufd.handOver({ memories: wrong })),
        'ERR_INVALID_ARG_TYPE',
      );
      old.ram.free();
      assert.equal(
        codeOf(() => old.iommufd.handOver({ memories: [old.ram] })),
        'ERR_IOMMUFD_DESTROYED',
      );
      other.free();
      old.iommufd.close();
      assert.deepEqual(old.host.inspect(), empty);
    });
  });
});
