/** The buckets an appliance works on, each under one stack of wrappers, and where in them its volumes are. */
import type { StoreStatus } from './cli/actions.ts';
import type { Settings, VolumeSettings } from './config/settings.ts';
import { parseStoreUrl, type VolumeLocation, volumeLocation } from './config/store-url.ts';
import type { Clock } from './lib/clock.ts';
import type { Log } from './lib/log.ts';
import { settleAll } from './lib/settle.ts';
import { SystemDisk } from './lib/system-disk.ts';
import { FileObjectStore } from './object/file/file-object-store.ts';
import { InstrumentedObjectStore } from './object/instrumented.ts';
import { LimitedObjectStore, StoreThrottle } from './object/limited.ts';
import { MemoryObjectStore } from './object/memory.ts';
import type { ObjectStore } from './object/object-store.ts';
import { type ConditionalPuts, probeConditionalPuts } from './object/probe.ts';
import { type AttemptListener, RetryingObjectStore } from './object/retrying.ts';
import { StoreHealth, type StoreHealthSnapshot } from './object/store-health.ts';
import { StoreMetrics, type StoreMetricsSnapshot } from './object/store-metrics.ts';
import { ThreadedObjectStore } from './object/thread/threaded-object-store.ts';
import { type UploadWindowStatus, UploadWindows } from './schedule/upload-windows.ts';
import type { Claimant } from './volume/claim.ts';
import type { CacheEnvironment, VolumeEnvironment } from './volume/open-volume.ts';
import { volumeKeys } from './volume/volume-keys.ts';
import type { VolumeOptions } from './volume/volume-options.ts';

/** Blocks of one volume being read, and those being written, take no more than this at once, but there are always a few. */
const BLOCK_MEMORY_MAX_BYTES = 128 * 1024 * 1024;
const BLOCKS_IN_FLIGHT_MIN = 4;
/** However many volumes share the cache. */
const CACHE_BYTES_MIN = 1024 * 1024;
/** Requests beside the limited ones: leases are renewed however busy the store is. */
const CONTROL_CONCURRENCY = 4;

export interface StoresOptions {
  readonly settings: Settings;
  readonly clock: Clock;
  readonly log: Log;
  /** Opens the bucket of a url without a prefix; S3, a directory or memory where left out. */
  readonly open?: (url: string) => Promise<ObjectStore>;
}

interface Stack {
  /** For blocks: limited in requests and bytes. */
  readonly data: ObjectStore;
  /** For leases: the same bucket, past the limits. */
  readonly control: ObjectStore;
  probe: Promise<ConditionalPuts> | null;
}

export interface Location extends VolumeLocation {
  /** For people. */
  readonly url: string;
}

export class Stores {
  readonly #options: StoresOptions;
  readonly #stacks = new Map<string, Promise<Stack>>();
  readonly #metrics = new StoreMetrics();
  readonly #health: StoreHealth;
  readonly #throttle: StoreThrottle;
  readonly #windows: UploadWindows;

  constructor(options: StoresOptions) {
    this.#options = options;
    this.#health = new StoreHealth(options.clock, options.log);
    const { store, upload, schedule } = options.settings;
    this.#windows = new UploadWindows(upload.windows, schedule.timezone, options.clock);
    // What goes up in a closed window is what somebody waits for.
    this.#throttle = new StoreThrottle(store, options.clock, () => this.#windows.rateBytes || null);
  }

  locate(volume: VolumeSettings): Location {
    const location = volumeLocation(this.#options.settings.store, volume);
    return { ...location, url: `${location.storeUrl}/${location.keyPrefix}` };
  }

  /** The bucket of a url without a prefix, past the limits: for a few small requests. */
  async controlStore(storeUrl: string): Promise<ObjectStore> {
    return (await this.#stack(storeUrl)).control;
  }

  /**
   * What opening the volume takes: its options, and the bucket it is in. `cached`: with a cache, where one is configured; the
   * caller must hold the directory of the caches.
   */
  async environment(
    volume: VolumeSettings,
    claimant: Claimant,
    { cached = false }: { readonly cached?: boolean } = {},
  ): Promise<{ readonly options: VolumeOptions; readonly environment: VolumeEnvironment }> {
    const { clock, log, settings } = this.#options;
    const { keyPrefix, storeUrl, url } = this.locate(volume);
    const stack = await this.#stack(storeUrl);
    const blockSizeBytes = volume.blockSizeBytes ?? 1024 * 1024;
    const environment: VolumeEnvironment = {
      store: stack.data,
      controlStore: stack.control,
      conditionalPuts: () => {
        stack.probe ??= probeConditionalPuts(stack.control, volumeKeys(keyPrefix).reserved).catch((error: unknown) => {
          stack.probe = null; // What could not be found out is asked again.
          throw error;
        });
        return stack.probe;
      },
      claimant,
      leaseDurationMs: settings.lease.durationMs,
      inFlightBlocksMax: Math.max(
        BLOCKS_IN_FLIGHT_MIN,
        Math.min(settings.store.concurrency * 2, Math.floor(BLOCK_MEMORY_MAX_BYTES / blockSizeBytes)),
      ),
      cache: cached && this.#isCached(volume) ? this.#cache(volume) : null,
      formerCache: cached && !this.#isCached(volume) ? this.#cache(volume) : null,
      clock,
      log,
    };
    return { options: { ...volume, url, prefix: keyPrefix }, environment };
  }

  #isCached({ readOnly, sharedDisk }: VolumeSettings): boolean {
    return this.#options.settings.cache.sizeBytes > 0 && !readOnly && !sharedDisk;
  }

  #cache({ name }: VolumeSettings): CacheEnvironment {
    const { cache, upload, volumes } = this.#options.settings;
    const sharers = Object.values(volumes).filter((one) => this.#isCached(one)).length;
    return {
      disk: new SystemDisk(),
      directory: cacheDirectory(cache.dir, name),
      cacheSizeBytes: Math.max(CACHE_BYTES_MIN, Math.floor(cache.sizeBytes / Math.max(1, sharers))),
      logSizeBytes: cache.logSizeBytes,
      triggers: { ...upload, holdsBack: () => !this.#windows.isOpen },
    };
  }

  /** Whether there is so much to do that what can wait should. */
  get isBusy(): boolean {
    const { places } = this.#throttle;
    return places.waiting > 0 || places.held * 2 > places.limit;
  }

  /** How fast uploads may go at present. */
  get uploadWindow(): UploadWindowStatus {
    return this.#windows.status();
  }

  /** From now on uploads go as fast as they can: what is left has little time. */
  liftUploadWindows(): void {
    this.#windows.lift();
    this.#throttle.noteBounds();
  }

  /** What has been asked of all buckets together since the start, and whether they answer. */
  counters(): { readonly metrics: StoreMetricsSnapshot; readonly health: StoreHealthSnapshot } {
    return { metrics: this.#metrics.snapshot(), health: this.#health.snapshot() };
  }

  status(): StoreStatus {
    const health = this.#health.snapshot();
    const metrics = this.#metrics.snapshot();
    const counters: Record<string, number> = {
      bytesUp: metrics.bytesUp,
      bytesDown: metrics.bytesDown,
      requestsInFlight: metrics.inFlight,
    };
    let attempts = 0;
    for (const [operation, { attempts: count, latencySumMs, outcomes }] of Object.entries(metrics.operations)) {
      attempts += count;
      counters[`${operation}Requests`] = count;
      counters[`${operation}Failures`] = count - (outcomes.ok ?? 0) - (outcomes.absent ?? 0);
      counters[`${operation}LatencyMeanMs`] = count === 0 ? 0 : Math.round((latencySumMs / count) * 100) / 100;
    }
    return {
      description: this.#options.settings.store.url,
      health: attempts === 0 ? 'unknown' : health.state,
      error: health.state === 'failing' ? (health.lastError?.message ?? null) : null,
      metrics: counters,
    };
  }

  /** Those that could not be opened have told so already, and have nothing to close. */
  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.#stacks.values());
    await settleAll(opened.map(async (stack) => stack.status === 'fulfilled' && stack.value.control.close()));
  }

  #stack(storeUrl: string): Promise<Stack> {
    let stack = this.#stacks.get(storeUrl);
    if (stack === undefined) {
      stack = this.#build(storeUrl).catch((error: unknown) => {
        this.#stacks.delete(storeUrl); // It is tried again when it is asked for again.
        throw error;
      });
      this.#stacks.set(storeUrl, stack);
    }
    return stack;
  }

  /** Attempts are counted below the retries; a pause between attempts holds no place. */
  async #build(storeUrl: string): Promise<Stack> {
    const { clock, settings } = this.#options;
    const { store } = settings;
    const raw = await (this.#options.open ?? ((url) => openStore(url, settings)))(storeUrl);
    const instrumented = new InstrumentedObjectStore(raw, this.#metrics, clock);
    const policy = {
      deadlineMs: store.retryDeadlineMs,
      pauseInitialMs: store.retryPauseInitialMs,
      pauseMaxMs: store.retryPauseMaxMs,
    };
    const attempts: AttemptListener = {
      succeeded: () => this.#health.succeeded(),
      failed: (error) => this.#health.failed(error),
      retried: () => this.#metrics.countRetry(),
    };
    const limited = new LimitedObjectStore(instrumented, this.#throttle);
    return {
      data: new RetryingObjectStore(limited, policy, clock, attempts),
      control: new RetryingObjectStore(instrumented, policy, clock, attempts),
      probe: null,
    };
  }
}

/** Where the cache of a volume is. */
export function cacheDirectory(dir: string, name: string): string {
  return `${dir}/volumes/${name}`;
}

async function openStore(url: string, { store }: Settings): Promise<ObjectStore> {
  const parsed = parseStoreUrl(url, '/');
  if (parsed.kind === 'memory') return new MemoryObjectStore();
  if (parsed.kind === 'file') return FileObjectStore.open(parsed.dir);
  const concurrency = store.concurrency + CONTROL_CONCURRENCY;
  return ThreadedObjectStore.open({ ...store, bucket: parsed.bucket, concurrency });
}
