/** No attempt of a write is sent once the right to write has ended, wherever the write was waiting for its turn. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { LimitedObjectStore, StoreThrottle } from '../../../src/object/limited.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { RetryingObjectStore } from '../../../src/object/retrying.ts';
import type { Claim } from '../../../src/volume/claim.ts';
import { FencedObjectStore } from '../../../src/volume/fenced-object-store.ts';
import { Hold } from '../../../src/volume/hold.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { LIFE_MS, LogBook, never } from './fixtures.ts';
import { HookedStore, unreachable } from './hooked-store.ts';

/** The stack of wrappers that an appliance has, on a machine that can be suspended. */
async function setup(confirm: Claim['renew'], limits: { concurrency: number; uploadRateBytes: number | null }) {
  const clock = new VirtualClock();
  const claim: Claim = { acquire: async () => {}, renew: confirm, release: async () => {} };
  const hold = new Hold({ claims: [claim], durationMs: LIFE_MS, clock, log: new LogBook(), onLost: () => {} });
  await hold.acquire(never);
  const bucket = new HookedStore(new MemoryObjectStore());
  const limited = new LimitedObjectStore(bucket, new StoreThrottle({ ...limits, downloadRateBytes: null }, clock));
  const policy = { deadlineMs: 100 * LIFE_MS, pauseInitialMs: 100, pauseMaxMs: 1000 };
  const store = new FencedObjectStore(new RetryingObjectStore(limited, policy, clock), hold);
  return { clock, hold, bucket, store };
}

const BODY = Buffer.alloc(1000);
/** A renewal that is never answered. */
function unanswered(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new StorageError('CANCELLED', 'cancelled')), { once: true });
  });
}

describe('a machine that was suspended for longer than its lease', () => {
  test('does not send the next attempt of a write that failed', async () => {
    const { clock, hold, bucket, store } = await setup(unanswered, { concurrency: 4, uploadRateBytes: null });
    const gate = Promise.withResolvers<void>();
    bucket.before = async () => {
      await gate.promise;
      throw unreachable();
    };
    const writing = assert.rejects(store.put('k', BODY), { code: 'CANCELLED' });
    await clock.advance(100);
    clock.suspend();
    await clock.advance(10 * LIFE_MS);
    await clock.resume();
    gate.resolve();
    await clock.advance(10 * LIFE_MS);
    assert.equal(bucket.writes.length, 1);
    await hold.abandon();
    await writing;
  });

  test('does not send what waited for a place, or for its turn under a limit on bytes', async () => {
    for (const limits of [
      { concurrency: 1, uploadRateBytes: null },
      { concurrency: 4, uploadRateBytes: 1000 },
    ]) {
      const { clock, hold, bucket, store } = await setup(unanswered, limits);
      const gate = Promise.withResolvers<void>();
      bucket.before = () => gate.promise;
      const writes = ['a', 'b', 'c'].map((key) => store.put(key, BODY));
      const all = Promise.allSettled([...writes, store.delete(['d'])]);
      await clock.advance(10);
      const sent = bucket.writes.length;
      assert.ok(sent < 4, 'something must be waiting');
      clock.suspend();
      await clock.advance(10 * LIFE_MS);
      await clock.resume();
      gate.resolve();
      await clock.advance(10 * LIFE_MS);
      assert.equal(bucket.writes.length, sent);
      await hold.abandon();
      await all;
    }
  });

  test('sends all of it once the volume is confirmed to be still its own', async () => {
    let confirm: Claim['renew'] = unanswered;
    const { clock, hold, bucket, store } = await setup((signal) => confirm(signal), {
      concurrency: 1,
      uploadRateBytes: null,
    });
    const writes = Promise.all(['a', 'b', 'c'].map((key) => store.put(key, BODY)));
    bucket.before = () => clock.running();
    clock.suspend();
    await clock.advance(10 * LIFE_MS);
    confirm = async () => {};
    await clock.resume();
    await clock.run(writes);
    assert.deepEqual(await bucket.keys(), ['a', 'b', 'c']);
    await hold.release();
  });
});
