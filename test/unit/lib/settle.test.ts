/** Waiting for all, whatever becomes of some. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settleAll } from '../../../src/lib/settle.ts';

test('nothing, or only successes, resolves', async () => {
  await settleAll([]);
  await settleAll([Promise.resolve(1), Promise.resolve()]);
});

test('the first error in order is told, and only once everything has settled', async () => {
  const slow = Promise.withResolvers<void>();
  let told = false;
  const waiting = settleAll([slow.promise, Promise.reject(new Error('second')), Promise.reject(new Error('third'))]);
  const watched = waiting.catch(() => {
    told = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(told, false);
  slow.reject(new Error('first'));
  await watched;
  await assert.rejects(waiting, /first/);
});
