/** What the page is told: of all that an appliance tells of itself, what is shown. Sizes in bytes, times in ms, rates a second. */

type Maybe = number | null;

export interface CacheView {
  readonly dirtyBytes: number;
  readonly oldestDirtyMs: Maybe;
  readonly logUsedBytes: number;
  readonly logSizeBytes: number;
  readonly waitingWrites: number;
  readonly damagedPages: number;
  readonly logError: string | null;
  readonly uploading: boolean;
  readonly uploadedBytes: number;
  readonly uploadError: { readonly code: string; readonly message: string; readonly sinceMs: number } | null;
  readonly cachedBytes: number;
  readonly cacheSizeBytes: number;
}

export interface VolumeStatusView {
  readonly name: string;
  readonly url: string;
  readonly state: string;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly sizeBytes: Maybe;
  readonly blockSizeBytes: Maybe;
  readonly layout: string;
  readonly durability: 'local' | 's3';
  readonly compress: string;
  readonly encryption: string | null;
  readonly readOnly: boolean;
  readonly sharedDisk: boolean;
  readonly default: boolean;
  readonly lease: { readonly holder: string; readonly state: string; readonly renewedAgoMs: Maybe } | null;
  readonly survey: { readonly done: boolean; readonly blocksListed: number } | null;
  readonly storedBlocks: Maybe;
  readonly cache: CacheView | null;
  readonly connections: number;
}

export interface ConnectionView {
  readonly peer: string;
  readonly state: string;
  readonly tls: string | null;
  readonly client: readonly string[];
  readonly volume: string | null;
  readonly readOnly: boolean | null;
  readonly connectedMs: number;
  readonly requests: number;
  readonly requestsInFlight: number;
  readonly inFlightBytes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
}

/** A scheduled job. */
export interface JobView {
  readonly name: string;
  readonly cron: string | null;
  readonly running: boolean;
  /** ISO 8601. */
  readonly nextRunAt: string | null;
  readonly lastRun: {
    readonly startedAt: string;
    readonly durationMs: number;
    readonly result: string;
    readonly detail: string | null;
  } | null;
  readonly succeeded: number;
  readonly failed: number;
}

/** Something that was worth a line in the log. */
export interface EventView {
  readonly at: string;
  readonly level: string;
  readonly message: string;
  readonly volume: string | null;
}

export interface StatusView {
  readonly version: string;
  readonly pid: Maybe;
  readonly uptimeMs: Maybe;
  readonly nbd: readonly string[];
  readonly fuse: { readonly dir: string; readonly mounted: boolean; readonly openFiles: number } | null;
  readonly mounts: readonly { readonly name: string; readonly dir: string; readonly device: string }[];
  readonly connections: readonly ConnectionView[];
  readonly store: { readonly description: string; readonly health: string; readonly error: string | null };
  readonly volumes: readonly VolumeStatusView[];
  readonly jobs: readonly JobView[];
  /** Oldest first. */
  readonly recentEvents: readonly EventView[];
}

/** Of the last few seconds, a second where it says how much. Shares are from 0 to 1. */
export interface VolumeActivityView {
  readonly readBytes: Maybe;
  readonly writtenBytes: Maybe;
  readonly reads: Maybe;
  readonly writes: Maybe;
  readonly flushes: Maybe;
  readonly readMs: Maybe;
  readonly readMs99: Maybe;
  readonly writeMs: Maybe;
  readonly writeMs99: Maybe;
  readonly flushMs: Maybe;
  readonly hitShare: Maybe;
  readonly dirtyBytes: Maybe;
  readonly uploadedBytes: Maybe;
}

export interface StoreActivityView {
  readonly requests: Maybe;
  readonly failures: Maybe;
  readonly sentBytes: Maybe;
  readonly receivedBytes: Maybe;
  readonly getMs: Maybe;
  readonly putMs: Maybe;
}

export interface ActivityView {
  readonly at: string;
  readonly intervalMs: number;
  readonly volumes: Readonly<Record<string, VolumeActivityView & { readonly drainMs: Maybe }>>;
  readonly store: StoreActivityView;
  readonly process: { readonly cpuShare: Maybe; readonly residentBytes: number };
}

/** Since the start. */
export interface CostView {
  readonly currency: string;
  readonly requests: { readonly write: number; readonly read: number; readonly free: number };
  readonly receivedBytes: number;
  readonly cost: { readonly write: number; readonly read: number; readonly received: number };
}

/** What comes with each event. */
export interface LiveDocument {
  readonly status: StatusView;
  /** Null before the first sample. */
  readonly activity: ActivityView | null;
  readonly cost: CostView;
  /** What can be asked for with the token, by path; none where there is no token. */
  readonly changes: readonly string[];
}

export interface HistoryView {
  readonly intervalMs: number;
  readonly at: string | null;
  readonly volume: Readonly<Record<keyof VolumeActivityView, readonly Maybe[]>>;
  readonly store: Readonly<Record<keyof StoreActivityView, readonly Maybe[]>>;
}

/** The shares of cells are bytes, in base64. */
export interface MapView {
  readonly sizeBytes: number;
  readonly offset: number;
  readonly length: number;
  readonly cellBytes: number;
  readonly dirty: string;
  readonly clean: string;
  readonly stored: string;
  readonly unknown: string;
  readonly dirtyBytes: number;
  readonly cleanBytes: number;
  readonly storedBytes: number;
  readonly unknownBytes: number;
}
