/** The counters see every attempt, its outcome, its time and its bytes. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { InstrumentedObjectStore } from '../../../src/object/instrumented.ts';
import { RetryingObjectStore } from '../../../src/object/retrying.ts';
import { LATENCY_BOUNDS_MS, StoreMetrics } from '../../../src/object/store-metrics.ts';
import { listKeys } from '../../conformance/object-store/suite.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { failing, ScriptedObjectStore } from './scripted-store.ts';

describe('InstrumentedObjectStore', () => {
  it('counts attempts, outcomes, bytes and time', async () => {
    const clock = new VirtualClock();
    const metrics = new StoreMetrics();
    const inner = new ScriptedObjectStore();
    const store = new InstrumentedObjectStore(inner, metrics, clock);
    inner.script.push({ before: () => clock.advance(7) });
    await store.put('key', Buffer.alloc(100));
    await store.get('key', { range: { offset: 0, length: 40 } });
    await store.get('nothing');
    await store.head('key');
    inner.script.push({ before: failing(new StorageError('TIMEOUT', 'late')) });
    await assert.rejects(store.get('key'));
    await listKeys(store, '');
    await store.delete(['key']);
    const { operations, ...rest } = metrics.snapshot();
    assert.deepEqual(rest, { retries: 0, bytesUp: 100, bytesDown: 40, inFlight: 0, inFlightMax: 1 });
    assert.equal(operations.put.attempts, 1);
    assert.equal(operations.put.latencySumMs, 7);
    assert.equal(operations.put.latencyCounts[LATENCY_BOUNDS_MS.indexOf(10)], 1);
    assert.deepEqual(operations.get.outcomes, { ok: 1, absent: 1, TIMEOUT: 1 });
    assert.equal(operations.get.attempts, 3);
    assert.equal(operations.head.attempts, 1);
    assert.equal(operations.delete.attempts, 1);
    assert.equal(operations.list.attempts, 2, 'a page and the end');
    JSON.stringify(metrics.snapshot());
  });

  it('counts each attempt of a call that is tried again', async () => {
    const clock = new VirtualClock();
    const metrics = new StoreMetrics();
    const inner = new ScriptedObjectStore();
    const policy = { deadlineMs: 1000, pauseInitialMs: 1, pauseMaxMs: 1 };
    const store = new RetryingObjectStore(new InstrumentedObjectStore(inner, metrics, clock), policy, clock);
    inner.script.push({ before: failing(new StorageError('UNAVAILABLE', 'no')) });
    await clock.run(store.head('key'));
    assert.deepEqual(metrics.snapshot().operations.head.outcomes, { UNAVAILABLE: 1, absent: 1 });
  });
});
