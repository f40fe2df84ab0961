/** Sizes that change while there is something in the cache that is not in the bucket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { settle } from '../../../support/virtual-clock.ts';
import { BLOCK, blockOf, never, RECORD } from '../../volume/fixtures.ts';
import { blockKey, CACHE_DIRECTORY, finish, leave, machine, read, stored, upload, write } from './fixtures.ts';

const MIB = 1024 * 1024;

test('another size of the log and of the cache: what is unsaved stays, and the log changes once it is empty', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);
  for (const logSizeBytes of [8 * MIB, MIB / 4]) {
    const next = await one.open({}, { cache: { logSizeBytes, cacheSizeBytes: 128 * 1024 } });
    assert.deepEqual(await read(one, next, 1), blockOf(1));
    assert.equal(next.cached?.status().logSizeBytes, MIB, 'it keeps its size');
    await write(one, next, 2, blockOf(2));
    await leave(one, next);
  }
  await finish(one, await one.open());
  assert.deepEqual(await stored(one, 2), blockOf(2));
  const last = await one.open({}, { cache: { logSizeBytes: 8 * MIB } });
  assert.equal(last.cached?.status().logSizeBytes, 8 * MIB);
  assert.deepEqual(await read(one, last, 1), blockOf(1));
});

test('a log that no longer fits when it is to grow: refused with what is missing, and the next start makes it anew', async () => {
  const one = machine();
  await finish(one, await one.open());
  one.disk.capacityBytes = 4 * MIB;
  await assert.rejects(one.open({}, { cache: { logSizeBytes: 16 * MIB } }), { code: 'NO_SPACE' });
  one.disk.capacityBytes = Infinity;
  const next = await one.open();
  await write(one, next, 1, blockOf(1));
  await leave(one, next);
  assert.deepEqual(await read(one, await one.open(), 1), blockOf(1));
});

test('no cache any more (cache.size 0): what is unsaved goes to the bucket first, and the cache is removed', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);

  const second = await one.open({}, { uncached: true });
  assert.deepEqual(await stored(one, 1), blockOf(1));
  assert.equal(second.cached, null);
  assert.ok(!one.disk.exists(`${CACHE_DIRECTORY}/volume.json`));
  await write(one, second, 1, blockOf(2));
  // Not closed in order: its token stays, and is that of the cache too.
  const third = await one.open();
  assert.deepEqual(await read(one, third, 1), blockOf(2));
});

test('no cache any more, and nothing unsaved: its pages do not come back when it is used again', async () => {
  const one = machine({ conditionalPuts: false });
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await upload(one, first);
  one.disk = one.disk.kill();

  const second = await one.open({}, { uncached: true });
  await write(one, second, 1, blockOf(2));
  const third = await one.open();
  assert.deepEqual(await read(one, third, 1), blockOf(2));
});

for (const how of ['readOnly', 'sharedDisk'] as const) {
  test(`opened ${how} while writes are unsaved: refused, as its bytes would be older than what was answered`, async () => {
    const one = machine();
    const first = await one.open();
    await write(one, first, 1, blockOf(1));
    await leave(one, first);
    await assert.rejects(one.open({ [how]: true }, { uncached: true }), {
      code: 'CONFLICT',
      message: /not in the bucket/,
    });
    const again = await one.open();
    await finish(one, again);
    const last = await one.open({ readOnly: true }, { uncached: true });
    assert.deepEqual(await read(one, last, 1), blockOf(1));
  });
}

test('made larger with unsaved writes: they stay, and the new part is zeros and takes writes', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 63, blockOf(63));
  await one.bench.clock.run(first.resize(128 * BLOCK, { force: false }));
  assert.deepEqual(await read(one, first, 100), Buffer.alloc(BLOCK));
  await write(one, first, 100, blockOf(100));
  await leave(one, first);
  const second = await one.open({ sizeBytes: 128 * BLOCK });
  assert.deepEqual(await read(one, second, 63), blockOf(63));
  assert.deepEqual(await read(one, second, 100), blockOf(100));
  await finish(one, second);
  assert.deepEqual(await stored(one, 100), blockOf(100));
});

test('made smaller with unsaved writes: what is left is there, and what was cut off does not come back', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await write(one, first, 40, blockOf(40));
  await one.bench.clock.run(first.resize(32 * BLOCK, { force: true }));
  await write(one, first, 2, blockOf(2));
  await leave(one, first);
  const second = await one.open({ sizeBytes: 32 * BLOCK });
  assert.deepEqual(await read(one, second, 1), blockOf(1));
  assert.deepEqual(await read(one, second, 2), blockOf(2));
  await one.bench.clock.run(second.resize(64 * BLOCK, { force: false }));
  assert.deepEqual(await read(one, second, 40), Buffer.alloc(BLOCK));
  await finish(one, second);
  assert.equal(await stored(one, 40), null);
});

test('made smaller while it is warmed: what was fetched of the part that goes does not come back', async () => {
  const one = machine();
  const { clock, store } = one.bench;
  const bare = await one.open({}, { uncached: true });
  await clock.run(Promise.resolve(bare.device.write(0, Buffer.alloc(64 * BLOCK, 7), { fua: false })));
  await finish(one, bare);
  const first = await one.open();
  await clock.run(first.surveyed(never));
  const held = Promise.withResolvers<void>();
  store.before = ({ kind, keys: [key] }) => {
    // But for block 0, which is looked at before a resize begins.
    if (kind === 'get' && key?.startsWith('vol/0') && key !== blockKey(0)) return held.promise;
    // The cache has forgotten what is to go, and the bucket still has it.
    if (kind === 'put' && key === RECORD) held.resolve();
    return kind === 'put' && key === blockKey(0) ? settle(200) : undefined;
  };
  const warming = first.cached?.prefetch(0, 64 * BLOCK);
  await clock.run(first.resize(32 * BLOCK, { force: true }));
  await warming;
  await clock.run(first.resize(64 * BLOCK, { force: false }));
  assert.deepEqual(await read(one, first, 60), Buffer.alloc(BLOCK));
  assert.deepEqual(await read(one, first, 20), Buffer.alloc(BLOCK, 7));
  await finish(one, first);
});
