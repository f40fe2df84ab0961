/** What `serve` says once clients can attach: what is served where, and how to attach to it. */
import { join } from 'node:path';
import { approximateSize, formatSize } from '../lib/units.ts';
import { escapeControls } from './log-format.ts';
import type { Logger } from './logger.ts';

export interface ServedVolume {
  readonly name: string;
  readonly sizeBytes: number;
  readonly blockSizeBytes: number;
  /** Where its bytes are: `s3://bucket/prefix/`. */
  readonly url: string;
  readonly durability: string;
  readonly compress: string;
  /** The cipher's name, or null. */
  readonly encryption: string | null;
  readonly readOnly: boolean;
  readonly sharedDisk: boolean;
  /** Served where a client names no export. */
  readonly default: boolean;
}

export type ServedTls = 'off' | 'on' | 'required';

export interface ServedAppliance {
  readonly version: string;
  readonly nodeVersion: string;
  /** Addresses that are listened on, with the port the kernel picked. */
  readonly listen: readonly { readonly host: string; readonly port: number }[];
  /** Path of the unix socket, or null. */
  readonly socket: string | null;
  readonly tls: { readonly mode: ServedTls; readonly socketMode: ServedTls };
  /** The directory with a file for each volume, or null. */
  readonly fuseDir: string | null;
  readonly volumes: readonly ServedVolume[];
}

/** In JSON: one line with `"event":"ready"`, `"nbd":["127.0.0.1:10809","unix:/run/x.sock"]` and `"volumes":[...]`. */
export function announceReady(log: Logger, appliance: ServedAppliance): void {
  log.announce(readyText(appliance), 'ready', {
    event: 'ready',
    version: appliance.version,
    node: appliance.nodeVersion,
    pid: process.pid,
    nbd: listenNames(appliance),
    fuse: appliance.fuseDir,
    tls: appliance.tls.mode,
    volumes: appliance.volumes,
  });
}

/** The banner for people. */
export function readyText(appliance: ServedAppliance): string {
  const lines = ['', `bucketdisk ${appliance.version} is ready (Node ${appliance.nodeVersion})`, ''];
  const nameWidth = Math.max(0, ...appliance.volumes.map(({ name }) => name.length));
  for (const volume of appliance.volumes) {
    lines.push(`  ${volume.name.padEnd(nameWidth)}  ${describeVolume(volume)}`);
    lines.push(`  ${' '.repeat(nameWidth)}  ${volume.url}`);
  }
  lines.push('', '  clients attach to');
  for (const uri of nbdUris(appliance)) lines.push(`    ${uri}`);
  if (appliance.fuseDir !== null) {
    lines.push('', '  files');
    for (const { name } of appliance.volumes) lines.push(`    ${join(appliance.fuseDir, name)}`);
  }
  lines.push(...attachHints(appliance), '');
  return lines.map(escapeControls).join('\n');
}

/** The addresses as status and the ready line give them. */
export function listenNames({ listen, socket }: Pick<ServedAppliance, 'listen' | 'socket'>): string[] {
  const names = listen.map(({ host, port }) => hostAndPort(host, port));
  return socket === null ? names : [...names, `unix:${socket}`];
}

function describeVolume(volume: ServedVolume): string {
  const facts = [
    approximateSize(volume.sizeBytes),
    `${formatSize(volume.blockSizeBytes)} blocks`,
    volume.durability === 's3' ? 'durability s3 (a flush is in the bucket)' : `durability ${volume.durability}`,
    volume.compress === 'none' ? 'not compressed' : volume.compress,
    volume.encryption ?? 'not encrypted',
    ...(volume.readOnly ? ['read-only'] : []),
    ...(volume.sharedDisk ? ['shared disk'] : []),
    ...(volume.default ? ['default export'] : []),
  ];
  return facts.join(', ');
}

/** One URI for each address and volume: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md */
function nbdUris({ listen, socket, tls, volumes }: ServedAppliance): string[] {
  const scheme = (mode: ServedTls): string => (mode === 'required' ? 'nbds' : 'nbd');
  return volumes.flatMap(({ name }) => [
    ...listen.map(({ host, port }) => `${scheme(tls.mode)}://${hostAndPort(reachable(host), port)}/${name}`),
    ...(socket === null ? [] : [`${scheme(tls.socketMode)}+unix:///${name}?socket=${encodeURI(socket)}`]),
  ]);
}

/** Copy-paste commands for the volume that people most likely want, at the address most likely at hand. */
function attachHints(appliance: ServedAppliance): string[] {
  const volume = appliance.volumes.find((candidate) => candidate.default) ?? appliance.volumes[0];
  const uri = volume === undefined ? undefined : nbdUris({ ...appliance, volumes: [volume] })[0];
  if (volume === undefined || uri === undefined) return [];
  const quoted = /[?&]/.test(uri) ? `'${uri}'` : uri;
  // With certificates and keys there is more to a command than fits here.
  if (uri.startsWith('nbds')) return ['', '  with TLS: docs/TLS.md has the commands'];
  const first = appliance.listen[0];
  const client =
    first === undefined
      ? `nbd-client -unix ${appliance.socket} /dev/nbd0 -name ${volume.name}`
      : `nbd-client ${reachable(first.host)} ${first.port} /dev/nbd0 -name ${volume.name}`;
  return ['', '  try', `    nbdinfo ${quoted}`, `    qemu-img info ${quoted}`, `    sudo ${client}`];
}

/** An address to connect to, where `host` only says where to listen. */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1';
  return host === '::' ? '::1' : host;
}

function hostAndPort(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
