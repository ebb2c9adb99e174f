// DMA of QEMU's edu device in a life at random: what it reads at an IOVA, it writes at another one.
import assert from 'node:assert/strict';
import { Edu } from '../rig/edu.js';
import { vfioRig } from '../rig/vfio-rig.js';
import type { Life, Operation } from './life.js';
import { PAGE, type Placed, tagAt, writeAt } from './places.js';

/** A device that is attached without tables of a guest's, and what lies in its address space. */
function attachedEdu(life: Life) {
  const edus = [vfioRig().find('edu'), vfioRig().find('pair0')];
  const nic = life.random.pick(life.openNics().filter(({ name }) => edus.includes(name)));
  const table = nic?.device.attachedTo();
  if (nic === undefined || table === undefined || table.type === 'hwpt-nested') return undefined;
  if (life.blocked.has(nic.device)) return undefined;
  const ioas = table.type === 'ioas' ? table : table.ioas;
  return { nic, ioas, placed: life.places.of(ioas).filter(({ ram }) => !ram.memory.freed) };
}

function aPage(life: Life, { length }: Placed): number {
  return life.random.below(Number(length) / PAGE) * PAGE;
}

/** A device comes to an address space with memory: not every IOMMU nests, as what other lives begin with does. */
export const settle: Operation = (life) => {
  const device = life.device();
  if (device === undefined) return;
  const ram = life.aRam() ?? life.ram();
  const ioas = device.iommufd.allocIoas();
  const iova = life.world.base;
  ioas.map(ram.memory, { iova });
  const length = BigInt(ram.memory.size);
  life.places.of(ioas).push({ iova, length, ram, offset: 0, readable: true, writable: true });
  life.blocked.add(device);
  device.attach(ioas);
  life.blocked.delete(device);
};

/** The mark of a page goes to another one, by the device. */
export const eduDma: Operation = async (life) => {
  const found = attachedEdu(life);
  const from = found && life.random.pick(found.placed);
  const to = found && life.random.pick(found.placed.filter(({ writable }) => writable));
  if (found === undefined || from === undefined || to === undefined) return;
  const edu = new Edu(found.nic);
  const [source, target] = [aPage(life, from), aPage(life, to)];
  await edu.load(tagAt(from.iova + BigInt(source)), 4);
  await edu.store(writeAt(to.iova + BigInt(target)), 4);
  edu.registers.unmap();
  const written = to.ram.memory.read(to.offset + target + Number(writeAt(0n)), 4);
  const expected = from.ram.memory.read(from.offset + source + Number(tagAt(0n)), 4);
  assert.deepEqual(written, expected, `${found.nic.name}: DMA through ${found.ioas.describe()}`);
  life.dmas++;
};
