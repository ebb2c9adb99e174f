// How much there is of everything in a Tegra241's CMDQV: its PARAM register, and the room that its register file has
// (tegra241-cmdqv.c: 64 bits of VINTF_ERR_MAP, 128 of CMDQ_ERR_MAP, 16 pairs of SID_MATCH and SID_REPLACE).

/** PARAM.VER. */
export const VERSION = 1;
/** Virtual interfaces; the first one is the kernel's own. */
export const LOG2_INTERFACES = 6;
/** Command queues of all interfaces: each has as many of its own. */
const LOG2_ALL_QUEUES = 7;
/** Command queues of an interface. */
export const LOG2_QUEUES = LOG2_ALL_QUEUES - LOG2_INTERFACES;
/** Stream ids that an interface can replace. */
export const LOG2_STREAMS = 4;

/** Bytes of an interface's page 0: all that a guest gets of it. */
export const PAGE0_SIZE = 65536;
