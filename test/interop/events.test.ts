/** What an operator should hear of, made to happen to a real appliance: each is logged once, and reaches the webhook once. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { askAppliance } from '../../src/admin/control-client.ts';
import type { ApplianceStatus } from '../../src/cli/actions.ts';
import { EVENT_NAMES } from '../../src/events/event.ts';
import { Command, NbdErrno } from '../../src/nbd/constants.ts';
import { scanServed } from '../../src/scan-command.ts';
import { RawClient } from '../conformance/nbd/raw-client.ts';
import { startAppliance } from '../support/appliance.ts';
import { status } from '../support/s3-server/faults.ts';
import { blockKeysOf, s3Bucket } from './support/buckets.ts';
import { startWebhook } from './support/webhook.ts';

const BLOCK = 256 * 1024;
const TIMEOUT_MS = 300_000;
const POLL_MS = 50;

test('every event that matters is logged once and sent once, in order', { timeout: TIMEOUT_MS }, async (t) => {
  const hook = await startWebhook(t);
  const bucket = await s3Bucket(t);
  const config = {
    store: bucket.section,
    // Not so short that it lapses while the bucket does not answer; that it was taken is seen when it is to be renewed.
    lease: { duration: '20s' },
    upload: { age: '100ms' },
    cache: { size: '16MiB', logSize: '16MiB' },
    events: { webhook: hook.url },
    volumes: { disk: { size: '64MiB', blockSize: '256KiB' } },
  };
  const appliance = await startAppliance({ lifetime: t, config });
  const client = await RawClient.attach({ path: appliance.socket }, { name: 'disk' });
  t.after(() => client.close());
  const write = async (block: number): Promise<void> => {
    const request = { type: Command.WRITE, offset: BigInt(block * BLOCK), payload: randomBytes(BLOCK) };
    assert.equal((await client.request(request)).errno, NbdErrno.NONE);
  };
  const hears = async (name: string, times = 1): Promise<void> => {
    while (hook.names().filter((one) => one === name).length < times)
      await sleep(POLL_MS, undefined, { signal: t.signal });
  };
  const control = join(appliance.dir, 'cache', 'control.sock');
  const ask = (path: string, body: object) => askAppliance(control, 'POST', path, body);
  const logShare = async (): Promise<number> => {
    const { volumes } = (await askAppliance(control, 'GET', '/v1/status')) as ApplianceStatus;
    const { logUsedBytes = 0, logSizeBytes = 1 } = volumes[0]?.cache ?? {};
    return logUsedBytes / logSizeBytes;
  };
  await write(0);
  await appliance.flush('disk');
  assert.deepEqual(hook.names(), []);

  const outage = bucket.server.faults.add(status(503));
  await write(1);
  await hears('outage-began');
  // Not until a write waits: it would wait for the outage to end.
  for (let block = 2; (await logShare()) <= 0.8; block++) await write(block);
  await hears('log-filling');
  outage.remove();
  await hears('outage-ended');
  await appliance.flush('disk');
  await hears('log-relieved');

  const denied = bucket.server.faults.add(status(403));
  await write(0);
  await hears('credentials-refused');
  denied.remove();
  await appliance.flush('disk');
  await hears('outage-ended', 2);

  const [gone = ''] = await blockKeysOf(bucket.store, 'disk/');
  await bucket.store.delete([gone]);
  const how = { deep: false, share: 1, repair: false, rateBytes: null, onProgress: () => {} };
  assert.equal((await scanServed('disk', how, ask, ask)).damageLeft, 1);
  await hears('scan-done');

  const heir = await startAppliance({ lifetime: t, config: { ...config, events: {} }, args: ['--take-over', 'disk'] });
  await hears('lease-lost');
  await appliance.exited;
  await heir.stop();

  const expected = [
    ...['outage-began', 'log-filling', 'outage-ended', 'log-relieved', 'credentials-refused', 'outage-ended'],
    ...['damage-found', 'scan-done', 'lease-lost', 'stopped'],
  ];
  const logged = appliance.logs
    .map(({ event }) => event)
    .filter((event) => (EVENT_NAMES as readonly unknown[]).includes(event));
  assert.deepEqual(logged, expected);
  assert.deepEqual(hook.names(), expected);
  assert.equal(appliance.process.stderr.includes('s3cr3t'), false);
});
