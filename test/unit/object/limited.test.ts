/** Limits: places in order, rates over time, and nothing held while waiting. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LimitedObjectStore, StoreThrottle } from '../../../src/object/limited.ts';
import { rejectsWith } from '../../conformance/object-store/suite.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { ScriptedObjectStore, type Step } from './scripted-store.ts';

const UNLIMITED = { concurrency: 100, uploadRateBytes: null, downloadRateBytes: null };

function held(): { step: Step; arrived: () => boolean; release: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  let arrived = false;
  const before = (): Promise<void> => {
    arrived = true;
    return promise;
  };
  return { step: { before }, arrived: () => arrived, release: resolve };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('LimitedObjectStore', () => {
  it('lets only so many requests in at once, the others in order', async () => {
    const inner = new ScriptedObjectStore();
    const store = new LimitedObjectStore(
      inner,
      new StoreThrottle({ ...UNLIMITED, concurrency: 2 }, new VirtualClock()),
    );
    const gates = [held(), held(), held(), held()];
    inner.script.push(...gates.map((gate) => gate.step));
    const requests = [store.get('a'), store.head('b'), store.delete(['c']), store.put('d', Buffer.from('x'))];
    await turn();
    assert.deepEqual(
      gates.map((gate) => gate.arrived()),
      [true, true, false, false],
    );
    gates[1]?.release();
    await turn();
    assert.deepEqual(
      gates.map((gate) => gate.arrived()),
      [true, true, true, false],
    );
    for (const gate of gates) gate.release();
    await Promise.all(requests);
  });

  it('holds no place while the consumer of a listing thinks', async () => {
    const inner = new ScriptedObjectStore();
    const store = new LimitedObjectStore(
      inner,
      new StoreThrottle({ ...UNLIMITED, concurrency: 1 }, new VirtualClock()),
    );
    await store.put('key', Buffer.from('x'));
    for await (const page of store.list('')) {
      assert.equal(page.length, 1);
      assert.equal((await store.get('key'))?.sizeBytes, 1);
    }
  });

  it('lets go of a request that is cancelled while it waits', async () => {
    const inner = new ScriptedObjectStore();
    const store = new LimitedObjectStore(
      inner,
      new StoreThrottle({ ...UNLIMITED, concurrency: 1 }, new VirtualClock()),
    );
    const gate = held();
    inner.script.push(gate.step);
    const first = store.get('a');
    const controller = new AbortController();
    const second = store.get('b', { signal: controller.signal });
    const third = store.get('c');
    controller.abort();
    await assert.rejects(second, rejectsWith('CANCELLED'));
    gate.release();
    await Promise.all([first, third]);
    assert.equal(inner.attempts, 2);
  });

  it('holds uploads to their rate after a burst of a second', async () => {
    const inner = new ScriptedObjectStore();
    const clock = new VirtualClock();
    const store = new LimitedObjectStore(inner, new StoreThrottle({ ...UNLIMITED, uploadRateBytes: 1000 }, clock));
    const put = (): Promise<unknown> => store.put('key', Buffer.alloc(500));
    await Promise.all([put(), put()]);
    assert.equal(inner.attempts, 2, 'the burst');
    const later = [put(), put(), put()];
    await turn();
    assert.equal(inner.attempts, 3, 'one goes into debt');
    await clock.advance(500);
    assert.equal(inner.attempts, 4);
    await clock.advance(500);
    assert.equal(inner.attempts, 5);
    await Promise.all(later);
    await store.get('key');
    assert.equal(inner.attempts, 6, 'downloads are not held up by uploads');
  });

  it('charges downloads once their size is known', async () => {
    const inner = new ScriptedObjectStore();
    const clock = new VirtualClock();
    const store = new LimitedObjectStore(inner, new StoreThrottle({ ...UNLIMITED, downloadRateBytes: 1000 }, clock));
    await store.put('key', Buffer.alloc(3000));
    await store.get('key');
    const second = store.get('key', { range: { offset: 0, length: 1 } });
    await clock.advance(1999);
    assert.equal(inner.attempts, 2);
    await clock.advance(1);
    await second;
  });

  it('lets no more downloads run ahead of their rate than there are places', async () => {
    const inner = new ScriptedObjectStore();
    const clock = new VirtualClock();
    const limits = { concurrency: 2, uploadRateBytes: null, downloadRateBytes: 1000 };
    const store = new LimitedObjectStore(inner, new StoreThrottle(limits, clock));
    await store.put('key', Buffer.alloc(3000));
    const reads = Array.from({ length: 7 }, () => store.get('key'));
    const readAt = async (ms: number): Promise<number> => {
      await clock.advance(ms);
      return inner.attempts - 1;
    };
    assert.equal(await readAt(0), 2);
    assert.equal(await readAt(4999), 2, 'six seconds of bytes, less the second saved up');
    assert.equal(await readAt(1), 3, 'the clock wakes one after the other');
    assert.equal(await readAt(2999), 3);
    assert.equal(await readAt(1), 4);
    await store.put('other', Buffer.alloc(1));
    assert.equal(await readAt(9000), 8, 'three more, and the upload, which waited for nobody');
    await clock.run(Promise.all(reads));
  });

  it('gives the bytes of a cancelled upload back', async () => {
    const inner = new ScriptedObjectStore();
    const clock = new VirtualClock();
    const store = new LimitedObjectStore(inner, new StoreThrottle({ ...UNLIMITED, uploadRateBytes: 1000 }, clock));
    await store.put('key', Buffer.alloc(2000));
    const controller = new AbortController();
    const cancelled = store.put('key', Buffer.alloc(100_000), { signal: controller.signal });
    controller.abort();
    await assert.rejects(cancelled, rejectsWith('CANCELLED'));
    const next = store.put('key', Buffer.alloc(1));
    await clock.advance(1000);
    await next;
    assert.equal(inner.attempts, 2);
  });

  it('heeds a bound on uploads that changes, also for the debt there is', async () => {
    const clock = new VirtualClock();
    let bound: number | null = 1000;
    const store = new LimitedObjectStore(
      new ScriptedObjectStore(),
      new StoreThrottle({ ...UNLIMITED, uploadRateBytes: 10_000 }, clock, () => bound),
    );
    const put = async (): Promise<number> => {
      const startMs = clock.now();
      await clock.run(store.put('key', Buffer.alloc(10_000)));
      return clock.now() - startMs;
    };
    assert.equal(await put(), 0, 'the first one pays afterwards');
    // Nine seconds of debt, after the one that was saved up.
    assert.equal(await put(), 9000);
    bound = null;
    assert.equal(await put(), 1000, 'at the rate of the store');
    bound = 50_000;
    assert.equal(await put(), 1000, 'never faster than the store may');
  });

  it('does not have those wait for a former bound who wait when it changes', async () => {
    const clock = new VirtualClock();
    let bound: number | null = 1000;
    const throttle = new StoreThrottle(UNLIMITED, clock, () => bound);
    const inner = new ScriptedObjectStore();
    const store = new LimitedObjectStore(inner, throttle);
    let done = 0;
    const put = (): Promise<void> => store.put('k', Buffer.alloc(10_000)).then(() => void done++);
    const stop = new AbortController();
    const puts = [put(), put(), put(), put()];
    const given = assert.rejects(
      store.put('k', Buffer.alloc(10_000), { signal: stop.signal }),
      rejectsWith('CANCELLED'),
    );
    await clock.advance(12_000);
    assert.equal(done, 2);
    // Of the 10 s that each takes at this rate the third has 7 left.
    bound = 2000;
    throttle.noteBounds();
    await clock.advance(3000);
    assert.equal(done, 2);
    await clock.advance(1000);
    assert.equal(done, 3);
    stop.abort();
    await given;
    bound = null;
    throttle.noteBounds();
    await clock.run(Promise.all(puts), 1);
    bound = 1000;
    await clock.run(put(), 1);
    assert.equal(clock.sleeping, 0);
  });
});
