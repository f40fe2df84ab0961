/** Payload buffers: of the right length, used again, and not kept without bound. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isChecked } from '../../../src/lib/checksum.ts';
import { PayloadPool } from '../../../src/nbd/payload-pool.ts';

test('a buffer given back is the next of its length; other lengths are not kept', () => {
  const pool = new PayloadPool(1_000_000);
  const page = pool.take(4096);
  assert.equal(page.length, 4096);
  pool.give(page);
  assert.equal(pool.keptBytes, 4096);
  assert.notEqual(pool.take(8192), page);
  assert.equal(pool.take(4096), page);
  assert.equal(pool.keptBytes, 0);
  for (const length of [1, 256, 5000, 33_554_431]) pool.give(pool.take(length));
  assert.equal(pool.keptBytes, 0);
});

test('two takers never share', () => {
  const pool = new PayloadPool(1_000_000);
  pool.give(pool.take(512));
  assert.notEqual(pool.take(512), pool.take(512));
});

test('no more is kept than was allowed', () => {
  const pool = new PayloadPool(10_000);
  const pages = [pool.take(4096), pool.take(4096), pool.take(4096)];
  for (const page of pages) pool.give(page);
  assert.equal(pool.keptBytes, 8192);
});

test('large buffers are of checked memory: used again always, and no more of them than was allowed', () => {
  const length = 64 * 1024;
  const pool = new PayloadPool(2 * length);
  const [one, two, three] = [pool.take(length), pool.take(length), pool.take(length)];
  assert.deepEqual([one, two, three].map(isChecked), [true, true, false]);
  for (const buffer of [one, two, three]) pool.give(buffer);
  assert.equal(pool.keptBytes, length);
  const again = [pool.take(length), pool.take(length), pool.take(length)];
  assert.deepEqual(new Set(again), new Set([one, two, three]));
  assert.ok(!isChecked(pool.take(length)));
  assert.equal(pool.keptBytes, 0);
});

test('many buffers of one length leave checked memory for those of others', () => {
  const pool = new PayloadPool(32 * 1024 * 1024);
  const many = Array.from({ length: 512 }, () => pool.take(64 * 1024));
  const one = pool.take(1024 * 1024);
  assert.ok(isChecked(one));
  for (const buffer of many) pool.give(buffer);
  assert.equal(pool.keptBytes, many.filter((buffer) => !isChecked(buffer)).length * 64 * 1024);
});

test('of kept buffers those of checked memory come first', () => {
  const length = 32 * 1024;
  const pool = new PayloadPool(length);
  const [checked, other] = [pool.take(length), pool.take(length)];
  assert.deepEqual([checked, other].map(isChecked), [true, false]);
  pool.give(checked);
  pool.give(other);
  assert.ok(pool.take(length) === checked && pool.take(length) === other);
});
