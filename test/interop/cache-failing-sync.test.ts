/**
 * A disk of the cache that fails to sync, or to write: the flush fails, the log does not take for safe what it is not, and writes
 * all of it again before the next flush is answered. SYNC_SEED repeats a run.
 */
import assert from 'node:assert/strict';
import { describe, it, type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Command, CommandFlag, NbdErrno } from '../../src/nbd/constants.ts';
import { RawClient } from '../conformance/nbd/raw-client.ts';
import type { Appliance } from '../support/appliance.ts';
import { requireFacilities, requireTools } from '../support/tools.ts';
import { DiskRig, type DiskVariant } from './support/disk-rig.ts';
import { FailingSyncs, type TracedCall } from './support/failing-syncs.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SEED = Number(process.env.SYNC_SEED ?? Date.now() % 1_000_000);
const ROUNDS = Number(process.env.SYNC_ROUNDS ?? 1);
const TIMEOUT_MS = 120_000 + ROUNDS * 30_000;
const VARIANT: DiskVariant = { name: '', on: 's3', blockBytes: 64 * KIB, diskBytes: 8 * MIB, cache: {} };
/** Nothing reaches the bucket meanwhile: what is there afterwards is there because of the log. */
const NO_UPLOAD = { upload: { age: '1h', dirty: '256MiB' } };

async function rigOf(t: TestContext, seed: number, settings = {}): Promise<DiskRig | null> {
  if (!requireTools(t, ['strace']) || !requireFacilities(t, ['root'])) return null;
  t.diagnostic(`SYNC_SEED=${SEED}`);
  return DiskRig.make(t, VARIANT, SEED * 100 + seed, settings);
}

async function attach({ socket }: Appliance): Promise<RawClient> {
  return RawClient.attach({ path: socket }, { name: 'disk', framing: 'simple' });
}

const pages = (count: number, byte: number): Buffer => Buffer.alloc(count * 4096, byte);

/**
 * Writes of the first file of the log, where all of these go, as far as each sync that succeeded covers them; the ranges that none
 * has covered remain. The other files of a new log are being filled, which nobody depends on.
 */
function unsynced(calls: readonly TracedCall[]): { readonly path: string; readonly offset: number }[] {
  const open: { path: string; offset: number; length: number; lost: boolean }[] = [];
  for (const { call, path, offset, length, failed } of calls) {
    if (!path.endsWith('/log/00')) continue;
    if (call === 'pwrite64') {
      if (failed) continue;
      // Written again: what was lost there counts no more.
      for (let at = open.length - 1; at >= 0; at--) {
        const one = open[at];
        if (one?.path === path && offset <= one.offset && one.offset + one.length <= offset + length)
          open.splice(at, 1);
      }
      open.push({ path, offset, length, lost: false });
    } else if (failed) {
      for (const one of open) if (one.path === path) one.lost = true;
    } else {
      for (let at = open.length - 1; at >= 0; at--) {
        const one = open[at];
        if (one?.path === path && !one.lost) open.splice(at, 1);
      }
    }
  }
  return open.filter(({ lost }) => lost);
}

describe('a sync of the log fails', () => {
  it('so does the flush, and the next one writes all of it again before it is answered', {
    timeout: TIMEOUT_MS,
  }, async (t) => {
    const rig = await rigOf(t, 1, NO_UPLOAD);
    if (rig === null) return;
    const appliance = await rig.start();
    const client = await attach(appliance);
    assert.equal((await client.request({ type: Command.WRITE, offset: 0, payload: pages(8, 1) })).errno, 0);
    assert.equal((await client.request({ type: Command.FLUSH, length: 0 })).errno, 0);

    const failing = await FailingSyncs.attach(t, appliance.pid, 'fdatasync:error=EIO');
    assert.equal((await client.request({ type: Command.WRITE, offset: 4096, payload: pages(4, 2) })).errno, 0);
    for (let attempt = 0; attempt < 3; attempt++) {
      assert.equal((await client.request({ type: Command.FLUSH, length: 0 })).errno, NbdErrno.EIO);
    }
    const { FUA } = CommandFlag;
    const fua = { type: Command.WRITE, flags: FUA, offset: 16 * 4096, payload: pages(1, 3) };
    assert.equal((await client.request(fua)).errno, NbdErrno.EIO);
    assert.match((await rig.status(appliance)).cache?.logError ?? '', /could not be made durable/);
    // It is read as it was written, and told once.
    const read = await client.request({ type: Command.READ, offset: 4096, length: 4096 });
    assert.equal(read.data[0], 2);
    assert.equal(appliance.logs.filter(({ event }) => event === 'cache-disk-failed').length, 1);
    const failed = await failing.detach();
    assert.ok(failed.some(({ call, failed }) => call === 'fdatasync' && failed));

    const watching = await FailingSyncs.attach(t, appliance.pid, null);
    assert.equal((await client.request({ type: Command.FLUSH, length: 0 })).errno, 0);
    const calls = await watching.detach();
    assert.deepEqual(unsynced([...failed, ...calls]), [], 'what was not synced has been written again, and synced');
    assert.equal((await rig.status(appliance)).cache?.logError, null);

    client.close();
    await appliance.kill();
    const next = await rig.start();
    const after = await attach(next);
    const whole = await after.request({ type: Command.READ, offset: 0, length: 17 * 4096 });
    assert.deepEqual(
      [0, 1, 4, 5, 7, 16].map((page) => whole.data[page * 4096]),
      [1, 2, 2, 1, 1, 3],
    );
    after.close();
    assert.equal((await next.stop()).code, 0);
  });

  for (const inject of [
    'fdatasync:error=EIO:when=2+3',
    'fdatasync:error=EIO:when=1+2',
    'pwrite64:error=EIO:when=3+5',
    'pwrite64:error=ENOSPC:when=2+7',
  ]) {
    it(`now and then, under load: ${inject}`, { timeout: TIMEOUT_MS }, async (t) => {
      const rig = await rigOf(t, 2 + inject.length, { upload: { age: '300ms', dirty: '1MiB' } });
      if (rig === null) return;
      let failures = 0;
      let appliance = await rig.start();
      for (let round = 0; round < ROUNDS; round++) {
        const failing = await FailingSyncs.attach(t, appliance.pid, inject);
        await rig.startLoad(appliance);
        await delay(rig.random.int(300, 1500));
        for (const errno of rig.errors) {
          assert.ok(errno === NbdErrno.EIO || errno === NbdErrno.ENOSPC, `answered with error ${errno}`);
        }
        failures += rig.loads.reduce((sum, { counts }) => sum + counts.failed, 0);
        assert.ok(appliance.process.running);
        if (rig.random.chance(0.5)) {
          // Killed while it fails: what a failed flush was to make durable may be there or not.
          await rig.kill(appliance);
          await failing.detach();
        } else {
          await failing.detach();
          await rig.stopLoad();
          await rig.verify(appliance);
          await rig.startLoad(appliance);
          await delay(200);
          await rig.kill(appliance);
        }
        appliance = await rig.start();
        await rig.verify(appliance);
      }
      t.diagnostic(`${failures} requests failed, ${rig.model.checked} sectors compared`);
      assert.equal((await appliance.stop()).code, 0);
      const other = await rig.startOther();
      await rig.verify(other);
      assert.equal((await other.stop()).code, 0);
    });
  }
});
