/** Retries: what is tried again, when, for how long, and what the caller learns. */
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { type ErrorCode, StorageError } from '../../../src/lib/errors.ts';
import { AmbiguousConflict } from '../../../src/object/ambiguous-conflict.ts';
import { probeConditionalPuts } from '../../../src/object/probe.ts';
import { RetryingObjectStore } from '../../../src/object/retrying.ts';
import { listKeys, rejectsWith } from '../../conformance/object-store/suite.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { failing, ScriptedObjectStore } from './scripted-store.ts';

const POLICY = { deadlineMs: 10_000, pauseInitialMs: 100, pauseMaxMs: 1000 };
const unavailable = (retryAfterMs?: number): StorageError =>
  new StorageError('UNAVAILABLE', 'not now', retryAfterMs === undefined ? {} : { retryAfterMs });

describe('RetryingObjectStore', () => {
  let clock: VirtualClock;
  let inner: ScriptedObjectStore;
  let store: RetryingObjectStore;
  /** When each failing attempt was made. */
  let failedAtMs: number[];
  const failNext = (times: number, error: StorageError): void => {
    for (let i = 0; i < times; i++) {
      inner.script.push({
        before: () => {
          failedAtMs.push(clock.now());
          throw error;
        },
      });
    }
  };
  beforeEach(() => {
    failedAtMs = [];
    clock = new VirtualClock();
    inner = new ScriptedObjectStore();
    store = new RetryingObjectStore(inner, POLICY, clock, undefined, () => 0.5);
  });

  it('tries again with pauses that grow up to their bound, jittered', async () => {
    failNext(6, unavailable());
    await clock.run(store.put('key', Buffer.from('x')));
    assert.equal(inner.attempts, 7);
    assert.deepEqual(failedAtMs, [0, 50, 150, 350, 750, 1250]);
    assert.equal(clock.now(), 1750);
  });

  it('waits as long as it is asked to', async () => {
    failNext(1, unavailable(3000));
    assert.equal(await clock.run(store.get('key')), null);
    assert.equal(clock.now(), 3000);
  });

  it('tries a last time at the deadline where it is asked to wait beyond it', async () => {
    failNext(1, unavailable(1e9));
    assert.equal(await clock.run(store.get('key')), null);
    assert.equal(clock.now(), POLICY.deadlineMs);
    failNext(2, unavailable(11_000));
    await assert.rejects(clock.run(store.get('key')), rejectsWith('UNAVAILABLE'));
    assert.deepEqual(failedAtMs, [0, 10_000, 20_000]);
  });

  it('gives up at the deadline with the last error, saying how long it tried', async () => {
    failNext(100, unavailable());
    await assert.rejects(clock.run(store.head('key')), (error) => {
      assert.ok(rejectsWith('UNAVAILABLE')(error) && error instanceof StorageError);
      assert.match(error.message, /not now; gave up after \d+ attempts in 10\.0 s/);
      return error.retryable;
    });
    assert.equal(clock.now(), POLICY.deadlineMs);
  });

  it('does not try again what cannot succeed', async () => {
    for (const code of ['ACCESS_DENIED', 'NOT_FOUND', 'INVALID', 'CONFLICT', 'CORRUPT', 'NO_SPACE'] as ErrorCode[]) {
      inner.attempts = 0;
      inner.script.push({ before: failing(new StorageError(code, 'no')) });
      await assert.rejects(store.get('key'), rejectsWith(code));
      assert.equal(inner.attempts, 1);
    }
  });

  it('stops when it is cancelled during a pause', async () => {
    inner.script.push({ before: failing(unavailable()) }, { before: failing(unavailable()) });
    const controller = new AbortController();
    const read = store.get('key', { signal: controller.signal });
    await clock.advance(0);
    controller.abort();
    await assert.rejects(read, rejectsWith('CANCELLED'));
    assert.equal(inner.attempts, 1);
  });

  it('marks the conflict of a conditional put with its own lost success', async () => {
    inner.script.push({ after: failing(new StorageError('TIMEOUT', 'no answer')) });
    await assert.rejects(clock.run(store.put('key', Buffer.from('mine'), { ifNoneMatch: '*' })), (error) => {
      return error instanceof AmbiguousConflict && error.code === 'CONFLICT' && !error.retryable;
    });
    assert.equal((await store.get('key'))?.body.toString(), 'mine');
    await assert.rejects(clock.run(store.put('key', Buffer.from('x'), { ifNoneMatch: '*' })), (error) => {
      return rejectsWith('CONFLICT')(error) && !(error instanceof AmbiguousConflict);
    });
  });

  it('repeats a probe whose answer was lost, instead of misjudging the store', async () => {
    inner.script.push({ after: failing(new StorageError('TIMEOUT', 'no answer')) });
    assert.deepEqual(await clock.run(probeConditionalPuts(store, '')), { ifNoneMatch: true, ifMatch: true });
    assert.deepEqual(await clock.run(listKeys(store, '')), []);
  });

  it('goes on with a listing after the last key delivered', async () => {
    const keys = Array.from({ length: 2500 }, (_, i) => String(i).padStart(5, '0'));
    for (const key of keys) await inner.inner.put(key, Buffer.alloc(0));
    inner.script.push(
      { before: failing(unavailable()) },
      {},
      { before: failing(unavailable()) },
      { after: failing(unavailable()) },
    );
    assert.deepEqual(await clock.run(listKeys(store, '')), keys);
    inner.script.push({}, { before: failing(unavailable()) });
    assert.deepEqual(await clock.run(listKeys(store, '', '00010')), keys.slice(11));
  });

  it('tells its listener of every attempt', async () => {
    const told: string[] = [];
    const listener = {
      succeeded: () => told.push('ok'),
      failed: (error: unknown) => told.push((error as StorageError).code),
    };
    store = new RetryingObjectStore(inner, POLICY, clock, listener);
    inner.script.push({ before: failing(unavailable()) });
    await clock.run(store.get('key'));
    inner.script.push({ before: failing(new StorageError('ACCESS_DENIED', 'no')) });
    await assert.rejects(store.get('key'));
    assert.deepEqual(told, ['UNAVAILABLE', 'ok', 'ACCESS_DENIED']);
  });
});
