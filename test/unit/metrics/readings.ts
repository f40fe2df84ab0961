/** A reading with something in every metric. */
import type { CachedVolumeStatus } from '../../../src/cache/cached-volume.ts';
import { Errno } from '../../../src/fuse/constants.ts';
import { FileCommand, FileStats } from '../../../src/fuse/request-stats.ts';
import type { Reading, VolumeReading } from '../../../src/metrics/sources.ts';
import { Command, NbdErrno } from '../../../src/nbd/constants.ts';
import { RequestStatsTable } from '../../../src/nbd/request-stats.ts';
import { StoreMetrics } from '../../../src/object/store-metrics.ts';

const NOW = new Date('2026-01-02T03:04:05Z');

const cache: CachedVolumeStatus = {
  durability: 'local',
  dirtyBytes: 12_288,
  oldestDirtyMs: 1500,
  logUsedBytes: 16_384,
  logSizeBytes: 1_048_576,
  waitingWrites: 2,
  damagedPages: 3,
  logError: 'no space',
  upload: {
    uploading: true,
    batches: 7,
    uploadedBytes: 70_000,
    error: { code: 'UNAVAILABLE', message: 'gone', sinceMs: 2500 },
  },
  cache: {
    sizeBytes: 655_360,
    usedBytes: 131_072,
    pages: 20,
    hits: 100,
    rotten: 1,
    readErrors: 2,
    writeErrors: 3,
    evictions: 4,
    declined: 5,
    indexError: null,
  },
  missedPages: 25,
};

const opening: VolumeReading = {
  name: 'opening',
  serving: false,
  fenced: false,
  sizeBytes: null,
  storedBlocks: null,
  leaseConfirmedAgoMs: null,
  cache: null,
};

export function reading(): Reading {
  const requests = new RequestStatsTable();
  const media = requests.of('media');
  media.succeeded(Command.READ, 4096, performance.now());
  media.failed(Command.WRITE, NbdErrno.ENOSPC, performance.now());
  media.succeeded(Command.FLUSH, 0, performance.now());
  const file = new FileStats();
  file.succeeded(FileCommand.WRITE, 8192, performance.now());
  file.failed(FileCommand.READ, Errno.EIO, performance.now());
  const metrics = new StoreMetrics();
  for (const [operation, outcome, durationMs] of [
    ['get', 'ok', 3],
    ['get', 'absent', 5],
    ['put', 'TIMEOUT', 45_000],
    ['put', 'ok', 30],
    ['list', 'ok', 100],
    ['delete', 'ok', 8],
  ] as const) {
    metrics.begin();
    metrics.end(operation, outcome, durationMs);
  }
  metrics.countRetry();
  metrics.countBytes('up', 1000);
  metrics.countBytes('down', 2000);
  return {
    version: '1.2.3',
    ready: false,
    volumes: [
      {
        name: 'media',
        serving: true,
        fenced: false,
        sizeBytes: 2 ** 40,
        storedBlocks: 42,
        leaseConfirmedAgoMs: 4000,
        cache,
      },
      opening,
    ],
    nbd: {
      counters: { acceptedConnections: 5, refusedConnections: 1, exports: requests.snapshot() },
      connections: [
        {
          id: 1,
          peer: 'unix:/run/x',
          state: 'attached',
          client: { tls: null, names: [] },
          export: 'media',
          readOnly: false,
          since: NOW,
          bytesReceived: 1,
          bytesSent: 2,
          requests: 3,
          requestsInFlight: 4,
          bytesInFlight: 5,
          bytesUnsent: 6,
        },
      ],
      inFlightBytes: 8192,
    },
    fuse: {
      ...{ dir: '/mnt', mounted: true, openFiles: 1, requests: 10, requestsInFlight: 2, bytesInFlight: 4096 },
      files: [{ file: 'media', commands: file.snapshot() }],
    },
    store: {
      metrics: metrics.snapshot(),
      health: {
        state: 'failing',
        consecutiveFailures: 6,
        failingSince: new Date(NOW.getTime() - 60_000),
        lastError: null,
      },
      prices: { writesPerThousand: 0.5, readsPerThousand: 0.25, receivedPerGib: 0.09 },
    },
    uploadWindow: { open: true, rateBytes: 204_800 },
    jobs: [
      {
        ...{ name: 'flush', running: true, succeeded: 3, failed: 1, skipped: 2, durationSumMs: 500 },
        succeededAt: NOW,
        nextAt: new Date(NOW.getTime() + 60_000),
      },
    ],
    now: NOW,
  };
}
