/** The status as people read it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type {
  ApplianceStatus,
  ConnectionStatus,
  FuseStatus,
  JobStatus,
  TlsStatus,
  VolumeStatus,
} from '../../../src/cli/actions.ts';
import { statusText } from '../../../src/cli/status-text.ts';
import { FakeHost, runCommand } from './fake-host.ts';

const VOLUME: VolumeStatus = {
  name: 'media',
  url: 's3://bucket/media/',
  state: 'serving',
  error: null,
  sizeBytes: 2 ** 40,
  blockSizeBytes: 2 ** 20,
  layout: 'blocks',
  durability: 's3',
  compress: 'zstd',
  encryption: 'AES-256-CBC',
  readOnly: false,
  sharedDisk: false,
  default: true,
  lease: { holder: 'host:1', state: 'held', renewedAgoMs: 3000 },
  survey: { done: true, blocksListed: 1234 },
  storedBlocks: 1234,
  cache: null,
  leftover: null,
  connections: 1,
};

const CLIENT: ConnectionStatus = {
  peer: '127.0.0.1:5',
  state: 'attached',
  tls: null,
  client: [],
  volume: 'media',
  readOnly: false,
  connectedMs: 60_000,
  requests: 9,
  requestsInFlight: 2,
  inFlightBytes: 8192,
  readBytes: 2 ** 30,
  writtenBytes: 0,
};

const TLS: TlsStatus = {
  mode: 'required',
  socketMode: 'off',
  verifyClients: 'optional',
  certificate: 'CN=disks.example.net',
  validTo: '2030-01-02T03:04:05.000Z',
  pskUsers: 1,
  error: null,
};

const STATUS: ApplianceStatus = {
  running: true,
  version: '1.2.3',
  pid: 42,
  uptimeMs: 11_520_000,
  nbd: ['127.0.0.1:10809', 'unix:/run/nbd.sock'],
  fuse: null,
  mounts: [],
  tls: null,
  connections: [CLIENT],
  store: { description: 's3://bucket', health: 'ok', error: null, metrics: {} },
  uploadWindow: { open: true, rateBytes: null, until: null },
  jobs: [],
  recentEvents: [],
  volumes: [
    VOLUME,
    {
      ...VOLUME,
      name: 'old',
      default: false,
      state: 'failed',
      error: { code: 'ACCESS_DENIED', message: 'wrong\npassword' },
      sizeBytes: null,
      blockSizeBytes: null,
      storedBlocks: null,
      survey: null,
      lease: { holder: 'other:9', state: 'other', renewedAgoMs: null },
      connections: 0,
      readOnly: true,
    },
  ],
};

describe('status', () => {
  it('tells the appliance, its volumes and its clients', () => {
    assert.equal(
      statusText(STATUS),
      `bucketdisk  1.2.3, running for 3 h 12 m (pid 42)
listening   127.0.0.1:10809, unix:/run/nbd.sock
bucket      s3://bucket (ok)

media      serving, 1 TiB, served where a client names no export, 1 client
  lies in  s3://bucket/media/, blocks of 1 MiB, zstd, AES-256-CBC
  stored   [#.........] 0.118%: 1.21 GiB in 1234 blocks
  flush    an answered flush is in the bucket
  held by  us, renewed 3 s ago

old        failed, size unknown, read-only
  lies in  s3://bucket/media/, zstd, AES-256-CBC
  stored   not counted
  flush    an answered flush is in the bucket
  held by  other:9
  ERROR    ACCESS_DENIED: wrong\\npassword

CLIENT       WHO  TLS  VOLUME  ATTACHED  REQUESTS NOW  BYTES NOW  READ   WRITTEN
127.0.0.1:5  -    -    media   1 m       2             8 KiB      1 GiB  0 B
`,
    );
  });

  it('tells what a cache holds that nobody serves', () => {
    const told = (leftover: VolumeStatus['leftover']): string =>
      statusText({ ...STATUS, running: false, connections: [], volumes: [{ ...VOLUME, state: 'idle', leftover }] });
    assert.match(
      told('unsaved'),
      /UNSAVED +its cache has writes that are not in the bucket: .*"bucketdisk flush media"/,
    );
    assert.match(told('unknown'), /UNSAVED +it cannot be told/);
    assert.match(told('busy'), /to upload +not known/);
    assert.match(told('saved'), /to upload +nothing/);
    assert.doesNotMatch(told(null), /to upload|UNSAVED/);
  });

  it('tells the jobs, their rules where they are not the default ones, and what they came to in what a line has room for', () => {
    const idle = {
      running: false,
      runningSince: null,
      queued: false,
      lastRun: null,
      succeeded: 0,
      failed: 0,
      skipped: 0,
    };
    const plain = { timezone: null, overlap: 'skip', jitterMs: 0, nextRunAt: null } as const;
    const lastRun: JobStatus['lastRun'] = {
      ...{ id: '1', job: 'report', trigger: 'schedule', startedAt: '2026-01-02T03:04:05.678Z', durationMs: 2 },
      ...{ result: 'failed', code: 'INTERNAL', detail: 'a\nlong story '.repeat(9) },
    };
    const text = statusText({
      ...STATUS,
      jobs: [
        { ...idle, ...plain, name: 'flush', cron: '0 * * * *', nextRunAt: '2026-01-02T04:00:00.000Z' },
        {
          ...idle,
          name: 'scan',
          cron: '0 3 * * *',
          timezone: 'Europe/Paris',
          overlap: 'queue',
          jitterMs: 60_000,
          nextRunAt: null,
        },
        { ...idle, ...plain, name: 'report', cron: null, lastRun },
        { ...idle, ...plain, name: 'cache-trim', cron: null, running: true, runningSince: '2026-01-02T03:04:05.678Z' },
      ],
    });
    assert.equal(
      text.slice(text.indexOf('JOB ')),
      `JOB         AT                                                                      NEXT                  LAST                                TOOK  RESULT
flush       0 * * * *                                                               2026-01-02T04:00:00Z  -                                   -     -
scan        0 3 * * * (Europe/Paris, up to 1 m later, once more where it overlaps)  -                     -                                   -     -
report      on demand                                                               -                     2026-01-02T03:04:05Z                2 ms  FAILED: a\\nlong story a\\nlong story a\\nlong story a\\nlong st...
cache-trim  on demand                                                               -                     running since 2026-01-02T03:04:05Z  -     -
`,
    );
  });

  it('tells what is not in the bucket yet, and what is wrong with the cache', () => {
    const cache = {
      ...{
        dirtyBytes: 5 * 2 ** 20,
        oldestDirtyMs: 19_000,
        logUsedBytes: 2 ** 28,
        logSizeBytes: 2 ** 30,
        waitingWrites: 3,
      },
      ...{ damagedPages: 2, logError: 'no\nspace', uploading: true, uploadedBytes: 1, hits: 0, cachedBytes: 2 ** 28 },
      ...{ cacheSizeBytes: 2 ** 28, uploadError: { code: 'UNAVAILABLE', message: 'gone', sinceMs: 61_000 } },
    };
    const text = statusText({ ...STATUS, connections: [], volumes: [{ ...VOLUME, durability: 'local', cache }] });
    const [, paragraph] = text.split('\n\n');
    assert.equal(
      paragraph,
      `media        serving, 1 TiB, served where a client names no export, 1 client
  lies in    s3://bucket/media/, blocks of 1 MiB, zstd, AES-256-CBC
  stored     [#.........] 0.118%: 1.21 GiB in 1234 blocks
  to upload  5 MiB, 19 s old, being uploaded; an answered flush is on the cache disk
  write log  [###.......] 25% of 1 GiB
  cached     [##########] 256 MiB of 256 MiB
  held by    us, renewed 3 s ago
  ERROR      cannot upload for 1 m 1 s: UNAVAILABLE: gone
  ERROR      the cache disk fails, and flushes with it: no\\nspace
  ERROR      2 pages were damaged on the cache disk and cannot be read
  ERROR      the write log is full: 3 requests wait for uploads
`,
    );
  });

  it('tells who its clients have shown to be, and what TLS goes by', () => {
    const text = statusText({
      ...STATUS,
      tls: TLS,
      volumes: [],
      connections: [
        { ...CLIENT, tls: 'TLSv1.3', client: ['cn:evil\u001b[2J', 'dns:nas.example.net', 'socket'], readOnly: true },
        { ...CLIENT, state: 'tls', client: [], volume: null, readOnly: null },
        { ...CLIENT, state: 'handshake', client: ['socket'], volume: null, readOnly: null },
        { ...CLIENT, state: 'closing' },
      ],
    });
    assert.ok(
      text.includes(
        'tls         required, off on the socket; certificate CN=disks.example.net until 2030-01-02; ' +
          'certificates of clients optional; 1 user with a key\n',
      ),
      text,
    );
    assert.ok(text.includes('127.0.0.1:5  cn:evil\\u001b[2J +2  TLSv1.3  media, read-only  '), text);
    assert.ok(text.includes('(TLS handshake)'), text);
    assert.ok(text.includes('(handshake)'), text);
    assert.ok(text.includes('media, closing'), text);
    const failed = statusText({ ...STATUS, tls: { ...TLS, error: '/etc/x: no such\nfile' } });
    assert.ok(failed.includes('NEW FILES NOT IN USE: /etc/x: no such\\nfile'), failed);
  });

  it('tells where the volumes are files, and how that is going', () => {
    const fuse = { dir: '/srv/disks', mounted: true, openFiles: 0, requests: 9, requestsInFlight: 0 };
    const line = (status: FuseStatus): string | undefined =>
      statusText({ ...STATUS, fuse: status })
        .split('\n')
        .find((one) => one.startsWith('files in'));
    assert.equal(line(fuse), 'files in    /srv/disks');
    assert.equal(
      line({ ...fuse, openFiles: 2, requestsInFlight: 3 }),
      'files in    /srv/disks (open 2 times, 3 requests now)',
    );
    const mounts = [{ name: 'media', dir: '/srv/media', device: '/dev/loop3', via: 'fuse' as const }];
    assert.ok(statusText({ ...STATUS, mounts }).includes('\nmounted     media on /srv/media (/dev/loop3)\n'));
    assert.equal(line({ ...fuse, mounted: false }), 'files in    /srv/disks (UNMOUNTED by somebody else)');
  });

  it('tells what the bucket says where nothing runs', () => {
    const text = statusText({
      ...STATUS,
      running: false,
      pid: null,
      uptimeMs: null,
      nbd: [],
      connections: [],
      volumes: [],
    });
    assert.equal(text, 'bucketdisk  1.2.3, not running\nbucket      s3://bucket (ok)\n\nno volumes\n');
  });

  it('is printed as it stands with --json', async () => {
    const { stdout } = await runCommand('status --json', new FakeHost({ actions: { status: async () => STATUS } }));
    assert.deepEqual(JSON.parse(stdout), STATUS);
  });
});
