/** The clock of the machine: sleeps of any length, and their end. */
import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { SystemClock } from '../../../src/lib/clock.ts';
import { rejectsWith } from '../../conformance/object-store/suite.ts';

describe('system clock', () => {
  const clock = new SystemClock();

  test('sleeps at least as long as it is told, and leaves nothing on the signal', async () => {
    const { signal } = new AbortController();
    const startMs = clock.now();
    await clock.sleep(5, signal);
    assert.ok(clock.now() - startMs >= 4);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });

  test('sleeps longer than a timer can be set for', async () => {
    for (const ms of [2 ** 31, Number.POSITIVE_INFINITY]) {
      const controller = new AbortController();
      let woke = false;
      const sleep = clock.sleep(ms, controller.signal).then(() => {
        woke = true;
      });
      await delay(20);
      assert.equal(woke, false, `after ${ms} ms`);
      controller.abort();
      await assert.rejects(sleep, rejectsWith('CANCELLED'));
    }
  });

  test('is cancelled before it sleeps, and while it does', async () => {
    await assert.rejects(clock.sleep(60_000, AbortSignal.abort()), rejectsWith('CANCELLED'));
    const controller = new AbortController();
    const sleep = clock.sleep(60_000, controller.signal);
    controller.abort();
    await assert.rejects(sleep, rejectsWith('CANCELLED'));
  });
});
