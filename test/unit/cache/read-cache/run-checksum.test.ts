/** Checksums of pages put together, against those of the pages in one piece. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { followedBy } from '../../../../src/cache/read-cache/run-checksum.ts';
import { Random } from '../../../support/random.ts';

function randomPage(seed: number): Buffer {
  const random = new Random(seed);
  const page = Buffer.alloc(PAGE_BYTES);
  for (let at = 0; at < PAGE_BYTES; at += 4) page.writeUInt32LE(random.below(2 ** 32), at);
  return page;
}

const pageArbitrary = fc.record({ bytes: fc.nat().map(randomPage), seed: fc.nat(2 ** 32 - 1) });

test('the checksums of pages, whatever they were begun with, give that of all of them', () => {
  fc.assert(
    fc.property(fc.array(pageArbitrary, { maxLength: 8 }), (pages) => {
      const together = pages.reduce((before, { bytes, seed }) => followedBy(before, crc32(bytes, seed), seed), 0);
      assert.equal(together, crc32(Buffer.concat(pages.map(({ bytes }) => bytes)), 0));
    }),
  );
});
