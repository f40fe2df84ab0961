/** Which buffer is next. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { ReceiveBuffers } from '../../../src/fuse/receive-buffers.ts';

const SIZE_BYTES = 16;

test('without preferred ones there is always a buffer, and those given back are used again', () => {
  const buffers = new ReceiveBuffers(SIZE_BYTES);
  const first = buffers.keep();
  assert.equal(first.length, SIZE_BYTES);
  assert.notEqual(buffers.current, first);
  buffers.give(first);
  buffers.keep();
  assert.equal(buffers.current, first);
});

test('whatever is kept and given back: a preferred one is current where one is free, and none is lost or in use twice', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 100 }), (steps) => {
      const preferred: Buffer[] = Array.from({ length: 3 }, () => Buffer.alloc(SIZE_BYTES));
      const buffers = new ReceiveBuffers(SIZE_BYTES, preferred);
      const kept: Buffer[] = [];
      for (const step of steps) {
        const [given] = step % 2 === 0 ? kept.splice(step % Math.max(kept.length, 1), 1) : [];
        if (given === undefined) kept.push(buffers.keep());
        else buffers.give(given);
        assert.equal(new Set([...kept, buffers.current]).size, kept.length + 1);
        const preferredInUse = kept.filter((buffer) => preferred.includes(buffer)).length;
        assert.equal(preferred.includes(buffers.current), preferredInUse < preferred.length);
      }
    }),
  );
});
