/** What the metrics are read from. */
import type { CachedVolumeStatus } from '../cache/cached-volume.ts';
import type { FuseStatus } from '../fuse/server.ts';
import type { ConnectionStatus } from '../nbd/connection-status.ts';
import type { NbdCounters } from '../nbd/server.ts';
import type { StoreHealthSnapshot } from '../object/store-health.ts';
import type { StoreMetricsSnapshot } from '../object/store-metrics.ts';
import type { JobCounters } from '../schedule/job.ts';

export interface VolumeReading {
  readonly name: string;
  /** Clients can attach to it. */
  readonly serving: boolean;
  /** Another writer has taken it. */
  readonly fenced: boolean;
  /** Null while it is not open. */
  readonly sizeBytes: number | null;
  /** Null where they have not been counted. */
  readonly storedBlocks: number | null;
  /** Since the lease was last known to be ours; null where there is none. */
  readonly leaseConfirmedAgoMs: number | null;
  /** Null where it has none. */
  readonly cache: CachedVolumeStatus | null;
}

export interface NbdReading {
  readonly counters: NbdCounters;
  readonly connections: readonly ConnectionStatus[];
  readonly inFlightBytes: number;
}

/** What the bucket's provider charges. */
export interface Prices {
  readonly writesPerThousand: number;
  readonly readsPerThousand: number;
  readonly receivedPerGib: number;
}

/** Of one moment: read once for each time that somebody asks. */
export interface Reading {
  readonly version: string;
  readonly ready: boolean;
  readonly volumes: readonly VolumeReading[];
  readonly nbd: NbdReading;
  /** Null where there is none. */
  readonly fuse: FuseStatus | null;
  readonly store: {
    readonly metrics: StoreMetricsSnapshot;
    readonly health: StoreHealthSnapshot;
    readonly prices: Prices;
  };
  readonly uploadWindow: { readonly open: boolean; readonly rateBytes: number | null };
  readonly jobs: readonly JobCounters[];
  readonly now: Date;
}
