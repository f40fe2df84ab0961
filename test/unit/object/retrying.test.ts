/** Retries: what is tried again, when, for how long, and what the caller learns. */
import assert from 'node:assert/strict';
import { beforeEach, describe, it } from 'node:test';
import { type ErrorCode, StorageError } from '../../../src/lib/errors.ts';
import { AmbiguousConflict } from '../../../src/object/ambiguous-conflict.ts';
import { probeConditionalPuts } from '../../../src/object/probe.ts';
import { RetryingObjectStore } from '../../../src/object/retrying.ts';
import { listKeys, rejectsWith } from '../../conformance/object-store/suite.ts';
import { ManualClock } from './manual-clock.ts';
import { failing, ScriptedObjectStore } from './scripted-store.ts';

const POLICY = { deadlineMs: 10_000, pauseInitialMs: 100, pauseMaxMs: 1000 };
const unavailable = (retryAfterMs?: number): StorageError =>
  new StorageError('UNAVAILABLE', 'not now', retryAfterMs === undefined ? {} : { retryAfterMs });

describe('RetryingObjectStore', () => {
  let clock: ManualClock;
  let inner: ScriptedObjectStore;
  let store: RetryingObjectStore;
  beforeEach(() => {
    clock = new ManualClock({ automatic: true });
    inner = new ScriptedObjectStore();
    store = new RetryingObjectStore(inner, POLICY, clock, undefined, () => 0.5);
  });

  it('tries again with pauses that grow up to their bound, jittered', async () => {
    for (let i = 0; i < 6; i++) inner.script.push({ before: failing(unavailable()) });
    await store.put('key', Buffer.from('x'));
    assert.equal(inner.attempts, 7);
    assert.deepEqual(clock.sleeps, [50, 100, 200, 400, 500, 500]);
  });

  it('waits as long as it is asked to', async () => {
    inner.script.push({ before: failing(unavailable(3000)) });
    assert.equal(await store.get('key'), null);
    assert.deepEqual(clock.sleeps, [3000]);
  });

  it('gives up at once where it is asked to wait beyond the deadline', async () => {
    inner.script.push({ before: failing(unavailable(11_000)) });
    await assert.rejects(store.get('key'), rejectsWith('UNAVAILABLE'));
    assert.deepEqual(clock.sleeps, []);
  });

  it('gives up at the deadline with the last error, saying how long it tried', async () => {
    for (let i = 0; i < 100; i++) inner.script.push({ before: failing(unavailable()) });
    await assert.rejects(store.head('key'), (error) => {
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
    const manual = new ManualClock();
    store = new RetryingObjectStore(inner, POLICY, manual);
    inner.script.push({ before: failing(unavailable()) }, { before: failing(unavailable()) });
    const controller = new AbortController();
    const read = store.get('key', { signal: controller.signal });
    await manual.advance(0);
    controller.abort();
    await assert.rejects(read, rejectsWith('CANCELLED'));
    assert.equal(inner.attempts, 1);
  });

  it('marks the conflict of a conditional put with its own lost success', async () => {
    inner.script.push({ after: failing(new StorageError('TIMEOUT', 'no answer')) });
    await assert.rejects(store.put('key', Buffer.from('mine'), { ifNoneMatch: '*' }), (error) => {
      return error instanceof AmbiguousConflict && error.code === 'CONFLICT' && !error.retryable;
    });
    assert.equal((await store.get('key'))?.body.toString(), 'mine');
    await assert.rejects(store.put('key', Buffer.from('x'), { ifNoneMatch: '*' }), (error) => {
      return rejectsWith('CONFLICT')(error) && !(error instanceof AmbiguousConflict);
    });
  });

  it('repeats a probe whose answer was lost, instead of misjudging the store', async () => {
    inner.script.push({ after: failing(new StorageError('TIMEOUT', 'no answer')) });
    assert.deepEqual(await probeConditionalPuts(store, ''), { ifNoneMatch: true, ifMatch: true });
    assert.deepEqual(await listKeys(store, ''), []);
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
    assert.deepEqual(await listKeys(store, ''), keys);
    inner.script.push({}, { before: failing(unavailable()) });
    assert.deepEqual(await listKeys(store, '', '00010'), keys.slice(11));
  });

  it('tells its listener of every attempt', async () => {
    const told: string[] = [];
    const listener = {
      succeeded: () => told.push('ok'),
      failed: (error: unknown) => told.push((error as StorageError).code),
    };
    store = new RetryingObjectStore(inner, POLICY, clock, listener);
    inner.script.push({ before: failing(unavailable()) });
    await store.get('key');
    inner.script.push({ before: failing(new StorageError('ACCESS_DENIED', 'no')) });
    await assert.rejects(store.get('key'));
    assert.deepEqual(told, ['UNAVAILABLE', 'ok', 'ACCESS_DENIED']);
  });
});
