/** The checksum of what clients have written. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { xxhash3 } from 'hash-wasm';
import { allocateChecked, checksumOf, isChecked, longChecksumOf } from '../../../src/lib/checksum.ts';
import { assemblePageHash } from '../../../src/lib/page-hash/assemble.ts';
import { PAGE_HASH_CODE } from '../../../src/lib/page-hash/code.ts';
import { PageHash } from '../../../src/lib/page-hash/page-hash.ts';
import { PortablePageHash } from '../../../src/lib/page-hash/portable-page-hash.ts';
import { Random } from '../../support/random.ts';
import { sealSectors } from '../../support/sectors.ts';

const PAGE_BYTES = 4096;
const KIB = 1024;

function randomBytes(length: number, seed: number): Buffer {
  const random = new Random(seed);
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

function lowerHalf(hash: string): number {
  return Number.parseInt(hash.slice(8), 16);
}

test('is XXH64, or the lower half of it, of what is no page', () => {
  const known = { '': 'ef46db3751d8e999', a: 'd24ec4f1a98c6e5b', abc: '44bc2cf5ad770999' };
  for (const [text, hash] of Object.entries(known)) {
    assert.equal(longChecksumOf(Buffer.from(text)), hash);
    assert.equal(checksumOf(Buffer.from(text)), lowerHalf(hash));
  }
});

test('is the lower half of XXH3 of a page, wherever it lies', async () => {
  const checked = allocateChecked(4 * PAGE_BYTES);
  assert.ok(checked !== null && isChecked(checked) && isChecked(checked.subarray(1, 2)));
  const property = fc.asyncProperty(fc.nat(), fc.nat(2 * PAGE_BYTES), async (seed, at) => {
    const page = randomBytes(PAGE_BYTES, seed);
    const expected = lowerHalf(await xxhash3(page));
    const elsewhere = Buffer.alloc(4 * PAGE_BYTES, 0xaa);
    for (const bytes of [checked, elsewhere]) {
      page.copy(bytes, at);
      assert.equal(checksumOf(bytes, at, at + PAGE_BYTES), expected);
      assert.equal(checksumOf(bytes.subarray(at, at + PAGE_BYTES)), expected);
    }
    assert.ok(!isChecked(elsewhere));
  });
  await fc.assert(property, { numRuns: 50 });
  for (const byte of [0, 1, 0xff]) {
    const page = Buffer.alloc(PAGE_BYTES, byte);
    assert.equal(checksumOf(page), lowerHalf(await xxhash3(page)));
  }
  assert.throws(() => checksumOf(checked, 4 * PAGE_BYTES - 1, 5 * PAGE_BYTES - 1), RangeError);
});

test('is the same on a machine without SIMD', async () => {
  const portable = await PortablePageHash.load();
  assert.equal(portable.allocate(), null);
  for (let seed = 0; seed < 20; seed++) {
    const bytes = randomBytes(2 * PAGE_BYTES, seed);
    assert.equal(portable.hash(bytes, seed), checksumOf(bytes, seed, seed + PAGE_BYTES));
  }
  assert.throws(() => portable.hash(Buffer.alloc(PAGE_BYTES), 1), RangeError);
});

test('there is one also on a processor without SIMD, as in many virtual machines', async (t) => {
  // On others every 64-bit processor has what is needed.
  if (process.arch !== 'x64') return t.skip('on x64 only');
  const module = new URL('../../../src/lib/checksum.ts', import.meta.url).href;
  const script = `const { allocateChecked, checksumOf } = await import('${module}');
    process.stdout.write(JSON.stringify([allocateChecked(4096), checksumOf(Buffer.alloc(4096, 7))]));`;
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--no-enable-sse4-1',
    '--input-type=module',
    '--eval',
    script,
  ]);
  assert.deepEqual(JSON.parse(stdout), [null, checksumOf(Buffer.alloc(PAGE_BYTES, 7))]);
});

test('the code of the page hash is that of its source', async () => {
  assert.equal(PAGE_HASH_CODE, (await assemblePageHash()).toString('base64'));
});

test('buffers to check in never overlap, and end with the memory', () => {
  const memory = new PageHash();
  const first = memory.allocate(PAGE_BYTES + 1);
  const second = memory.allocate(PAGE_BYTES);
  assert.ok(first !== null && second !== null);
  first.fill(1);
  const before = memory.hash(first, 0);
  second.fill(2);
  assert.equal(memory.hash(first, 0), before);
  assert.equal(second.byteOffset % PAGE_BYTES, 0);
  assert.ok(second.byteOffset >= first.byteOffset + first.length);
  assert.equal(memory.allocate(memory.memory.byteLength), null);
  for (let left = memory.memory.byteLength / PAGE_BYTES; memory.allocate(PAGE_BYTES) !== null; left--)
    assert.ok(left > 0);
  assert.equal(memory.allocate(1), null);
});

test('is the same in whatever pieces it is reckoned', () => {
  for (const length of [64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 200 * KIB]) {
    const bytes = randomBytes(length, length);
    assert.equal(lowerHalf(longChecksumOf(bytes)), checksumOf(bytes));
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
