/** Pages of blocks that are being sent: those of whole blocks, as long as they are being sent. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { SentBlocks } from '../../../../src/cache/upload/sent-blocks.ts';

const BLOCK_PAGES = 4;

/** Each page holds its number. */
function blockOf(block: number): Buffer {
  const pages = Array.from({ length: BLOCK_PAGES }, (_, page) => Buffer.alloc(PAGE_BYTES, block * BLOCK_PAGES + page));
  return Buffer.concat(pages);
}

test('they are there from when they are set until they are cleared, and no others', () => {
  const sent = new SentBlocks(BLOCK_PAGES * PAGE_BYTES);
  assert.equal(sent.count(0, 100), 0);
  sent.set(new Map([2, 3, 5].map((block) => [block, blockOf(block)])));
  assert.equal(sent.count(7, 100), 0);
  assert.equal(sent.count(9, 100), 7, 'blocks 2 and 3 to their end');
  assert.equal(sent.count(9, 11), 2);
  assert.equal(sent.count(20, 100), 4);
  const target = Buffer.alloc(4 * PAGE_BYTES, 0xff);
  assert.equal(sent.read(10, 100, target, PAGE_BYTES), 2, 'to the end of the block');
  assert.deepEqual(
    [0, 1, 2, 3].map((page) => target[page * PAGE_BYTES]),
    [0xff, 10, 11, 0xff],
  );
  assert.equal(sent.read(16, 100, target, 0), 0);
  sent.clear();
  assert.equal(sent.count(9, 100), 0);
  assert.equal(sent.read(9, 10, target, 0), 0);
});
