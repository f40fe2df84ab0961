/** The status of an appliance as people read it. */
import { approximateDuration, approximateSize, formatSize } from '../lib/units.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import type {
  ApplianceStatus,
  CacheStatus,
  ConnectionStatus,
  EventStatus,
  FuseStatus,
  LeaseStatus,
  TlsStatus,
  UploadWindowStatus,
  VolumeStatus,
} from './actions.ts';
import { jobsText } from './job.ts';
import { formatTable } from './table.ts';

/** The last of them; --json has more. */
const EVENTS_SHOWN = 5;

export function statusText(status: ApplianceStatus): string {
  const parts = [formatTable(headRows(status)), volumesText(status.volumes)];
  if (status.connections.length > 0) parts.push(connectionsText(status.connections));
  if (status.jobs.some(({ cron, lastRun }) => cron !== null || lastRun !== null)) parts.push(jobsText(status.jobs));
  if (status.recentEvents.length > 0) parts.push(eventsText(status.recentEvents));
  return `${parts.join('\n')}`;
}

function headRows(status: ApplianceStatus): string[][] {
  const { running, version, pid, uptimeMs, nbd, fuse, mounts, tls, store, uploadWindow } = status;
  const up = uptimeMs === null ? '' : ` for ${approximateDuration(uptimeMs)}`;
  const state = running ? `running${up}${pid === null ? '' : ` (pid ${pid})`}` : 'not running';
  const health = store.health === 'failing' ? `FAILING: ${store.error ?? 'no reason known'}` : store.health;
  return [
    ['bucketdisk', `${version}, ${state}`],
    ...(nbd.length > 0 ? [['listening', nbd.join(', ')]] : []),
    ...(fuse === null ? [] : [['files in', fuseText(fuse)]]),
    ...mounts.map(({ name, dir, device }) => ['mounted', escapeControls(`${name} on ${dir} (${device})`)]),
    ...(tls === null ? [] : [['tls', tlsText(tls)]]),
    ['bucket', `${store.description} (${escapeControls(health)})`],
    ...(uploadWindow.open && uploadWindow.rateBytes === null ? [] : [['uploads', windowText(uploadWindow)]]),
  ];
}

function windowText({ open, rateBytes, until }: UploadWindowStatus): string {
  const end = until === null ? '' : ` until ${until.replace(/:\d\d\.\d+Z$/, 'Z')}`;
  return open
    ? `at most ${approximateSize(rateBytes ?? 0)}/s${end}`
    : `put off${end}, but for those that somebody waits for`;
}

function tlsText({ mode, socketMode, verifyClients, certificate, validTo, pskUsers, error }: TlsStatus): string {
  const facts = [
    socketMode === mode ? mode : `${mode}, ${socketMode} on the socket`,
    ...(certificate === null ? [] : [`certificate ${certificate} until ${validTo?.slice(0, 10)}`]),
    ...(verifyClients === 'none'
      ? []
      : [`certificates of clients ${verifyClients === 'require' ? 'required' : 'optional'}`]),
    ...(pskUsers === null ? [] : [`${pskUsers} ${pskUsers === 1 ? 'user with a key' : 'users with keys'}`]),
    ...(error === null ? [] : [`NEW FILES NOT IN USE: ${error}`]),
  ];
  return escapeControls(facts.join('; '));
}

function fuseText({ dir, mounted, openFiles, requestsInFlight }: FuseStatus): string {
  if (!mounted) return `${dir} (UNMOUNTED by somebody else)`;
  return openFiles === 0 ? dir : `${dir} (open ${openFiles} times, ${requestsInFlight} requests now)`;
}

function volumesText(volumes: readonly VolumeStatus[]): string {
  if (volumes.length === 0) return 'no volumes\n';
  const header = [
    ...['VOLUME', 'STATE', 'SIZE', 'BLOCK', 'STORED', 'CODING', 'FLUSH IS IN', 'NOT UPLOADED', 'CACHED', 'HELD BY'],
    ...['CLIENTS', 'WHERE'],
  ];
  const lines = formatTable([header, ...volumes.map(volumeRow)]);
  const notes = volumes.flatMap((volume) => [
    ...(volume.error === null
      ? []
      : [`${volume.name}: ${volume.error.code}: ${escapeControls(volume.error.message)}\n`]),
    ...cacheNotes(volume),
  ]);
  const marks = volumes.some((volume) => volume.default) ? '* served where a client names no export\n' : '';
  return lines + marks + (notes.length === 0 ? '' : `\n${notes.join('')}`);
}

function volumeRow(volume: VolumeStatus): string[] {
  return [
    volume.default ? `${volume.name} *` : volume.name,
    stateText(volume),
    volume.sizeBytes === null ? '?' : approximateSize(volume.sizeBytes),
    volume.blockSizeBytes === null ? '?' : formatSize(volume.blockSizeBytes),
    storedText(volume),
    [
      volume.compress === 'none' ? 'plain' : volume.compress,
      ...(volume.encryption === null ? [] : [volume.encryption]),
    ].join('+'),
    volume.durability === 'local' ? 'cache disk' : 'bucket',
    dirtyText(volume.cache),
    cachedText(volume.cache),
    leaseText(volume.lease),
    String(volume.connections),
    volume.url,
  ];
}

/** Lost with the cache's disk: how much, and since when. */
function dirtyText(cache: CacheStatus | null): string {
  if (cache === null) return '-';
  const { dirtyBytes, oldestDirtyMs } = cache;
  if (oldestDirtyMs === null) return '0';
  return `${approximateSize(dirtyBytes)} (${approximateDuration(oldestDirtyMs)})`;
}

function cachedText(cache: CacheStatus | null): string {
  return cache === null ? '-' : `${approximateSize(cache.cachedBytes)} of ${approximateSize(cache.cacheSizeBytes)}`;
}

/** What an operator has to know of, and do something about. */
function cacheNotes({ name, cache }: VolumeStatus): string[] {
  if (cache === null) return [];
  const { uploadError, logError, damagedPages, waitingWrites, logUsedBytes, logSizeBytes } = cache;
  const notes: string[] = [];
  if (uploadError !== null) {
    const { code, message, sinceMs } = uploadError;
    notes.push(`cannot upload for ${approximateDuration(sinceMs)}: ${code}: ${escapeControls(message)}`);
  }
  if (logError !== null) notes.push(`CACHE DISK FAILING, flushes fail: ${escapeControls(logError)}`);
  if (damagedPages > 0) notes.push(`${damagedPages} pages were damaged on the cache disk and cannot be read`);
  if (waitingWrites > 0) {
    const full = Math.round((100 * logUsedBytes) / logSizeBytes);
    notes.push(`the write log is ${full}% full: ${waitingWrites} requests wait for uploads`);
  }
  return notes.map((note) => `${name}: ${note}\n`);
}

function stateText({ state, readOnly, sharedDisk }: VolumeStatus): string {
  return [state, ...(readOnly ? ['read-only'] : []), ...(sharedDisk ? ['shared'] : [])].join(', ');
}

/** Blocks are stored whole, before compression: their number is what is known. */
function storedText({ storedBlocks, survey }: VolumeStatus): string {
  if (storedBlocks !== null) return `${storedBlocks} blocks`;
  return survey === null || survey.done ? '?' : `counting, ${survey.blocksListed} so far`;
}

function leaseText(lease: LeaseStatus | null): string {
  if (lease === null) return '-';
  const ago = lease.renewedAgoMs === null ? '' : ` ${approximateDuration(lease.renewedAgoMs)} ago`;
  const words = {
    held: 'us',
    other: lease.holder,
    expired: `${lease.holder}, expired`,
    token: `${lease.holder}, by token`,
  };
  return `${escapeControls(words[lease.state])}${ago === '' ? '' : ` (renewed${ago})`}`;
}

function connectionsText(connections: readonly ConnectionStatus[]): string {
  const header = ['CLIENT', 'WHO', 'TLS', 'VOLUME', 'ATTACHED', 'REQUESTS NOW', 'BYTES NOW', 'READ', 'WRITTEN'];
  const rows = connections.map((connection) => [
    connection.peer,
    whoText(connection),
    connection.tls ?? '-',
    volumeText(connection),
    approximateDuration(connection.connectedMs),
    String(connection.requestsInFlight),
    approximateSize(connection.inFlightBytes),
    approximateSize(connection.readBytes),
    approximateSize(connection.writtenBytes),
  ]);
  return formatTable([header, ...rows]);
}

/** The first name is the most telling one; what is in a certificate is somebody else's text. */
function whoText({ client }: ConnectionStatus): string {
  const [first = '-', ...others] = client;
  return escapeControls(others.length === 0 ? first : `${first} +${others.length}`);
}

function volumeText({ volume, state, readOnly }: ConnectionStatus): string {
  if (volume === null) return `(${state === 'tls' ? 'TLS handshake' : state})`;
  return [volume, ...(readOnly ? ['read-only'] : []), ...(state === 'closing' ? ['closing'] : [])].join(', ');
}

function eventsText(events: readonly EventStatus[]): string {
  const rows = events.slice(-EVENTS_SHOWN).map(({ at, name, level, volume, message }) => {
    const text = escapeControls(volume === null ? message : `${volume}: ${message}`);
    return [at.replace(/\.\d+Z$/, 'Z'), level, name, text];
  });
  return formatTable([['EVENT AT', 'LEVEL', 'WHAT', ''], ...rows]);
}
