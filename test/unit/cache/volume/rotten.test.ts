/** What rots in the log before it is uploaded: whether its page is lost depends on what was written since, and is durable. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { isStorageError } from '../../../../src/lib/errors.ts';
import { CacheHome } from '../../../../src/volume/cache-home.ts';
import type { Volume } from '../../../../src/volume/volume.ts';
import { BLOCK, blockOf, never } from '../../volume/fixtures.ts';
import {
  blockKey,
  CACHE_DIRECTORY,
  contentOf,
  finish,
  type Machine,
  machine,
  read,
  stored,
  upload,
  write,
} from './fixtures.ts';

const PART = Buffer.alloc(512, 'part');
const PAGE = blockOf(5);

/** A volume that has block 1 in the bucket and not in the cache. */
async function openStored(): Promise<{ one: Machine; volume: Volume }> {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await upload(one, first);
  await finish(one, first);
  CacheHome.discard(one.disk, CACHE_DIRECTORY);
  return { one, volume: await one.open() };
}

/** Block 1, or a part of it, is written and flushed, and rots. */
async function writeAndRot(one: Machine, { device }: Volume, data: Buffer): Promise<void> {
  await device.write(BLOCK + (data.length === BLOCK ? 0 : 1024), data, { fua: true });
  // So much that it is on the disk only.
  for (let block = 16; block < 48; block++) {
    await device.write(block * BLOCK, blockOf(block), { fua: false });
    await device.flush();
  }
  const places = one.disk.files
    .filter(({ path }) => path.startsWith(`${CACHE_DIRECTORY}/log/0`))
    .map(({ path }) => ({ path, at: contentOf(one, path).indexOf(data) }))
    .filter(({ at }) => at >= 0);
  assert.equal(places.length, 1);
  for (const { path, at } of places) one.disk.flipBit(path, at + 100);
}

/** Everything is in the bucket but for what is lost, so that nobody else should have the volume. */
async function stopWithLoss(one: Machine, volume: Volume): Promise<void> {
  assert.equal(await one.bench.clock.run(volume.close(never)), 'dirty');
  assert.equal(volume.cached?.status().dirtyBytes, 0);
}

/** Does the work when the block is about to be put into the bucket. */
function whileSending(one: Machine, block: number, work: () => Promise<void>): void {
  const { store } = one.bench;
  const { before } = store;
  store.before = async ({ kind, keys }) => {
    if (kind !== 'put' || keys[0] !== blockKey(block)) return;
    store.before = before;
    await work();
  };
}

/** The power goes: what is read then is what was written last, or nothing. */
async function assertNotOlder(one: Machine): Promise<void> {
  one.disk = one.disk.crash();
  const volume = await one.open();
  const bytes = await read(one, volume, 1).catch((error: unknown) => {
    assert.ok(isStorageError(error, 'CORRUPT'), String(error));
    return null;
  });
  if (bytes !== null) assert.deepEqual(bytes, blockOf(7));
  await write(one, volume, 1, blockOf(9));
  assert.deepEqual(await read(one, volume, 1), blockOf(9));
  await finish(one, volume);
}

test('an orderly stop does not keep a volume with a page that is lost from being started again', async () => {
  const { one, volume } = await openStored();
  await one.bench.clock.run(writeAndRot(one, volume, PART));
  await upload(one, volume);
  await stopWithLoss(one, volume);
  const again = await one.open();
  await assert.rejects(read(one, again, 1), { code: 'CORRUPT' });
  await write(one, again, 1, blockOf(7));
  await finish(one, again);
  const third = await one.open();
  assert.deepEqual(await read(one, third, 1), blockOf(7));
  await finish(one, third);
});

test('a page that is lost keeps the volume from being served without the cache that knows of it', async () => {
  const { one, volume } = await openStored();
  await one.bench.clock.run(writeAndRot(one, volume, PART));
  await upload(one, volume);
  await stopWithLoss(one, volume);
  for (let attempt = 0; attempt < 2; attempt++) {
    await assert.rejects(one.open({}, { uncached: true }), {
      code: 'CORRUPT',
      message: /1 page.*cache drop VOLUME --force/,
    });
  }
  const again = await one.open();
  await assert.rejects(read(one, again, 1), { code: 'CORRUPT' });
  await write(one, again, 1, blockOf(7));
  await finish(one, again);
  const without = await one.open({}, { uncached: true });
  assert.deepEqual(await read(one, without, 1), blockOf(7));
  await finish(one, without);
});

for (const data of [PART, PAGE]) {
  const what = data === PART ? 'a part of a page' : 'a page';

  test(`${what}, written again as a whole: nothing of it is lost`, async () => {
    const { one, volume } = await openStored();
    await one.bench.clock.run(writeAndRot(one, volume, data));
    await write(one, volume, 1, blockOf(7));
    await upload(one, volume);
    assert.equal(volume.cached?.status().damagedPages, 0);
    assert.deepEqual(await read(one, volume, 1), blockOf(7));
    await finish(one, volume);
    assert.deepEqual(await stored(one, 1), blockOf(7));
  });

  test(`${what}, zeroed since: nothing of it is lost`, async () => {
    const { one, volume } = await openStored();
    await one.bench.clock.run(writeAndRot(one, volume, data));
    await one.bench.clock.run(Promise.resolve(volume.device.trim(BLOCK, BLOCK, { fua: true })));
    await upload(one, volume);
    assert.equal(volume.cached?.status().damagedPages, 0);
    assert.deepEqual(await read(one, volume, 1), Buffer.alloc(BLOCK));
    await finish(one, volume);
  });

  test(`${what}, not written again: it cannot be read until it is`, async () => {
    const { one, volume } = await openStored();
    await one.bench.clock.run(writeAndRot(one, volume, data));
    await upload(one, volume);
    assert.equal(volume.cached?.status().damagedPages, 1);
    await assert.rejects(read(one, volume, 1), { code: 'CORRUPT' });
    assert.deepEqual(await stored(one, 1), blockOf(1));
    await write(one, volume, 1, blockOf(8));
    assert.deepEqual(await read(one, volume, 1), blockOf(8));
    await finish(one, volume);
    assert.deepEqual(await stored(one, 1), blockOf(8));
  });

  test(`${what}, written again and not flushed when the log forgets it: a crash does not bring back what is older`, async () => {
    const { one, volume } = await openStored();
    await write(one, volume, 50, blockOf(50));
    let uploading: Promise<void> | undefined;
    whileSending(one, 50, async () => {
      await writeAndRot(one, volume, data);
      uploading = volume.cached?.uploadAll(never);
      await setImmediate();
      await volume.device.write(BLOCK, blockOf(7), { fua: false });
    });
    await upload(one, volume);
    await one.bench.clock.run(Promise.resolve(uploading));
    await one.bench.clock.advance(100);
    assert.deepEqual(await stored(one, 47), blockOf(47));
    await assertNotOlder(one);
  });

  test(`${what}, known to be lost and written again, not flushed: a crash does not bring back what is older`, async () => {
    const { one, volume } = await openStored();
    await one.bench.clock.run(writeAndRot(one, volume, data));
    await upload(one, volume);
    assert.equal(volume.cached?.status().damagedPages, 1);
    await write(one, volume, 50, blockOf(50));
    whileSending(one, 50, async () => {
      await volume.device.write(BLOCK, blockOf(7), { fua: false });
    });
    await upload(one, volume);
    await assertNotOlder(one);
  });
}

test('a disk that fails to read twice, with a long sending between: nothing counts as lost', async () => {
  const ageMs = 120_000;
  const one = machine({ latencyMs: () => 10 });
  const { clock } = one.bench;
  const volume = await one.open({}, { cache: { triggers: { ageMs, dirtyBytesMax: 1e9 } } });
  await write(one, volume, 50, blockOf(50));
  // A batch of its own, as no flush has covered it yet; so much that some of it is on the disk only, once it is synced.
  for (let write = 0; write < 96; write++) {
    const block = write % 48;
    await clock.run(Promise.resolve(volume.device.write(block * BLOCK, blockOf(block), { fua: false })));
  }
  let failures = 0;
  const failReads = async (forMs: number): Promise<void> => {
    const { readErrors } = one.disk.incidents;
    one.disk.faults = { ...one.disk.faults, read: 1 };
    await clock.sleep(forMs, never);
    one.disk.faults = { ...one.disk.faults, read: 0 };
    failures += one.disk.incidents.readErrors - readErrors;
  };
  let again: Promise<void> | undefined;
  whileSending(one, 50, async () => {
    await failReads(100);
    assert.equal(failures, 1);
    await clock.sleep(10 * 60_000, never);
    again = failReads(700);
  });
  await clock.advance(13 * 60_000);
  await again;
  assert.equal(failures, 2);
  await upload(one, volume);
  assert.equal(volume.cached?.status().damagedPages, 0);
  assert.deepEqual(await stored(one, 1), blockOf(1));
  await finish(one, volume);
});
