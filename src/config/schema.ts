/** Every setting there is: its kind, default and meaning. Convict checks values against it; the reference is made from it. */
import { accessList } from './access-rules.ts';
import {
  boolean,
  cipher,
  currency,
  duration,
  endpointUrl,
  type Format,
  hostList,
  keyText,
  listenAddress,
  listenList,
  oneOf,
  percentage,
  powerOfTwoSize,
  price,
  rate,
  secretText,
  size,
  storeUrl,
  text,
  webhookUrl,
  wholeNumber,
  zeroOr,
} from './formats.ts';
import { jobSchedule, timezone } from './job-schedules.ts';
import { uploadWindowList } from './upload-windows.ts';

/** One setting, in the shape convict takes. `kind` is ours: it also reads texts and names itself. */
export interface Field<T> {
  readonly doc: string;
  readonly default: T;
  readonly format: (value: unknown) => void;
  readonly nullable: boolean;
  readonly sensitive: boolean;
  readonly kind: Pick<Format<unknown>, 'name' | 'read'>;
}

export interface Section {
  readonly [key: string]: Field<unknown> | Section;
}

/** The values of a section, as they are spelled in a file. */
export type Spelled<S> = { -readonly [K in keyof S]: S[K] extends Field<infer T> ? T : Spelled<S[K]> };

export function isField(node: Field<unknown> | Section): node is Field<unknown> {
  return typeof node.format === 'function';
}

/** Every setting of a section with its path, in order. */
export function* fieldsOf(section: Section, prefix = ''): Iterable<[path: string, field: Field<unknown>]> {
  for (const [key, node] of Object.entries(section)) {
    if (isField(node)) yield [prefix + key, node];
    else yield* fieldsOf(node, `${prefix}${key}.`);
  }
}

function field<T>(kind: Format<T>, value: T, doc: string): Field<T> {
  return { doc, default: value, format: (given) => kind.check(given), nullable: false, sensitive: false, kind };
}

function optional<T>(kind: Format<T>, doc: string, value: T | null = null): Field<T | null> {
  return { doc, default: value, format: (given) => kind.check(given), nullable: true, sensitive: false, kind };
}

function secret(doc: string): Field<string | null> {
  return { ...optional(secretText, doc), sensitive: true };
}

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** The largest size that every offset can be told exactly in (8 PiB, less one block). */
const VOLUME_SIZE_MAX = 2 ** 53 - MIB;

export const ROOT_SCHEMA = {
  store: {
    url: field(
      storeUrl,
      'file:./data/bucket',
      'The bucket. A volume without a `url` of its own lies in it, below its name. A relative `file:` directory is taken from the current directory.',
    ),
    endpoint: optional(endpointUrl, 'The S3 service, where it is not AWS.'),
    region: field(text, 'us-east-1', 'The region that requests are signed for.'),
    forcePathStyle: field(
      boolean,
      false,
      'Send `https://endpoint/bucket/key` rather than `https://bucket.endpoint/key`. Most services other than AWS need it.',
    ),
    caFile: optional(text, "PEM file of certificate authorities to trust besides the system's."),
    insecure: field(boolean, false, 'Accept any certificate of the endpoint. For tests only.'),
    accessKeyId: secret(
      'Access key. Without it the AWS chain is asked: environment, profile, container and instance roles.',
    ),
    secretAccessKey: secret('Secret key that belongs to `accessKeyId`.'),
    sessionToken: secret('Session token, where the keys are temporary ones.'),
    profile: optional(text, 'A profile of the shared AWS configuration files.'),
    anonymous: field(boolean, false, 'Send unsigned requests.'),
    acl: optional(
      oneOf([
        'private',
        'public-read',
        'public-read-write',
        'authenticated-read',
        'aws-exec-read',
        'bucket-owner-read',
        'bucket-owner-full-control',
      ]),
      'Canned ACL of every object (`x-amz-acl`). `null` sends none, for buckets that refuse ACLs.',
      'private',
    ),
    sse: field(oneOf(['none', 'AES256', 'aws:kms']), 'none', 'Server-side encryption asked of the store.'),
    sseKmsKeyId: optional(text, 'Key for `sse: "aws:kms"`, where it is not the bucket\'s own.'),
    storageClass: optional(text, 'Storage class of new objects, such as `STANDARD_IA`.'),
    connectTimeout: field(duration(100, 10 * MINUTE), '10s', 'How long connecting may take.'),
    requestTimeout: field(duration(SECOND, HOUR), '60s', 'How long one attempt of a request may take.'),
    retryDeadline: field(
      duration(0, 24 * HOUR),
      '5m',
      'A request is tried again until this much time has passed. Then it fails.',
    ),
    retryPauseInitial: field(
      duration(1, MINUTE),
      '100ms',
      'Pause before the second attempt. It doubles from attempt to attempt, with jitter.',
    ),
    retryPauseMax: field(duration(1, 10 * MINUTE), '10s', 'The longest pause between attempts.'),
    concurrency: field(wholeNumber(1, 1024), 16, 'Requests under way at once, over all volumes.'),
    uploadRate: optional(rate, 'Bound on uploads, over all volumes. `null`: none.'),
    downloadRate: optional(rate, 'Bound on downloads, over all volumes. `null`: none.'),
  },
  cache: {
    dir: field(
      text,
      '/var/lib/bucketdisk',
      'Directory for the control socket, the lock that keeps a second appliance out, and the cache of each volume. It must survive restarts: writes that are not in the bucket yet are here.',
    ),
    size: field(
      zeroOr(size(MIB, 1024 * 1024 * GIB)),
      '10GiB',
      'Space for cached pages, shared evenly by the volumes. `0`: no cache and no write log, every write goes through to the bucket.',
    ),
    logSize: field(
      size(4 * MIB, 1024 * GIB),
      '1GiB',
      "Space for each volume's write log, set aside when it is made: so much can be written while the bucket is slow or away.",
    ),
  },
  upload: {
    age: field(duration(10, 24 * HOUR), '30s', 'What was written is uploaded after this time at the latest.'),
    dirty: field(
      size(MIB, 1024 * GIB),
      '256MiB',
      'With this much written and not uploaded, uploading begins. It also begins when the write log is half full.',
    ),
    windows: field(
      uploadWindowList,
      [],
      'Times at which uploads are bound to a rate, or with `rate: null` put off where they can wait. Outside of them ' +
        '`store.uploadRate` is all that counts. Flushes of `durability: "s3"`, a write log that is half full, `bucketdisk flush` and ' +
        '`schedule.flush` are not put off. See [JOBS.md](JOBS.md).',
    ),
  },
  schedule: {
    timezone: optional(
      timezone,
      'The time zone of every schedule that names none of its own, and of `upload.windows`. `null`: that of the system.',
    ),
    flush: optional(
      jobSchedule,
      'When everything written is uploaded whatever its age, such as `0 0 * * * *` for every hour. See [JOBS.md](JOBS.md).',
    ),
    scan: optional(jobSchedule, 'When the volumes are looked through for damage. See [SCAN.md](SCAN.md).'),
    report: optional(jobSchedule, 'When a summary is logged, and sent to `events.webhook`.'),
    cacheTrim: optional(jobSchedule, 'When cached pages that serve nothing any more are given up.'),
  },
  scan: {
    share: field(
      percentage,
      '5%',
      'How much of each volume a scheduled scan reads and checks, the next part each time. `bucketdisk scan --deep` reads everything unless told otherwise.',
    ),
    rate: optional(rate, 'Bound on what a scan reads. `null`: none.', '16MiB/s'),
  },
  nbd: {
    listen: field(
      listenList,
      ['127.0.0.1:10809'],
      'TCP addresses to serve NBD on. Port 0 lets the kernel pick one. Without `nbd.tls` whoever reaches the port can read and write.',
    ),
    socket: optional(text, 'Path of a unix socket to serve NBD on.'),
    connectionsMax: field(
      wholeNumber(1, 65_536),
      64,
      'Clients at once. Further ones are turned away, unless one that has not yet chosen an export can make room.',
    ),
    handshakeTimeout: field(
      duration(100, 10 * MINUTE),
      '10s',
      'How long a client may take until it has chosen its export.',
    ),
    inFlightPerConnection: field(
      size(32 * MIB, 1024 * MIB),
      '32MiB',
      'Payload of requests under way, for each client. None has more than it leaves to others.',
    ),
    inFlight: field(
      size(32 * MIB, 64 * 1024 * MIB),
      '64MiB',
      'Payload of requests under way, over all clients. Volumes that have clients have equal parts of it.',
    ),
    tls: {
      mode: field(
        oneOf(['off', 'on', 'required']),
        'off',
        '`on`: clients may have their connection encrypted. `required`: nothing is answered before they do.',
      ),
      socketMode: optional(
        oneOf(['off', 'on', 'required']),
        'The mode on the unix socket, which only this account can open. `null`: the same as on TCP.',
      ),
      certFile: optional(text, "PEM file of the server's certificate, followed by those between it and its authority."),
      keyFile: optional(text, 'PEM file of the private key that belongs to `certFile`.'),
      keyPassword: secret('Password of `keyFile`, where it is encrypted.'),
      caFile: optional(text, "PEM file of the authorities that clients' certificates must come from."),
      verifyClients: field(
        oneOf(['none', 'optional', 'require']),
        'none',
        '`require`: only clients with a certificate of `caFile`, or a key of `pskFile`. `optional`: those without one are nobody in particular.',
      ),
      pskFile: optional(text, 'File of users and their pre-shared keys, as `psktool` of GnuTLS writes it.'),
    },
  },
  fuse: {
    dir: optional(
      text,
      'Directory to serve the volumes in as files, one each, by FUSE. It is created where it is missing, and must be empty. Needs root and /dev/fuse. `null`: none.',
    ),
  },
  admin: {
    listen: optional(
      listenAddress,
      'TCP address for the status page (`/`), metrics (`/metrics`) and health checks (`/healthz`, `/readyz`) over HTTP. `null`: none. The configuration that comes ' +
        'with the package sets 127.0.0.1:9310: two appliances on a machine need two addresses.',
    ),
    hosts: field(
      hostList,
      [],
      "Names that requests may have in their `Host` header, besides addresses, `localhost` and the machine's own name. Others are refused, so that " +
        'no web page can have its own name point here.',
    ),
    token: secret(
      'What the status page asks for before it lets anybody upload, warm or run something: at least 16 characters. Without it nothing can be ' +
        'changed there. See [STATUS-PAGE.md](STATUS-PAGE.md).',
    ),
  },
  cost: {
    currency: field(currency, 'USD', 'The currency of the prices below, as ISO 4217 has it.'),
    writesPerThousand: field(
      price,
      0.005,
      'Price of a thousand requests of the class that S3 bills as writes: PUT and LIST. Costs are estimated from these prices, and shown; nothing else depends on them.',
    ),
    readsPerThousand: field(price, 0.0004, 'Price of a thousand GET and HEAD requests.'),
    receivedPerGib: field(
      price,
      0,
      'Price of a GiB fetched from the bucket. 0 where it is fetched from within its region; 0.09 is usual elsewhere.',
    ),
  },
  events: {
    webhook: {
      ...optional(
        webhookUrl,
        'Where events are sent, as JSON by POST: outages, refused credentials, write logs that fill up, lost leases, damage, scans. See [JOBS.md](JOBS.md).',
      ),
      sensitive: true,
    },
  },
  lease: {
    duration: field(
      duration(3 * SECOND, HOUR),
      '30s',
      'How long a volume stays ours without a sign of life. It is renewed at a third of this.',
    ),
  },
  shutdown: {
    drain: field(duration(0, HOUR), '20s', 'How long stopping waits for requests under way.'),
  },
  log: {
    level: field(oneOf(['error', 'warn', 'info', 'debug']), 'info', 'The least important lines to write.'),
    format: field(oneOf(['auto', 'pretty', 'json']), 'auto', '`auto` is `pretty` on a terminal and `json` elsewhere.'),
  },
} satisfies Section;

export const VOLUME_SCHEMA = {
  size: optional(
    size(4 * KIB, VOLUME_SIZE_MAX),
    'Size of the disk, a multiple of `blockSize`. Needed to create it; `null` takes what the bucket says.',
  ),
  layout: field(
    oneOf(['blocks'], { log: 'packed segments are not in this version' }),
    'blocks',
    "How bytes become objects: `blocks` is s3backer's format, an object for each block.",
  ),
  blockSize: optional(
    powerOfTwoSize(4 * KIB, 64 * MIB),
    'Size of a block. `null` takes what the bucket says, or 1MiB for a new volume.',
  ),
  durability: optional(
    oneOf(['local', 's3']),
    'What an answered flush is in: `local`, the disk of `cache.dir`; `s3`, the bucket. `null` is `local`, or `s3` where `cache.size` is 0.',
  ),
  compress: optional(
    oneOf(['none', 'deflate', 'zstd']),
    'Compression of new blocks. `null` is `none`, or `deflate` where the volume is encrypted: encryption implies compression.',
  ),
  compressLevel: optional(
    wholeNumber(1, 22),
    'Level of the compressor: 1 to 9 for `deflate`, 1 to 22 for `zstd`. `null`: its own default.',
  ),
  // Null rather than false: convict would turn a name into a boolean where the default is one.
  encrypt: optional(
    cipher,
    'Encrypt blocks with a key derived from `password`, as s3backer does: `true` is AES-256-CBC, or name a CBC cipher. `null` is `false`.',
  ),
  password: secret('Password of an encrypted volume. Without it the data is lost.'),
  keyLength: optional(
    wholeNumber(1, 64),
    "Bytes of key to derive, as s3backer's `--keyLength`. `null`: the cipher's own key length.",
  ),
  readOnly: field(boolean, false, 'Refuse writes, and take no lease.'),
  sharedDisk: field(
    boolean,
    false,
    'Several appliances write at once, under a cluster filesystem: no lease, nothing remembered of blocks.',
  ),
  url: optional(
    storeUrl,
    'Where the volume is, if not in the store below its name. Keys begin with the path of the url and a slash.',
  ),
  keyPrefix: optional(
    keyText,
    "What every key begins with, exactly as it stands, as s3backer's `--prefix`. It replaces the prefix of the store's url and the name.",
  ),
  blockHashPrefix: optional(
    boolean,
    "Put a hash before the block number in each key, as s3backer's `--blockHashPrefix`. `null`: as the volume was made.",
  ),
  survey: field(
    boolean,
    true,
    'List the existing blocks in the background after opening, to spare requests for those that do not exist.',
  ),
  default: field(
    boolean,
    false,
    'Serve this volume to clients that name no export. An only volume is the default one anyway.',
  ),
  access: optional(
    accessList,
    'Which clients may open the volume; `(ro)`: only to read. The first entry that is about a client decides, and for others ' +
      'the volume is not there. `null`: whoever can attach. See [TLS.md](TLS.md).',
  ),
  description: optional(text, 'A line about the volume, for people.'),
} satisfies Section;

export type SpelledRoot = Spelled<typeof ROOT_SCHEMA>;
export type SpelledVolume = Spelled<typeof VOLUME_SCHEMA>;
