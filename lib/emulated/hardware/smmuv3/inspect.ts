// What an SMMU and the devices behind it have cached, told for inspection.
import type { TlbEntryState } from '../platform.js';
import { PERMIT } from '../tlb.js';
import { GLOBAL } from './address-spaces.js';
import { addressPage } from './input-address.js';
import type { TranslationUnit } from './translation-unit.js';

const PAGE = 4096n;

interface Leaf {
  readonly page: number;
  readonly pages: number;
  readonly outPage: number;
  readonly permissions: number;
}

export function cachedTranslations(unit: TranslationUnit): TlbEntryState[] {
  return [...ofSmmu(unit), ...ofDevices(unit)];
}

function* ofSmmu({ tlb, spaces }: TranslationUnit): Generator<TlbEntryState> {
  for (const entry of tlb.entries()) {
    const space = spaces.byTag(entry.tag);
    if (space === undefined) continue;
    const { vmid, asid } = space;
    const owner = asid === GLOBAL ? { vmid, global: true } : { vmid, asid, global: false };
    yield { where: 'tlb', ...tell({ ...entry, page: addressPage(entry.page) }), ...owner };
  }
}

function* ofDevices({ streams }: TranslationUnit): Generator<TlbEntryState> {
  for (const stream of streams.values()) {
    for (const { pasid, ...leaf } of stream.atc.entries()) {
      yield { where: `atc ${stream.name}`, ...tell(leaf), ...(pasid === 0 ? {} : { pasid }) };
    }
  }
}

function tell({ page, pages, outPage, permissions }: Leaf) {
  return {
    iova: BigInt(page) * PAGE,
    length: BigInt(pages) * PAGE,
    address: BigInt(outPage) * PAGE,
    readable: (permissions & PERMIT.read) !== 0,
    writable: (permissions & PERMIT.write) !== 0,
  };
}
