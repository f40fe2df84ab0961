/** The settings of an appliance after all layers are merged and checked: frozen, typed, sizes in bytes, times in ms. */

export type Compression = 'none' | 'deflate' | 'zstd';

/** Where to listen: a TCP host and port (0: the kernel picks). */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Explicit credentials. Where none are set the SDK's default chain is asked (environment, profile, IMDSv2 ...). */
export interface StoreCredentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string | null;
}

export interface StoreSettings {
  /** `s3://bucket[/prefix]`, `file:///dir` or `memory:` (tests). */
  readonly url: string;
  readonly endpoint: string | null;
  readonly region: string;
  readonly forcePathStyle: boolean;
  /** PEM file of extra certificate authorities for the endpoint. */
  readonly caFile: string | null;
  /** Accept any certificate of the endpoint. */
  readonly insecure: boolean;
  readonly credentials: StoreCredentials | null;
  /** A named profile of the shared AWS configuration files. */
  readonly profile: string | null;
  /** Send unsigned requests. */
  readonly anonymous: boolean;
  /** Canned ACL for every object, as in `x-amz-acl`. Null sends none. */
  readonly acl: string | null;
  readonly sse: 'none' | 'AES256' | 'aws:kms';
  readonly sseKmsKeyId: string | null;
  readonly storageClass: string | null;
  readonly connectTimeoutMs: number;
  /** The longest one attempt of a request may take. */
  readonly requestTimeoutMs: number;
  /** A request is tried again until this much time has passed since it was made. */
  readonly retryDeadlineMs: number;
  readonly retryPauseInitialMs: number;
  readonly retryPauseMaxMs: number;
  /** Requests under way at once, over the whole store. */
  readonly concurrency: number;
  /** Bytes per second over the whole store; null: unlimited. */
  readonly uploadRateBytes: number | null;
  readonly downloadRateBytes: number | null;
}

export interface CacheSettings {
  /** Holds the control socket, the lock, and the cache of each volume. */
  readonly dir: string;
  /** For cached pages, over all volumes. 0: no cache, every write goes through to the bucket. */
  readonly sizeBytes: number;
  /** For each volume's write log, beside the cached pages. */
  readonly logSizeBytes: number;
}

/** When what has been written goes to the bucket. */
export interface UploadSettings {
  readonly ageMs: number;
  readonly dirtyBytesMax: number;
  /** Outside of them nothing but store.uploadRateBytes counts; of those that overlap the first counts. */
  readonly windows: readonly UploadWindowSettings[];
}

export interface UploadWindowSettings {
  /** On which it begins: 0 is Sunday, 6 Saturday. */
  readonly days: readonly number[];
  /** Minutes since midnight, half-open. Where the end is not after the beginning it is on the next day. */
  readonly fromMinute: number;
  readonly toMinute: number;
  /** Bytes a second; 0: closed, nothing is uploaded that can wait. */
  readonly rateBytes: number;
}

/** When a job runs. */
export interface JobScheduleSettings {
  /** An expression of node-cron. */
  readonly cron: string;
  /** An IANA name; null: the system's. */
  readonly timezone: string | null;
  /** Where it is still running when its time comes: that time is left out, or it runs once more afterwards. */
  readonly overlap: 'skip' | 'queue';
  /** It begins up to so much later, at random. */
  readonly jitterMs: number;
}

/** Null: only on demand. */
export interface ScheduleSettings {
  /** Of upload windows: an IANA name; null: the system's. */
  readonly timezone: string | null;
  readonly flush: JobScheduleSettings | null;
  readonly scan: JobScheduleSettings | null;
  readonly report: JobScheduleSettings | null;
  readonly cacheTrim: JobScheduleSettings | null;
}

export type TlsMode = 'off' | 'on' | 'required';

export interface TlsSettings {
  readonly mode: TlsMode;
  /** The mode on the unix socket. */
  readonly socketMode: TlsMode;
  readonly certFile: string | null;
  readonly keyFile: string | null;
  readonly keyPassword: string | null;
  /** Authorities that certificates of clients come from. */
  readonly caFile: string | null;
  readonly verifyClients: 'none' | 'optional' | 'require';
  readonly pskFile: string | null;
}

/** One line of a volume's access list. */
export interface AccessRule {
  /** `cn:nas`, `dns:nas.example.net`, `email:`, `uri:`, `ip:`, `psk:alice`, `socket` or `anyone`. */
  readonly client: string;
  readonly readOnly: boolean;
}

export interface NbdSettings {
  readonly listen: readonly ListenAddress[];
  /** Path of a unix socket, or null. */
  readonly socket: string | null;
  readonly connectionsMax: number;
  readonly handshakeTimeoutMs: number;
  /** Payload bytes of requests under way, per connection and over all of them. */
  readonly inFlightBytesPerConnectionMax: number;
  readonly inFlightBytesMax: number;
  readonly tls: TlsSettings;
}

export interface AdminSettings {
  /** Null: no HTTP. */
  readonly listen: ListenAddress | null;
  /** Names that requests may be made to, besides this machine's own. */
  readonly hosts: readonly string[];
  /** What whoever wants to change something has to know; null: nobody can. */
  readonly token: string | null;
}

/** What the bucket's provider charges, to estimate costs. */
export interface CostSettings {
  /** ISO 4217. */
  readonly currency: string;
  readonly writesPerThousand: number;
  readonly readsPerThousand: number;
  readonly receivedPerGib: number;
}

export interface ScanSettings {
  /** Of the blocks whose bytes a scheduled scan reads and checks, 0 to 1. */
  readonly share: number;
  /** Bytes a second that a scan reads; null: no bound. */
  readonly rateBytes: number | null;
}

export interface EventSettings {
  /** Where events are posted to; a secret. Null: nowhere. */
  readonly webhook: string | null;
}

export interface EncryptionSettings {
  /** An OpenSSL name in s3backer's spelling, such as `AES-256-CBC`. */
  readonly cipher: string;
  readonly password: string;
  /** Bytes of key to derive; null: the cipher's own key length. */
  readonly keyLengthBytes: number | null;
}

export interface VolumeSettings {
  readonly name: string;
  /** Null: taken from the bucket; such a volume is not created. */
  readonly sizeBytes: number | null;
  readonly layout: 'blocks';
  /** Null: taken from the bucket, or 1 MiB where the volume is created. */
  readonly blockSizeBytes: number | null;
  /** What an answered flush is in: the cache's disk, or the bucket. */
  readonly durability: 'local' | 's3';
  readonly compress: Compression;
  /** Null: the compressor's own default. */
  readonly compressLevel: number | null;
  readonly encryption: EncryptionSettings | null;
  readonly readOnly: boolean;
  /** Several appliances write the volume at once, under a cluster filesystem: no lease, nothing remembered of blocks. */
  readonly sharedDisk: boolean;
  /** A store of its own (`s3://bucket/dir`), or null: the store's url followed by the name. */
  readonly url: string | null;
  /** What every key begins with, exactly as it stands; null: derived from the url. */
  readonly keyPrefix: string | null;
  /** s3backer's --blockHashPrefix. Null: as the volume was made, false for a new one. */
  readonly blockHashPrefix: boolean | null;
  /** List the volume's blocks in the background once it is open. */
  readonly survey: boolean;
  /** Served where a client names no export. */
  readonly default: boolean;
  /** Null: whoever can attach may open it. */
  readonly access: readonly AccessRule[] | null;
  readonly description: string | null;
}

export interface Settings {
  readonly store: StoreSettings;
  readonly cache: CacheSettings;
  readonly upload: UploadSettings;
  readonly schedule: ScheduleSettings;
  readonly scan: ScanSettings;
  readonly nbd: NbdSettings;
  /** Where the volumes are served as files, or null. */
  readonly fuse: { readonly dir: string | null };
  readonly admin: AdminSettings;
  readonly cost: CostSettings;
  readonly events: EventSettings;
  readonly lease: { readonly durationMs: number };
  /** How long SIGTERM waits for requests under way. */
  readonly shutdown: { readonly drainMs: number };
  readonly log: {
    readonly level: 'error' | 'warn' | 'info' | 'debug';
    readonly format: 'auto' | 'pretty' | 'json';
  };
  readonly volumes: Readonly<Record<string, VolumeSettings>>;
}
