/** From values as they are spelled to the typed `Settings`, with the checks that need more than one value. */
import { resolve } from 'node:path';
import { parseDuration, parseRate, parseSize } from '../lib/units.ts';
import { parsePercentage } from './formats.ts';
import { parseJobSchedule, type SpelledJobSchedule } from './job-schedules.ts';
import { parseListenAddress } from './listen-address.ts';
import type { SpelledRoot } from './schema.ts';
import type { ScheduleSettings, Settings, StoreCredentials, StoreSettings } from './settings.ts';
import { formatStoreUrl, parseStoreUrl } from './store-url.ts';
import { tlsSettings } from './tls-settings.ts';
import { parseUploadWindow } from './upload-windows.ts';

/** Reports what is wrong with the setting at `path`. */
export type Report = (path: string, message: string) => void;

/** Paths of unix sockets are kept in 108 bytes, of which the last is a NUL (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;

/** Everything but the volumes. Relative paths are taken from `cwd`. */
export function toSettings(spelled: SpelledRoot, cwd: string, report: Report): Omit<Settings, 'volumes'> {
  const { cache, upload, schedule, scan, nbd, fuse, admin, cost, events, lease, shutdown, log } = spelled;
  const socket = nbd.socket === null ? null : resolve(cwd, nbd.socket);
  if (socket !== null && Buffer.byteLength(socket) > SOCKET_PATH_BYTES_MAX) {
    report('nbd.socket', `${socket} is too long for a unix socket: at most ${SOCKET_PATH_BYTES_MAX} bytes`);
  }
  const fuseDir = fuse.dir === null ? null : resolve(cwd, fuse.dir);
  const cacheDir = resolve(cwd, cache.dir);
  if (fuseDir !== null && isWithin(cacheDir, fuseDir)) {
    report('fuse.dir', `cache.dir (${cacheDir}) would be hidden by it: choose a directory beside that one`);
  }
  const inFlightBytesPerConnectionMax = parseSize(nbd.inFlightPerConnection);
  const inFlightBytesMax = parseSize(nbd.inFlight);
  if (inFlightBytesPerConnectionMax > inFlightBytesMax) {
    report('nbd.inFlightPerConnection', `more than nbd.inFlight, which is ${nbd.inFlight}`);
  }
  return {
    store: storeSettings(spelled.store, cwd, report),
    cache: {
      dir: cacheDir,
      sizeBytes: cache.size === 0 ? 0 : parseSize(cache.size),
      logSizeBytes: parseSize(cache.logSize),
    },
    upload: {
      ageMs: parseDuration(upload.age),
      dirtyBytesMax: parseSize(upload.dirty),
      windows: upload.windows.map(parseUploadWindow),
    },
    schedule: scheduleSettings(schedule),
    scan: { share: parsePercentage(scan.share), rateBytes: scan.rate === null ? null : parseRate(scan.rate) },
    nbd: {
      listen: nbd.listen.map(parseListenAddress),
      socket,
      connectionsMax: nbd.connectionsMax,
      handshakeTimeoutMs: parseDuration(nbd.handshakeTimeout),
      inFlightBytesPerConnectionMax,
      inFlightBytesMax,
      tls: tlsSettings(nbd.tls, cwd, report),
    },
    fuse: { dir: fuseDir },
    admin: {
      listen: admin.listen === null ? null : parseListenAddress(admin.listen),
      hosts: admin.hosts,
      token: adminToken(admin.token, report),
    },
    cost,
    events: { webhook: events.webhook },
    lease: { durationMs: parseDuration(lease.duration) },
    shutdown: { drainMs: parseDuration(shutdown.drain) },
    log: { level: log.level, format: log.format },
  };
}

function scheduleSettings({ timezone, ...jobs }: SpelledRoot['schedule']): ScheduleSettings {
  const of = (spelled: SpelledJobSchedule | null) => (spelled === null ? null : parseJobSchedule(spelled, timezone));
  return {
    timezone,
    flush: of(jobs.flush),
    scan: of(jobs.scan),

    report: of(jobs.report),
    cacheTrim: of(jobs.cacheTrim),
  };
}

/** It is sent in a header: what may not be in one cannot be in it. */
function adminToken(token: string | null, report: Report): string | null {
  if (token !== null && !/^[\x21-\x7e]{16,512}$/.test(token)) {
    report('admin.token', 'expected 16 to 512 letters, digits and signs of ASCII, without blanks');
  }
  return token;
}

function isWithin(path: string, dir: string): boolean {
  return `${path}/`.startsWith(dir === '/' ? dir : `${dir}/`);
}

function storeSettings(store: SpelledRoot['store'], cwd: string, report: Report): StoreSettings {
  const retryPauseInitialMs = parseDuration(store.retryPauseInitial);
  const retryPauseMaxMs = parseDuration(store.retryPauseMax);
  if (retryPauseInitialMs > retryPauseMaxMs) {
    report('store.retryPauseInitial', `more than store.retryPauseMax, which is ${store.retryPauseMax}`);
  }
  if (store.sseKmsKeyId !== null && store.sse !== 'aws:kms') report('store.sseKmsKeyId', 'needs store.sse: "aws:kms"');
  return {
    url: formatStoreUrl(parseStoreUrl(store.url, cwd)),
    endpoint: store.endpoint === null ? null : store.endpoint.replace(/\/+$/, ''),
    region: store.region,
    forcePathStyle: store.forcePathStyle,
    caFile: store.caFile === null ? null : resolve(cwd, store.caFile),
    insecure: store.insecure,
    credentials: storeCredentials(store, report),
    profile: store.profile,
    anonymous: store.anonymous,
    acl: store.acl,
    sse: store.sse,
    sseKmsKeyId: store.sseKmsKeyId,
    storageClass: store.storageClass,
    connectTimeoutMs: parseDuration(store.connectTimeout),
    requestTimeoutMs: parseDuration(store.requestTimeout),
    retryDeadlineMs: parseDuration(store.retryDeadline),
    retryPauseInitialMs,
    retryPauseMaxMs,
    concurrency: store.concurrency,
    uploadRateBytes: store.uploadRate === null ? null : parseRate(store.uploadRate),
    downloadRateBytes: store.downloadRate === null ? null : parseRate(store.downloadRate),
  };
}

/** There is one way to sign requests: whoever names two means one of them, and we cannot know which. */
function storeCredentials(store: SpelledRoot['store'], report: Report): StoreCredentials | null {
  const { accessKeyId, secretAccessKey, sessionToken, profile, anonymous } = store;
  const explicit = accessKeyId !== null || secretAccessKey !== null || sessionToken !== null;
  if (anonymous && explicit) report('store.anonymous', 'does not go together with access keys');
  if (anonymous && profile !== null) report('store.anonymous', 'does not go together with store.profile');
  if (explicit && profile !== null) report('store.profile', 'does not go together with access keys');
  if (!explicit) return null;
  if (accessKeyId === null) report('store.accessKeyId', 'missing: it belongs to store.secretAccessKey');
  if (secretAccessKey === null) report('store.secretAccessKey', 'missing: it belongs to store.accessKeyId');
  return accessKeyId === null || secretAccessKey === null ? null : { accessKeyId, secretAccessKey, sessionToken };
}
