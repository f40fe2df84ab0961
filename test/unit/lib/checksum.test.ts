/** The checksum of what clients have written. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { checksumOf, longChecksumOf } from '../../../src/lib/checksum.ts';
import { Random } from '../../support/random.ts';
import { sealSectors } from '../../support/sectors.ts';

const PAGE_BYTES = 4096;
const KIB = 1024;

function randomBytes(length: number, seed: number): Buffer {
  const random = new Random(seed);
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

test('is XXH64, or the lower half of it', () => {
  const known = { '': 'ef46db3751d8e999', a: 'd24ec4f1a98c6e5b', abc: '44bc2cf5ad770999' };
  for (const [text, hash] of Object.entries(known)) {
    assert.equal(longChecksumOf(Buffer.from(text)), hash);
    assert.equal(checksumOf(Buffer.from(text)), Number.parseInt(hash.slice(8), 16));
  }
});

test('is the same in whatever pieces it is reckoned', () => {
  for (const length of [64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 200 * KIB]) {
    const bytes = randomBytes(length, length);
    assert.equal(Number.parseInt(longChecksumOf(bytes).slice(8), 16), checksumOf(bytes));
  }
});

test('tells pages apart of which each sector ends with its own CRC-32, which a CRC-32 does not', () => {
  const page = fc.nat().map((seed) => sealSectors(randomBytes(PAGE_BYTES, seed)));
  fc.assert(
    fc.property(page, page, (one, other) => {
      fc.pre(!one.equals(other));
      assert.equal(crc32(one), crc32(other));
      assert.notEqual(checksumOf(one), checksumOf(other));
      assert.notEqual(longChecksumOf(one), longChecksumOf(other));
    }),
    { numRuns: 30 },
  );
});
