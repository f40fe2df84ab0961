/** Zeroed ranges and written pages in one batch: no byte twice, and the newer one of both. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as fc from 'fast-check';
import { DirtyMap } from '../../../../src/cache/dirty/dirty-map.ts';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { extentEnd, mergeZeroes } from '../../../../src/cache/upload/upload-batch.ts';
import type { BatchExtent } from '../../../../src/layout/layout.ts';

const PAGES = 120;

/** Pages from `first` on, zeroed or written. */
const steps = fc.array(
  fc.record({ first: fc.nat(PAGES - 1), pages: fc.integer({ min: 1, max: 80 }), zero: fc.boolean() }),
  { minLength: 1, maxLength: 12 },
);

test('every page is there once, as the last step left it', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 8 }), (made, blockPages) => {
      const map = new DirtyMap();
      const expected = new Array<'zero' | 'data' | null>(PAGES + 80).fill(null);
      made.forEach(({ first, pages, zero }, record) => {
        if (zero) map.setZeroes(first, first + pages, record);
        else map.setPages(first, first + pages, record);
        expected.fill(zero ? 'zero' : 'data', first, first + pages);
      });
      const pages = map.pagesIn(0, expected.length);
      const merged = mergeZeroes(extentsOf(pages, expected, blockPages), map);
      const found = new Array<'zero' | 'data' | null>(expected.length).fill(null);
      let end = 0;
      for (const extent of merged) {
        assert.ok(extent.offset >= end, 'extents ascend and do not overlap');
        end = extentEnd(extent);
        const what = extent.data === undefined ? 'zero' : 'data';
        found.fill(what, extent.offset / PAGE_BYTES, end / PAGE_BYTES);
      }
      assert.deepEqual(found, expected);
    }),
    { numRuns: 2000 },
  );
});

/** The pages that the map has one by one, in runs of one kind, up to so many pages long. */
function extentsOf(
  pages: readonly number[],
  kinds: readonly ('zero' | 'data' | null)[],
  runPagesMax: number,
): BatchExtent[] {
  const extents: BatchExtent[] = [];
  for (let at = 0; at < pages.length; ) {
    const first = pages[at] as number;
    let count = 1;
    const continues = (): boolean => pages[at + count] === first + count && kinds[first + count] === kinds[first];
    while (count < runPagesMax && continues()) count++;
    const offset = first * PAGE_BYTES;
    const length = count * PAGE_BYTES;
    extents.push(kinds[first] === 'data' ? { offset, data: Buffer.alloc(length) } : { offset, zeroLength: length });
    at += count;
  }
  return extents;
}
