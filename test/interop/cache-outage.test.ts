/**
 * The bucket away while a volume with a cache is written: nothing fails, status tells, and on return everything drains.
 * OUTAGE_SECONDS makes it longer, OUTAGE_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { CacheStatus } from '../../src/cli/actions.ts';
import type { Appliance } from '../support/appliance.ts';
import { type Fault, hang, refuse, status } from '../support/s3-server/faults.ts';
import type { S3Server } from '../support/s3-server/s3-server.ts';
import { CommandLine } from './support/command-line.ts';
import { DiskRig, type DiskVariant, type Section } from './support/disk-rig.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const OUTAGE_MS = Number(process.env.OUTAGE_SECONDS ?? 6) * 1000;
const SEED = Number(process.env.OUTAGE_SEED ?? Date.now() % 1_000_000);
const TIMEOUT_MS = 280_000 + 3 * OUTAGE_MS;
const LEASE_MS = 3000;
const skip = process.env.OUTAGE_SECONDS === undefined ? 'only where OUTAGE_SECONDS is set' : false;
const SETTINGS = { lease: { duration: `${LEASE_MS}ms` }, upload: { age: '300ms', dirty: '1MiB' } };
const VARIANT: DiskVariant = {
  name: '',
  on: 's3',
  blockBytes: 64 * KIB,
  diskBytes: 8 * MIB,
  cache: { logSize: '64MiB' },
};

interface Away {
  readonly rig: DiskRig;
  readonly server: S3Server;
}

async function rigOf(t: TestContext, seed: number, cache: Section = {}, volume: Section = {}): Promise<Away> {
  t.diagnostic(`OUTAGE_SEED=${SEED}`);
  const variant = { ...VARIANT, cache: { ...VARIANT.cache, ...cache }, volume };
  const rig = await DiskRig.make(t, variant, SEED * 100 + seed, SETTINGS);
  assert.ok(rig.server !== null);
  return { rig, server: rig.server };
}

async function cacheOf(rig: DiskRig, appliance: Appliance): Promise<CacheStatus> {
  const { cache } = await rig.status(appliance);
  assert.ok(cache !== null);
  return cache;
}

/** Everything is uploaded, and who has no cache finds it in the bucket. */
async function assertDrains(rig: DiskRig, appliance: Appliance): Promise<void> {
  await rig.stopLoad();
  await appliance.flush('disk');
  const { dirtyBytes, uploadError } = await cacheOf(rig, appliance);
  assert.equal(dirtyBytes, 0);
  assert.equal(uploadError, null);
  await rig.verify(appliance);
  await rig.finish(appliance);
}

describe('the bucket away, with a cache', () => {
  const ways: readonly (readonly [string, Fault])[] = [
    ['refuses connections', refuse()],
    ['answers 503', status(503)],
    ['refuses our credentials', status(403)],
    ['does not answer', hang()],
  ];
  for (const [at, [name, fault]] of ways.entries()) {
    it(`${name}: writes, flushes and reads go on, and all of it drains on return`, {
      timeout: TIMEOUT_MS,
      skip,
    }, async (t) => {
      const { rig, server } = await rigOf(t, at);
      // A request that hangs is to end within the test.
      rig.settings = { ...SETTINGS, store: { ...rig.store, requestTimeout: '2s' } };
      const appliance = await rig.start();
      await rig.startLoad(appliance);
      await delay(500);
      const outage = server.faults.add(fault);
      const before = rig.answered;
      await delay(OUTAGE_MS / 2);
      const half = await cacheOf(rig, appliance);
      await delay(OUTAGE_MS / 2);
      const whole = await cacheOf(rig, appliance);
      t.diagnostic(`${rig.answered - before} requests answered in ${OUTAGE_MS} ms, ${whole.dirtyBytes} bytes dirty`);
      assert.ok(rig.answered > before);
      assert.deepEqual(rig.errors, []);
      assert.ok(whole.dirtyBytes > 0 && whole.logUsedBytes > 0);
      assert.ok((whole.oldestDirtyMs ?? 0) > (half.oldestDirtyMs ?? 0) - 1);
      outage.remove();
      await assertDrains(rig, appliance);
    });
  }

  it('is told in status: since when, why, and how much waits', { timeout: TIMEOUT_MS }, async (t) => {
    const { rig, server } = await rigOf(t, 10);
    rig.settings = { ...SETTINGS, lease: { duration: '10m' } };
    const appliance = await rig.start();
    await rig.startLoad(appliance);
    await delay(300);
    const outage = server.faults.add(status(403));
    // A refusal is not tried again by the store.
    while ((await cacheOf(rig, appliance)).uploadError === null) await delay(50);
    await rig.stopLoad();
    const { uploadError, dirtyBytes, oldestDirtyMs } = await cacheOf(rig, appliance);
    assert.equal(uploadError?.code, 'ACCESS_DENIED');
    assert.ok(dirtyBytes > 0 && oldestDirtyMs !== null);
    const told = await new CommandLine(rig.dir, rig.config).run(['status']);
    assert.equal(told.code, 0, told.stderr);
    assert.match(told.stdout, /cannot upload for .*ACCESS_DENIED/);
    assert.equal(appliance.logs.filter(({ event }) => event === 'upload-failing').length, 1, 'loud once');
    outage.remove();
    await assertDrains(rig, appliance);
    assert.equal(appliance.logs.filter(({ event }) => event === 'upload-recovered').length, 1);
  });

  it('until the log is full: writes wait, none fails, and they go on on return', {
    timeout: TIMEOUT_MS,
    skip,
  }, async (t) => {
    const { rig, server } = await rigOf(t, 11, { logSize: '4MiB' });
    const appliance = await rig.start();
    const outage = server.faults.add(refuse());
    await rig.startLoad(appliance);
    while ((await cacheOf(rig, appliance)).waitingWrites === 0) await delay(50);
    await delay(OUTAGE_MS / 2);
    const { waitingWrites, logUsedBytes, logSizeBytes } = await cacheOf(rig, appliance);
    t.diagnostic(`${waitingWrites} writes wait, the log has ${logUsedBytes} of ${logSizeBytes} bytes in use`);
    assert.deepEqual(rig.errors, []);
    assert.ok(rig.loads.every(({ pending }) => pending > 0));
    outage.remove();
    const before = rig.answered;
    while (rig.answered < before + 500) await delay(50);
    assert.deepEqual(rig.errors, []);
    await assertDrains(rig, appliance);
  });

  it('while flushes are to be in the bucket: they wait, and are answered on return', {
    timeout: TIMEOUT_MS,
    skip,
  }, async (t) => {
    const { rig, server } = await rigOf(t, 12, {}, { durability: 's3' });
    const appliance = await rig.start();
    await rig.startLoad(appliance);
    await delay(300);
    const outage = server.faults.add(refuse());
    await delay(OUTAGE_MS);
    assert.deepEqual(rig.errors, []);
    outage.remove();
    const before = rig.answered;
    while (rig.answered < before + 300) await delay(50);
    assert.deepEqual(rig.errors, []);
    await assertDrains(rig, appliance);
  });

  it('killed and stopped in the middle of it, without the bucket coming back before', {
    timeout: TIMEOUT_MS,
    skip,
  }, async (t) => {
    const { rig } = await rigOf(t, 13);
    const first = await rig.start();
    await rig.startLoad(first);
    await delay(300);
    const release = rig.holdBlocksBack();
    await delay(500);
    await rig.kill(first);
    rig.settings = { ...SETTINGS, shutdown: { drain: '1s' } };
    const second = await rig.start();
    await rig.verify(second);
    await rig.startLoad(second);
    await delay(300);
    await rig.stopLoad();
    const { code, stderr } = await second.stop();
    assert.equal(code, 13, stderr.slice(-2000));
    rig.settings = SETTINGS;
    const third = await rig.start();
    await rig.verify(third);
    release();
    await assertDrains(rig, third);
  });
});
