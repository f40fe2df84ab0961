/** Holes told from the states of blocks: held against asking byte by byte. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  ABSENT,
  type BlockState,
  BlockStates,
  PRESENT,
  REPLACED,
  UNCERTAIN,
  UNKNOWN,
} from '../../../../src/layout/blocks/block-states.ts';
import { mapExtents } from '../../../../src/layout/blocks/extent-map.ts';

const BLOCKS = 12;
const SIZE = 3;

describe('extent map', () => {
  test('runs are those of the bytes, none empty, neighbours different', () => {
    const state = fc.constantFrom<BlockState>(UNKNOWN, ABSENT, ABSENT, PRESENT, UNCERTAIN, REPLACED);
    fc.assert(
      fc.property(
        fc.array(state, { minLength: BLOCKS, maxLength: BLOCKS }),
        fc.uniqueArray(fc.nat({ max: BLOCKS - 1 }), { maxLength: 5 }),
        fc.nat({ max: BLOCKS * SIZE }),
        fc.nat({ max: BLOCKS * SIZE }),
        (list, written, a, b) => {
          const states = new BlockStates(BLOCKS);
          list.forEach((value, at) => {
            states.set(at, value);
          });
          const [offset, end] = [Math.min(a, b), Math.max(a, b)];
          // As the layout asks: only of blocks inside the range.
          const inside = written.filter((at) => at >= Math.floor(offset / SIZE) && at < Math.ceil(end / SIZE));
          const extents = mapExtents(states, inside, SIZE, offset, end - offset);
          for (let count = 1; count <= extents.length; count++) {
            const cut = mapExtents(states, inside, SIZE, offset, end - offset, count);
            assert.deepEqual(cut, extents.slice(0, count));
          }
          const told = extents.flatMap(({ length, hole }) => new Array<boolean>(length).fill(hole));
          const wanted = Array.from({ length: end - offset }, (_, i) => {
            const at = Math.floor((offset + i) / SIZE);
            return list[at] === ABSENT && !written.includes(at);
          });
          assert.deepEqual(told, wanted);
          for (const [i, extent] of extents.entries()) {
            assert.ok(extent.length > 0);
            assert.equal(extent.zero, extent.hole);
            assert.notEqual(extents[i + 1]?.hole, extent.hole);
          }
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('a volume as large as they come, with nothing in it, is one run', () => {
    const states = new BlockStates(2 ** 32);
    states.noteRestAbsent();
    const length = 2 ** 44;
    assert.deepEqual(mapExtents(states, [], 4096, 0, length), [{ length, hole: true, zero: true }]);
  });
});
