// Taking an event fd that the kernel has just made: all of what follows works, or nothing is left behind.
import { IommufdError } from '../host/errors.js';
import { EventSource } from '../host/event-reader.js';
import { IOMMU_DESTROY } from '../uapi/iommufd.js';
import { tryCall } from './call.js';
import type { Context } from './context.js';

/** Owns and watches the fd of the new object `id`, then makes the class for it; undoes all that where a step fails. */
export function withEventFd<T>(ctx: Context, id: number, fd: number, make: (source: EventSource) => T): T {
  const { seam, resources } = ctx;
  const undo: (() => void)[] = [() => tryCall(ctx, IOMMU_DESTROY, { id })];
  try {
    const owned = seam.own(fd);
    if (owned < 0) throw new IommufdError('fcntl', owned, { fd });
    undo.push(() => seam.close(fd));
    // A listener to traces may have closed the iommufd meanwhile.
    ctx.check();
    const source = new EventSource(seam, fd);
    // From here on the source closes the fd.
    undo[1] = () => source.close();
    const made = make(source);
    resources.eventSources.add(source);
    return made;
  } catch (error) {
    for (const step of undo.reverse()) step();
    throw error;
  }
}
