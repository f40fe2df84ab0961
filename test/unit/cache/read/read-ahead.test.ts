/** Streams among reads: believed when they go on exactly, followed through disorder, and left alone when they are none. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ReadAhead } from '../../../../src/cache/read/read-ahead.ts';
import { Random } from '../../../support/random.ts';

const PAGES_16_MIB = 4096;
const PAGES_1_MIB = 256;
const END = 2 ** 41;
const GIB = 1024 ** 3;

/** Reads `count` pages from `first` on; what is read ahead then. */
function step(ahead: ReadAhead, first: number, count: number, volumeEnd = END): { first: number; end: number } | null {
  return ahead.note(first, first + count) ? ahead.next(first + count, volumeEnd) : null;
}

test('a stream is read ahead without gaps or overlaps, in a window that grows to 16 MiB and stays that full', () => {
  const ahead = new ReadAhead(GIB);
  const from = 2 ** 40;
  let end = 0;
  let widest = 0;
  let narrowest = Infinity;
  for (let page = from; page < from + 20_000; page += 32) {
    const range = step(ahead, page, 32);
    if (page > from + 10_000) narrowest = Math.min(narrowest, end - (page + 32));
    if (range === null) continue;
    assert.equal(range.first, end === 0 ? page + 32 : end, 'it goes on where it stopped');
    end = range.end;
    widest = Math.max(widest, end - (page + 32));
    assert.ok(end - (page + 32) <= Math.max(64, 2 * (page + 32 - from)), 'no more than twice what has been read');
  }
  assert.ok(widest <= PAGES_16_MIB && widest > PAGES_16_MIB - PAGES_1_MIB, `${widest}`);
  assert.ok(narrowest > PAGES_16_MIB - 3 * PAGES_1_MIB, `${narrowest}`);
  assert.ok(end >= from + 20_000);
});

test('the first reads, and random ones, are no stream', () => {
  const random = new Random(1);
  const ahead = new ReadAhead(GIB);
  assert.equal(step(ahead, 0, 4), null);
  assert.equal(step(ahead, 4, 4), null);
  let found = 0;
  for (let count = 0; count < 5000; count++) if (step(ahead, 10_000 + random.below(2 ** 32), 4) !== null) found++;
  assert.equal(found, 0);
  // Close together, too, they are not taken for one, unless they hit upon the very next page twice.
  const close = new ReadAhead(GIB);
  for (let count = 0; count < 5000; count++) if (step(close, random.below(1_000_000), 1) !== null) found++;
  assert.ok(found < 50, `${found} of 5000`);
});

test('requests of a stream that arrive in another order keep it going', () => {
  const ahead = new ReadAhead(GIB);
  for (let page = 0; page < 64; page += 16) step(ahead, page, 16);
  let asked = 0;
  for (let page = 64; page < 4096; page += 64) {
    for (const at of [page + 16, page, page + 48, page + 32]) if (step(ahead, at, 16) !== null) asked++;
  }
  assert.ok(asked > 0);
});

test('several streams at once, each with a window of its own', () => {
  const ahead = new ReadAhead(GIB);
  const ends = new Array<number>(12).fill(0);
  for (let page = 0; page < 2000; page += 20) {
    for (let stream = 0; stream < ends.length; stream++) {
      const range = step(ahead, stream * 1_000_000 + page, 20);
      if (range !== null) ends[stream] = range.end - stream * 1_000_000;
    }
  }
  for (const end of ends) assert.ok(end >= 2000, ends.join(' '));
});

test('a small cache is not read ahead of more than it keeps until that is asked for', () => {
  const ahead = new ReadAhead(64 * 1024 * 1024);
  let widest = 0;
  for (let page = 0; page < 10_000; page += 32) {
    const range = step(ahead, page, 32);
    if (range !== null) widest = Math.max(widest, range.end - (page + 32));
  }
  assert.ok(widest > 4 * PAGES_1_MIB && widest <= (64 * PAGES_1_MIB) / 10, `${widest}`);
});

test('a wide window asks for whole MiB, and for what is left at the end of the volume', () => {
  const ahead = new ReadAhead(GIB);
  const volumeEnd = 20_000;
  let end = 0;
  for (let page = 0; page < volumeEnd; page += 50) {
    const range = step(ahead, page, 50, volumeEnd);
    if (range === null) continue;
    end = range.end;
    if (page > 3000) assert.ok(end === volumeEnd || (end % PAGES_1_MIB === 0 && range.first % PAGES_1_MIB === 0));
  }
  assert.equal(end, volumeEnd);
});

test('nothing beyond the end of the volume', () => {
  const ahead = new ReadAhead(GIB);
  for (let page = 0; page < 100; page += 10) {
    const range = step(ahead, page, 10, 100);
    if (range !== null) assert.ok(range.first < range.end && range.end <= 100);
  }
});
