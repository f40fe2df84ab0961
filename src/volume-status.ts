/** Volumes, served or only looked at, and their clients as status shows them. */
import type { CachedVolume } from './cache/cached-volume.ts';
import type {
  CacheStatus,
  ConnectionStatus,
  LeaseStatus,
  VolumeDescription,
  VolumeState,
  VolumeStatus,
} from './cli/actions.ts';
import type { VolumeSettings } from './config/settings.ts';
import type { LogFullness } from './events/log-watch.ts';
import { isStorageError, type StorageError } from './lib/errors.ts';
import type { VolumeReading } from './metrics/sources.ts';
import type { ConnectionStatus as NbdConnectionStatus } from './nbd/connection-status.ts';
import type { ObjectStore } from './object/object-store.ts';
import type { Claimant } from './volume/claim.ts';
import { sizeOf } from './volume/identity.ts';
import { type Inspection, inspectVolume } from './volume/inspect.ts';
import { parseLease } from './volume/lease-document.ts';
import { readToken } from './volume/mounted-token.ts';
import { settleVolume } from './volume/settle-volume.ts';
import type { Volume } from './volume/volume.ts';
import { volumeKeys } from './volume/volume-keys.ts';
import type { VolumeOptions } from './volume/volume-options.ts';

export function describeVolume(settings: VolumeSettings, { options, record }: Volume): VolumeDescription {
  return {
    name: settings.name,
    url: options.url,
    sizeBytes: record.sizeBytes,
    blockSizeBytes: record.blockSizeBytes,
    layout: record.layout,
    durability: settings.durability,
    compress: options.compress,
    encryption: record.encryption?.cipher ?? null,
    readOnly: settings.readOnly,
    sharedDisk: settings.sharedDisk,
  };
}

export function openVolumeStatus(
  settings: VolumeSettings,
  volume: Volume,
  claimant: Claimant,
  connections: number,
): VolumeStatus {
  const { lost, confirmedAgoMs, survey } = volume;
  const holder = `${claimant.host}:${claimant.pid}`;
  return {
    ...describeVolume(settings, volume),
    state: lost === null ? 'serving' : 'fenced',
    error: lost === null ? null : { code: lost.code, message: lost.message },
    default: settings.default,
    lease:
      confirmedAgoMs === null
        ? null
        : { holder, state: lost === null ? 'held' : 'other', renewedAgoMs: Math.round(confirmedAgoMs) },
    survey:
      survey === null || survey.state === 'not run'
        ? null
        : { done: survey.state === 'done', blocksListed: survey.blocksListed },
    storedBlocks: volume.storedBlocks,
    cache: volume.cached === null ? null : cacheStatus(volume.cached),
    leftover: null,
    connections,
  };
}

/** What the metrics tell of a volume. */
export function volumeReading({ name }: VolumeSettings, volume: Volume | null): VolumeReading {
  return {
    name,
    serving: volume !== null && volume.lost === null,
    fenced: volume !== null && volume.lost !== null,
    sizeBytes: volume?.record.sizeBytes ?? null,
    storedBlocks: volume?.storedBlocks ?? null,
    leaseConfirmedAgoMs: volume?.confirmedAgoMs ?? null,
    cache: volume?.cached?.status() ?? null,
  };
}

/** Nothing where it has no log. */
export function logFullness({ name, cached }: Volume): LogFullness[] {
  if (cached === null) return [];
  const { logUsedBytes: usedBytes, logSizeBytes: sizeBytes } = cached.status();
  return [{ volume: name, usedBytes, sizeBytes }];
}

export function connectionStatus(connection: NbdConnectionStatus): ConnectionStatus {
  return {
    peer: connection.peer,
    state: connection.state,
    tls: connection.client.tls,
    client: connection.client.names,
    volume: connection.export,
    readOnly: connection.readOnly,
    connectedMs: Date.now() - connection.since.getTime(),
    requests: connection.requests,
    requestsInFlight: connection.requestsInFlight,
    inFlightBytes: connection.bytesInFlight,
    readBytes: connection.bytesSent,
    writtenBytes: connection.bytesReceived,
  };
}

function cacheStatus(cached: CachedVolume): CacheStatus {
  const { upload, cache, durability: _durability, missedPages: _missedPages, ...status } = cached.status();
  return {
    ...status,
    uploading: upload.uploading,
    uploadedBytes: upload.uploadedBytes,
    uploadError: upload.error,
    cachedBytes: cache.usedBytes,
    cacheSizeBytes: cache.sizeBytes,
    hits: cache.hits,
  };
}

/** Of a volume that is not open here. */
export function missingVolumeStatus(
  settings: VolumeSettings,
  url: string,
  state: VolumeState,
  error: StorageError | null,
): VolumeStatus {
  return {
    name: settings.name,
    url,
    state,
    error: error === null ? null : { code: error.code, message: error.message },
    sizeBytes: null,
    blockSizeBytes: null,
    layout: settings.layout,
    durability: settings.durability,
    compress: settings.compress,
    encryption: settings.encryption?.cipher ?? null,
    readOnly: settings.readOnly,
    sharedDisk: settings.sharedDisk,
    default: settings.default,
    lease: null,
    survey: null,
    storedBlocks: null,
    cache: null,
    leftover: null,
    connections: 0,
  };
}

/** What the bucket says of a volume that nobody serves here. `ownInstance`: of the appliance that would, where it has run before. */
export async function idleVolumeStatus(
  settings: VolumeSettings,
  options: VolumeOptions,
  store: ObjectStore,
  ownInstance: string | null,
  signal: AbortSignal,
): Promise<VolumeStatus> {
  const found = await inspectVolume(store, options.prefix, options.blockHashPrefix, signal);
  const { record, metadata, sampleBlock } = found;
  const lease = await readLeaseStatus(store, options.prefix, ownInstance, signal);
  const absent = record === null && sampleBlock === null;
  const refusal = await refusalOf(options, store, found, signal);
  return {
    ...missingVolumeStatus(settings, options.url, absent ? 'absent' : 'idle', refusal),
    sizeBytes: record === null ? (metadata?.sizeBytes ?? null) : sizeOf(record, metadata),
    blockSizeBytes: metadata?.blockSizeBytes ?? record?.blockSizeBytes ?? null,
    ...(record === null ? {} : { encryption: record.encryption?.cipher ?? null }),
    lease,
  };
}

/** Why `serve` would not open it, as far as the configuration and what is in the bucket tell: another size, a wrong password. */
async function refusalOf(
  options: VolumeOptions,
  store: ObjectStore,
  found: Inspection,
  signal: AbortSignal,
): Promise<StorageError | null> {
  try {
    await settleVolume(options, store, found, { now: new Date(), create: { force: false }, signal });
    return null;
  } catch (error) {
    if (!isStorageError(error) || signal.aborted) throw error;
    return error;
  }
}

/** Who says that it holds the volume. Whether that is still true only time tells. */
async function readLeaseStatus(
  store: ObjectStore,
  prefix: string,
  ownInstance: string | null,
  signal: AbortSignal,
): Promise<LeaseStatus | null> {
  const keys = volumeKeys(prefix);
  const object = await store.get(keys.lease, { signal });
  const lease = object === null ? null : parseLease(object);
  if (lease !== null && !lease.released) {
    const renewedAgoMs = Math.max(0, Date.now() - Date.parse(lease.renewedAt));
    const expired = renewedAgoMs > lease.durationMs;
    const state = lease.instance === ownInstance ? 'left' : expired ? 'expired' : 'other';
    return { holder: `${lease.host}:${lease.pid}`, state, renewedAgoMs };
  }
  const token = await readToken(store, keys.token, signal);
  return token === null ? null : { holder: token.text || 'unknown', state: 'token', renewedAgoMs: null };
}
