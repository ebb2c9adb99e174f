// How the command tells the preload what to do: variables of the environment.
export const MODES = ['record', 'replay'] as const;
export type Mode = (typeof MODES)[number];

export const MODE = 'IOMMUFD_TRANSCRIPT_MODE';
export const FILE = 'IOMMUFD_TRANSCRIPT_FILE';
/** Where processes tell that they opened a host: claim.ts. */
export const FOLDER = 'IOMMUFD_TRANSCRIPT_FOLDER';
