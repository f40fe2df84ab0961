/** Resizing, ended at every step: the volume comes back with its old size or its new one, and all that it keeps. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { Volume } from '../../../src/volume/volume.ts';
import {
  type Bench,
  BLOCK,
  bench,
  blockOf,
  LEASE,
  never,
  RECORD,
  readBlock,
  recordIn,
  writeBlock,
} from './fixtures.ts';
import { failPut, lostAnswer, type Operation, unreachable } from './hooked-store.ts';

const OLD_BLOCKS = 16;
const LARGEST_BLOCKS = 64;
const BLOCK_0 = 'vol/00000000';
const NO_SIZES = { sizeBytes: null, blockSizeBytes: null };

interface Case {
  readonly name: string;
  readonly newBlocks: number;
  /** Whether block 0, which carries the size, is there. */
  readonly block0: boolean;
}

const CASES: readonly Case[] = [
  { name: 'growing, with block 0', newBlocks: 32, block0: true },
  { name: 'growing, without block 0', newBlocks: 32, block0: false },
  { name: 'shrinking, with block 0', newBlocks: 8, block0: true },
  { name: 'shrinking, without block 0', newBlocks: 8, block0: false },
];

/** Blocks that hold data: at both ends, around both sizes, and beyond the end, where an earlier and larger life left them. */
const USED = [1, 6, 7, 8, 9, 14, 15];
const LEFT_OVER = [16, 17, 25, 31, 50];

async function volumeWithData({ block0 }: Case): Promise<Bench> {
  const made = bench();
  const volume = await made.open({ sizeBytes: OLD_BLOCKS * BLOCK });
  for (const block of block0 ? [0, ...USED] : USED) await writeBlock(volume, block);
  await volume.close(never);
  for (const block of LEFT_OVER) {
    const key = `vol/${block.toString(16).padStart(8, '0')}`;
    await made.store.inner.put(key, blockOf(9999));
  }
  return made;
}

async function sizeInBlock0({ store }: Bench): Promise<number> {
  return Number((await store.inner.head(BLOCK_0))?.metadata['s3backer-filesize']);
}

async function assertKept(volume: Volume, { block0 }: Case, blocks: number, oldest: string): Promise<void> {
  const used = new Set(block0 ? [0, ...USED] : USED);
  for (let block = 0; block < Math.min(blocks, OLD_BLOCKS); block++) {
    const expected = used.has(block) ? blockOf(block) : Buffer.alloc(BLOCK);
    const found = await readBlock(volume, block);
    assert.ok(found.equals(expected), `${oldest}: block ${block} has other bytes: ${found.subarray(0, 16)}`);
  }
  for (let block = OLD_BLOCKS; block < blocks; block++) {
    assert.ok(
      (await readBlock(volume, block)).equals(Buffer.alloc(BLOCK)),
      `${oldest}: block ${block} came back to life`,
    );
  }
}

/** The `nth` put of that key from now on takes effect without an answer; the others have theirs. */
function loseAnswer({ store }: Bench, key: string, nth: number): void {
  let puts = 0;
  store.after = ({ kind, keys }) => {
    if (kind === 'put' && keys[0] === key && ++puts === nth) throw lostAnswer();
  };
}

/** Block 0 is there and cannot be read. */
async function rot({ store }: Bench): Promise<void> {
  const { metadata, contentType } = (await store.inner.head(BLOCK_0)) ?? {};
  assert.ok(metadata);
  const headers = { metadata, contentType: contentType ?? '', contentEncoding: 'deflate' };
  await store.inner.put(BLOCK_0, Buffer.from('rotten'), { headers });
}

/** Everything the process does after the crash fails, and what it does not hear of stays as it is. */
function crashAt(made: Bench, nth: number, when: 'before' | 'after'): () => boolean {
  let count = 0;
  let crashed = false;
  const dead = (): never => {
    crashed = true;
    throw new StorageError('ACCESS_DENIED', 'the process is dead');
  };
  const isLease = ({ keys }: Operation): boolean => keys[0] === LEASE;
  made.store.before = (operation) => {
    if (crashed) dead();
    if (!isLease(operation) && ++count === nth && when === 'before') dead();
  };
  made.store.after = (operation) => {
    if (crashed || (!isLease(operation) && count === nth && when === 'after')) dead();
  };
  return () => crashed;
}

describe('a crash at every request of a resize', () => {
  for (const kind of CASES) {
    for (const when of ['before', 'after'] as const) {
      test(`${kind.name}, ${when} it takes effect`, async () => {
        let points = 0;
        const sizes = new Set<number>();
        for (let nth = 1; ; nth++) {
          const made = await volumeWithData(kind);
          const volume = await made.open(NO_SIZES);
          const crashed = crashAt(made, nth, when);
          await volume.resize(kind.newBlocks * BLOCK, { force: true }).catch((error) => {
            assert.ok(crashed(), String(error));
          });
          if (!crashed()) break;
          points += 1;
          const label = `crash ${nth}`;
          const next = bench({ bucket: made.store.inner });
          const reopened = await next.open(NO_SIZES);
          const blocks = reopened.device.geometry.sizeBytes / BLOCK;
          sizes.add(blocks);
          assert.ok(blocks === OLD_BLOCKS || blocks === kind.newBlocks, `${label}: ${blocks} blocks`);
          await assertKept(reopened, kind, blocks, label);
          const record = await recordIn(next.store);
          assert.deepEqual([record?.sizeBytes, record?.resizeToBytes], [blocks * BLOCK, null], label);
          // And now in full, whatever was half done, and further than before.
          await reopened.resize(kind.newBlocks * BLOCK, { force: true });
          await assertKept(reopened, kind, kind.newBlocks, `${label}, again`);
          await reopened.resize(LARGEST_BLOCKS * BLOCK, { force: true });
          for (let block = Math.min(kind.newBlocks, OLD_BLOCKS); block < LARGEST_BLOCKS; block++) {
            const found = await readBlock(reopened, block);
            assert.ok(found.equals(Buffer.alloc(BLOCK)), `${label}: block ${block} came back to life`);
          }
          await reopened.close(never);
          const last = await next.open(NO_SIZES);
          assert.equal(last.device.geometry.sizeBytes, LARGEST_BLOCKS * BLOCK);
          await last.close(never);
        }
        assert.ok(points >= 3, `only ${points} requests were tried`);
        assert.ok(sizes.has(OLD_BLOCKS));
        if (when === 'after') assert.ok(sizes.has(kind.newBlocks));
      });
    }
  }
});

describe('a request that fails while the volume goes on', () => {
  for (const kind of CASES) {
    test(`${kind.name}: the same resize can be made again, and nothing kept is harmed`, async () => {
      for (let nth = 1; ; nth++) {
        const made = await volumeWithData(kind);
        const volume = await made.open(NO_SIZES);
        let count = 0;
        made.store.before = ({ keys }) => {
          if (keys[0] !== LEASE && ++count === nth) throw unreachable();
        };
        const failed = await volume.resize(kind.newBlocks * BLOCK, { force: true }).then(
          () => false,
          () => true,
        );
        made.store.before = () => {};
        if (failed) await volume.resize(kind.newBlocks * BLOCK, { force: true });
        assert.equal(volume.device.geometry.sizeBytes, kind.newBlocks * BLOCK);
        await assertKept(volume, kind, kind.newBlocks, `failure ${nth}`);
        await volume.close(never);
        const reopened = await bench({ bucket: made.store.inner }).open(NO_SIZES);
        assert.equal(reopened.device.geometry.sizeBytes, kind.newBlocks * BLOCK);
        await assertKept(reopened, kind, kind.newBlocks, `failure ${nth}, reopened`);
        await reopened.close(never);
        if (!failed) break;
      }
    });
  }

  for (const block0 of [true, false]) {
    for (const arrived of [true, false]) {
      const what = `${arrived ? 'gets no answer' : 'does not arrive'}, ${block0 ? 'with' : 'without'} block 0`;
      test(`a growing of which the end ${what}: nobody is shown the new size, also by a late put of block 0`, async () => {
        const made = await volumeWithData({ name: '', newBlocks: 32, block0 });
        const early = await made.store.inner.get(BLOCK_0);
        const volume = await made.open(NO_SIZES);
        if (arrived) loseAnswer(made, RECORD, 2);
        else failPut(made.store, RECORD, 2);
        await assert.rejects(volume.resize(32 * BLOCK, { force: false }), {
          code: arrived ? 'TIMEOUT' : 'UNAVAILABLE',
        });
        assert.equal(volume.device.geometry.sizeBytes, OLD_BLOCKS * BLOCK);
        await assert.rejects(writeBlock(volume, 30), { code: 'NO_SPACE' });
        await writeBlock(volume, 15);
        if (early !== null) await made.store.inner.put(BLOCK_0, early.body, { headers: { metadata: early.metadata } });
        const reopened = await bench({ bucket: made.store.inner }).open(NO_SIZES);
        assert.equal(reopened.device.geometry.sizeBytes, (arrived ? 32 : OLD_BLOCKS) * BLOCK);
        await assertKept(reopened, { name: '', newBlocks: 32, block0 }, arrived ? 32 : OLD_BLOCKS, what);
        await reopened.close(never);
      });
    }
  }

  test('growing, and it has ended: what is written beyond the old end is there after a late put of block 0', async () => {
    const made = await volumeWithData({ name: '', newBlocks: 32, block0: true });
    const early = await made.store.inner.get(BLOCK_0);
    assert.ok(early);
    const volume = await made.open(NO_SIZES);
    failPut(made.store, RECORD, 2);
    // As a client does that has been told of the failure: again and again.
    for (let tries = 0; tries < 2; tries++) await volume.resize(32 * BLOCK, { force: false }).catch(() => {});
    await writeBlock(volume, 30);
    await made.store.inner.put(BLOCK_0, early.body, { headers: { metadata: early.metadata } });
    const reopened = await bench({ bucket: made.store.inner }).open(NO_SIZES);
    assert.equal(reopened.device.geometry.sizeBytes, 32 * BLOCK);
    assert.deepEqual(await readBlock(reopened, 30), blockOf(30));
    await reopened.close(never);
  });

  for (const [what, key, nth] of [
    ['the end of the record', RECORD, 2],
    ['block 0', BLOCK_0, 1],
  ] as const) {
    for (const arrived of [true, false]) {
      test(`a shrink without an answer to ${what}, which has ${arrived ? '' : 'not '}arrived: it is finished with the same size, or by a start`, async () => {
        for (const again of [true, false]) {
          const kind = { name: '', newBlocks: 8, block0: true };
          const made = await volumeWithData(kind);
          const volume = await made.open(NO_SIZES);
          if (arrived) loseAnswer(made, key, nth);
          else failPut(made.store, key, nth);
          await assert.rejects(volume.resize(8 * BLOCK, { force: true }), {
            code: arrived ? 'TIMEOUT' : 'UNAVAILABLE',
          });
          // Nobody may write what the next start may cut off.
          assert.equal(volume.device.geometry.sizeBytes, 8 * BLOCK);
          assert.equal(volume.record.sizeBytes, 8 * BLOCK);
          await assert.rejects(writeBlock(volume, 8), { code: 'NO_SPACE' });
          await writeBlock(volume, 1);
          for (const blocks of [4, OLD_BLOCKS, 32]) {
            await assert.rejects(volume.resize(blocks * BLOCK, { force: true }), {
              code: 'CONFLICT',
              message: /32KiB.*finish it/,
            });
          }
          if (again) assert.equal((await volume.resize(8 * BLOCK, { force: true })).deletedBlocks, 4);
          const next = bench({ bucket: made.store.inner });
          const reopened = await next.open(NO_SIZES);
          const blocks = again || arrived || key === BLOCK_0 ? 8 : OLD_BLOCKS;
          assert.equal(reopened.device.geometry.sizeBytes, blocks * BLOCK);
          await assertKept(reopened, kind, blocks, what);
          assert.equal(await sizeInBlock0(next), blocks * BLOCK);
          assert.equal((await recordIn(next.store))?.resizeToBytes, null);
          await reopened.close(never);
        }
      });
    }
  }

  for (const [what, kind, key] of [
    ['reading block 0', 'get', BLOCK_0],
    ['writing block 0', 'put', BLOCK_0],
    ['writing the record', 'put', RECORD],
  ] as const) {
    test(`a start that takes a shrink back ends with its signal where the bucket does not answer: ${what}`, async () => {
      const made = await volumeWithData({ name: '', newBlocks: 8, block0: true });
      const volume = await made.open(NO_SIZES);
      failPut(made.store, RECORD, 2);
      await assert.rejects(volume.resize(8 * BLOCK, { force: true }), { code: 'UNAVAILABLE' });
      const next = bench({ bucket: made.store.inner });
      const held = Promise.withResolvers<void>();
      next.store.before = (one) => (one.kind === kind && one.keys[0] === key ? held.promise : undefined);
      const stop = new AbortController();
      const opening = assert.rejects(next.open(NO_SIZES, { signal: stop.signal }), { code: 'CANCELLED' });
      await next.clock.advance(1000);
      stop.abort();
      await next.clock.run(opening);
      // What was cut off may still arrive.
      assert.equal(JSON.parse(String((await next.store.inner.get(LEASE))?.body)).released, false);
      assert.equal(next.clock.sleeping, 0);
      held.resolve();
      next.store.before = () => {};
      const reopened = await next.open(NO_SIZES);
      await assertKept(reopened, { name: '', newBlocks: 8, block0: true }, OLD_BLOCKS, 'reopened');
      assert.equal(await sizeInBlock0(next), OLD_BLOCKS * BLOCK);
      await reopened.close(never);
    });
  }

  test('a shrink that has not begun for certain leaves the volume as it was, for whatever comes next', async () => {
    for (const blocks of [8, OLD_BLOCKS, 4, 32]) {
      const made = await volumeWithData({ name: '', newBlocks: 8, block0: true });
      const volume = await made.open(NO_SIZES);
      loseAnswer(made, RECORD, 1);
      await assert.rejects(volume.resize(8 * BLOCK, { force: true }), { code: 'TIMEOUT' });
      assert.equal(volume.device.geometry.sizeBytes, OLD_BLOCKS * BLOCK);
      await writeBlock(volume, 12);
      await volume.resize(blocks * BLOCK, { force: true });
      const reopened = await bench({ bucket: made.store.inner }).open(NO_SIZES);
      assert.equal(reopened.device.geometry.sizeBytes, blocks * BLOCK);
      if (blocks > 12) assert.deepEqual(await readBlock(reopened, 12), blockOf(12));
      await reopened.close(never);
    }
  });

  test('damage of block 0 keeps a resize from being begun, as it could not be told the size', async () => {
    const made = await volumeWithData({ name: '', newBlocks: 32, block0: true });
    const volume = await made.open(NO_SIZES);
    await rot(made);
    const before = await recordIn(made.store);
    for (const blocks of [8, 32]) {
      await assert.rejects(volume.resize(blocks * BLOCK, { force: true }), { code: 'CORRUPT' });
      assert.equal(volume.device.geometry.sizeBytes, OLD_BLOCKS * BLOCK);
    }
    assert.deepEqual(await recordIn(made.store), before);
    await volume.close(never);
  });
});

describe('a growing that failed, and is taken back by the size that the volume has', () => {
  for (const [what, nth] of [
    ['at its beginning', 1],
    ['at its end', 2],
    ['at block 0', 3],
  ] as const) {
    for (const block0 of what === 'at block 0' ? [true] : [true, false]) {
      test(`${what}, ${block0 ? 'with' : 'without'} block 0: is not finished at the next start`, async () => {
        const made = await volumeWithData({ name: '', newBlocks: 32, block0 });
        const volume = await made.open(NO_SIZES);
        let puts = 0;
        made.store.after = ({ kind, keys }) => {
          if (kind === 'put' && keys[0] !== LEASE && ++puts >= nth) throw lostAnswer();
        };
        await assert.rejects(volume.resize(32 * BLOCK, { force: false }), { code: 'TIMEOUT' });
        made.store.after = () => {};
        const record = await recordIn(made.store);
        assert.deepEqual(
          [record?.sizeBytes, record?.resizeToBytes],
          nth === 1 ? [OLD_BLOCKS * BLOCK, 32 * BLOCK] : [32 * BLOCK, null],
        );
        await volume.resize(OLD_BLOCKS * BLOCK, { force: false });
        assert.equal((await recordIn(made.store))?.sizeBytes, OLD_BLOCKS * BLOCK);
        await volume.close(never);
        const reopened = await bench({ bucket: made.store.inner }).open(NO_SIZES);
        assert.equal(reopened.device.geometry.sizeBytes, OLD_BLOCKS * BLOCK);
        await assertKept(reopened, { name: '', newBlocks: 32, block0 }, OLD_BLOCKS, 'reopened');
        await reopened.close(never);
      });
    }
  }
});

describe('resizing', () => {
  test('smaller needs force, and says what is at stake', async () => {
    const { store, open } = bench();
    const volume = await open();
    const before = store.writes.length;
    await assert.rejects(volume.resize(32 * BLOCK, { force: false }), {
      code: 'INVALID',
      message: /is 256KiB: making it 128KiB deletes everything beyond.*--force/,
    });
    assert.equal(store.writes.length, before);
    await volume.close(never);
  });

  test('tells how many blocks it deleted, and deletes no others', async () => {
    const { store, open } = bench();
    const volume = await open();
    for (const block of [0, 31, 32, 63]) await writeBlock(volume, block);
    await store.put('vol/foreign', Buffer.from('x'));
    assert.deepEqual(await volume.resize(32 * BLOCK, { force: true }), {
      oldSizeBytes: 64 * BLOCK,
      newSizeBytes: 32 * BLOCK,
      deletedBlocks: 2,
    });
    assert.deepEqual(
      (await store.keys()).filter((key) => !key.includes('bucketdisk') && !key.includes('mounted')),
      ['vol/00000000', 'vol/0000001f', 'vol/foreign'],
    );
    await volume.close(never);
  });

  test('with hashed keys finds what lies beyond', async () => {
    const { open } = bench();
    const volume = await open({ blockHashPrefix: true });
    for (const block of [0, 31, 32, 63]) await writeBlock(volume, block);
    assert.equal((await volume.resize(32 * BLOCK, { force: true })).deletedBlocks, 2);
    await volume.resize(64 * BLOCK, { force: false });
    assert.deepEqual(await readBlock(volume, 32), Buffer.alloc(BLOCK));
    assert.deepEqual(await readBlock(volume, 31), blockOf(31));
    await volume.close(never);
  });

  test('to what cannot be is refused, to what it is changes nothing', async () => {
    const { store, open } = bench();
    const volume = await open();
    const before = store.writes.length;
    for (const size of [0, -BLOCK, BLOCK + 1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 60, 0.5]) {
      await assert.rejects(volume.resize(size, { force: true }), { code: 'INVALID' });
    }
    assert.equal((await volume.resize(64 * BLOCK, { force: false })).deletedBlocks, 0);
    assert.equal(store.writes.length, before);
    await volume.close(never);
  });

  test('one at a time', async () => {
    const { open } = bench();
    const volume = await open();
    const first = volume.resize(128 * BLOCK, { force: false });
    await assert.rejects(volume.resize(256 * BLOCK, { force: false }), { code: 'CONFLICT', message: /already/ });
    await first;
    await volume.resize(256 * BLOCK, { force: false });
    await volume.close(never);
  });

  test('while clients write loses none of it', async () => {
    const { open } = bench();
    const volume = await open();
    const writing: Promise<void>[] = [];
    for (let block = 0; block < 64; block++) writing.push(writeBlock(volume, block));
    await volume.resize(128 * BLOCK, { force: false });
    for (let block = 64; block < 128; block++) writing.push(writeBlock(volume, block));
    await Promise.all(writing);
    await volume.close(never);
    const reopened = await open(NO_SIZES);
    for (let block = 0; block < 128; block++) assert.ok((await readBlock(reopened, block)).equals(blockOf(block)));
    await reopened.close(never);
  });
});

describe('giving up a resize', () => {
  for (const newBlocks of [32, 128]) {
    for (const [what, key] of [
      ['block 0', BLOCK_0],
      ['the record', RECORD],
    ] as const) {
      for (const nth of what === 'the record' ? [1, 2] : [1]) {
        test(`to ${newBlocks} blocks ends it where the bucket does not answer write ${nth} of ${what}`, async () => {
          const { store, clock, open } = bench();
          const volume = await open();
          for (const block of [0, 1, 40]) await writeBlock(volume, block);
          let puts = 0;
          store.before = ({ kind, keys }) =>
            kind === 'put' && keys[0] === key && ++puts >= nth ? new Promise(() => {}) : undefined;
          const stop = new AbortController();
          const resizing = assert.rejects(volume.resize(newBlocks * BLOCK, { force: true, signal: stop.signal }), {
            code: 'CANCELLED',
          });
          await clock.advance(1000);
          assert.equal(puts, nth);
          stop.abort();
          await clock.run(resizing);
          assert.equal(await clock.run(volume.close(AbortSignal.abort())), 'cut');
          assert.equal(clock.sleeping, 0);
          const reopened = await bench({ bucket: store.inner }).open(NO_SIZES);
          for (const block of [0, 1]) assert.deepEqual(await readBlock(reopened, block), blockOf(block));
          const blocks = reopened.device.geometry.sizeBytes / BLOCK;
          // By the time of block 0 the record has said so.
          assert.equal(blocks, key === BLOCK_0 ? newBlocks : 64);
          if (blocks > 40) assert.deepEqual(await readBlock(reopened, 40), blockOf(40));
          await reopened.close(never);
        });
      }
    }
  }

  /** A volume of 64 blocks with data at block 40, and an object beyond its end at 70; and a first delete that gets no answer. */
  async function withHeldDelete() {
    const made = bench();
    const volume = await made.open();
    for (const block of [0, 40]) await writeBlock(volume, block);
    await made.store.inner.put('vol/00000046', blockOf(9999));
    const { promise: answer, resolve: open } = Promise.withResolvers<void>();
    let deletes = 0;
    made.store.before = ({ kind }) => (kind === 'delete' && ++deletes === 1 ? answer : undefined);
    return { ...made, volume, open, deletes: () => deletes };
  }

  for (const newBlocks of [32, 128]) {
    test(`to ${newBlocks} blocks ends it where the bucket does not answer a delete, and a growing waits for that`, async () => {
      const { store, clock, volume, open, deletes } = await withHeldDelete();
      const stop = new AbortController();
      const resizing = assert.rejects(volume.resize(newBlocks * BLOCK, { force: true, signal: stop.signal }), {
        code: 'CANCELLED',
      });
      await clock.advance(1000);
      assert.equal(deletes(), 1);
      stop.abort();
      await clock.run(resizing);
      assert.equal(volume.device.geometry.sizeBytes, (newBlocks === 32 ? 32 : 64) * BLOCK);
      assert.equal(volume.closedToClients, null);
      const growing = volume.resize(128 * BLOCK, { force: false }).then(async () => {
        for (const block of [40, 70]) await writeBlock(volume, block);
      });
      await clock.advance(1000);
      assert.equal(volume.device.geometry.sizeBytes, (newBlocks === 32 ? 32 : 64) * BLOCK);
      open();
      await clock.run(growing);
      await clock.advance(1000);
      for (const block of [0, 40, 70]) {
        const key = `vol/${block.toString(16).padStart(8, '0')}`;
        assert.ok((await store.inner.head(key)) !== null, key);
        assert.deepEqual(await readBlock(volume, block), blockOf(block));
      }
      await volume.close(never);
    });
  }

  test('while the bucket does not answer a delete: a stop waits for that, or leaves the lease to lapse', async () => {
    for (const hurried of [false, true]) {
      const { store, clock, volume, open } = await withHeldDelete();
      const stop = new AbortController();
      const resizing = assert.rejects(volume.resize(32 * BLOCK, { force: true, signal: stop.signal }), {
        code: 'CANCELLED',
      });
      await clock.advance(1000);
      stop.abort();
      await clock.run(resizing);
      let closed = false;
      const closing = volume.close(hurried ? AbortSignal.abort() : never).then((how) => {
        closed = true;
        return how;
      });
      await clock.advance(1000);
      assert.equal(closed, hurried);
      open();
      assert.equal(await clock.run(closing), hurried ? 'cut' : 'clean');
      assert.equal(JSON.parse(String((await store.inner.get(LEASE))?.body)).released, !hurried);
    }
  });
});

describe('closing', () => {
  test('waits for a resize under way before it lets others in', async () => {
    const { store, clock, open } = bench();
    const volume = await open();
    await writeBlock(volume, 0);
    const gate = Promise.withResolvers<void>();
    store.before = ({ kind, keys }) => (kind === 'put' && keys[0] === 'vol/00000000' ? gate.promise : undefined);
    const resizing = volume.resize(128 * BLOCK, { force: false });
    await clock.advance(0);
    let closed = false;
    const closing = volume.close(never).then(() => {
      closed = true;
    });
    await clock.advance(1000);
    assert.equal(closed, false);
    await assert.rejects(volume.resize(256 * BLOCK, { force: false }), { code: 'CANCELLED' });
    gate.resolve();
    await resizing;
    await closing;
    assert.equal((await recordIn(store))?.sizeBytes, 128 * BLOCK);
    assert.equal(clock.sleeping, 0);
  });

  for (const hurried of [false, true]) {
    test(`${hurried ? 'that is hurried ' : ''}ends a shrink that ${hurried ? 'waits for a write' : 'has not begun in the bucket'}`, async () => {
      const { store, clock, open } = bench();
      const volume = await open();
      await writeBlock(volume, 0);
      const gate = Promise.withResolvers<void>();
      store.before = ({ kind, keys }) =>
        hurried && kind === 'put' && keys[0] === 'vol/00000030'
          ? gate.promise
          : !hurried && kind === 'list'
            ? gate.promise
            : undefined;
      const writing = hurried ? writeBlock(volume, 48).catch(() => {}) : Promise.resolve();
      await clock.advance(0);
      const resizing = assert.rejects(volume.resize((hurried ? 32 : 128) * BLOCK, { force: true }), {
        code: 'CANCELLED',
      });
      await clock.advance(1000);
      const hurry = new AbortController();
      const closing = volume.close(hurry.signal);
      await clock.advance(1000);
      if (hurried) hurry.abort();
      else gate.resolve();
      await resizing;
      gate.resolve();
      assert.equal(await closing, hurried ? 'cut' : 'clean');
      await writing;
      const reopened = await bench({ bucket: store.inner }).open(NO_SIZES);
      assert.equal(reopened.device.geometry.sizeBytes, 64 * BLOCK);
      await reopened.close(never);
    });
  }

  test('that is hurried cuts a write off, answers it with an error, and leaves the lease to lapse', async () => {
    const { store, clock, open } = bench();
    const volume = await open();
    store.before = ({ kind, keys }) =>
      kind === 'put' && keys[0] === 'vol/00000003' ? new Promise(() => {}) : undefined;
    const writing = assert.rejects(writeBlock(volume, 3), { code: 'CANCELLED' });
    await clock.advance(0);
    const hurry = new AbortController();
    const closing = volume.close(hurry.signal);
    await clock.advance(1000);
    hurry.abort();
    assert.equal(await closing, 'cut');
    await writing;
    assert.equal(JSON.parse(String((await store.get(LEASE))?.body)).released, false);
    assert.equal(clock.sleeping, 0);
  });

  test('after a write without an answer leaves the lease to lapse, for a life', async () => {
    const bucket = new MemoryObjectStore();
    const { store, clock, open } = bench({ bucket });
    const volume = await open();
    store.before = ({ kind, keys }) => {
      if (kind === 'put' && keys[0] === 'vol/00000003') throw unreachable();
    };
    await assert.rejects(writeBlock(volume, 3), { code: 'UNAVAILABLE' });
    assert.equal(await volume.close(never), 'clean');
    const next = bench({ bucket, clock, instance: 'second' });
    const opening = next.open();
    await clock.advance(20_000);
    assert.equal(next.store.writes.length, 0);
    await (await clock.run(opening)).close(never);
  });
});
