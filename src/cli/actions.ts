/**
 * What the command line asks of the appliance, and the answers it prints. The answers are plain data: with --json they
 * are printed as they stand, so that a name or a meaning here changes only with a note in the CHANGELOG.
 */

import type { HistoryView, LiveDocument } from '../admin/page/document.ts';
import type { DiskFigures } from '../bench/disk-bench.ts';
import type { StoreFigure } from '../bench/store-bench.ts';
import type { SettingEntry } from '../config/load-settings.ts';
import type { Settings } from '../config/settings.ts';
import type { Finding } from '../doctor/finding.ts';
import type { ScanReport } from '../scan/scan-report.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { ApplianceStatus } from './appliance-status.ts';
import type { JobRunOutcome, JobStatus } from './job-status.ts';

export type { Finding as ScanFinding, ScanReport as ScanOutcome } from '../scan/scan-report.ts';
export type * from './appliance-status.ts';
export type * from './job-status.ts';

/** Where a verb prints: stdout or stderr. */
export interface Output {
  write(text: string): unknown;
  /** Set where a person is looking at it. */
  readonly isTTY?: boolean | undefined;
  /** Width of the terminal in characters, where there is one. */
  readonly columns?: number | undefined;
  /** Its height in lines. */
  readonly rows?: number | undefined;
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

/** How the volume becomes a block device. `auto`: `nbd` where the kernel has it, else `fuse`. */
export type MountVia = 'nbd' | 'fuse' | 'auto';

export interface MountOptions {
  /** The filesystem to make where nothing is on the volume; null: none is made. */
  readonly fs: MountFilesystem | null;
  readonly via: MountVia;
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
  /** What is counted, in the plural: `objects`. Bytes may have words after them: `bytes of the cache`. */
  readonly unit: string;
  readonly done: number;
  /** Null while it is not known. */
  readonly total: number | null;
  /** What is to be told beside it. */
  readonly note?: string;
}

export interface ProgressOptions {
  readonly onProgress: (progress: Progress) => void;
}

export type EraseOptions = ProgressOptions;

export interface ScanActionOptions extends ProgressOptions {
  /** Also the bytes of the blocks. */
  readonly deep: boolean;
  /** Of the blocks whose bytes are read, 0 to 1. */
  readonly share: number;
  readonly repair: boolean;
  /** Bytes a second; null: no bound. */
  readonly rateBytes: number | null;
}

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
  /** What the running appliance does at the moment. UNAVAILABLE where none runs. */
  live(context: CommandContext): Promise<LiveStatus>;
  /** What it has done lately with a volume: a quarter of an hour. UNAVAILABLE where none runs. */
  past(context: CommandContext, name: string): Promise<PastActivity>;
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
  /**
   * Has the running appliance unmount it; where none runs, takes away what one that died has left. NOT_FOUND where it is not
   * mounted.
   */
  unmountVolume(context: CommandContext, name: string, options: UnmountOptions): Promise<UnmountOutcome>;
  /** Uploads everything that was written: by the running appliance, or from the cache that one has left. */
  flushVolume(context: CommandContext, name: string, options: ProgressOptions): Promise<FlushOutcome>;
  /** Loads a part of the volume into the running appliance's cache. */
  warmVolume(context: CommandContext, name: string, options: WarmOptions): Promise<WarmOutcome>;
  /** Looks the volume through: by the running appliance, or where none serves it, by this process, which only reads unless it is to repair. */
  scanVolume(context: CommandContext, name: string, options: ScanActionOptions): Promise<ScanReport>;
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

/** As the status page has it. */
export type LiveStatus = LiveDocument;
export type PastActivity = HistoryView;

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
  /** `/dev/loop0`, `/dev/nbd0` */
  readonly device: string;
  /** `nbd`: by the kernel's NBD client; `fuse`: by FUSE and a loop device. */
  readonly via: 'nbd' | 'fuse';
}

export interface UnmountOutcome extends MountOutcome {
  /** False where something has the device open still: it is detached once nothing has. */
  readonly detached: boolean;
}
