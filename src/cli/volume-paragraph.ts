/** A volume's status as people read it: a paragraph. */
import { approximateDuration, approximateSize } from '../lib/units.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import type { CacheStatus, LeaseStatus, VolumeStatus } from './actions.ts';
import { percentText, shareBar } from './share-bar.ts';
import { formatTable } from './table.ts';

export function volumeParagraph(volume: VolumeStatus): string {
  const rows = [
    [volume.name, headText(volume)],
    ['  lies in', placeText(volume)],
    ['  stored', storedText(volume)],
    ...(volume.cache === null ? [['  flush', flushText(volume)]] : cacheRows(volume, volume.cache)),
    ...leftoverRows(volume),
    ...(volume.lease === null ? [] : [['  held by', leaseText(volume.lease)]]),
    ...(volume.error === null ? [] : [['  ERROR', `${volume.error.code}: ${escapeControls(volume.error.message)}`]]),
    ...(volume.cache === null ? [] : troubles(volume.cache).map((trouble) => ['  ERROR', trouble])),
  ];
  return formatTable(rows);
}

function headText({ state, sizeBytes, readOnly, sharedDisk, connections, default: isDefault }: VolumeStatus): string {
  return [
    state,
    sizeBytes === null ? 'size unknown' : approximateSize(sizeBytes),
    ...(readOnly ? ['read-only'] : []),
    ...(sharedDisk ? ['shared'] : []),
    ...(isDefault ? ['served where a client names no export'] : []),
    ...(state === 'serving' ? [connections === 1 ? '1 client' : `${connections} clients`] : []),
  ].join(', ');
}

function placeText({ url, blockSizeBytes, compress, encryption }: VolumeStatus): string {
  return [
    url,
    ...(blockSizeBytes === null ? [] : [`blocks of ${approximateSize(blockSizeBytes)}`]),
    compress === 'none' ? 'not compressed' : compress,
    encryption ?? 'not encrypted',
  ].join(', ');
}

/** Blocks are stored whole, before compression: their number is what is known. */
function storedText({ storedBlocks, survey, sizeBytes, blockSizeBytes }: VolumeStatus): string {
  if (storedBlocks === null) {
    return survey === null || survey.done ? 'not counted' : `being counted, ${survey.blocksListed} blocks so far`;
  }
  if (sizeBytes === null || blockSizeBytes === null) return `${storedBlocks} blocks`;
  const share = (storedBlocks * blockSizeBytes) / sizeBytes;
  const bytes = approximateSize(storedBlocks * blockSizeBytes);
  return `${shareBar(share)} ${percentText(share)}: ${bytes} in ${storedBlocks} blocks`;
}

function flushText({ durability }: VolumeStatus): string {
  return `an answered flush is ${durability === 'local' ? 'on the cache disk' : 'in the bucket'}`;
}

function cacheRows(volume: VolumeStatus, cache: CacheStatus): string[][] {
  const { cachedBytes, cacheSizeBytes, dirtyBytes, oldestDirtyMs, logUsedBytes, logSizeBytes, uploading } = cache;
  const dirty =
    oldestDirtyMs === null ? 'nothing' : `${approximateSize(dirtyBytes)}, ${approximateDuration(oldestDirtyMs)} old`;
  const full = logUsedBytes / logSizeBytes;
  return [
    ['  to upload', `${dirty}${uploading ? ', being uploaded' : ''}; ${flushText(volume)}`],
    ['  write log', `${shareBar(full)} ${percentText(full)} of ${approximateSize(logSizeBytes)}`],
    [
      '  cached',
      `${shareBar(cacheSizeBytes === 0 ? 0 : cachedBytes / cacheSizeBytes)} ${approximateSize(cachedBytes)} of ${approximateSize(cacheSizeBytes)}`,
    ],
  ];
}

/** What a cache has that nobody serves. */
function leftoverRows({ name, leftover }: VolumeStatus): string[][] {
  switch (leftover) {
    case 'unsaved':
      return [
        [
          '  UNSAVED',
          `its cache has writes that are not in the bucket: keep cache.dir, and run "bucketdisk flush ${name}" or serve it`,
        ],
      ];
    case 'busy':
      return [['  to upload', 'not known: another process uses its cache']];
    case 'unknown':
      return [
        [
          '  UNSAVED',
          'it cannot be told whether its cache has writes that are not in the bucket: "bucketdisk doctor" says why',
        ],
      ];
    case 'saved':
      return [['  to upload', 'nothing']];
    case null:
      return [];
  }
}

/** What an operator has to know of, and do something about. */
function troubles({ uploadError, logError, damagedPages, waitingWrites }: CacheStatus): string[] {
  return [
    ...(uploadError === null
      ? []
      : [
          `cannot upload for ${approximateDuration(uploadError.sinceMs)}: ${uploadError.code}: ${escapeControls(uploadError.message)}`,
        ]),
    ...(logError === null ? [] : [`the cache disk fails, and flushes with it: ${escapeControls(logError)}`]),
    ...(damagedPages > 0 ? [`${damagedPages} pages were damaged on the cache disk and cannot be read`] : []),
    ...(waitingWrites > 0 ? [`the write log is full: ${waitingWrites} requests wait for uploads`] : []),
  ];
}

function leaseText({ state, holder, renewedAgoMs }: LeaseStatus): string {
  const ago = renewedAgoMs === null ? '' : `, renewed ${approximateDuration(renewedAgoMs)} ago`;
  const who = state === 'held' ? 'us' : escapeControls(holder);
  const rest = {
    held: '',
    left: ', and has ended: the next start takes it',
    other: '',
    expired: ', expired',
    token: ', by token',
  };
  return `${who}${ago}${rest[state]}`;
}
