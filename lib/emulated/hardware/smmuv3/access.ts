// The access that a stream translates at the moment. There is one object for all: nothing is allocated for an access.
import { NO_STALL } from './stalls.js';

export class Access {
  stream = 0;
  /** Its address: bits 63 to 12, and 11 to 0. */
  page = 0.5;
  offset = 0;
  /** Where it leads physically, once it is translated: a field, since to answer such a number would be to allocate it. */
  address = 0.5;
  write = false;
  /** 0: it has none. */
  pasid = 0;
  /** It can wait for a fault to be mended. */
  mayStall = false;
  /** The tag that it waits by, once it does. */
  stalledTag = NO_STALL;
  /** What the micro TLB knows its address space by, once it is translated; 0 where that is not kept. */
  quickTag = 0;
}
