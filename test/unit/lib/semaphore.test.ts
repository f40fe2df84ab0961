/** Places: how many, in which order, and leaving the queue. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Semaphore } from '../../../src/lib/semaphore.ts';
import { rejectsWith } from '../../conformance/object-store/suite.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('semaphore', () => {
  test('lets its limit in, the others in the order they came', async () => {
    const semaphore = new Semaphore(2);
    const ran: number[] = [];
    const ends = Array.from({ length: 5 }, () => Promise.withResolvers<void>());
    const all = ends.map(({ promise }, i) =>
      semaphore.run(() => {
        ran.push(i);
        return promise;
      }),
    );
    await turn();
    assert.deepEqual([ran, semaphore.held, semaphore.waiting], [[0, 1], 2, 3]);
    ends[1]?.resolve();
    await turn();
    assert.deepEqual(ran, [0, 1, 2]);
    ends[0]?.resolve();
    ends[2]?.resolve();
    await turn();
    assert.deepEqual(ran, [0, 1, 2, 3, 4]);
    for (const { resolve } of ends) resolve();
    await Promise.all(all);
    assert.deepEqual([semaphore.held, semaphore.waiting], [0, 0]);
  });

  test('whoever leaves the queue takes no place', async () => {
    const semaphore = new Semaphore(1);
    await semaphore.acquire();
    const leave = new AbortController();
    const left = semaphore.acquire(leave.signal);
    const next = semaphore.acquire();
    leave.abort(new Error('enough'));
    await assert.rejects(left, rejectsWith('CANCELLED'));
    assert.equal(semaphore.waiting, 1);
    semaphore.release();
    await next;
    semaphore.release();
    assert.equal(semaphore.held, 0);
  });

  test('a signal that aborts once a place was given takes nothing back', async () => {
    const semaphore = new Semaphore(1);
    await semaphore.acquire();
    const late = new AbortController();
    const waiting = semaphore.acquire(late.signal);
    semaphore.release();
    late.abort();
    await waiting;
    assert.equal(semaphore.held, 1);
  });

  test('a signal that has aborted already is not let in, even where there is room', async () => {
    const semaphore = new Semaphore(1);
    await assert.rejects(semaphore.acquire(AbortSignal.abort()), rejectsWith('CANCELLED'));
    assert.equal(semaphore.held, 0);
  });

  test('work that fails gives its place back', async () => {
    const semaphore = new Semaphore(1);
    await assert.rejects(
      semaphore.run(() => Promise.reject(new Error('no'))),
      /no/,
    );
    assert.equal(await semaphore.run(async () => 'in'), 'in');
  });

  test('a limit that lets nobody in is refused', () => {
    for (const limit of [0, -1, 1.5, Number.NaN]) assert.throws(() => new Semaphore(limit), RangeError);
  });
});
