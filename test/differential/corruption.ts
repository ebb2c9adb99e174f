// One field of a struct that is wrong: pointers to nowhere, bits that nobody knows, numbers at their limits.
import type { Field, Fields, Input, Layout } from '../../lib/uapi/index.js';
import { isPadding } from '../../lib/uapi/layout.js';
import type { Random } from './random.js';

const PAGE = 4096n;
const U32_MAX = 0xffff_ffff;
const U64_MAX = 2n ** 64n - 1n;

/**
 * Fields that must stay what a step meant. What sessions know of an object would not be so any more (which tables tell what
 * lies next to what physically, which PASIDs the mock's devices must be rid of); or the kernel would take long, look at what
 * lies behind memory, or complain. `true`: all of them.
 */
const KEPT: Readonly<Record<string, true | readonly string[]>> = {
  iommu_destroy: true,
  iommu_option: ['option_id', 'op', 'object_id', 'val64'],
  iommu_hwpt_alloc: ['pt_id'],
  iommu_hwpt_invalidate: ['entry_num', 'entry_len'],
  iommu_hwpt_get_dirty_bitmap: ['iova', 'length', 'page_size'],
  iommu_hw_queue_alloc: ['nesting_parent_iova', 'length'],
  iommu_ioas_noiommu_get_pa: ['iova', 'length'],
  'iommu_test_cmd.check_map': ['iova', 'length', 'uptr'],
  'iommu_test_cmd.check_refs': ['length', 'uptr', 'refs'],
  'iommu_test_cmd.access_pages': ['iova', 'length', 'uptr', 'id'],
  'iommu_test_cmd.access_rw': ['length', 'id'],
  'iommu_test_cmd.access_replace_ioas': ['id'],
  'iommu_test_cmd.destroy_access_pages': ['id'],
  'iommu_test_cmd.memory_limit': ['limit'],
  'iommu_test_cmd.dirty': ['iova', 'length', 'page_size'],
  'iommu_test_cmd.pasid_attach': ['id', 'pasid', 'pt_id'],
  'iommu_test_cmd.pasid_replace': ['id', 'pasid', 'pt_id'],
  'iommu_test_cmd.pasid_detach': ['id', 'pasid'],
};

const CHANGED: ReadonlySet<string> = new Set(['u32', 's32', 'u64', 'ptr']);

function fieldsOf(layout: Layout<Fields>): string[] {
  const kept = KEPT[layout.name] ?? [];
  if (kept === true) return [];
  return Object.entries(layout.fields).flatMap(([name, { kind }]) =>
    CHANGED.has(kind) && !['size', 'argsz', 'op', 'last', ...kept].includes(name) ? [name] : [],
  );
}

/** Where nothing is in any process: very low, behind its last address, in the kernel, at the end of all. */
const NOWHERE = [0n, 1n, PAGE - 1n, PAGE, 2n ** 47n, 0xffff_8880_0000_0000n, 2n ** 63n, U64_MAX - 7n, U64_MAX] as const;

function wrong(random: Random, name: string, { kind }: Field, value: bigint | number): bigint | number {
  if (kind === 'ptr' || name === 'user_va') {
    return random.percent(85) ? random.pick(NOWHERE) : BigInt.asUintN(64, BigInt(value) + 1n);
  }
  if (kind === 'u64') {
    const near = [BigInt(value) + 1n, BigInt(value) - 1n, BigInt(value) ^ (1n << BigInt(random.below(64)))] as const;
    const limits = [0n, 1n, PAGE - 1n, 2n ** 32n, 2n ** 63n, U64_MAX - PAGE + 1n, U64_MAX] as const;
    return BigInt.asUintN(64, random.percent(50) ? random.pick(near) : random.pick(limits));
  }
  // Files of this process that the other kernel knows nothing of have low numbers.
  if (kind === 's32') return random.pick([-1, -2, 0x7fff_ffff]);
  if (/flags/.test(name) || isPadding(name)) return (Number(value) ^ (1 << random.below(32))) >>> 0;
  return random.pick([0, 1, Number(value) ^ 1, 2, 3, 4, 5, 0x7fff_ffff, U32_MAX]) >>> 0;
}

export function corrupt<F extends Fields>(random: Random, layout: Layout<F>, input: Input<F>): Input<F> {
  const name = random.pick(fieldsOf(layout as unknown as Layout<Fields>));
  const field = name === undefined ? undefined : layout.fields[name];
  if (name === undefined || field === undefined) return input;
  const value = (input as Readonly<Record<string, unknown>>)[name] ?? 0;
  if (Array.isArray(value)) return { ...input, [name]: value.map(() => random.below(2)) };
  if (field.isArray || (typeof value !== 'bigint' && typeof value !== 'number')) return input;
  return { ...input, [name]: wrong(random, name, field, value) };
}
