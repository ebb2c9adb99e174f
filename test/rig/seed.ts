// What tests make up at random starts at a seed: IOMMUFD_SEED where it is set, as in CI, which is to fail for what was changed and
// not by chance. Without it every run breaks new ground. Loaded before the tests: properties of fast-check begin there too.
import * as fc from 'fast-check';

const { IOMMUFD_SEED } = process.env;

/** A number below 1,000,000 if nothing was set. */
export const SEED = IOMMUFD_SEED === undefined ? Date.now() % 1_000_000 : Number(IOMMUFD_SEED);
if (!Number.isSafeInteger(SEED)) throw new RangeError(`IOMMUFD_SEED must be an integer, not ${IOMMUFD_SEED}`);

if (IOMMUFD_SEED !== undefined) fc.configureGlobal({ seed: SEED });
