/** What clients ask, over NBD and over FUSE. */
import type { FuseStatus } from '../fuse/server.ts';
import { LATENCY_BOUNDS_SECONDS } from '../lib/latency-table.ts';
import type { Family } from './family.ts';
import type { Reading } from './sources.ts';

const attached = ({ nbd }: Reading, name: string): number =>
  nbd.connections.filter((connection) => connection.export === name).length;

function fileCommands({ fuse }: Reading): (FuseStatus['files'][number]['commands'][number] & { volume: string })[] {
  return fuse?.files.flatMap(({ file, commands }) => commands.map((one) => ({ ...one, volume: file }))) ?? [];
}

export const NBD_FAMILIES: readonly Family<Reading>[] = [
  {
    name: 'bucketdisk_nbd_requests_total',
    type: 'counter',
    help: 'NBD requests that have ended. result: ok, an errno, or abandoned where the client was gone by then.',
    labels: ['volume', 'command', 'result'],
    read: ({ nbd }) =>
      nbd.counters.exports.flatMap(({ export: volume, commands }) =>
        commands.flatMap(({ command, results }) =>
          results.map(({ result, count }) => ({ labels: { volume, command, result }, value: count })),
        ),
      ),
  },
  {
    name: 'bucketdisk_nbd_request_bytes_total',
    type: 'counter',
    help: 'Bytes that successful NBD requests were about: payload, or the range zeroed, trimmed or asked about.',
    labels: ['volume', 'command'],
    read: ({ nbd }) =>
      nbd.counters.exports.flatMap(({ export: volume, commands }) =>
        commands
          .filter(({ command }) => command !== 'flush')
          .map(({ command, bytes }) => ({ labels: { volume, command }, value: bytes })),
      ),
  },
  {
    name: 'bucketdisk_nbd_request_duration_seconds',
    type: 'histogram',
    help: 'Time from a complete NBD request until its reply is queued: of one read and one write in 7, and of all others that are not refused at once.',
    labels: ['volume', 'command'],
    read: ({ nbd }) =>
      nbd.counters.exports.flatMap(({ export: volume, commands }) =>
        commands.map(({ command, latencyCounts, latencySumSeconds }) => ({
          labels: { volume, command },
          bounds: LATENCY_BOUNDS_SECONDS,
          counts: latencyCounts,
          sum: latencySumSeconds,
        })),
      ),
  },
  {
    name: 'bucketdisk_nbd_connections',
    type: 'gauge',
    help: 'NBD clients connected, in whatever state.',
    labels: [],
    read: ({ nbd }) => [{ value: nbd.connections.length }],
  },
  {
    name: 'bucketdisk_nbd_attached_clients',
    type: 'gauge',
    help: 'NBD clients that have the volume open.',
    labels: ['volume'],
    read: (reading) =>
      reading.volumes.map(({ name }) => ({ labels: { volume: name }, value: attached(reading, name) })),
  },
  {
    name: 'bucketdisk_nbd_connections_accepted_total',
    type: 'counter',
    help: 'NBD connections taken.',
    labels: [],
    read: ({ nbd }) => [{ value: nbd.counters.acceptedConnections }],
  },
  {
    name: 'bucketdisk_nbd_connections_refused_total',
    type: 'counter',
    help: 'NBD connections turned away: nbd.connectionsMax was reached, or the appliance was stopping.',
    labels: [],
    read: ({ nbd }) => [{ value: nbd.counters.refusedConnections }],
  },
  {
    name: 'bucketdisk_nbd_requests_in_flight',
    type: 'gauge',
    help: 'NBD requests that volumes have not answered yet.',
    labels: [],
    read: ({ nbd }) => [{ value: nbd.connections.reduce((sum, { requestsInFlight }) => sum + requestsInFlight, 0) }],
  },
  {
    name: 'bucketdisk_nbd_in_flight_bytes',
    type: 'gauge',
    help: 'Payload of NBD requests under way, reads until they have been sent.',
    labels: [],
    read: ({ nbd }) => [{ value: nbd.inFlightBytes }],
  },
];

export const FUSE_FAMILIES: readonly Family<Reading>[] = [
  {
    name: 'bucketdisk_fuse_mounted',
    type: 'gauge',
    help: '1 while fuse.dir is mounted, 0 once somebody has unmounted it. Absent without fuse.dir.',
    labels: [],
    read: ({ fuse }) => (fuse === null ? [] : [{ value: Number(fuse.mounted) }]),
  },
  {
    name: 'bucketdisk_fuse_requests_total',
    type: 'counter',
    help: "The kernel's FUSE requests.",
    labels: [],
    read: ({ fuse }) => (fuse === null ? [] : [{ value: fuse.requests }]),
  },
  {
    name: 'bucketdisk_fuse_file_requests_total',
    type: 'counter',
    help: "FUSE requests for a volume's bytes that have ended. result: ok or an errno.",
    labels: ['volume', 'command', 'result'],
    read: (reading) =>
      fileCommands(reading).flatMap(({ volume, command, results }) =>
        results.map(({ result, count }) => ({ labels: { volume, command, result }, value: count })),
      ),
  },
  {
    name: 'bucketdisk_fuse_file_bytes_total',
    type: 'counter',
    help: 'Bytes that successful FUSE requests have read, written or zeroed.',
    labels: ['volume', 'command'],
    read: (reading) =>
      fileCommands(reading)
        .filter(({ command }) => command === 'read' || command === 'write' || command === 'zero')
        .map(({ volume, command, bytes }) => ({ labels: { volume, command }, value: bytes })),
  },
  {
    name: 'bucketdisk_fuse_request_duration_seconds',
    type: 'histogram',
    help: "Time from a FUSE request for a volume's bytes until it has been answered: of one read and one write in 7, and of all others.",
    labels: ['volume', 'command'],
    read: (reading) =>
      fileCommands(reading).map(({ volume, command, latencyCounts, latencySumSeconds }) => ({
        labels: { volume, command },
        bounds: LATENCY_BOUNDS_SECONDS,
        counts: latencyCounts,
        sum: latencySumSeconds,
      })),
  },
  {
    name: 'bucketdisk_fuse_requests_in_flight',
    type: 'gauge',
    help: 'FUSE requests that volumes have not answered yet.',
    labels: [],
    read: ({ fuse }) => (fuse === null ? [] : [{ value: fuse.requestsInFlight }]),
  },
  {
    name: 'bucketdisk_fuse_in_flight_bytes',
    type: 'gauge',
    help: 'Payload of FUSE requests under way.',
    labels: [],
    read: ({ fuse }) => (fuse === null ? [] : [{ value: fuse.bytesInFlight }]),
  },
  {
    name: 'bucketdisk_fuse_open_files',
    type: 'gauge',
    help: 'Times that files under fuse.dir are open.',
    labels: [],
    read: ({ fuse }) => (fuse === null ? [] : [{ value: fuse.openFiles }]),
  },
];
