/** Memory for slabs: kept for the next one, and only so much of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { POOLED_SLABS, SLAB_BYTES, SlabPool } from '../../../../src/cache/log/slab-pool.ts';

test('what is given back is the next one taken, and never two have the same', () => {
  const pool = new SlabPool();
  const taken = Array.from({ length: POOLED_SLABS + 5 }, () => pool.take(SLAB_BYTES));
  assert.equal(new Set(taken).size, taken.length);
  assert.ok(taken.every(({ length }) => length === SLAB_BYTES));
  for (const buffer of taken) pool.give(buffer);
  const again = Array.from({ length: POOLED_SLABS + 5 }, () => pool.take(SLAB_BYTES));
  assert.equal(new Set(again).size, again.length);
  assert.equal(again.filter((buffer) => taken.includes(buffer)).length, POOLED_SLABS);
});

test('a log of small files has buffers of its own', () => {
  const pool = new SlabPool();
  const small = pool.take(64 * 1024);
  assert.equal(small.length, 64 * 1024);
  pool.give(small);
  assert.notEqual(pool.take(64 * 1024), small);
});
