// A group as one iommufd sees it, while a device of it is bound here: struct iommufd_group (iommufd/device.c).
import { ERRNO } from '../../uapi/errno.js';
import type { IommufdDevice } from './device.js';
import type { Hwpt } from './hwpt.js';
import type { IommuGroup } from './iommu-group.js';
import type { IommufdContext } from './iommufd-file.js';

/** What a PASID is attached to, and which devices of the group asked for that: struct iommufd_attach. */
export interface Attachment {
  hwpt: Hwpt;
  readonly devices: Set<IommufdDevice>;
}

export class IommufdGroup {
  readonly context: IommufdContext;
  readonly group: IommuGroup;
  /** By PASID. */
  readonly attachments = new Map<number, Attachment>();
  #references = 1;

  constructor(context: IommufdContext, group: IommuGroup) {
    this.context = context;
    this.group = group;
  }

  /** The one that is there, or a new one; -ENOMEM. */
  static of(context: IommufdContext, group: IommuGroup): IommufdGroup | number {
    const present = context.groups.get(group);
    if (present !== undefined) {
      present.#references++;
      return present;
    }
    if (!context.kernel.allocates()) return -ERRNO.ENOMEM;
    const made = new IommufdGroup(context, group);
    context.groups.set(group, made);
    return made;
  }
  put(): void {
    if (--this.#references === 0) this.context.groups.delete(this.group);
  }
}
