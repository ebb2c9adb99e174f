// VFIO_DEVICE_FEATURE: one call for fourteen features, each with data of its own behind the struct. A refusal is told by
// the feature's name, not the call's: what an errno means is different for each.
import { IommufdError } from '../host/errors.js';
import type { Port } from '../objects/call.js';
import type { Fields, Input, Layout, Values } from '../uapi/layout.js';
import { VFIO_DEVICE_FEATURE, vfio_device_feature_flags, vfio_device_feature_index } from '../uapi/vfio.js';
import { tryTailCall, tryTailCallAsync } from './tail-call.js';

/** A feature, by its C name. */
export type Feature = keyof typeof vfio_device_feature_index.values;

const {
  VFIO_DEVICE_FEATURE_GET: GET,
  VFIO_DEVICE_FEATURE_SET: SET,
  VFIO_DEVICE_FEATURE_PROBE: PROBE,
} = vfio_device_feature_flags.values;

export type FeatureOperation = 'get' | 'set';

const NO_DATA = new Uint8Array(0);

/** What the data of a refused call was, for its error. */
export interface Refused {
  readonly args?: Readonly<Record<string, unknown>>;
  /** Says more than errno and arguments do. */
  readonly extra?: string;
}

/** Gets or sets a feature. `data` goes there and comes back; answers what the call answered, or -errno. */
export function tryFeature(
  port: Port,
  feature: Feature,
  operation: FeatureOperation,
  data: Uint8Array = NO_DATA,
): number {
  return tryTailCall(port, VFIO_DEVICE_FEATURE, { flags: flagsOf(feature, operation) }, data).result;
}

/** As `tryFeature`, on the thread pool. */
export async function tryFeatureAsync(
  port: Port,
  feature: Feature,
  operation: FeatureOperation,
  data: Uint8Array = NO_DATA,
): Promise<number> {
  const { result } = await tryTailCallAsync(port, VFIO_DEVICE_FEATURE, { flags: flagsOf(feature, operation) }, data);
  return result;
}

function flagsOf(feature: Feature, operation: FeatureOperation): number {
  return vfio_device_feature_index.values[feature] | (operation === 'get' ? GET : SET);
}

/** A refused feature as an error. */
export function featureRefusal(
  { seam }: Pick<Port, 'seam'>,
  feature: Feature,
  errno: number,
  args: Refused['args'],
  extra?: string,
): IommufdError {
  return new IommufdError(feature, errno, args, extra, seam.release);
}

/** As `tryFeature`; throws IommufdError on a refusal. */
export function callFeature(
  port: Port,
  feature: Feature,
  operation: FeatureOperation,
  data: Uint8Array = NO_DATA,
  refused: Refused = {},
): number {
  const result = tryFeature(port, feature, operation, data);
  if (result < 0) throw featureRefusal(port, feature, result, { operation, ...refused.args }, refused.extra);
  return result;
}

/** Reads a feature whose data is this struct; what the kernel reads of it first is in `input`. */
export function getFeature<F extends Fields>(
  port: Port,
  feature: Feature,
  layout: Layout<F>,
  input: Input<F> = {},
): Values<F> {
  const data = encodeData(layout, input);
  callFeature(port, feature, 'get', data, { args: input });
  return decodeData(layout, data);
}

/** Changes a feature whose data is this struct; answers it as the kernel left it. */
export function setFeature<F extends Fields>(
  port: Port,
  feature: Feature,
  layout: Layout<F>,
  input: Input<F>,
): Values<F> {
  const data = encodeData(layout, input);
  callFeature(port, feature, 'set', data, { args: input });
  return decodeData(layout, data);
}

/** Whether a feature can be had, or changed; nothing is done. Answers 0 or -errno. */
export function probeFeature(port: Port, feature: Feature, operation: FeatureOperation): number {
  const flags = flagsOf(feature, operation) | PROBE;
  return tryTailCall(port, VFIO_DEVICE_FEATURE, { flags }, NO_DATA).result;
}

/** A feature's struct as bytes. */
export function encodeData<F extends Fields>(layout: Layout<F>, input: Input<F>, room = layout.size): Uint8Array {
  const data = new Uint8Array(room);
  layout.encode(new DataView(data.buffer), 0, input);
  return data;
}

/** The struct in a feature's bytes. */
export function decodeData<F extends Fields>(layout: Layout<F>, data: Uint8Array): Values<F> {
  return layout.decode(new DataView(data.buffer, data.byteOffset), 0);
}
