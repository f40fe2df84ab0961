/** Cells of a range: everything in it is counted once, in the cell it is in, and nothing outside of it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RangeCells } from '../../../src/lib/range-cells.ts';

test('cells are equal but for the last, whole units, and no more than were asked for', () => {
  const cells = new RangeCells(4096, 4096 * 12, 4, 4096);
  assert.equal(cells.cellBytes, 3 * 4096);
  assert.equal(cells.counts.length, 4);
  assert.deepEqual(
    [0, 3].map((cell) => cells.bytesOf(cell)),
    [3 * 4096, 2 * 4096],
  );
  assert.equal(new RangeCells(0, 3 * 4096, 100, 4096).counts.length, 3);
});

test('what is added lies in the cells that it covers', () => {
  const page = fc.nat(60);
  fc.assert(
    fc.property(page, page, fc.nat(20), fc.array(fc.tuple(page, page)), (a, b, cellsMax, ranges) => {
      const [first, end] = [Math.min(a, b), Math.max(a, b) + 1];
      const cells = new RangeCells(first * 4096, end * 4096, cellsMax + 1, 4096);
      assert.ok(cells.counts.length <= cellsMax + 1);
      const expected = new Array<number>(cells.counts.length).fill(0);
      for (const [from, to] of ranges) {
        cells.add(from * 4096, to * 4096);
        for (let at = from; at < to; at++) {
          const cell = Math.floor(((at - first) * 4096) / cells.cellBytes);
          if (at >= first && at < end) expected[cell] = (expected[cell] ?? 0) + 4096;
        }
      }
      assert.deepEqual([...cells.counts], expected);
    }),
  );
});
