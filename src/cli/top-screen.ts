/** What `bucketdisk top` shows: a screen of text, made of what the appliance says of itself. */
import { approximateDuration, approximateSize } from '../lib/units.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import type { LiveStatus, PastActivity } from './actions.ts';
import { shareBar } from './share-bar.ts';
import { condense, sparkline } from './sparkline.ts';
import { fitTable } from './table.ts';

export interface ScreenOptions {
  readonly columns: number;
  /** Null: as many lines as there are. */
  readonly rows: number | null;
  readonly color: boolean;
}

type Volume = LiveStatus['status']['volumes'][number];
type Paint = (text: string) => string;

const UNKNOWN = '-';
const CLIENTS_MAX = 8;
const EVENTS_MAX = 5;
/** A quarter of an hour of samples in the width that a line has. */
const SPARK_WIDTH = 60;
const SPARK_SAMPLES = 450;

/** Without control characters but those of colours; every line fits the columns. */
export function topScreen(
  live: LiveStatus,
  past: ReadonlyMap<string, PastActivity>,
  { columns, rows, color }: ScreenOptions,
): string[] {
  const paint = (code: string): Paint => (color ? (text) => `\x1b[${code}m${text}\x1b[0m` : (text) => text);
  const [bold, dim, red, yellow] = [paint('1'), paint('2'), paint('31'), paint('33')];
  const fit = (text: string): string => (text.length > columns ? text.slice(0, columns) : text);
  const heading = (text: string): string => bold(fit(text));
  const lines = [heading(headLine(live)), ...bucketLines(live).map(fit)];
  for (const line of troubles(live)) lines.push(red(fit(line)));
  const volumeRows = live.status.volumes.map((one) => volumeCells(one, live));
  const [titles = '', ...volumes] = fitTable([VOLUME_TITLES, ...volumeRows], columns);
  lines.push('', heading(titles), ...volumes.map(fit));
  for (const [name, activity] of past) {
    lines.push('', heading(`${name}, the last 15 minutes`), ...pastLines(activity, columns).map(fit));
  }
  const { connections, recentEvents } = live.status;
  if (connections.length > 0) {
    const clientRows = connections.slice(0, CLIENTS_MAX).map(clientCells);
    const [clientTitles = '', ...clients] = fitTable([CLIENT_TITLES, ...clientRows], columns);
    lines.push('', heading(clientTitles), ...clients.map(fit));
    if (connections.length > CLIENTS_MAX) lines.push(dim(fit(`and ${connections.length - CLIENTS_MAX} more`)));
  }
  const events = recentEvents.slice(-EVENTS_MAX).toReversed();
  if (events.length > 0) {
    const paints: Readonly<Record<string, Paint>> = { error: red, warn: yellow };
    lines.push('', heading('EVENTS'));
    for (const { at, level, volume, message } of events) {
      const about = volume === null ? message : `${volume}: ${message}`;
      lines.push((paints[level] ?? ((text) => text))(fit(`${at.slice(11, 19)}  ${escapeControls(about)}`)));
    }
  }
  return rows === null ? lines : lines.slice(0, rows);
}

/** One line for each volume, for where a screen cannot be drawn anew. */
export function topLines({ status, activity }: LiveStatus): string[] {
  const time = (activity?.at ?? '').slice(11, 19);
  return status.volumes.map(({ name, cache }) => {
    const now = activity?.volumes[name];
    const facts = [
      `read ${rate(now?.readBytes)} (${count(now?.reads)}/s, ${latency(now?.readMs)})`,
      `written ${rate(now?.writtenBytes)} (${count(now?.writes)}/s, ${latency(now?.writeMs)})`,
      `not uploaded ${cache === null ? '0 B' : approximateSize(cache.dirtyBytes)}`,
    ];
    return `${time} ${name}: ${facts.join(', ')}`;
  });
}

function headLine({ status, activity }: LiveStatus): string {
  const { version, pid, uptimeMs } = status;
  const parts = [`bucketdisk ${version}`, `up ${approximateDuration(uptimeMs ?? 0)}`, `pid ${pid ?? UNKNOWN}`];
  if (activity !== null) {
    const { cpuShare, residentBytes } = activity.process;
    parts.push(`cpu ${percent(cpuShare)}`, `memory ${approximateSize(residentBytes)}`, activity.at.slice(11, 19));
  }
  return parts.join('   ');
}

function bucketLines({ status, activity, cost }: LiveStatus): string[] {
  const { store } = status;
  const total = cost.cost.write + cost.cost.read + cost.cost.received;
  const now = activity?.store;
  const facts = [
    `${count(now?.requests)} requests/s`,
    `GET ${latency(now?.getMs)}`,
    `PUT ${latency(now?.putMs)}`,
    `sent ${rate(now?.sentBytes)}`,
    `fetched ${rate(now?.receivedBytes)}`,
    `${total.toFixed(total < 0.1 ? 5 : 2)} ${cost.currency} so far`,
  ];
  const words: Readonly<Record<string, string>> = { ok: 'answers', failing: 'FAILS', unknown: 'not asked yet' };
  return [`bucket ${store.description}: ${words[store.health] ?? store.health}`, `       ${facts.join('   ')}`];
}

/** What an operator has to do something about. */
function troubles({ status }: LiveStatus): string[] {
  const { store, volumes } = status;
  return [
    ...(store.health === 'failing' ? [`the bucket fails: ${store.error ?? 'no reason known'}`] : []),
    ...volumes.flatMap(({ name, error, cache }) => [
      ...(error === null ? [] : [`${name}: ${error.code}: ${error.message}`]),
      ...(cache === null || cache.uploadError === null
        ? []
        : [
            `${name}: cannot upload for ${approximateDuration(cache.uploadError.sinceMs)}: ${cache.uploadError.message}`,
          ]),
      ...(cache === null || cache.logError === null ? [] : [`${name}: the cache disk fails: ${cache.logError}`]),
    ]),
  ].map(escapeControls);
}

/** Those that matter most come first: a narrow terminal has no room for the last ones. */
const VOLUME_TITLES = [
  ...['VOLUME', 'STATE', 'READ', 'WRITTEN', 'NOT UPLOADED', 'READ IN', 'WRITTEN IN', 'HITS', 'LOG', 'CACHED'],
  ...['READS/S', 'WRITES/S', 'FLUSHES/S'],
];

function volumeCells({ name, state, cache }: Volume, { activity }: LiveStatus): string[] {
  const now = activity?.volumes[name];
  return [
    ...[name, state, rate(now?.readBytes), rate(now?.writtenBytes)],
    cache === null ? UNKNOWN : dirtyText(cache, now?.drainMs ?? null),
    ...[latency(now?.readMs), latency(now?.writeMs), percent(now?.hitShare)],
    ...(cache === null ? [UNKNOWN, UNKNOWN] : [shareBar(cache.logUsedBytes / cache.logSizeBytes), cachedText(cache)]),
    ...[count(now?.reads), count(now?.writes), count(now?.flushes)],
  ];
}

function dirtyText({ dirtyBytes, oldestDirtyMs }: NonNullable<Volume['cache']>, drainMs: number | null): string {
  if (oldestDirtyMs === null) return '0 B';
  const left = drainMs === null || drainMs === 0 ? '' : `, ${approximateDuration(drainMs)} left`;
  return `${approximateSize(dirtyBytes)} (${approximateDuration(oldestDirtyMs)} old${left})`;
}

function cachedText({ cachedBytes, cacheSizeBytes }: NonNullable<Volume['cache']>): string {
  return `${approximateSize(cachedBytes)} of ${approximateSize(cacheSizeBytes)}`;
}

function pastLines({ volume }: PastActivity, columns: number): string[] {
  const width = Math.max(10, Math.min(SPARK_WIDTH, columns - 34));
  const line = (label: string, values: readonly (number | null)[], tell: (value: number) => string): string => {
    const known = values.filter((value) => value !== null);
    const most = known.length === 0 ? '' : `  most ${tell(Math.max(...known))}`;
    return `  ${label.padEnd(14)}${sparkline(condense(values, Math.ceil(SPARK_SAMPLES / width)), width)}${most}`;
  };
  return [
    line('read', volume.readBytes, rate),
    line('written', volume.writtenBytes, rate),
    line('read in', volume.readMs, latency),
    line('not uploaded', volume.dirtyBytes, approximateSize),
  ];
}

const CLIENT_TITLES = ['CLIENT', 'WHO', 'VOLUME', 'ATTACHED', 'REQUESTS', 'NOW', 'READ', 'WRITTEN'];

function clientCells(one: LiveStatus['status']['connections'][number]): string[] {
  return [
    ...[one.peer, one.client[0] ?? UNKNOWN, one.volume ?? `(${one.state})`, approximateDuration(one.connectedMs)],
    ...[String(one.requests), String(one.requestsInFlight)],
    ...[approximateSize(one.readBytes), approximateSize(one.writtenBytes)],
  ].map(escapeControls);
}

type Maybe = number | null | undefined;

function rate(bytes: Maybe): string {
  return bytes == null ? UNKNOWN : `${approximateSize(Math.round(bytes))}/s`;
}

function count(value: Maybe): string {
  if (value == null) return UNKNOWN;
  return value > 0 && value < 10 ? String(Number(value.toFixed(1))) : String(Math.round(value));
}

function percent(share: Maybe): string {
  return share == null ? UNKNOWN : `${Number((share * 100).toFixed(1))}%`;
}

function latency(ms: Maybe): string {
  if (ms == null) return UNKNOWN;
  if (ms < 1) return `${Math.round(ms * 1000)} us`;
  return ms < 1000 ? `${Number(ms.toPrecision(3))} ms` : `${Number((ms / 1000).toPrecision(3))} s`;
}
