/** The status as people read it. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { ApplianceStatus, VolumeStatus } from '../../../src/cli/actions.ts';
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
  connections: 1,
};

const STATUS: ApplianceStatus = {
  running: true,
  version: '1.2.3',
  pid: 42,
  uptimeMs: 11_520_000,
  nbd: ['127.0.0.1:10809', 'unix:/run/nbd.sock'],
  connections: [
    {
      peer: '127.0.0.1:5',
      volume: 'media',
      connectedMs: 60_000,
      requestsInFlight: 2,
      readBytes: 2 ** 30,
      writtenBytes: 0,
    },
  ],
  store: { description: 's3://bucket', health: 'ok', error: null, metrics: {} },
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

VOLUME   STATE              SIZE   BLOCK  STORED       CODING            FLUSH IS IN  HELD BY               CLIENTS  WHERE
media *  serving            1 TiB  1MiB   1234 blocks  zstd+AES-256-CBC  s3           us (renewed 3 s ago)  1        s3://bucket/media/
old      failed, read-only  ?      ?      ?            zstd+AES-256-CBC  s3           other:9               0        s3://bucket/media/
* served where a client names no export

old: ACCESS_DENIED: wrong\\npassword

CLIENT       VOLUME  ATTACHED  REQUESTS NOW  READ   WRITTEN
127.0.0.1:5  media   1 m       2             1 GiB  0 B
`,
    );
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
