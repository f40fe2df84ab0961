/** Parts that do not keep the whole. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { copyPart } from '../../../src/lib/copy-part.ts';

test('the whole is itself, a part is a copy of its own', () => {
  const bytes = Buffer.alloc(100_000, 1);
  assert.equal(copyPart(bytes, 0, bytes.length), bytes);
  for (const [start, end] of [
    [0, 10],
    [10, 100_000],
    [5, 5],
  ] as const) {
    const part = copyPart(bytes, start, end);
    assert.deepEqual(part, bytes.subarray(start, end));
    assert.notEqual(part.buffer, bytes.buffer);
  }
});
