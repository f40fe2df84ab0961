/** Streams among reads: believed when they go on exactly, followed through disorder, and left alone when they are none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadAhead } from '../../../../src/cache/read/read-ahead.ts';
import { Random } from '../../../support/random.ts';

const PAGES_8_MIB = 2048;
const END = 2 ** 41;

/** Reads `count` pages from `first` on; what is read ahead then. */
function step(ahead: ReadAhead, first: number, count: number, volumeEnd = END): { first: number; end: number } | null {
  return ahead.note(first, first + count) ? ahead.next(first + count, volumeEnd) : null;
}

test('a stream is read ahead without gaps or overlaps, in a window that grows to 8 MiB', () => {
  const ahead = new ReadAhead();
  const from = 2 ** 40;
  let end = 0;
  let widest = 0;
  for (let page = from; page < from + 20_000; page += 32) {
    const range = step(ahead, page, 32);
    if (range === null) continue;
    assert.equal(range.first, end === 0 ? page + 32 : end, 'it goes on where it stopped');
    end = range.end;
    widest = Math.max(widest, end - (page + 32));
  }
  assert.equal(widest, PAGES_8_MIB);
  assert.ok(end >= from + 20_000);
});

test('the first reads, and random ones, are no stream', () => {
  const random = new Random(1);
  const ahead = new ReadAhead();
  assert.equal(step(ahead, 0, 4), null);
  assert.equal(step(ahead, 4, 4), null);
  let found = 0;
  for (let count = 0; count < 5000; count++) if (step(ahead, 10_000 + random.below(2 ** 32), 4) !== null) found++;
  assert.equal(found, 0);
  // Close together, too, they are not taken for one, unless they hit upon the very next page twice.
  const close = new ReadAhead();
  for (let count = 0; count < 5000; count++) if (step(close, random.below(1_000_000), 1) !== null) found++;
  assert.ok(found < 50, `${found} of 5000`);
});

test('requests of a stream that arrive in another order keep it going', () => {
  const ahead = new ReadAhead();
  for (let page = 0; page < 64; page += 16) step(ahead, page, 16);
  let asked = 0;
  for (let page = 64; page < 4096; page += 64) {
    for (const at of [page + 16, page, page + 48, page + 32]) if (step(ahead, at, 16) !== null) asked++;
  }
  assert.ok(asked > 0);
});

test('several streams at once, each with a window of its own', () => {
  const ahead = new ReadAhead();
  const ends = new Array<number>(12).fill(0);
  for (let page = 0; page < 2000; page += 20) {
    for (let stream = 0; stream < ends.length; stream++) {
      const range = step(ahead, stream * 1_000_000 + page, 20);
      if (range !== null) ends[stream] = range.end - stream * 1_000_000;
    }
  }
  for (const end of ends) assert.ok(end >= 2000, ends.join(' '));
});

test('nothing beyond the end of the volume', () => {
  const ahead = new ReadAhead();
  for (let page = 0; page < 100; page += 10) {
    const range = step(ahead, page, 10, 100);
    if (range !== null) assert.ok(range.first < range.end && range.end <= 100);
  }
});
