/** The indexes of dirty pages, each against a plain model of itself. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DirtyMap } from '../../../../src/cache/dirty/dirty-map.ts';
import { PageIndex } from '../../../../src/cache/dirty/page-index.ts';
import { PartialPage } from '../../../../src/cache/dirty/partial-page.ts';
import { ZeroRanges } from '../../../../src/cache/dirty/zero-ranges.ts';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';

/** Up to the end of 8 PiB, where 32 bits do not reach; close together, so that they meet. */
const base = fc.constantFrom(0, 2 ** 31 - 500, 2 ** 32 - 500, 2 ** 41 - 1000);
const near = fc.nat({ max: 999 });

test('PageIndex: what was set and not deleted is found, also where a great many collide', () => {
  const step = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({ do: fc.constant('set' as const), page: near, count: fc.integer({ min: 1, max: 200 }) }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant('delete' as const), page: near, count: fc.integer({ min: 1, max: 50 }) }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ do: fc.constant('range' as const), page: near, count: fc.constantFrom(1, 100, 1e12) }),
    },
  );
  fc.assert(
    fc.property(base, fc.constantFrom(1, 1024, 65536), fc.array(step, { maxLength: 25 }), (from, stride, steps) => {
      const index = new PageIndex();
      const model = new Map<number, number>();
      let record = 2 ** 40;
      const pageOf = (at: number): number => (from + at * stride) % 2 ** 41;
      for (const { do: what, page, count } of steps) {
        if (what === 'set') {
          for (let at = page; at < page + count; at++) {
            assert.equal(index.set(pageOf(at), ++record), !model.has(pageOf(at)));
            model.set(pageOf(at), record);
          }
        } else if (what === 'delete') {
          for (let at = page; at < page + count; at++) {
            assert.equal(index.delete(pageOf(at)), model.delete(pageOf(at)));
          }
        } else {
          const gone: number[] = [];
          index.deleteRange(pageOf(page), pageOf(page) + count, (each, its) => {
            assert.equal(model.get(each), its);
            gone.push(each);
          });
          const expected = [...model.keys()].filter((each) => each >= pageOf(page) && each < pageOf(page) + count);
          assert.deepEqual(
            gone.sort((a, b) => a - b),
            expected.sort((a, b) => a - b),
          );
          for (const each of expected) model.delete(each);
        }
        assert.equal(index.size, model.size);
      }
      for (let at = 0; at < 1200; at++) assert.equal(index.get(pageOf(at)), model.get(pageOf(at)) ?? -1);
      const all = [...model.keys()].sort((a, b) => a - b);
      assert.deepEqual([...index.pagesIn(0, Number.MAX_SAFE_INTEGER)], all);
      const [first, end] = [pageOf(100), pageOf(100) + 300];
      assert.deepEqual(
        [...index.pagesIn(first, end)],
        all.filter((page) => page >= first && page < end),
      );
      index.clear();
      assert.equal(index.get(all[0] ?? 0), -1);
    }),
    { numRuns: 60 },
  );
});

test('ZeroRanges: every page is in the range of the last zeroing that covered it', () => {
  const step = fc.record({
    do: fc.constantFrom('add' as const, 'add' as const, 'add' as const, 'cut' as const, 'drop' as const),
    first: near,
    length: fc.integer({ min: 1, max: 400 }),
    back: fc.nat({ max: 6 }),
  });
  fc.assert(
    fc.property(base, fc.array(step, { maxLength: 30 }), (from, steps) => {
      const ranges = new ZeroRanges();
      const model = new Map<number, number>();
      let record = 0;
      for (const { do: what, first, length, back } of steps) {
        if (what === 'drop') {
          ranges.dropBefore(record - back);
          for (const [page, its] of model) if (its < record - back) model.delete(page);
          continue;
        }
        if (what === 'add') ranges.add(from + first, from + first + length, ++record);
        else ranges.cut(from + first, from + first + length);
        for (let page = first; page < first + length; page++) {
          if (what === 'add') model.set(page, record);
          else model.delete(page);
        }
      }
      for (let page = 0; page < 1400; page++)
        assert.equal(ranges.find(from + page)?.record ?? -1, model.get(page) ?? -1);
      const all = ranges.overlapping(0, Number.MAX_SAFE_INTEGER);
      assert.equal(all.length, ranges.count);
      all.forEach((range, index) => {
        assert.ok(range.first < range.end && range.first >= (all[index - 1]?.end ?? 0));
      });
      const some = ranges.overlapping(from + 300, from + 301);
      assert.equal(some.length, model.has(300) ? 1 : 0);
    }),
    { numRuns: 100 },
  );
});

test('PartialPage: what was written is there, in as few spans as it takes, and a copy stays as it is', () => {
  const write = fc.record({ at: fc.nat({ max: PAGE_BYTES - 1 }), length: fc.integer({ min: 1, max: PAGE_BYTES }) });
  fc.assert(
    fc.property(fc.array(write, { maxLength: 20 }), (writes) => {
      const page = new PartialPage();
      const model = new Int16Array(PAGE_BYTES).fill(-1);
      let copy = page.copy();
      let before = model.slice();
      writes.forEach(({ at, length }, index) => {
        copy = page.copy();
        before = model.slice();
        const end = Math.min(PAGE_BYTES, at + length);
        page.write(at, Buffer.alloc(end - at, index), index);
        model.fill(index, at, end);
      });
      for (const [one, its] of [
        [page, model],
        [copy, before],
      ] as const) {
        const whole = Buffer.alloc(PAGE_BYTES, 200);
        one.overlay(whole);
        for (let at = 0; at < PAGE_BYTES; at++) assert.equal(whole[at], its[at] === -1 ? 200 : its[at]);
        let end = -1;
        for (const { from, to } of one.spans) {
          assert.ok(from > end && to > from, 'ascending, disjoint and not adjacent');
          assert.ok(one.covers(from, to));
          assert.ok(from === 0 || !one.covers(from - 1, to));
          end = to;
        }
        assert.equal(
          one.isWhole,
          its.every((value) => value >= 0),
        );
      }
    }),
    { numRuns: 100 },
  );
});

test('DirtyMap: whichever of its parts knows a page, it is the newest record that has touched it', () => {
  const step = fc.record({
    do: fc.constantFrom('pages' as const, 'zeroes' as const, 'part' as const, 'forget' as const, 'truncate' as const),
    first: near,
    length: fc.oneof(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 300 })),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  });
  fc.assert(
    fc.property(base, fc.array(step, { maxLength: 30 }), (from, steps) => {
      const map = new DirtyMap();
      /** Page to the records that wrote it since it was last whole: the last, and whether it is whole. */
      const model = new Map<number, { record: number; whole: number }>();
      let record = 0;
      let forgotten = 0;
      for (const { do: what, first, length, share } of steps) {
        const [begin, end] = [from + first, from + first + length];
        if (what === 'pages' || what === 'zeroes') {
          record++;
          if (what === 'pages') map.setPages(begin, end, record);
          else map.setZeroes(begin, end, record);
          for (let page = begin; page < end; page++) model.set(page, { record, whole: record });
        } else if (what === 'part') {
          record++;
          const holder = model.get(begin);
          map.setPart(
            begin,
            512,
            Buffer.alloc(512, 1),
            record,
            (holder?.whole ?? 0) > 0 ? Buffer.alloc(PAGE_BYTES) : null,
          );
          model.set(begin, { record, whole: holder?.whole ?? 0 });
        } else if (what === 'forget') {
          forgotten += Math.floor((record + 1 - forgotten) * share);
          map.forgetBefore(forgotten, [...model.keys()]);
          for (const [page, holder] of model) if (holder.record < forgotten) model.delete(page);
        } else if (share < 0.1) {
          map.truncate(begin);
          for (const page of model.keys()) if (page >= begin) model.delete(page);
        }
      }
      const dirty: number[] = [];
      for (let page = from; page < from + 1400; page++) {
        const holder = model.get(page);
        assert.equal(map.has(page), holder !== undefined, `page ${page - from}`);
        if (holder === undefined) continue;
        dirty.push(page);
        const partial = map.partial(page);
        if (partial === undefined) assert.equal(map.record(page), holder.record);
        else assert.equal(partial.record, holder.record);
        if (partial !== undefined) assert.equal(partial.isWhole, holder.whole > 0 && partial.spans.length === 1);
      }
      assert.equal(map.isEmpty, dirty.length === 0);
      const listed = new Set(map.pagesIn(0, Number.MAX_SAFE_INTEGER));
      for (const { first, end } of map.zeroRangesIn(0, Number.MAX_SAFE_INTEGER)) {
        for (let page = first; page < end; page++) listed.add(page);
      }
      assert.deepEqual(
        [...listed].sort((a, b) => a - b),
        dirty,
      );
    }),
    { numRuns: 100 },
  );
});

test('zeroing a volume of 8 PiB is one range, and counts for nothing', () => {
  const map = new DirtyMap();
  for (let page = 0; page < 100_000; page++) map.setPages(page * 16, page * 16 + 1, page);
  map.setZeroes(0, 2 ** 41, 100_000);
  assert.equal(map.bytes, 0);
  assert.equal(map.record(2 ** 41 - 1), 100_000);
  assert.equal(map.record(2 ** 41), -1);
  assert.deepEqual(map.zeroRangesIn(5, 6), [{ first: 0, end: 2 ** 41, record: 100_000 }]);
});
