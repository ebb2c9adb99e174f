// Adoptions that fail half-way, or are told what makes no sense: nothing is left behind, and they can be tried again.
import assert from 'node:assert/strict';
import { createEmulatedHost, type EmulatedHost } from '../../lib/emulated-host.js';
import type { HandoverState } from '../../lib/index.js';
import { hostSeam } from '../../lib/unsafe.js';
import { changed, end, machine, NIC, SIZE, sent, whole } from './live-update-stage.js';
import { codeOf } from './stage.js';

describe('live update', () => {
  let empty: ReturnType<EmulatedHost['inspect']>;
  /** A machine that nothing was opened on. */
  const blank = () =>
    createEmulatedHost({ machine: 'selftest', devices: [{ address: NIC }, { address: '0000:02:00.0', pasid: true }] });
  before(() => {
    empty = blank().inspect();
  });

  describe('in the process that goes on', () => {
    it('leaves nothing behind where the state makes no sense, and can try again', () => {
      const old = whole();
      const { host } = old;
      const handover = old.iommufd.handOver({ memories: [old.ram] });
      const before = host.inspect();
      const { objects } = handover.state;
      const place = (type: string) => objects.findIndex((object) => object.type === type);
      const wrong: [string, unknown, string][] = [
        ['version', 2, 'ERR_IOMMUFD_UNAVAILABLE'],
        ['version', '1', 'ERR_INVALID_ARG_TYPE'],
        ['host', 'kernel', 'ERR_IOMMUFD_FOREIGN_HOST'],
        ['memories', {}, 'ERR_INVALID_ARG_TYPE'],
        ['memories.0.fd', 99, 'ERR_IOMMUFD_UNAVAILABLE'],
        ['memories.0.fd', 0, 'EINVAL'],
        ['memories.0.size', SIZE * 2, 'EINVAL'],
        ['memories.0.size', -1, 'ERR_OUT_OF_RANGE'],
        ['memories.0.backing', 'anonymous', 'ERR_OUT_OF_RANGE'],
        ['objects', null, 'ERR_INVALID_ARG_TYPE'],
        ['objects.0', 7, 'ERR_INVALID_ARG_TYPE'],
        ['objects.0.type', 'access', 'ERR_OUT_OF_RANGE'],
        ['objects.0.id', 2 ** 32, 'ERR_OUT_OF_RANGE'],
        ['objects.1.id', objects[0]?.id, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('device')}.fd`, 0, 'ENOTTY'],
        [`objects.${place('device')}.name`, 7, 'ERR_INVALID_ARG_TYPE'],
        [`objects.${place('device')}.attachments.0.to`, 0xffff, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('device')}.attachments.0.pasid`, 0, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('ioas')}.complete`, 'yes', 'ERR_INVALID_ARG_TYPE'],
        [`objects.${place('ioas')}.mappings.0.iova`, '4000', 'ERR_OUT_OF_RANGE'],
        [`objects.${place('ioas')}.mappings.0.iova`, '0x1'.padEnd(40, '0'), 'ERR_OUT_OF_RANGE'],
        [`objects.${place('ioas')}.mappings.0.memory`, 1, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('ioas')}.mappings.0.offset`, 1, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('hwpt-paging')}.ioas`, old.device.id, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('hwpt-nested')}.parent`, old.ioas.id, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('hwpt-nested')}.faultQueue`, old.ioas.id, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('viommu')}.hwpt`, old.nested.id, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('viommu')}.data.0`, 256, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('viommu')}.data`, Array(5000).fill(0), 'ERR_OUT_OF_RANGE'],
        [`objects.${place('veventq')}.payload`, 2 ** 20, 'ERR_OUT_OF_RANGE'],
        [`objects.${place('veventq')}.fd`, 1000, 'ERR_IOMMUFD_UNAVAILABLE'],
        [`objects.${place('hw-queue')}.viommu`, 0, 'ERR_OUT_OF_RANGE'],
      ];
      for (const [way, value, code] of wrong) {
        const state = changed(handover.state, way, value);
        assert.equal(
          codeOf(() => host.adoptIommufd(state, handover.fds)),
          code,
          `${way} = ${JSON.stringify(value)}`,
        );
        assert.deepEqual(host.inspect(), before, `${way} left something behind`);
      }
      const nothing: unknown = undefined;
      assert.equal(
        codeOf(() => host.adoptIommufd(nothing as HandoverState, handover.fds)),
        'ERR_INVALID_ARG_TYPE',
      );
      assert.equal(
        codeOf(() => host.adoptIommufd(handover.state, nothing as number[])),
        'ERR_INVALID_ARG_TYPE',
      );
      assert.equal(
        codeOf(() => host.adoptIommufd(handover.state, [])),
        'ERR_IOMMUFD_UNAVAILABLE',
      );
      assert.equal(
        codeOf(() => host.adoptIommufd(handover.state, [2 ** 29])),
        'EBADF',
      );
      const misspelt: object = { owner: 'borrowed' };
      assert.equal(
        codeOf(() => host.adoptIommufd(handover.state, handover.fds, misspelt)),
        'ERR_UNKNOWN_OPTION',
      );
      const [memory = -1] = handover.fds.slice(1);
      assert.equal(
        codeOf(() => host.adoptIommufd(handover.state, [memory])),
        'ENOTTY',
      );
      assert.deepEqual(host.inspect(), before);
      const adopted = host.adoptIommufd(sent(handover.state), handover.fds);
      handover.complete();
      end(adopted, host, empty);
    });

    it('leaves nothing behind where a file cannot be opened half-way', () => {
      const old = whole();
      const seam = hostSeam(old.host);
      const handover = old.iommufd.handOver({ memories: [old.ram] });
      const before = old.host.inspect();
      const { duplicate, importMemory, watch } = seam;
      for (const [name, real] of Object.entries({ duplicate, importMemory, watch })) {
        for (let works = 0; ; works++) {
          let left = works;
          // EMFILE from some call on.
          Object.defineProperty(seam, name, {
            configurable: true,
            value: (...args: never[]) => (left-- > 0 ? Reflect.apply(real, seam, args) : -24),
          });
          const code = codeOf(() => {
            const { iommufd, memories } = old.host.adoptIommufd(handover.state, handover.fds);
            iommufd.handOver({ memories }).complete();
          });
          Reflect.deleteProperty(seam, name);
          if (code === 'ok') {
            assert(works > 0, `${name} was never called`);
            break;
          }
          assert.equal(code, 'EMFILE');
          assert.deepEqual(old.host.inspect(), before, `${name} ${works}`);
        }
      }
      handover.abort();
      old.iommufd.close();
      old.ram.free();
    });

    it('closes fds that nobody else owns, unless they are borrowed', () => {
      const old = machine();
      const seam = hostSeam(old.host);
      const handover = old.iommufd.handOver({ memories: [old.ram] });
      // What another process finds: files of its own that no object has.
      const fds = handover.fds.map((fd) => {
        const copy = seam.duplicate(fd);
        seam.disown(copy);
        return copy;
      });
      const borrower = old.host.adoptIommufd(handover.state, fds, { ownership: 'borrowed' });
      borrower.iommufd.handOver({ memories: borrower.memories }).complete();
      const adopted = old.host.adoptIommufd(handover.state, fds);
      handover.complete();
      for (const fd of fds) assert.equal(seam.own(fd), -9, 'EBADF: closed');
      end(adopted, old.host, empty);
    });
  });
});
