// What is done to objects of any kind and to their files: reading, answering, mapping, destroying, closing.
import { iommu_hwpt_page_response, iommu_hwpt_pgfault } from '../../../lib/uapi/index.js';
import type { Kind, Session } from '../session.js';
import type { Weighted } from './step.js';

function readEvents(s: Session): void {
  const { random } = s;
  const file = random.pick(s.eventFiles);
  if (file === undefined) return;
  const record = file.kind === 'fault' ? iommu_hwpt_pgfault.size : 12;
  const odd = random.pick([0, 1, 7, 8, 11, 20, 41, 60]);
  s.machine.read(file.fd, random.percent(85) ? record * random.pick([1, 1, 2, 3, 8]) : odd);
}

function respond(s: Session): void {
  const { random } = s;
  const file = random.pick(s.eventFiles);
  if (file === undefined) return;
  const count = random.pick([0, 1, 1, 1, 2, 3]);
  const { size } = iommu_hwpt_page_response;
  const bytes = new Uint8Array(count * size + (random.percent(4) ? 4 : 0));
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) {
    const code = random.percent(94) ? random.below(2) : 2;
    iommu_hwpt_page_response.encode(view, i * size, { cookie: random.below(5), code });
  }
  s.machine.write(file.fd, bytes);
}

function mmap(s: Session): void {
  const { random } = s;
  const region = s.thing('viommu')?.mmap;
  const length = random.percent(85) ? Number(region?.length ?? 8192n) : random.pick([4096, 8192, 12288]);
  const offset = random.percent(85) ? Number(region?.offset ?? 4096n) : 4096 * random.below(8);
  const window = s.machine.map(s.fd, offset, length);
  if (window !== undefined) s.windows.push(window);
}

function munmap(s: Session): void {
  if (s.windows.length > 0) s.windows.splice(s.random.below(s.windows.length), 1)[0]?.free();
}

const DESTROYABLE: readonly (readonly [number, Kind])[] = [
  [3, 'ioas'],
  [5, 'paging'],
  [5, 'nested'],
  [4, 'viommu'],
  [5, 'vdevice'],
  [4, 'veventq'],
  [4, 'fault'],
  [5, 'hw-queue'],
  [5, 'attachment'],
  [1, 'device'],
];

function destroy(s: Session): void {
  s.destroy(s.id(s.random.weighted(DESTROYABLE)));
}

function closeFile(s: Session): void {
  const list = s.random.percent(50) ? s.eventFiles : s.accesses;
  const [file] = list.splice(s.random.below(list.length), 1);
  if (file !== undefined) s.machine.close(file.fd);
}

export const fileSteps: readonly Weighted[] = [
  [12, readEvents, 'events'],
  [7, respond, 'events'],
  [6, mmap, 'viommu'],
  [3, munmap],
  [22, destroy],
  [3, closeFile, 'events'],
];
