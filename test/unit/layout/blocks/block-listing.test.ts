/** Which blocks have objects: the listing, its bounds, and what it costs. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BlockKeys } from '../../../../src/layout/blocks/block-keys.ts';
import { listBlocks } from '../../../../src/layout/blocks/block-listing.ts';
import { MemoryObjectStore } from '../../../../src/object/memory.ts';
import { HookedObjectStore } from '../../../conformance/layout/hooked-store.ts';
import { rejectsWith } from '../../../conformance/object-store/suite.ts';

const never = new AbortController().signal;

async function listed(store: HookedObjectStore, keys: BlockKeys, first: number, end: number): Promise<number[]> {
  const blocks: number[] = [];
  for await (const page of listBlocks(store, keys, first, end, never)) blocks.push(...page.map(({ block }) => block));
  return blocks;
}

describe('block listing', () => {
  test('the blocks of the range, among keys of every other kind', async () => {
    const block = fc.oneof(fc.nat({ max: 20 }), fc.integer({ min: 2 ** 32 - 3, max: 2 ** 32 - 1 }));
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(block, { maxLength: 10 }),
        fc.boolean(),
        fc.nat({ max: 21 }),
        fc.oneof(fc.nat({ max: 21 }), fc.constant(2 ** 32)),
        fc.constantFrom('', 'p/'),
        async (blocks, hashed, first, end, prefix) => {
          const store = new HookedObjectStore(new MemoryObjectStore());
          const keys = new BlockKeys(prefix, hashed);
          const others = ['s3backer-mounted', '0', '000000', 'sub/00000001', 'zzzzzzzz', '0000000A', '\uffff'];
          const otherKind = new BlockKeys(prefix, !hashed);
          for (const name of others) await store.put(prefix + name, Buffer.alloc(1));
          for (const other of [1, 2, 19]) await store.put(otherKind.keyOf(other), Buffer.alloc(1));
          for (const stored of blocks) await store.put(keys.keyOf(stored), Buffer.alloc(1));
          const wanted = blocks.filter((stored) => stored >= first && stored < end).sort((a, b) => a - b);
          assert.deepEqual(
            (await listed(store, keys, first, end)).sort((a, b) => a - b),
            wanted,
          );
        },
      ),
      { numRuns: 200 },
    );
  });

  test('of plain keys only the pages of the range are asked for', async () => {
    const store = new HookedObjectStore(new MemoryObjectStore());
    const keys = new BlockKeys('p/', false);
    for (let block = 0; block < 5000; block++) await store.inner.put(keys.keyOf(block), Buffer.alloc(1));
    assert.equal((await listed(store, keys, 1500, 1600)).length, 100);
    assert.equal(store.count('list'), 1);
    assert.deepEqual(await listed(store, keys, 7, 7), []);
    assert.equal(store.count('list'), 1);
  });

  test('it can be stopped between pages', async () => {
    const store = new HookedObjectStore(new MemoryObjectStore());
    const keys = new BlockKeys('', false);
    for (let block = 0; block < 2500; block++) await store.inner.put(keys.keyOf(block), Buffer.alloc(1));
    const stop = new AbortController();
    const pages = listBlocks(store, keys, 0, 2500, stop.signal);
    assert.equal((await pages.next()).value?.length, 1000);
    stop.abort();
    await assert.rejects(pages.next(), rejectsWith('CANCELLED'));
  });
});
