// A step of a sequence: one call, or a few that belong together.
import type { VfioSession } from '../session.js';

export type VfioStep = (session: VfioSession) => void | Promise<void>;
export type WeightedStep = readonly [weight: number, step: VfioStep];
