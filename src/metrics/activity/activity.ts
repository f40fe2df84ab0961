/** What the appliance has done lately: samples of a few seconds each, made of counters that only grow. */
import type { Reading } from '../sources.ts';
import { SampleRing } from './sample-ring.ts';
import { STORE_SERIES, type StoreSample, StoreSampler } from './store-sampler.ts';
import { VOLUME_SERIES, type VolumeSample, VolumeSampler } from './volume-sampler.ts';

export const SAMPLE_INTERVAL_MS = 2_000;
/** A quarter of an hour. */
const SAMPLES = 450;
/** How long a time uploads are averaged over, to tell how long the rest will take. */
const DRAIN_SAMPLES = 15;

export interface VolumeActivity extends VolumeSample {
  /** How long uploading what is dirty will take, as things go at present; null where nothing is being uploaded. */
  readonly drainMs: number | null;
}

/** Of the last interval. */
export interface LatestActivity {
  readonly at: string;
  readonly intervalMs: number;
  readonly volumes: Readonly<Record<string, VolumeActivity>>;
  readonly store: StoreSample;
  readonly process: { readonly cpuShare: number | null; readonly residentBytes: number };
}

export interface ActivityHistory {
  readonly intervalMs: number;
  /** When the last sample was taken. */
  readonly at: string | null;
  readonly volume: Readonly<Record<keyof VolumeSample, readonly (number | null)[]>>;
  readonly store: Readonly<Record<keyof StoreSample, readonly (number | null)[]>>;
}

interface VolumeTrack {
  readonly sampler: VolumeSampler;
  readonly ring: SampleRing<keyof VolumeSample>;
}

export class Activity {
  readonly #volumes = new Map<string, VolumeTrack>();
  readonly #store = new StoreSampler();
  readonly #storeRing = new SampleRing(STORE_SERIES, SAMPLES);
  #latest: LatestActivity | null = null;
  #cpuBeforeUs = Number.NaN;

  /** To be called about every SAMPLE_INTERVAL_MS. `elapsedMs`: since the last time. */
  record(reading: Reading, elapsedMs: number): LatestActivity {
    const volumes = reading.volumes.map((volume) => {
      const { sampler, ring } = this.#trackOf(volume.name);
      const sample = sampler.sample(reading, volume, elapsedMs);
      ring.push(sample);
      return [volume.name, { ...sample, drainMs: drainMs(sample, ring) }] as const;
    });
    const store = this.#store.sample(reading.store.metrics, elapsedMs);
    this.#storeRing.push(store);
    this.#latest = {
      at: reading.now.toISOString(),
      intervalMs: elapsedMs,
      volumes: Object.fromEntries(volumes),
      store,
      process: { cpuShare: this.#cpuShare(elapsedMs), residentBytes: process.memoryUsage.rss() },
    };
    return this.#latest;
  }

  /** Null before the first sample. */
  get latest(): LatestActivity | null {
    return this.#latest;
  }

  /** Null for a volume that there is not. */
  history(volume: string): ActivityHistory | null {
    const track = this.#volumes.get(volume);
    if (track === undefined) return null;
    return {
      intervalMs: SAMPLE_INTERVAL_MS,
      at: this.#latest?.at ?? null,
      volume: track.ring.toArrays(),
      store: this.#storeRing.toArrays(),
    };
  }

  /** Volumes are configured: there are no more of them than at the start. */
  #trackOf(name: string): VolumeTrack {
    let track = this.#volumes.get(name);
    if (track === undefined) {
      track = { sampler: new VolumeSampler(), ring: new SampleRing(VOLUME_SERIES, SAMPLES) };
      this.#volumes.set(name, track);
    }
    return track;
  }

  #cpuShare(elapsedMs: number): number | null {
    const { user, system } = process.cpuUsage();
    const usedUs = user + system - this.#cpuBeforeUs;
    this.#cpuBeforeUs = user + system;
    return Number.isNaN(usedUs) || elapsedMs <= 0 ? null : usedUs / 1000 / elapsedMs;
  }
}

function drainMs({ dirtyBytes }: VolumeSample, ring: SampleRing<keyof VolumeSample>): number | null {
  if (dirtyBytes === null) return null;
  if (dirtyBytes === 0) return 0;
  const bytesPerSecond = ring.meanOfLast('uploadedBytes', DRAIN_SAMPLES) ?? 0;
  return bytesPerSecond > 0 ? Math.round((dirtyBytes / bytesPerSecond) * 1000) : null;
}
