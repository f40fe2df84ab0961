/** The answer of `status`: plain data, printed as it stands with --json. What holds for those in actions.ts holds for it. */
import type { Leftover } from '../doctor/checks/leftovers.ts';
import type { JobStatus, MountOutcome } from './actions.ts';

export interface LeaseStatus {
  /** Who holds it, as the holder calls itself: `host:pid`. */
  readonly holder: string;
  /**
   * `held`: by this appliance; `left`: by one of this directory that has ended without giving it back; `other`: by another one;
   * `expired`: its time has passed; `token`: s3backer's token only.
   */
  readonly state: 'held' | 'left' | 'other' | 'expired' | 'token';
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
  /** What a cache holds that nobody serves; null where it is served, or there is none. */
  readonly leftover: Leftover['state'] | null;
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
