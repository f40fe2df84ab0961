/**
 * What the command line asks of the appliance, and the answers it prints. The answers are plain data: with --json they
 * are printed as they stand, so that a name or a meaning here changes only with a note in the CHANGELOG.
 */
import type { DiskFigures } from '../bench/disk-bench.ts';
import type { StoreFigure } from '../bench/store-bench.ts';
import type { SettingEntry } from '../config/load-settings.ts';
import type { Settings } from '../config/settings.ts';
import type { Finding } from '../doctor/finding.ts';
import type { Logger } from '../telemetry/logger.ts';

/** Where a verb prints: stdout or stderr. */
export interface Output {
  write(text: string): unknown;
  /** Set where a person is looking at it. */
  readonly isTTY?: boolean | undefined;
  /** Width of the terminal in characters, where there is one. */
  readonly columns?: number | undefined;
}

/** What every action gets besides its own arguments. */
export interface CommandContext {
  readonly settings: Settings;
  readonly log: Logger;
  /** The caller prints the answer as JSON: an action has nothing to print on stdout itself. */
  readonly json: boolean;
  readonly stdout: Output;
  readonly stderr: Output;
  /** Aborts when the user wants out: at the first SIGINT or SIGTERM, or at the second one for `serve`. */
  readonly signal: AbortSignal;
}

export interface ServeOptions {
  /** Volumes to take from the writer that holds them. */
  readonly takeOver: readonly string[];
  /**
   * Aborts at the first SIGINT or SIGTERM: take no new requests, finish those under way until `shutdown.drain`, release
   * the leases. `context.signal` aborts at the second one: do the same without waiting for the drain time to pass.
   */
  readonly stop: AbortSignal;
  /** Calls `reload` whenever the files with certificates and keys are to be read again. */
  readonly onReload?: (reload: () => void) => void;
  /** Mounted once everything is served; where one cannot be, the start fails. */
  readonly mounts?: readonly (MountOptions & { readonly name: string; readonly dir: string })[];
}

export type MountFilesystem = 'ext4' | 'xfs' | 'btrfs';

export interface MountOptions {
  /** The filesystem to make where nothing is on the volume; null: none is made. */
  readonly fs: MountFilesystem | null;
}

export interface UnmountOptions {
  /** Also while it is in use. */
  readonly force: boolean;
}

export interface CreateOptions {
  /** Create the volume also where its prefix holds other keys. Never over another volume. */
  readonly force: boolean;
}

export interface ResizeOptions extends ProgressOptions {
  /** Allow the volume to become smaller, which deletes what lies beyond the new end. */
  readonly force: boolean;
}

/** How far a long action has come. */
export interface Progress {
  /** What is counted, in the plural: `objects`. */
  readonly unit: string;
  readonly done: number;
  /** Null while it is not known. */
  readonly total: number | null;
}

export interface ProgressOptions {
  readonly onProgress: (progress: Progress) => void;
}

export type EraseOptions = ProgressOptions;

export interface WarmOptions extends ProgressOptions {
  readonly offset: number;
  /** Null: to the end of the volume. */
  readonly length: number | null;
}

/** The appliance as the command line sees it. Every method rejects with a StorageError. */
export interface Actions {
  /** Serves the configured volumes until told to stop. Resolves with the exit code. */
  serve(context: CommandContext, options: ServeOptions): Promise<number>;
  /** Creates `volumes.NAME` of the configuration in its bucket. INVALID where it exists or the prefix is taken. */
  createVolume(context: CommandContext, name: string, options: CreateOptions): Promise<VolumeDescription>;
  /** Asks the running appliance over its control socket, else the bucket. */
  status(context: CommandContext): Promise<ApplianceStatus>;
  /** Asks the running appliance over its control socket, and nobody else. What keeps it from answering is a problem too. */
  health(context: CommandContext): Promise<HealthReport>;
  resizeVolume(
    context: CommandContext,
    name: string,
    sizeBytes: number,
    options: ResizeOptions,
  ): Promise<ResizeOutcome>;
  /** Deletes every object of the volume. The caller has asked for confirmation. */
  eraseVolume(context: CommandContext, name: string, options: EraseOptions): Promise<EraseOutcome>;
  /**
   * Has the running appliance mount the volume; where none runs, serves and mounts until `stop` aborts, as `serve`. Prints what
   * was mounted where an appliance did it. `dir` is absolute. Resolves with the exit code.
   */
  mountVolume(
    context: CommandContext,
    name: string,
    dir: string,
    options: MountOptions & Pick<ServeOptions, 'stop'>,
  ): Promise<number>;
  /** Has the running appliance unmount it. NOT_FOUND where it is not mounted. */
  unmountVolume(context: CommandContext, name: string, options: UnmountOptions): Promise<MountOutcome>;
  /** Uploads everything that was written: by the running appliance, or from the cache that one has left. */
  flushVolume(context: CommandContext, name: string, options: ProgressOptions): Promise<FlushOutcome>;
  /** Loads a part of the volume into the running appliance's cache. */
  warmVolume(context: CommandContext, name: string, options: WarmOptions): Promise<WarmOutcome>;
  /** The jobs of the running appliance. UNAVAILABLE where none runs. */
  listJobs(context: CommandContext): Promise<readonly JobStatus[]>;
  /** Earlier runs, oldest first; of all jobs where none is named. UNAVAILABLE where no appliance runs. */
  jobHistory(context: CommandContext, name: string | null): Promise<readonly JobRunOutcome[]>;
  /** Runs a job of the running appliance, or joins the run under way; resolves when it has ended. */
  runJob(context: CommandContext, name: string): Promise<JobRunOutcome>;
  /** Writes what is in the volume's cache and not in its bucket to a file that must not exist, and its map beside it. */
  exportCache(context: CommandContext, name: string, path: string): Promise<ExportOutcome>;
  /** Looks at everything that has to be right, and changes nothing. Objects and files it makes to try things are removed again. */
  examine(options: DoctorOptions): Promise<DoctorReport>;
  /** Writes what somebody needs who is to help. INVALID where the file is there already. */
  makeSupportBundle(options: SupportOptions): Promise<SupportOutcome>;
  /** Measures the bucket of `store.url` and the disk of `cache.dir`. Nothing of it stays. */
  bench(context: CommandContext, options: BenchOptions): Promise<BenchOutcome>;
  /** Deletes the volume's cache. INVALID where it has writes that are in no bucket, without `force`. */
  dropCache(context: CommandContext, name: string, options: { readonly force: boolean }): Promise<DropOutcome>;
}

/** A run of a job that has ended. */
export interface JobRunOutcome {
  readonly id: string;
  readonly job: 'flush' | 'scan' | 'report' | 'cache-trim';
  readonly trigger: 'schedule' | 'request';
  /** ISO 8601. */
  readonly startedAt: string;
  readonly durationMs: number;
  /** `cancelled`: the appliance was stopped. */
  readonly result: 'ok' | 'failed' | 'cancelled';
  /** Of the error, where it failed. */
  readonly code: string | null;
  /** What it did, or why it failed; null where there is nothing to say. */
  readonly detail: string | null;
}

export interface JobStatus {
  readonly name: JobRunOutcome['job'];
  /** The cron expression, or null where it only runs on demand. */
  readonly cron: string | null;
  /** Null: the system's. */
  readonly timezone: string | null;
  /** Where its time comes while it is running: that time is left out, or it runs once more afterwards. */
  readonly overlap: 'skip' | 'queue';
  /** It begins up to so much later, at random. */
  readonly jitterMs: number;
  readonly running: boolean;
  /** Of the run under way, ISO 8601; null where there is none. */
  readonly runningSince: string | null;
  /** It runs once more after the run under way. */
  readonly queued: boolean;
  /** ISO 8601, without its jitter; null where there is none. */
  readonly nextRunAt: string | null;
  /** Also from before the last start; null where there was none. */
  readonly lastRun: JobRunOutcome | null;
  /** Runs since the start, and times that were left out. */
  readonly succeeded: number;
  readonly failed: number;
  readonly skipped: number;
}

/** What the doctor is given: also a configuration that cannot be used, so that the rest can still be looked at. */
export interface DoctorOptions {
  /** Null where the configuration cannot be used. */
  readonly settings: Settings | null;
  /** What is wrong with it, a line each. */
  readonly problems: readonly string[];
  /** The configuration files that were read. */
  readonly files: readonly string[];
  readonly volumeNames: readonly string[];
  /** Where `store.accessKeyId` was set. */
  readonly credentialsFrom: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
  /** Called with each finding as soon as there is one. */
  readonly onFinding: (finding: Finding) => void;
}

export interface DoctorReport {
  /** No check has failed. */
  readonly ok: boolean;
  readonly findings: readonly Finding[];
}

/** What a bundle is made from, besides what the doctor is given. */
export interface SupportOptions extends Omit<DoctorOptions, 'onFinding'> {
  /** Where it is written: a file that is not there. */
  readonly path: string;
  /** Every setting, secrets masked. */
  readonly entries: readonly SettingEntry[];
  /** Values that must not be in it. */
  readonly secrets: readonly string[];
  /** Logs whose ends go into it; none: the journal's, where there is one. */
  readonly logFiles: readonly string[];
}

export interface SupportOutcome {
  readonly path: string;
  readonly sizeBytes: number;
  /** What is in it. */
  readonly files: readonly { readonly name: string; readonly about: string }[];
}

export interface BenchOptions extends ProgressOptions {
  readonly store: boolean;
  readonly cache: boolean;
  /** For all of it, about. */
  readonly durationMs: number;
}

export interface BenchOutcome {
  /** Null where it was not measured. */
  readonly store: { readonly url: string; readonly figures: readonly StoreFigure[] } | null;
  readonly cache: ({ readonly dir: string } & DiskFigures) | null;
  /** What it means for the settings, a sentence or two each. */
  readonly advice: readonly string[];
}

export interface HealthReport {
  readonly healthy: boolean;
  /** What is not as it should be, a line each; none where it is healthy. */
  readonly problems: readonly string[];
}

/** What a volume is, independent of anybody serving it. */
export interface VolumeDescription {
  readonly name: string;
  /** `s3://bucket/prefix/` or `file:///dir`, without secrets. */
  readonly url: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  readonly layout: 'blocks';
  readonly durability: 'local' | 's3';
  readonly compress: 'none' | 'deflate' | 'zstd';
  /** The cipher's name, or null where the volume is not encrypted. */
  readonly encryption: string | null;
  readonly readOnly: boolean;
  readonly sharedDisk: boolean;
}

export interface ResizeOutcome {
  readonly name: string;
  readonly oldSizeBytes: number;
  readonly newSizeBytes: number;
  /** Blocks deleted beyond the new end. */
  readonly deletedBlocks: number;
}

export interface EraseOutcome {
  readonly name: string;
  readonly url: string;
  readonly deletedObjects: number;
}

export interface FlushOutcome {
  readonly name: string;
  /** What is still not in the bucket: 0 unless it was interrupted. */
  readonly dirtyBytes: number;
}

export interface WarmOutcome {
  readonly name: string;
  /** Of the range that was asked for. */
  readonly bytes: number;
  /** In the cache now. */
  readonly cachedBytes: number;
}

export interface ExportOutcome {
  readonly name: string;
  /** The volume as far as it is not in the bucket; everything else in it is a hole. */
  readonly path: string;
  /** Which ranges of it count: those of data, and those that were zeroed. */
  readonly mapPath: string;
  readonly dataBytes: number;
  readonly zeroedBytes: number;
  /** Pages whose bytes are lost. */
  readonly damagedPages: number;
  /** Why this is not all that was flushed, or null: behind some point the cache cannot be read. */
  readonly loss: string | null;
}

export interface DropOutcome {
  readonly name: string;
  readonly directory: string;
}

export interface MountOutcome {
  readonly name: string;
  readonly dir: string;
  /** `/dev/loop0` */
  readonly device: string;
}

export interface LeaseStatus {
  /** Who holds it, as the holder calls itself: `host:pid`. */
  readonly holder: string;
  /** `held`: by this appliance; `other`: by another one; `expired`: its time has passed; `token`: s3backer's token only. */
  readonly state: 'held' | 'other' | 'expired' | 'token';
  /** Null where it cannot be told. */
  readonly renewedAgoMs: number | null;
}

export interface SurveyStatus {
  readonly done: boolean;
  readonly blocksListed: number;
}

/**
 * `serving`: clients can attach. `opening`: not yet. `idle`: exists, and the appliance is not running. `absent`: configured,
 * not created. `fenced`: another writer took it. `failed`: cannot be opened; `error` says why.
 */
export type VolumeState = 'serving' | 'opening' | 'idle' | 'absent' | 'fenced' | 'failed';

export interface VolumeStatus {
  readonly name: string;
  readonly url: string;
  readonly state: VolumeState;
  readonly error: { readonly code: string; readonly message: string } | null;
  /** Null where the volume could not be looked at. */
  readonly sizeBytes: number | null;
  readonly blockSizeBytes: number | null;
  readonly layout: 'blocks';
  /** `local`: an answered flush is on the cache's disk. `s3`: it is in the bucket. */
  readonly durability: 'local' | 's3';
  readonly compress: 'none' | 'deflate' | 'zstd';
  /** The cipher's name, or null where the volume is not encrypted. */
  readonly encryption: string | null;
  readonly readOnly: boolean;
  readonly sharedDisk: boolean;
  /** Served where a client names no export. */
  readonly default: boolean;
  readonly lease: LeaseStatus | null;
  readonly survey: SurveyStatus | null;
  /** Blocks that have an object; null where they have not been counted. */
  readonly storedBlocks: number | null;
  /** Null where the volume has none, or is not being served. */
  readonly cache: CacheStatus | null;
  /** Clients attached to it now. */
  readonly connections: number;
}

/** What has been written and is not in the bucket, and what is kept of what is. */
export interface CacheStatus {
  /** Written and not uploaded. Lost with the cache's disk. */
  readonly dirtyBytes: number;
  /** Age of the oldest of it; null where there is none. */
  readonly oldestDirtyMs: number | null;
  readonly logUsedBytes: number;
  readonly logSizeBytes: number;
  /** Writes that wait for room in the log. */
  readonly waitingWrites: number;
  /** Pages whose newest bytes the cache's disk has damaged: reading them fails. */
  readonly damagedPages: number;
  /** Why the log cannot be made durable at present, or null. */
  readonly logError: string | null;
  readonly uploadedBytes: number;
  readonly uploading: boolean;
  /** Why nothing can be uploaded at present, or null. */
  readonly uploadError: { readonly code: string; readonly message: string; readonly sinceMs: number } | null;
  readonly cachedBytes: number;
  readonly cacheSizeBytes: number;
  readonly hits: number;
}

/** `tls`: its TLS handshake is under way. `closing`: nothing more is taken from it. */
export type ConnectionState = 'handshake' | 'tls' | 'attached' | 'closing';

export interface ConnectionStatus {
  /** The other end: `127.0.0.1:53122`, or `unix:` and the path of the socket. */
  readonly peer: string;
  readonly state: ConnectionState;
  /** `TLSv1.3`, or null where the connection is not encrypted. */
  readonly tls: string | null;
  /** What the client has shown to be, as in access lists: `cn:nas`, `psk:alice`, `socket`. Empty: nobody in particular. */
  readonly client: readonly string[];
  /** The export, or null during the handshake. */
  readonly volume: string | null;
  /** Whether the client may only read; null during the handshake. */
  readonly readOnly: boolean | null;
  readonly connectedMs: number;
  /** Since it came. */
  readonly requests: number;
  readonly requestsInFlight: number;
  /** Payload of requests under way, reads until they have been sent. */
  readonly inFlightBytes: number;
  readonly readBytes: number;
  readonly writtenBytes: number;
}

export interface TlsStatus {
  readonly mode: 'off' | 'on' | 'required';
  /** The mode on the unix socket. */
  readonly socketMode: 'off' | 'on' | 'required';
  readonly verifyClients: 'none' | 'optional' | 'require';
  /** Subject of the server's certificate, or null. */
  readonly certificate: string | null;
  /** When it expires, in ISO 8601. */
  readonly validTo: string | null;
  /** Users with a pre-shared key; null where there is no file of them. */
  readonly pskUsers: number | null;
  /** Why the files as they are now are not in use, but what was read before; null where they are. */
  readonly error: string | null;
}

export interface FuseStatus {
  readonly dir: string;
  /** False where somebody else has unmounted it. */
  readonly mounted: boolean;
  /** Times that files of it are open. */
  readonly openFiles: number;
  readonly requests: number;
  readonly requestsInFlight: number;
}

export interface StoreStatus {
  /** `s3://bucket` or `file:///dir`. */
  readonly description: string;
  /** `unknown`: nothing has been asked of it yet. */
  readonly health: 'ok' | 'failing' | 'unknown';
  /** The newest failure, where `health` is `failing`. */
  readonly error: string | null;
  /** Counters since start, by name; units last in the names. Empty where the appliance is not running. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Something that an operator should hear of; the names are in docs/JOBS.md. */
export interface EventStatus {
  /** ISO 8601. */
  readonly at: string;
  readonly name: string;
  readonly level: 'info' | 'warn' | 'error';
  /** Null where it is about no volume in particular. */
  readonly volume: string | null;
  readonly message: string;
  /** Details, by name. */
  readonly fields: Readonly<Record<string, string | number | boolean | null>>;
}

/** How fast uploads may go at present: see upload.windows. */
export interface UploadWindowStatus {
  /** False: what can wait is not uploaded now. */
  readonly open: boolean;
  /** The bound of the window in bytes a second; null where there is none. */
  readonly rateBytes: number | null;
  /** When that changes, ISO 8601; null where it does not. */
  readonly until: string | null;
}

export interface ApplianceStatus {
  /** False: nobody answered at the control socket, and this is what the bucket says. */
  readonly running: boolean;
  /** Of the running appliance, else of this command. */
  readonly version: string;
  readonly pid: number | null;
  readonly uptimeMs: number | null;
  /** `127.0.0.1:10809`, `unix:/run/bucketdisk.sock`. Empty where it is not running. */
  readonly nbd: readonly string[];
  /** The directory with a file for each volume; null where there is none. */
  readonly fuse: FuseStatus | null;
  /** The volumes whose filesystems it has mounted. */
  readonly mounts: readonly MountOutcome[];
  /** Null where no client can use TLS, or nothing runs. */
  readonly tls: TlsStatus | null;
  readonly connections: readonly ConnectionStatus[];
  readonly store: StoreStatus;
  readonly uploadWindow: UploadWindowStatus;
  readonly volumes: readonly VolumeStatus[];
  /** Empty where it is not running. */
  readonly jobs: readonly JobStatus[];
  /** The last hundred, oldest first. Empty where it is not running. */
  readonly recentEvents: readonly EventStatus[];
}
