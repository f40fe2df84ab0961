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

test('whatever is kept and given back: none is lost or in use twice, and who chooses has a preferred one where one is free', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(), { maxLength: 100 }), (steps) => {
      const preferred: Buffer[] = Array.from({ length: 3 }, () => Buffer.alloc(SIZE_BYTES));
      const buffers = new ReceiveBuffers(SIZE_BYTES, preferred);
      const kept: Buffer[] = [];
      for (const step of steps) {
        const [given] = step % 2 === 0 ? kept.splice(step % Math.max(kept.length, 1), 1) : [];
        const { current } = buffers;
        if (given === undefined) {
          assert.equal(buffers.keep(), current);
          kept.push(current);
        } else {
          buffers.give(given);
          assert.equal(buffers.current, current, 'a request may be on its way into it');
        }
        assert.equal(new Set([...kept, buffers.current]).size, kept.length + 1);
        if (step % 3 > 0) continue;
        const preferredInUse = kept.filter((buffer) => preferred.includes(buffer)).length;
        const chosen = buffers.choose();
        assert.equal(buffers.current, chosen);
        assert.equal(preferred.includes(chosen), preferredInUse < preferred.length);
        assert.equal(new Set([...kept, chosen]).size, kept.length + 1);
      }
    }),
  );
});
