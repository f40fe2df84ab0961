/** The blocks layout at the moments where bytes are lost elsewhere: surveys, failures, resizes, vanished objects. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { BlocksLayout } from '../../../../src/layout/blocks/blocks-layout.ts';
import { StorageError } from '../../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../../src/object/memory.ts';
import { Barrier, type Call, HookedObjectStore } from '../../../conformance/layout/hooked-store.ts';
import { resize } from '../../../conformance/layout/suite.ts';
import { type BlocksVariant, openBlocks, PLAIN, PREFIX, VARIANTS } from '../../../conformance/layout/variants.ts';
import { rejectsWith } from '../../../conformance/object-store/suite.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';

const BLOCK = PLAIN.blockSizeBytes;
const FILL = Buffer.alloc(BLOCK, 7);
const NEVER = new AbortController().signal;
const SHARED: BlocksVariant = { ...PLAIN, exclusive: false };

const key = (block: number): string => PREFIX + block.toString(16).padStart(8, '0');
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function write(layout: BlocksLayout, block: number, data: Buffer = FILL, within = 0): Promise<void> {
  return layout.commit({ extents: [{ offset: block * BLOCK + within, data }] });
}

function zero(layout: BlocksLayout, first: number, blocks: number): Promise<void> {
  return layout.commit({ extents: [{ offset: first * BLOCK, zeroLength: blocks * BLOCK }] });
}

async function fill(store: HookedObjectStore, blocks: Iterable<number>): Promise<void> {
  for (const block of blocks) await store.inner.put(key(block), Buffer.alloc(BLOCK, 1));
}

const range = (first: number, end: number): number[] => Array.from({ length: end - first }, (_, i) => first + i);

function setUp(blocks: number, variant = PLAIN): { store: HookedObjectStore; layout: BlocksLayout } {
  const store = new HookedObjectStore(new MemoryObjectStore());
  return { store, layout: openBlocks(store, variant, blocks * BLOCK) };
}

/** Fails the calls it is told to, once each. */
function failOnce(store: HookedObjectStore, op: Call['op'], when: 'before' | 'after'): void {
  store[when] = (call) => {
    if (call.op !== op) return;
    store[when] = () => {};
    throw new StorageError('TIMEOUT', 'no answer');
  };
}

describe('blocks layout: what is written', () => {
  test('block 0 carries the sizes of the volume, and whose they are; other blocks do not', async () => {
    const { store, layout } = setUp(4);
    await write(layout, 0);
    await write(layout, 1);
    const headers = store.calls.map(({ put }) => put?.options?.headers);
    const contentType = 'application/x-s3backer-block';
    assert.deepEqual(headers, [
      {
        contentType,
        metadata: {
          's3backer-blocksize': '4096',
          's3backer-filesize': '16384',
          'bucketdisk-volume': 'volume',
          'bucketdisk-resizes': '0',
        },
      },
      { contentType, metadata: {} },
    ]);
    assert.deepEqual(
      store.calls.map(({ keys }) => keys[0]),
      [key(0), key(1)],
    );
  });

  test('a part of a block that never existed costs one GET once, and none where it is known to be absent', async () => {
    const { store, layout } = setUp(4);
    await write(layout, 0, Buffer.alloc(10, 1), 5);
    assert.deepEqual([store.count('get'), store.count('put')], [1, 1]);
    await layout.survey();
    await write(layout, 1, Buffer.alloc(10, 1), 5);
    await layout.read(2 * BLOCK, BLOCK);
    assert.deepEqual([store.count('get'), store.count('put')], [1, 2]);
  });

  test('bytes that are there already are not sent again', async () => {
    const { store, layout } = setUp(4);
    await write(layout, 1);
    await write(layout, 1, Buffer.alloc(10, 7), 5);
    await layout.commit({ extents: [{ offset: 3 * BLOCK + 1, zeroLength: 10 }] });
    assert.equal(store.count('put'), 1);
  });

  test('a small read of a plain block fetches those bytes only, of a compressed one the block', async () => {
    const { store, layout } = setUp(4);
    await write(layout, 1);
    await layout.read(BLOCK + 100, 50);
    assert.deepEqual(store.calls.at(-1)?.range, { offset: 100, length: 50 });
    const compressed = openBlocks(store, VARIANTS.deflate ?? PLAIN, 4 * BLOCK);
    await write(compressed, 2);
    assert.deepEqual(await compressed.read(2 * BLOCK + 100, 50), Buffer.alloc(50, 7));
    assert.equal(store.calls.at(-1)?.range, undefined);
    // A volume that was compressed and is not any more: where the part lies in the object, it is not the block's.
    for (const offset of [0, 1, BLOCK - 10]) {
      assert.deepEqual(await layout.read(2 * BLOCK + offset, 10), Buffer.alloc(10, 7));
    }
  });

  test('no more blocks than allowed are in memory at once, of those that are read and of those that are written', async () => {
    const store = new HookedObjectStore(new MemoryObjectStore());
    const layout = openBlocks(store, PLAIN, 100 * BLOCK, { inFlightBlocksMax: 3 });
    const most = { get: 0, put: 0 };
    const now = { get: 0, put: 0 };
    store.before = async ({ op }) => {
      if (op !== 'get' && op !== 'put') return;
      most[op] = Math.max(most[op], ++now[op]);
      await turn();
      now[op]--;
    };
    await Promise.all([layout.read(0, 50 * BLOCK), ...range(50, 100).map((block) => write(layout, block))]);
    assert.deepEqual(most, { get: 3, put: 3 });
  });
});

test('a read that ends after its block was cut off says nothing about the block that takes its place', async () => {
  const store = new HookedObjectStore(new MemoryObjectStore());
  await fill(store, range(0, 8));
  const layout = openBlocks(store, PLAIN, 8 * BLOCK);
  const barrier = new Barrier();
  const late = layout.read(6 * BLOCK, BLOCK);
  store.after = ({ op, keys }) => (op === 'get' && keys.includes(key(6)) ? barrier.wait() : undefined);
  await resize(layout, 4 * BLOCK);
  await barrier.reached;
  barrier.open();
  assert.deepEqual(await late, Buffer.alloc(BLOCK, 1));
  await layout.discardBeyondEnd(8 * BLOCK, NEVER);
  await resize(layout, 8 * BLOCK);
  assert.deepEqual(await layout.read(6 * BLOCK, BLOCK), Buffer.alloc(BLOCK));
});

describe('blocks layout: peeks', () => {
  /** Holds every request of a kind until it is let go. */
  function hold(store: HookedObjectStore, op: Call['op'], when: 'before' | 'after' = 'before'): Barrier {
    const barrier = new Barrier();
    store[when] = (call) => (call.op === op ? barrier.wait() : undefined);
    return barrier;
  }

  test('wait for no write that the store does not take, however many there are, and a read does', async () => {
    const store = new HookedObjectStore(new MemoryObjectStore());
    await fill(store, range(0, 8));
    const layout = openBlocks(store, PLAIN, 8 * BLOCK, { inFlightBlocksMax: 2 });
    const barrier = hold(store, 'put');
    const writes = range(0, 6).map((block) => write(layout, block));
    await barrier.reached;
    assert.deepEqual(await layout.peek(0, 8 * BLOCK), Buffer.alloc(8 * BLOCK, 1));
    assert.deepEqual(await layout.peek(BLOCK + 10, 20), Buffer.alloc(20, 1));
    let isRead = false;
    const reading = layout.read(0, BLOCK).then((bytes) => {
      isRead = true;
      return bytes;
    });
    await turn();
    assert.equal(isRead, false);
    barrier.open();
    await Promise.all(writes);
    assert.deepEqual(await reading, FILL);
    assert.deepEqual(await layout.peek(0, BLOCK), FILL);
  });

  test('that end after a write began beside them leave no wrong idea of the block behind', async () => {
    const { store, layout } = setUp(2);
    const puts = hold(store, 'put');
    const writing = write(layout, 1);
    await puts.reached;
    const gets = hold(store, 'get', 'after');
    // Sees no object, and is told so after the write has ended.
    const peeking = layout.peek(BLOCK, BLOCK);
    await gets.reached;
    puts.open();
    await writing;
    gets.open();
    assert.deepEqual(await peeking, Buffer.alloc(BLOCK));
    assert.deepEqual(await layout.read(BLOCK, BLOCK), FILL);
    assert.deepEqual(await layout.peek(BLOCK, BLOCK), FILL);
  });

  test('tell a block that we have deleted from one that somebody else has', async () => {
    const { store, layout } = setUp(2);
    await write(layout, 0);
    await write(layout, 1);
    const deletes = hold(store, 'delete', 'after');
    const zeroing = zero(layout, 0, 1);
    await deletes.reached;
    assert.deepEqual(await layout.peek(0, BLOCK), Buffer.alloc(BLOCK));
    deletes.open();
    await zeroing;
    await store.inner.delete([key(1)]);
    const puts = hold(store, 'put');
    const writing = write(layout, 1);
    const peeking = layout.peek(BLOCK, BLOCK);
    puts.open();
    await writing;
    assert.deepEqual(await peeking, FILL);
    await store.inner.delete([key(1)]);
    await assert.rejects(layout.peek(BLOCK, BLOCK), rejectsWith('CORRUPT'));
  });
});

describe('blocks layout: failures', () => {
  for (const when of ['before', 'after'] as const) {
    test(`a PUT that fails ${when} its effect leaves the old bytes or the new ones, and is asked for, not assumed`, async () => {
      const { store, layout } = setUp(4);
      await layout.survey();
      failOnce(store, 'put', when);
      await assert.rejects(write(layout, 1), rejectsWith('TIMEOUT'));
      const expected = when === 'before' ? Buffer.alloc(BLOCK) : FILL;
      assert.deepEqual(await layout.read(BLOCK, BLOCK), expected);
      assert.deepEqual(await layout.extents(0, 3 * BLOCK), [
        { length: BLOCK, hole: true, zero: true },
        { length: BLOCK, hole: false, zero: false },
        { length: BLOCK, hole: true, zero: true },
      ]);
      await zero(layout, 1, 1);
      assert.equal(await store.inner.head(key(1)), null);
    });

    test(`a delete that fails ${when} its effect is made again by the next one`, async () => {
      const { store, layout } = setUp(4);
      await write(layout, 1);
      failOnce(store, 'delete', when);
      await assert.rejects(zero(layout, 1, 1), rejectsWith('TIMEOUT'));
      assert.deepEqual(await layout.read(BLOCK, BLOCK), when === 'before' ? FILL : Buffer.alloc(BLOCK));
      await zero(layout, 1, 1);
      assert.deepEqual(await layout.read(BLOCK, BLOCK), Buffer.alloc(BLOCK));
      assert.equal(store.count('delete'), 2);
    });
  }

  test('a block whose PUT has failed is not taken for one of zeros when its object vanishes', async () => {
    const { store, layout } = setUp(4);
    await write(layout, 1);
    failOnce(store, 'put', 'before');
    await assert.rejects(write(layout, 1, Buffer.alloc(10, 9), 5), rejectsWith('TIMEOUT'));
    await store.inner.delete([key(1)]);
    await assert.rejects(layout.read(BLOCK, BLOCK), rejectsWith('CORRUPT'));
    await assert.rejects(layout.peek(BLOCK, BLOCK), rejectsWith('CORRUPT'));
    await assert.rejects(write(layout, 1, Buffer.alloc(10, 9), 5), rejectsWith('CORRUPT'));
    assert.equal(await store.inner.head(key(1)), null, 'zeros are not put around it');
    await write(layout, 1);
    assert.deepEqual(await layout.read(BLOCK, BLOCK), FILL);
  });

  test('a write that changes nothing is sent all the same after one that may yet arrive', async () => {
    const { store, layout } = setUp(4);
    await write(layout, 1);
    failOnce(store, 'put', 'before');
    await assert.rejects(write(layout, 1, Buffer.alloc(10, 9), 5), rejectsWith('TIMEOUT'));
    await write(layout, 1, Buffer.alloc(10, 7), 5);
    await write(layout, 1, Buffer.alloc(10, 7), 5);
    assert.equal(store.count('put'), 3);
    failOnce(store, 'put', 'before');
    await assert.rejects(write(layout, 2, Buffer.alloc(10, 9), 5), rejectsWith('TIMEOUT'));
    for (let times = 0; times < 2; times++)
      await layout.commit({ extents: [{ offset: 2 * BLOCK + 5, zeroLength: 10 }] });
    assert.equal(store.count('delete'), 1);
  });

  test('a commit that fails has let go of its buffers: nothing of it is sent later', async () => {
    const { store, layout } = setUp(40);
    const slow = new Barrier();
    store.before = async ({ op, keys }) => {
      if (op !== 'put') return;
      if (keys[0] === key(3)) throw new StorageError('UNAVAILABLE', '503');
      await slow.wait();
    };
    const data = Buffer.alloc(40 * BLOCK, 5);
    let settled = false;
    const writing = layout.commit({ extents: [{ offset: 0, data }] }).finally(() => {
      settled = true;
    });
    const refused = assert.rejects(writing, rejectsWith('UNAVAILABLE'));
    await slow.reached;
    await turn();
    assert.equal(settled, false, 'it waits for the blocks that are still being sent');
    slow.open();
    await refused;
    const puts = store.count('put');
    data.fill(0xee);
    for (let i = 0; i < 5; i++) await turn();
    assert.equal(store.count('put'), puts);
    assert.deepEqual(await layout.read(39 * BLOCK, BLOCK), Buffer.alloc(BLOCK, 5));
  });

  test('an object that has vanished is an error for its block and is named; a write of the whole block mends it', async () => {
    const { store, layout } = setUp(4);
    await write(layout, 1);
    await write(layout, 2);
    await store.inner.delete([key(1)]);
    for (const [offset, length] of [
      [BLOCK, BLOCK],
      [BLOCK + 5, 1],
      [0, 4 * BLOCK],
    ] as const) {
      await assert.rejects(layout.read(offset, length), rejectsWith('CORRUPT'));
      await assert.rejects(layout.read(offset, length), new RegExp(key(1)));
    }
    await assert.rejects(write(layout, 1, Buffer.alloc(1, 1)), rejectsWith('CORRUPT'));
    assert.deepEqual(await layout.read(2 * BLOCK, BLOCK), FILL);
    await write(layout, 1);
    assert.deepEqual(await layout.read(BLOCK, BLOCK), FILL);
  });
});

describe('blocks layout: the survey', () => {
  test('a write that lands while the listing is already old is not forgotten', async () => {
    const { store, layout } = setUp(8);
    await fill(store, [5, 6]);
    const delivery = new Barrier();
    store.after = ({ op }) => (op === 'list' ? delivery.wait() : undefined);
    const survey = layout.survey();
    await delivery.reached;
    // The page has been made: it has 5 and 6 and no others.
    await write(layout, 1);
    await write(layout, 2, Buffer.alloc(9, 9), 9);
    await zero(layout, 5, 1);
    store.after = () => {};
    delivery.open();
    await survey;
    assert.deepEqual(await layout.read(BLOCK, BLOCK), FILL);
    assert.equal((await layout.read(2 * BLOCK, BLOCK))[9], 9);
    assert.deepEqual(await layout.read(5 * BLOCK, BLOCK), Buffer.alloc(BLOCK));
    assert.deepEqual(await layout.read(6 * BLOCK, BLOCK), Buffer.alloc(BLOCK, 1));
    assert.equal(layout.storedBlocks, 3);
    assert.deepEqual(layout.surveyStatus, { state: 'done', blocksListed: 2 });
  });

  test('a write under way when the survey ends is not forgotten either, whatever becomes of it', async () => {
    for (const fails of [false, true]) {
      const { store, layout } = setUp(8);
      const sending = new Barrier();
      store.after = async ({ op }) => {
        if (op !== 'put') return;
        await sending.wait();
        if (fails) throw new StorageError('TIMEOUT', 'no answer');
      };
      const writing = write(layout, 1).then(
        () => 'done',
        () => 'failed',
      );
      await sending.reached;
      // As if the page had been made before the PUT.
      store.list = async function* () {};
      await layout.survey();
      sending.open();
      assert.equal(await writing, fails ? 'failed' : 'done');
      assert.deepEqual(await layout.read(BLOCK, BLOCK), FILL);
    }
  });

  test('one that fails is told, costs nothing else, and can be run again', async () => {
    const { store, layout } = setUp(8);
    await fill(store, [3]);
    failOnce(store, 'list', 'before');
    await assert.rejects(layout.survey(), rejectsWith('TIMEOUT'));
    assert.equal(layout.surveyStatus?.state, 'failed');
    assert.equal(layout.storedBlocks, null);
    assert.deepEqual(await layout.extents(0, 8 * BLOCK), [{ length: 8 * BLOCK, hole: false, zero: false }]);
    await layout.survey();
    assert.equal(layout.storedBlocks, 1);
  });

  test('several who ask share one; nobody asks again once it is done', async () => {
    const { store, layout } = setUp(8);
    await Promise.all([layout.survey(), layout.survey()]);
    await layout.survey();
    assert.equal(store.count('list'), 1);
  });

  test('allocation waits for it for a while only, and leaves neither timer nor listener', async () => {
    const store = new HookedObjectStore(new MemoryObjectStore());
    const clock = new VirtualClock();
    const layout = openBlocks(store, PLAIN, 8 * BLOCK, { clock });
    const listing = new Barrier();
    store.before = ({ op }) => (op === 'list' ? listing.wait() : undefined);
    const warnings: Error[] = [];
    const warn = (warning: Error): void => void warnings.push(warning);
    process.on('warning', warn);
    const survey = layout.survey();
    const asking = Array.from({ length: 40 }, () => layout.extents(0, 8 * BLOCK));
    await turn();
    await clock.advance(60_000);
    for (const extents of await Promise.all(asking))
      assert.deepEqual(
        extents.map(({ hole }) => hole),
        [false],
      );
    const later = layout.extents(0, 8 * BLOCK);
    listing.open();
    await survey;
    assert.deepEqual(await later, [{ length: 8 * BLOCK, hole: true, zero: true }]);
    await turn();
    process.off('warning', warn);
    assert.deepEqual(warnings, []);
  });

  test('closing ends one under way', async () => {
    const { store, layout } = setUp(8);
    await fill(store, [3]);
    const listing = new Barrier();
    store.before = () => listing.wait();
    const survey = assert.rejects(layout.survey(), rejectsWith('CANCELLED'));
    const closing = layout.close();
    listing.open();
    await Promise.all([survey, closing]);
  });

  test('blocks cut off meanwhile do not come back with it', async () => {
    const { store, layout } = setUp(8);
    await fill(store, [5]);
    const delivery = new Barrier();
    store.after = ({ op }) => (op === 'list' ? delivery.wait() : undefined);
    const survey = layout.survey();
    await delivery.reached;
    store.after = () => {};
    await resize(layout, 4 * BLOCK);
    await resize(layout, 8 * BLOCK);
    delivery.open();
    await survey;
    assert.deepEqual(await layout.read(0, 8 * BLOCK), Buffer.alloc(8 * BLOCK));
    assert.equal(layout.storedBlocks, 0);
  });
});

describe('blocks layout: size', () => {
  const sizeInBlock0 = async ({ inner }: HookedObjectStore): Promise<number> =>
    Number((await inner.head(key(0)))?.metadata['s3backer-filesize']) / BLOCK;

  test('block 0 says the new size, and of which resize it is, whatever else is being written to it', async () => {
    const { store, layout } = setUp(4);
    await write(layout, 0);
    await Promise.all([
      write(layout, 0, Buffer.alloc(3, 3), 3),
      layout.recordSize(6 * BLOCK, 5, NEVER),
      write(layout, 0, Buffer.alloc(4, 4), 4),
    ]);
    assert.equal(await sizeInBlock0(store), 6);
    assert.equal((await store.inner.head(key(0)))?.metadata['bucketdisk-resizes'], '5');
    const bytes = await layout.read(0, 10);
    assert.deepEqual([...bytes], [7, 7, 7, 3, 4, 4, 4, 4, 7, 7]);
  });

  test('without a block 0 nothing is written until there is one', async () => {
    const { store, layout } = setUp(4);
    await layout.recordSize(6 * BLOCK, 1, NEVER);
    assert.equal(store.count('put'), 0);
    await write(layout, 0);
    assert.equal(await sizeInBlock0(store), 6);
  });

  for (const after of [2, 8]) {
    test(`${after} blocks: block 0 keeps the old size, whatever is written to it, until it is to say the new one`, async () => {
      const { store, layout } = setUp(4);
      await layout.survey();
      for (const block of range(0, 4)) await write(layout, block);
      await resize(layout, after * BLOCK);
      await write(layout, 0, Buffer.alloc(BLOCK, 8));
      assert.deepEqual([layout.sizeBytes, await sizeInBlock0(store)], [after * BLOCK, 4]);
      failOnce(store, 'put', 'before');
      await assert.rejects(layout.recordSize(after * BLOCK, 1, NEVER), rejectsWith('TIMEOUT'));
      assert.equal(await sizeInBlock0(store), 4);
      await write(layout, 0);
      assert.equal(await sizeInBlock0(store), after);
    });
  }

  test('what lies beyond the end is deleted before the volume grows over it, and not a block of it more', async () => {
    const { store, layout } = setUp(4);
    await fill(store, [0, 3, 4, 5, 9, 10]);
    await store.inner.put(`${PREFIX}s3backer-mounted`, Buffer.from('x'));
    await resize(layout, 10 * BLOCK);
    const left: string[] = [];
    for await (const page of store.inner.list('')) left.push(...page.map((object) => object.key));
    assert.deepEqual(left, [key(0), key(3), key(10), `${PREFIX}s3backer-mounted`]);
    await resize(layout, 3 * BLOCK);
    assert.equal(await layout.discardBeyondEnd(10 * BLOCK, NEVER), 1);
    assert.equal(await store.inner.head(key(3)), null);
  });
});

describe('blocks layout: a shrink beside traffic', () => {
  test('waits for no reads, however many there are', async () => {
    const { store, layout } = setUp(8);
    await fill(store, range(0, 8));
    store.before = ({ op }) => (op === 'get' ? turn() : undefined);
    let shrunk = false;
    const reader = async (block: number): Promise<void> => {
      for (let reads = 0; !shrunk && reads < 1000; reads++) await layout.read(block * BLOCK, BLOCK);
      assert.ok(shrunk, 'the reads have ended before the shrink');
    };
    const reading = [0, 1, 1, 2, 2].map(async (block, nth) => {
      // Out of step, so that there is never a moment without one.
      for (let i = 0; i < nth; i++) await turn();
      await reader(block);
    });
    await turn();
    await resize(layout, 4 * BLOCK);
    shrunk = true;
    await Promise.all(reading);
  });

  for (const kind of ['data', 'zeros'] as const) {
    test(`waits for ${kind} written beyond the new end, and passes over what comes later`, async () => {
      const { store, layout } = setUp(8);
      await fill(store, range(0, 8));
      const held = new Barrier();
      store.before = ({ keys }) => (keys.includes(key(6)) ? held.wait() : undefined);
      const writing = kind === 'data' ? write(layout, 6) : zero(layout, 6, 1);
      await held.reached;
      let shrunk = false;
      const resizing = resize(layout, 4 * BLOCK).then(() => {
        shrunk = true;
      });
      for (let i = 0; i < 20; i++) await turn();
      assert.deepEqual([layout.sizeBytes, shrunk], [4 * BLOCK, false]);
      // Part of a batch that was made before.
      await layout.commit({ extents: [{ offset: 3 * BLOCK, data: Buffer.alloc(2 * BLOCK, 9) }] });
      await layout.commit({ extents: [{ offset: 3 * BLOCK + 1, zeroLength: 4 * BLOCK }] });
      await write(layout, 7, Buffer.alloc(BLOCK, 9));
      held.open();
      await Promise.all([writing, resizing]);
      await layout.discardBeyondEnd(8 * BLOCK, NEVER);
      for (const block of range(4, 8)) assert.equal(await store.inner.head(key(block)), null);
      assert.equal((await layout.read(3 * BLOCK, BLOCK))[0], 9);
      await resize(layout, 8 * BLOCK);
      assert.deepEqual(await layout.read(4 * BLOCK, 4 * BLOCK), Buffer.alloc(4 * BLOCK));
    });
  }

  for (const how of ['read', 'peek'] as const) {
    test(`a ${how} under way since is waited for when it grows again: it has and tells what was there`, async () => {
      const { store, layout } = setUp(8);
      await fill(store, range(0, 8));
      const held = new Barrier();
      store.after = ({ op, keys }) => (op === 'get' && keys.includes(key(6)) ? held.wait() : undefined);
      const late = layout[how](6 * BLOCK, BLOCK);
      await held.reached;
      await resize(layout, 4 * BLOCK);
      await layout.discardBeyondEnd(8 * BLOCK, NEVER);
      const stop = new AbortController();
      const stopped = assert.rejects(resize(layout, 8 * BLOCK, stop.signal), rejectsWith('CANCELLED'));
      stop.abort();
      await stopped;
      assert.equal(layout.sizeBytes, 4 * BLOCK);
      const growing = resize(layout, 8 * BLOCK).then(async () => {
        // A part of it: the block would be CORRUPT if it had been there.
        await write(layout, 6, Buffer.alloc(10, 5), 1);
        return layout.read(6 * BLOCK, BLOCK);
      });
      for (let i = 0; i < 20; i++) await turn();
      held.open();
      assert.deepEqual(await late, Buffer.alloc(BLOCK, 1));
      assert.deepEqual(await growing, Buffer.alloc(BLOCK).fill(5, 1, 11));
    });
  }

  test('ends with its signal, and can be made again', async () => {
    const { store, layout } = setUp(8);
    await fill(store, range(0, 8));
    const held = new Barrier();
    store.before = ({ keys }) => (keys.includes(key(6)) ? held.wait() : undefined);
    const writing = write(layout, 6);
    await held.reached;
    const stop = new AbortController();
    const resizing = assert.rejects(resize(layout, 4 * BLOCK, stop.signal), rejectsWith('CANCELLED'));
    for (let i = 0; i < 20; i++) await turn();
    stop.abort();
    await resizing;
    let shrunk = false;
    const again = resize(layout, 4 * BLOCK).then(() => {
      shrunk = true;
    });
    for (let i = 0; i < 20; i++) await turn();
    assert.equal(shrunk, false);
    held.open();
    await Promise.all([writing, again]);
  });
});

describe('blocks layout: shared with other writers', () => {
  test('nothing is remembered of what others may have changed', async () => {
    const store = new HookedObjectStore(new MemoryObjectStore());
    const [a, b] = [openBlocks(store, SHARED, 4 * BLOCK), openBlocks(store, SHARED, 4 * BLOCK)];
    assert.deepEqual(await a.read(0, BLOCK), Buffer.alloc(BLOCK));
    await write(b, 0);
    assert.deepEqual(await a.read(0, BLOCK), FILL);
    await zero(b, 0, 1);
    assert.deepEqual(await a.read(0, BLOCK), Buffer.alloc(BLOCK));
    await write(b, 0, Buffer.alloc(1, 1));
    await write(a, 0, Buffer.alloc(1, 2), 1);
    assert.deepEqual([...(await b.read(0, 3))], [1, 2, 0]);
    assert.deepEqual(await a.extents(0, 4 * BLOCK), [{ length: 4 * BLOCK, hole: false, zero: false }]);
  });

  test('a read does not take the answer of one that began before another writer was done', async () => {
    const { store, layout } = setUp(4, SHARED);
    const answer = new Barrier();
    store.after = () => answer.wait();
    const early = layout.read(0, BLOCK);
    await answer.reached;
    store.after = () => {};
    await store.inner.put(key(0), FILL);
    const late = layout.read(0, BLOCK);
    answer.open();
    assert.deepEqual(await early, Buffer.alloc(BLOCK));
    assert.deepEqual(await late, FILL);
  });

  test('a trim of more than it may delete unseen deletes what a listing finds', async () => {
    const { store, layout } = setUp(20_000, SHARED);
    await fill(store, [0, 1, 7000, 19_998, 19_999]);
    await zero(layout, 1, 19_998);
    assert.deepEqual(
      store.calls.filter(({ op }) => op === 'delete').flatMap(({ keys }) => keys),
      [key(1), key(7000), key(19_998)],
    );
  });
});
