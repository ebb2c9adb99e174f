// A bound device whose VFIO_DEVICE_FEATURE a test answers, feature by feature.
import diagnostics_channel from 'node:diagnostics_channel';
import { VFIO_DEVICE_FEATURE, vfio_device_feature_flags, vfio_device_feature_index } from '../../lib/uapi/vfio.js';
import type { Feature } from '../../lib/vfio/feature-call.js';
import { agreeable, type DeviceStage, deviceStage } from './stage.js';

const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_PROBE: PROBE } = vfio_device_feature_flags.values;
const ENOTTY = -25;
const EINVAL = -22;

/** A call as the kernel sees it. */
export interface FeatureCall {
  readonly operation: 'get' | 'set';
  readonly probe: boolean;
  /** The bytes behind the struct, which an answer may change. */
  readonly data: Uint8Array;
  readonly view: DataView;
  /** What a pointer in them points at. */
  memory(address: bigint, length: number): Uint8Array;
}

export type FeatureAnswer = (call: FeatureCall) => number;

/** Features that have no answer are ENOTTY, as the kernel has it. */
export function featureStage(answers: Partial<Record<Feature, FeatureAnswer>>): DeviceStage {
  const seam = agreeable();
  const names = Object.entries(vfio_device_feature_index.values) as [Feature, number][];
  seam.on(VFIO_DEVICE_FEATURE, ({ argsz, flags }, { tail, memory }) => {
    const name = names.find(([, index]) => index === (flags & 0xffff))?.[0];
    const answer = name === undefined ? undefined : answers[name];
    if (answer === undefined) return ENOTTY;
    const data = tail(argsz - VFIO_DEVICE_FEATURE.layout.size);
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    const operation = (flags & GET) === 0 ? 'set' : 'get';
    return answer({ operation, probe: (flags & PROBE) !== 0, data, view, memory });
  });
  return deviceStage(seam);
}

/** Agrees to one operation, and is done with its data by `work`. */
export function only(operation: 'get' | 'set', work: (call: FeatureCall) => number = () => 0): FeatureAnswer {
  return (call) => {
    if (call.operation !== operation) return EINVAL;
    return call.probe ? 0 : work(call);
  };
}

/** Runs once, inside the next call of this name. */
export function during(syscall: string, work: () => void): () => void {
  const listener = (message: unknown) => {
    if ((message as { syscall: string }).syscall !== syscall) return;
    diagnostics_channel.unsubscribe('iommufd:call', listener);
    work();
  };
  diagnostics_channel.subscribe('iommufd:call', listener);
  return () => diagnostics_channel.unsubscribe('iommufd:call', listener);
}
