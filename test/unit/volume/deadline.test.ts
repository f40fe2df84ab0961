/** Giving up after a time, or when told to, leaves no timer and no listener. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test } from 'node:test';
import { raceAbort, withDeadline } from '../../../src/lib/deadline.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';

function untilAborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
}

describe('a deadline', () => {
  test('passes the result or the error on, and sets no timer behind', async () => {
    const clock = new VirtualClock();
    assert.equal(await withDeadline(clock, 1000, async () => 'done'), 'done');
    await assert.rejects(
      withDeadline(clock, 1000, async () => {
        throw new Error('failed');
      }),
      /failed/,
    );
    assert.equal(clock.sleeping, 0);
  });

  test('tells the work when its time is over, and says how long it had', async () => {
    const clock = new VirtualClock();
    await assert.rejects(clock.run(withDeadline(clock, 1000, untilAborted)), /no answer within 1000 ms/);
    assert.equal(clock.time.nowMs, 1000);
  });

  test('tells the work when the caller gives up before', async () => {
    const clock = new VirtualClock();
    const caller = new AbortController();
    const work = withDeadline(clock, 1000, untilAborted, caller.signal);
    caller.abort(new Error('enough'));
    await assert.rejects(work, /enough/);
    assert.equal(clock.sleeping, 0);
  });
});

describe('racing work against a signal', () => {
  test('tells which was first, and leaves no listener', async () => {
    const { signal } = new AbortController();
    assert.equal(await raceAbort(Promise.resolve(), signal), true);
    await assert.rejects(raceAbort(Promise.reject(new Error('failed')), signal), /failed/);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
    const controller = new AbortController();
    const race = raceAbort(new Promise(() => {}), controller.signal);
    controller.abort();
    assert.equal(await race, false);
  });

  test('takes care of work that fails after all', async () => {
    const failing = Promise.withResolvers<void>();
    assert.equal(await raceAbort(failing.promise, AbortSignal.abort()), false);
    failing.reject(new Error('nobody asks any more'));
    await new Promise((resolve) => setImmediate(resolve));
  });
});
