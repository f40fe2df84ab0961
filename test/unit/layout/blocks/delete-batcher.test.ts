/** Deletes that travel together. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { DeleteBatcher } from '../../../../src/layout/blocks/delete-batcher.ts';
import { StorageError } from '../../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../../src/object/memory.ts';
import { Barrier, HookedObjectStore } from '../../../conformance/layout/hooked-store.ts';
import { rejectsWith } from '../../../conformance/object-store/suite.ts';

const names = (count: number, prefix = 'k'): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`);
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function setUp(requestsMax?: number): { store: HookedObjectStore; batcher: DeleteBatcher; batches: () => number[] } {
  const store = new HookedObjectStore(new MemoryObjectStore());
  const batches = (): number[] => store.calls.map(({ keys }) => keys.length);
  return { store, batcher: new DeleteBatcher(store, requestsMax), batches };
}

describe('delete batcher', () => {
  test('deletes of one turn go in requests of up to 1000, and each is done when it is answered', async () => {
    const { store, batcher, batches } = setUp();
    for (const key of names(2500)) await store.inner.put(key, Buffer.from('x'));
    await Promise.all(
      names(2500).map(async (key) => {
        await batcher.delete(key);
        assert.equal(await store.inner.head(key), null);
      }),
    );
    assert.deepEqual(batches(), [1000, 1000, 500]);
  });

  test('no more requests than allowed are under way, and what waits meanwhile goes together', async () => {
    const { store, batcher, batches } = setUp(2);
    const barrier = new Barrier();
    store.before = () => barrier.wait();
    const done: Promise<void>[] = [];
    for (const round of ['a', 'b', 'c', 'd']) {
      done.push(...names(3, round).map((key) => batcher.delete(key)));
      await turn();
      await turn();
    }
    assert.deepEqual(batches(), [3, 3]);
    barrier.open();
    await Promise.all(done);
    assert.deepEqual(batches(), [3, 3, 6]);
  });

  test('an error reaches everybody in the request and nobody else, and later deletes go on', async () => {
    const { store, batcher } = setUp(1);
    store.before = ({ keys }) => {
      if (keys.includes('a0')) throw new StorageError('UNAVAILABLE', '503');
    };
    const failing = names(3, 'a').map((key) => batcher.delete(key));
    const settled = Promise.allSettled(failing);
    await turn();
    await batcher.delete('b');
    for (const promise of failing) await assert.rejects(promise, rejectsWith('UNAVAILABLE'));
    await settled;
    await batcher.delete('c');
  });

  test('a store that throws instead of rejecting stops nothing', async () => {
    const { store, batcher } = setUp(1);
    const proper = store.delete.bind(store);
    store.delete = () => {
      store.delete = proper;
      throw new StorageError('INVALID', 'no');
    };
    await assert.rejects(batcher.delete('a'), rejectsWith('INVALID'));
    await batcher.delete('b');
  });
});
