/** The status of an appliance as people read it. */
import { approximateDuration, approximateSize } from '../lib/units.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import type {
  ApplianceStatus,
  ConnectionStatus,
  EventStatus,
  FuseStatus,
  TlsStatus,
  UploadWindowStatus,
  VolumeStatus,
} from './actions.ts';
import { jobsText } from './job.ts';
import { formatTable } from './table.ts';
import { volumeParagraph } from './volume-paragraph.ts';

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
  return volumes.length === 0 ? 'no volumes\n' : volumes.map(volumeParagraph).join('\n');
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
