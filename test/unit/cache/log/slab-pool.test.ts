/** Memory for slabs: kept for the next one, and only so much of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { POOLED_SLABS, SLAB_BYTES, SlabPool } from '../../../../src/cache/log/slab-pool.ts';

test('what is given back is taken next, never two have the same, and only so many are kept', () => {
  const pool = new SlabPool();
  const taken = Array.from({ length: POOLED_SLABS + 5 }, () => pool.take(64 * 1024));
  assert.equal(new Set(taken).size, taken.length);
  assert.ok(
    taken.slice(0, POOLED_SLABS).every(({ length }) => length === SLAB_BYTES),
    'they serve any log',
  );
  assert.ok(taken.slice(POOLED_SLABS).every(({ length }) => length === 64 * 1024));
  for (const buffer of taken) pool.give(buffer);
  const again = Array.from({ length: POOLED_SLABS + 5 }, () => pool.take(64 * 1024));
  assert.equal(new Set(again).size, again.length);
  assert.equal(again.filter((buffer) => taken.includes(buffer)).length, POOLED_SLABS);
});
