/** Metrics and health checks of a real process: over HTTP, and by `bucketdisk health`. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Command } from '../../src/nbd/constants.ts';
import { RawClient } from '../conformance/nbd/raw-client.ts';
import { Appliance, startAppliance } from '../support/appliance.ts';
import { refuse } from '../support/s3-server/faults.ts';
import { startS3Server } from '../support/s3-server/s3-server.ts';
import { tempDir } from '../support/temp.ts';
import { requireTools, toolPath } from '../support/tools.ts';
import { CommandLine } from './support/command-line.ts';

const config = {
  store: { url: 'file:bucket' },
  volumes: { disk: { size: '4MiB', blockSize: '64KiB' } },
  admin: { listen: '127.0.0.1:0' },
};

async function adminUrl(appliance: Appliance): Promise<string> {
  return String((await appliance.waitForEvent('admin')).url);
}

async function sampleOf(url: string, name: string): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${name} `));
  return line === undefined ? Number.NaN : Number(line.slice(name.length));
}

test('an appliance tells over HTTP that it is ready, and counts what its clients ask', async (t) => {
  const appliance = await startAppliance({ lifetime: t, config });
  const url = await adminUrl(appliance);
  for (const path of ['/healthz', '/readyz']) {
    const answer = await fetch(url + path);
    assert.deepEqual([answer.status, await answer.text()], [200, 'ok\n']);
  }
  assert.equal((await fetch(`${url}/v1/status`)).status, 404);

  const client = await RawClient.attach({ path: appliance.socket }, { name: 'disk' });
  t.after(() => client.close());
  await client.request({ type: Command.WRITE, offset: 0n, payload: Buffer.alloc(8192, 'x') });
  await client.request({ type: Command.READ, offset: 4096n, length: 4096 });
  await client.request({ type: Command.READ, offset: 1n << 40n, length: 4096 });
  const requests = (command: string, result: string): Promise<number> =>
    sampleOf(url, `bucketdisk_nbd_requests_total{volume="disk",command="${command}",result="${result}"}`);
  assert.equal(await requests('write', 'ok'), 1);
  assert.equal(await requests('read', 'ok'), 1);
  assert.equal(await requests('read', 'EINVAL'), 1);
  assert.equal(await sampleOf(url, 'bucketdisk_nbd_request_bytes_total{volume="disk",command="write"}'), 8192);
  assert.equal(await sampleOf(url, 'bucketdisk_nbd_attached_clients{volume="disk"}'), 1);
  assert.equal(await sampleOf(url, 'bucketdisk_dirty_bytes{volume="disk"}'), 8192);
  assert.ok((await sampleOf(url, 'bucketdisk_oldest_dirty_age_seconds{volume="disk"}')) > 0);
  await appliance.flush('disk');
  assert.equal(await sampleOf(url, 'bucketdisk_dirty_bytes{volume="disk"}'), 0);
  assert.ok((await sampleOf(url, 'bucketdisk_store_requests_total{operation="put",result="ok"}')) > 0);
  assert.equal(await sampleOf(url, 'bucketdisk_ready'), 1);

  client.close();
  assert.equal((await appliance.stop()).code, 0);
  await assert.rejects(fetch(`${url}/healthz`));
});

test('the bucket being away is no reason to restart it: it is alive while it starts, and ready once and as long as it serves', async (t) => {
  await using s3 = await startS3Server({ buckets: ['bucket'] });
  const { accessKeyId, secretAccessKey, region, url: endpoint } = s3;
  const store = { url: 's3://bucket', endpoint, region, forcePathStyle: true, accessKeyId, secretAccessKey };
  const dir = await tempDir(t, 'appliance');
  const away = s3.faults.add(refuse());
  const nbd = { socket: join(dir, 'nbd.sock') };
  const settings = { ...config, store, nbd, lease: { duration: '3s' }, log: { format: 'json' } };
  const appliance = new Appliance(await new CommandLine(dir, settings).start(t, ['serve']), dir, '');
  const url = await adminUrl(appliance);
  const ask = async (path: string): Promise<[number, string]> => {
    const answer = await fetch(url + path);
    return [answer.status, await answer.text()];
  };
  assert.deepEqual(await ask('/healthz'), [200, 'ok\n']);
  assert.deepEqual(await ask('/readyz'), [503, 'the appliance is starting\nvolume disk is opening\n']);
  away.remove();
  await appliance.waitForEvent('ready');
  assert.deepEqual(await ask('/readyz'), [200, 'ok\n']);

  const again = s3.faults.add(refuse());
  const client = await RawClient.attach({ path: appliance.socket }, { name: 'disk' });
  t.after(() => client.close());
  await client.request({ type: Command.WRITE, offset: 0n, payload: Buffer.alloc(8192, 'x') });
  // For longer than the lease lasts.
  while (!((await sampleOf(url, 'bucketdisk_store_failing_seconds')) > 4)) await delay(50);
  for (const path of ['/healthz', '/readyz']) assert.deepEqual(await ask(path), [200, 'ok\n']);
  assert.equal((await client.request({ type: Command.READ, offset: 0n, length: 4096 })).errno, 0);
  again.remove();
  client.close();
  assert.equal((await appliance.stop()).code, 0);
});

test('what a real appliance tells is what promtool takes', async (t) => {
  if (!requireTools(t, ['promtool'])) return;
  const appliance = await startAppliance({ lifetime: t, config });
  const answer = await fetch(`${await adminUrl(appliance)}/metrics`);
  assert.match(answer.headers.get('content-type') ?? '', /^text\/plain; version=0\.0\.4/);
  const input = await answer.text();
  const { status, stdout, stderr } = spawnSync(toolPath('promtool'), ['check', 'metrics'], { input, encoding: 'utf8' });
  assert.deepEqual({ status, stdout, stderr }, { status: 0, stdout: '', stderr: '' });
});

test('`health` tells whether one runs and serves, and a second one cannot have its address', async (t) => {
  const appliance = await startAppliance({ lifetime: t, config });
  const commandLine = new CommandLine(appliance.dir, config);
  assert.deepEqual(outcome(await commandLine.run(['health'])), [0, 'ok\n']);

  const listen = (await adminUrl(appliance)).replace('http://', '');
  const second = new CommandLine(appliance.dir, {
    ...config,
    cache: { dir: `${appliance.dir}/second` },
    store: { url: 'file:second-bucket' },
    admin: { listen },
  });
  const refused = await second.run(['serve']);
  assert.equal(refused.code, 11);
  assert.match(refused.stderr, /127\.0\.0\.1:\d+ is in use by somebody else; set admin\.listen to another address/);

  assert.equal((await appliance.stop()).code, 0);
  const [code, text] = outcome(await commandLine.run(['health']));
  assert.equal(code, 1);
  assert.match(String(text), /^no appliance runs with the directory .*\/cache\n$/);
});

function outcome({ code, stdout }: { readonly code: number | null; readonly stdout: string }): unknown[] {
  return [code, stdout];
}
