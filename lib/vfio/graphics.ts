// The planes of a virtual display that a mediated graphics device has: what is shown, as a dma-buf or in a region.
import { checkOptions, oneOf, toU32 } from '../host/arguments.js';
import { refusal, tryCall } from '../objects/call.js';
import * as uapi from '../uapi/vfio.js';
import type { DeviceCore } from './core.js';
import { OwnedFile } from './owned-file.js';

/** How a plane is handed out: in a file, or in a region of the device. */
export type GraphicsWay = 'dmabuf' | 'region';

/** DRM's plane types (drm_mode.h). */
const PLANES = { overlay: 0, primary: 1, cursor: 2 } as const;
export type GraphicsPlaneType = keyof typeof PLANES;

export interface GraphicsPlaneOptions {
  /** Which plane; 'primary' if left out. */
  readonly plane?: GraphicsPlaneType;
  /** How it is to be handed out: see `supports`. */
  readonly via: GraphicsWay;
}

/** A plane as it is now. */
export interface GraphicsPlane {
  /** DRM pixel format: a fourcc. */
  readonly format: number;
  /** DRM format modifier. */
  readonly modifier: bigint;
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** Bytes from one line to the next. */
  readonly stride: number;
  /** Bytes. */
  readonly size: number;
  /** Where a cursor plane is, in pixels. */
  readonly x: number;
  readonly y: number;
  /** A cursor's hotspot, in pixels; undefined without one. */
  readonly hotspot: { readonly x: number; readonly y: number } | undefined;
  /** The region that holds it, via 'region'. */
  readonly region: number | undefined;
  /** What `dmabuf` takes, via 'dmabuf'. The same number stands for the same picture buffer. */
  readonly dmabufId: number | undefined;
}

const FLAGS = uapi.vfio_gfx_plane_type.values;
const WAYS = { dmabuf: FLAGS.VFIO_GFX_PLANE_TYPE_DMABUF, region: FLAGS.VFIO_GFX_PLANE_TYPE_REGION } as const;
const ALL_ONES = 0xffff_ffff;
const QUERY = uapi.VFIO_DEVICE_QUERY_GFX_PLANE;
const EINVAL = -22;
const ENOTTY = -25;

/** Made by `nic.graphics`. */
export class Graphics {
  readonly #core: DeviceCore;

  /** Not for callers: use `nic.graphics`. */
  constructor(core: DeviceCore) {
    this.#core = core;
  }

  /** Whether planes are handed out so (VFIO_DEVICE_QUERY_GFX_PLANE, Linux 4.16); false for devices without a display. */
  supports(via: GraphicsWay): boolean {
    const flags = FLAGS.VFIO_GFX_PLANE_TYPE_PROBE | WAYS[oneOf(via, ['dmabuf', 'region'], 'via')];
    const { result } = tryCall(this.#core, QUERY, { flags });
    if (result === EINVAL || result === ENOTTY) return false;
    if (result < 0) throw refusal(this.#core, QUERY, result, { flags });
    return true;
  }

  /**
   * A plane as it is now; undefined where it is off.
   * @throws IommufdError ENOTTY (no display), EINVAL (not handed out so)
   */
  plane(options: GraphicsPlaneOptions): GraphicsPlane | undefined {
    checkOptions(options, ['plane', 'via']);
    const { plane = 'primary', via } = { ...options };
    const drm_plane_type = PLANES[oneOf(plane, ['overlay', 'primary', 'cursor'], 'plane')];
    const input = { flags: WAYS[oneOf(via, ['dmabuf', 'region'], 'via')], drm_plane_type };
    const { result, out } = tryCall(this.#core, QUERY, input);
    if (result < 0) throw refusal(this.#core, QUERY, result, input);
    if (out.size === 0 && out.width === 0 && out.height === 0) return undefined;
    const hotspot = out.x_hot === ALL_ONES && out.y_hot === ALL_ONES ? undefined : { x: out.x_hot, y: out.y_hot };
    return {
      format: out.drm_format,
      modifier: out.drm_format_mod,
      width: out.width,
      height: out.height,
      stride: out.stride,
      size: out.size,
      x: out.x_pos,
      y: out.y_pos,
      hotspot,
      region: via === 'region' ? out.region_index : undefined,
      dmabufId: via === 'dmabuf' ? out.dmabuf_id : undefined,
    };
  }

  /**
   * The dma-buf of a plane (VFIO_DEVICE_GET_GFX_DMABUF, Linux 4.16).
   * @param id the plane's `dmabufId`
   * @throws IommufdError ENOENT (no plane has this id any more), ENOTTY (no display, or not handed out so)
   */
  dmabuf(id: number): GraphicsDmabuf {
    const input = { dmabuf_id: toU32(id, 'id') };
    const { result } = tryCall(this.#core, uapi.VFIO_DEVICE_GET_GFX_DMABUF, input);
    if (result < 0) throw refusal(this.#core, uapi.VFIO_DEVICE_GET_GFX_DMABUF, result, input);
    return new GraphicsDmabuf(new OwnedFile(this.#core, result, 'a dma-buf of a plane'));
  }
}

/** Made by `graphics.dmabuf`. It closes with its device. */
export class GraphicsDmabuf {
  readonly #file: OwnedFile;

  /** Not for callers: use `graphics.dmabuf`. */
  constructor(file: OwnedFile) {
    this.#file = file;
  }
  /** The fd, owned by this object. */
  get fd(): number {
    return this.#file.fd;
  }
  get closed(): boolean {
    return !this.#file.open;
  }
  /** Twice is fine. */
  close(): void {
    this.#file.close();
  }
  [Symbol.dispose](): void {
    this.close();
  }
}
