/** Latencies in buckets: each where its bound says, exactly, and none lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LATENCY_BOUNDS_SECONDS, LatencyTable } from '../../../src/lib/latency-table.ts';

const bucketOf = (durationMs: number): number => {
  const table = new LatencyTable(2);
  table.record(1, durationMs);
  assert.ok(table.counts(0).every((count) => count === 0));
  assert.equal(table.sumSeconds(1), durationMs / 1000);
  return table.counts(1).indexOf(1);
};

test('a latency is in the first bucket whose bound it does not exceed, and above the last bound in one more', () => {
  assert.equal(LATENCY_BOUNDS_SECONDS[0], 16e-6);
  assert.equal(LATENCY_BOUNDS_SECONDS.at(-1), 8.388608);
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 20_000_000 }), (microseconds) => {
      const expected = LATENCY_BOUNDS_SECONDS.findIndex((bound) => microseconds <= Math.round(bound * 1e6));
      assert.equal(bucketOf(microseconds / 1000), expected === -1 ? LATENCY_BOUNDS_SECONDS.length : expected);
    }),
    { examples: [[0], [1], [15], [16], [17], [32], [33], [8_388_608], [8_388_609]] },
  );
});

test('hours are above the last bound too', () => {
  assert.equal(bucketOf(10 * 3_600_000), LATENCY_BOUNDS_SECONDS.length);
});
