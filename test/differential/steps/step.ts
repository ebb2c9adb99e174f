// A step of a session: one call, or a few that belong together.
import type { About, Session } from '../session.js';

export type Step = (session: Session) => void | Promise<void>;
/** How often it comes, beside the others, and which kind of object it is mostly about. */
export type Weighted = readonly [weight: number, step: Step, about?: About | undefined];
