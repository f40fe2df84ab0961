/** The start banner: readable for people, one stable line for machines. */
import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { describe, it } from 'node:test';
import { announceReady, readyText, type ServedAppliance } from '../../../src/telemetry/banner.ts';
import { createLogger } from '../../../src/telemetry/logger.ts';

const APPLIANCE: ServedAppliance = {
  version: '1.2.3',
  nodeVersion: 'v24.0.0',
  listen: [
    { host: '0.0.0.0', port: 10809 },
    { host: '::1', port: 4000 },
  ],
  socket: '/run/a b.sock',
  tls: { mode: 'off', socketMode: 'off' },
  fuseDir: null,
  volumes: [
    {
      name: 'media',
      sizeBytes: 2 ** 40,
      blockSizeBytes: 2 ** 20,
      url: 's3://bucket/media/',
      durability: 's3',
      compress: 'zstd',
      encryption: 'AES-256-CBC',
      readOnly: true,
      sharedDisk: false,
      default: true,
    },
  ],
};

async function announced(format: 'json' | 'pretty'): Promise<string> {
  let text = '';
  const stream = new Writable({
    write(chunk, _encoding, callback) {
      text += chunk;
      callback();
    },
  });
  const log = createLogger({ level: 'info', format, stream });
  announceReady(log, APPLIANCE);
  await log.close();
  return text;
}

describe('banner', () => {
  it('is one line with event, addresses and volumes in JSON', async () => {
    const text = await announced('json');
    assert.equal(text.indexOf('\n'), text.length - 1);
    const { event, level, nbd, volumes, version } = JSON.parse(text);
    assert.equal(event, 'ready');
    assert.equal(level, 'info');
    assert.equal(version, '1.2.3');
    assert.deepEqual(nbd, ['0.0.0.0:10809', '[::1]:4000', 'unix:/run/a b.sock']);
    assert.deepEqual(volumes, APPLIANCE.volumes);
  });

  it('tells people what is served where, and how to attach', async () => {
    const text = await announced('pretty');
    assert.equal(text, `${readyText(APPLIANCE)}\n`);
    for (const expected of [
      'bucketdisk 1.2.3 is ready',
      '1 TiB, 1MiB blocks, durability s3 (a flush is in the bucket), zstd, AES-256-CBC, read-only',
      's3://bucket/media/',
      'nbd://127.0.0.1:10809/media',
      'nbd://[::1]:4000/media',
      'nbd+unix:///media?socket=/run/a%20b.sock',
      'nbdinfo nbd://127.0.0.1:10809/media',
      'nbd-client 127.0.0.1 10809 /dev/nbd0 -name media',
    ]) {
      assert.ok(text.includes(expected), expected);
    }
  });

  it('tells where the volumes are files', async () => {
    const text = readyText({ ...APPLIANCE, fuseDir: '/srv/disks' });
    assert.ok(text.includes('\n  files\n    /srv/disks/media\n'), text);
    assert.equal(JSON.parse(await announced('json')).fuse, null);
  });

  it('gives hints for the unix socket where there is no other address', () => {
    const text = readyText({ ...APPLIANCE, listen: [], socket: '/run/nbd.sock' });
    assert.ok(text.includes("nbdinfo 'nbd+unix:///media?socket=/run/nbd.sock'"));
    assert.ok(text.includes('nbd-client -unix /run/nbd.sock /dev/nbd0 -name media'));
  });

  it('names what clients must use where TLS is required', () => {
    const required = readyText({ ...APPLIANCE, tls: { mode: 'required', socketMode: 'off' } });
    assert.ok(required.includes('nbds://127.0.0.1:10809/media'));
    assert.ok(required.includes('nbd+unix:///media?socket='));
    assert.ok(required.includes('docs/TLS.md'));
    assert.ok(!required.includes('nbd-client'));
  });
});
