/** Telling zeros from everything else. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isAllZero } from '../../../src/lib/zeros.ts';

const LENGTHS = [1, 2, 511, 4096, 65535, 65536, 65537, 131072, 200_001];

test('zeros of any length are zeros', () => {
  assert.equal(isAllZero(Buffer.alloc(0)), true);
  for (const length of LENGTHS) assert.equal(isAllZero(Buffer.alloc(length)), true, String(length));
});

test('one bit anywhere is enough', () => {
  for (const length of LENGTHS) {
    const bytes = Buffer.alloc(length);
    for (const at of [0, 1, length >> 1, 65535, 65536, length - 2, length - 1]) {
      if (at < 0 || at >= length) continue;
      bytes[at] = 0x80;
      assert.equal(isAllZero(bytes), false, `${at} of ${length}`);
      bytes[at] = 0;
    }
  }
});

test('only the bytes of the buffer count, not those around it', () => {
  const around = Buffer.alloc(300, 1);
  around.fill(0, 100, 200);
  assert.equal(isAllZero(around.subarray(100, 200)), true);
  assert.equal(isAllZero(around.subarray(99, 200)), false);
  assert.equal(isAllZero(around.subarray(100, 201)), false);
});
