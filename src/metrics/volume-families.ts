/** The volumes: whether they are served, their leases, their caches, and what is not in the bucket yet. */
import type { CachedVolumeStatus } from '../cache/cached-volume.ts';
import type { Family, NumberFamily } from './family.ts';
import type { Reading, VolumeReading } from './sources.ts';

/** Pages of the cache, as `src/cache/page.ts` has them. */
const PAGE_BYTES = 4096;

/** A number of each volume; those it is null of are left out. */
function ofVolume(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  read: (volume: VolumeReading) => number | null,
): NumberFamily<Reading> {
  return {
    ...{ name, type, help, labels: ['volume'] },
    read: ({ volumes }) =>
      volumes.flatMap((volume) => {
        const value = read(volume);
        return value === null ? [] : [{ labels: { volume: volume.name }, value }];
      }),
  };
}

/** The same, of those with a cache. */
function ofCache(
  type: 'counter' | 'gauge',
  name: string,
  help: string,
  read: (cache: CachedVolumeStatus) => number | null,
): NumberFamily<Reading> {
  return ofVolume(type, name, help, ({ cache }) => (cache === null ? null : read(cache)));
}

const seconds = (ms: number | null): number | null => (ms === null ? null : ms / 1000);

export const VOLUME_FAMILIES: readonly Family<Reading>[] = [
  ofVolume('gauge', 'bucketdisk_volume_serving', '1 where clients can attach to the volume, else 0.', ({ serving }) =>
    Number(serving),
  ),
  ofVolume('gauge', 'bucketdisk_volume_fenced', '1 where another writer has taken the volume, else 0.', ({ fenced }) =>
    Number(fenced),
  ),
  ofVolume('gauge', 'bucketdisk_volume_size_bytes', 'Size of the disk.', ({ sizeBytes }) => sizeBytes),
  ofVolume(
    'gauge',
    'bucketdisk_volume_stored_blocks',
    'Blocks that have an object in the bucket. Absent until they have been counted.',
    ({ storedBlocks }) => storedBlocks,
  ),
  ofVolume(
    'gauge',
    'bucketdisk_lease_age_seconds',
    'Time since the lease was last known to be ours. Writing stops at 0.8 of lease.duration.',
    ({ leaseConfirmedAgoMs }) => seconds(leaseConfirmedAgoMs),
  ),
];

export const CACHE_FAMILIES: readonly Family<Reading>[] = [
  ofCache(
    'gauge',
    'bucketdisk_dirty_bytes',
    'Bytes that were written and are not in the bucket yet.',
    ({ dirtyBytes }) => dirtyBytes,
  ),
  ofCache(
    'gauge',
    'bucketdisk_oldest_dirty_age_seconds',
    'Age of the oldest write that is not in the bucket yet; 0 where there is none.',
    ({ oldestDirtyMs }) => seconds(oldestDirtyMs ?? 0),
  ),
  ofCache('gauge', 'bucketdisk_log_used_bytes', 'Space of the write log in use.', ({ logUsedBytes }) => logUsedBytes),
  ofCache('gauge', 'bucketdisk_log_size_bytes', 'Space of the write log.', ({ logSizeBytes }) => logSizeBytes),
  ofCache('gauge', 'bucketdisk_log_failing', '1 while the write log cannot be made durable, else 0.', ({ logError }) =>
    Number(logError !== null),
  ),
  ofCache(
    'gauge',
    'bucketdisk_waiting_writes',
    'Writes that wait for room in the write log.',
    ({ waitingWrites }) => waitingWrites,
  ),
  ofCache(
    'gauge',
    'bucketdisk_damaged_bytes',
    "Bytes whose newest version the cache's disk has lost: reading them fails.",
    ({ damagedPages }) => damagedPages * PAGE_BYTES,
  ),
  ofCache(
    'counter',
    'bucketdisk_upload_batches_total',
    'Batches of writes brought to the bucket.',
    ({ upload }) => upload.batches,
  ),
  ofCache(
    'counter',
    'bucketdisk_uploaded_bytes_total',
    'Written bytes brought to the bucket, each page of a batch once.',
    ({ upload }) => upload.uploadedBytes,
  ),
  ofCache('gauge', 'bucketdisk_upload_active', '1 while something is being uploaded, else 0.', ({ upload }) =>
    Number(upload.uploading),
  ),
  ofCache(
    'gauge',
    'bucketdisk_upload_failing_seconds',
    'How long uploads have been failing; 0 while they do not.',
    ({ upload }) => seconds(upload.error?.sinceMs ?? 0),
  ),
  ofCache(
    'counter',
    'bucketdisk_cache_hit_bytes_total',
    'Bytes read from cached pages.',
    ({ cache }) => cache.hits * PAGE_BYTES,
  ),
  ofCache(
    'counter',
    'bucketdisk_cache_miss_bytes_total',
    'Bytes that were read and had to be fetched from the bucket, or waited for.',
    ({ missedPages }) => missedPages * PAGE_BYTES,
  ),
  ofCache('gauge', 'bucketdisk_cache_used_bytes', 'Space of the read cache in use.', ({ cache }) => cache.usedBytes),
  ofCache('gauge', 'bucketdisk_cache_size_bytes', 'Space of the read cache.', ({ cache }) => cache.sizeBytes),
  ofCache(
    'counter',
    'bucketdisk_cache_evictions_total',
    'Lines of 64 KiB given up for others.',
    ({ cache }) => cache.evictions,
  ),
  ofCache(
    'counter',
    'bucketdisk_cache_rotten_pages_total',
    'Cached pages whose checksum was wrong: they were fetched again.',
    ({ cache }) => cache.rotten,
  ),
  ofCache(
    'counter',
    'bucketdisk_cache_read_errors_total',
    "Reads that the cache's disk has failed.",
    ({ cache }) => cache.readErrors,
  ),
  ofCache(
    'counter',
    'bucketdisk_cache_write_errors_total',
    "Writes of cached pages that the cache's disk has failed.",
    ({ cache }) => cache.writeErrors,
  ),
];
