/** What a running appliance is asked to do with one of its volumes over the control socket. */
import type { ControlHandler, ControlRoutes } from './admin/control-server.ts';
import { isStorageError, StorageError } from './lib/errors.ts';
import type { Volume } from './volume/volume.ts';

/** How long a command waits for an answer before it is told how far things have come. */
const CONTROL_PATIENCE_MS = 2_000;
/** Of one request to load a part of a volume: so that progress can be told between them. */
const WARM_BYTES_MAX = 256 * 1024 * 1024;

export interface VolumeRequestsOptions {
  /** NOT_FOUND or UNAVAILABLE where there is none that is open. */
  readonly volumeOf: (name: string) => Volume;
  /** How many clients are attached to it, files that are open included. */
  readonly attachedTo: (name: string) => number;
  /** Aborts when the appliance stops. */
  readonly stopping: AbortSignal;
}

export class VolumeRequests {
  readonly #options: VolumeRequestsOptions;

  constructor(options: VolumeRequestsOptions) {
    this.#options = options;
  }

  get routes(): ControlRoutes {
    return {
      'POST /v1/resize': (body, gone) => this.#resize(body, gone),
      'POST /v1/flush': (body, gone) => this.#flush(body, gone),
      'POST /v1/warm': (body, gone) => this.#warm(body, gone),
    };
  }

  /** Ends where whoever asked hangs up: a shrink keeps everybody out, and may have to wait for the bucket. */
  async #resize(...[{ name, sizeBytes, force }, gone]: Parameters<ControlHandler>): Promise<object> {
    if (typeof name !== 'string' || typeof sizeBytes !== 'number' || typeof force !== 'boolean') {
      throw new StorageError('INVALID', 'a resize needs a name, sizeBytes and force');
    }
    const volume = this.#options.volumeOf(name);
    // Nothing is awaited from here until the volume is resizing: who has not attached by now is refused until that has ended.
    const attached = this.#options.attachedTo(name);
    if (sizeBytes < volume.record.sizeBytes && attached > 0) {
      throw new StorageError(
        'HELD',
        `volume ${name} has ${attached} ${attached === 1 ? 'client' : 'clients'} attached: detach all of them, and unmount it, before it is made smaller`,
      );
    }
    return { name, ...(await volume.resize(sizeBytes, { force, signal: gone })) };
  }

  /** Uploads everything the volume has; answers early, with what is left, where that takes long. */
  async #flush(...[{ name }, gone]: Parameters<ControlHandler>): Promise<object> {
    if (typeof name !== 'string') throw new StorageError('INVALID', 'a flush needs a name');
    const { cached } = this.#options.volumeOf(name);
    if (cached === null) return { name, dirtyBytes: 0, uploadError: null };
    const patience = AbortSignal.any([AbortSignal.timeout(CONTROL_PATIENCE_MS), this.#options.stopping, gone]);
    await cached.uploadAll(patience).catch((error: unknown) => {
      if (!isStorageError(error, 'CANCELLED')) throw error;
    });
    const { dirtyBytes, upload } = cached.status();
    // It goes on without us: asked again and again it would answer at once each time.
    if (dirtyBytes > 0) this.#refuseStopping();
    return { name, dirtyBytes, uploadError: upload.error };
  }

  /** Brings a part of the volume into its cache. */
  async #warm(...[{ name, offset, length }, gone]: Parameters<ControlHandler>): Promise<object> {
    const sound = typeof name === 'string' && isOffset(offset) && isOffset(length) && length <= WARM_BYTES_MAX;
    if (!sound)
      throw new StorageError('INVALID', `a warm needs a name, an offset and a length of at most ${WARM_BYTES_MAX}`);
    const { device, cached, record } = this.#options.volumeOf(name);
    if (cached === null) throw new StorageError('UNSUPPORTED', `volume ${name} has no cache to be loaded into`);
    const end = Math.min(offset + length, record.sizeBytes);
    const giveUp = AbortSignal.any([this.#options.stopping, gone]);
    if (offset < end) await device.prefetch(offset, end - offset, giveUp);
    this.#refuseStopping();
    return { name, sizeBytes: record.sizeBytes, cachedBytes: cached.status().cache.usedBytes };
  }

  /** What was cut off is not done. */
  #refuseStopping(): void {
    if (this.#options.stopping.aborted) throw new StorageError('CANCELLED', 'the appliance is stopping');
  }
}

function isOffset(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
