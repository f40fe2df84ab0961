/** A block whose object somebody has deleted: what waits for it, and what mends it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CacheHome } from '../../../../src/volume/cache-home.ts';
import { BLOCK, blockOf } from '../../volume/fixtures.ts';
import { blockKey, CACHE_DIRECTORY, finish, machine, stored, upload, write } from './fixtures.ts';

test('uploads that wait for a part of a block that is gone go on once all of it has been written', async () => {
  const one = machine();
  const { clock } = one.bench;
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await finish(one, first);
  CacheHome.discard(one.disk, CACHE_DIRECTORY);
  const volume = await one.open();
  await clock.advance(1000);
  await one.bench.store.inner.delete([blockKey(1)]);
  await clock.run(Promise.resolve(volume.device.write(BLOCK + 1024, Buffer.alloc(512, 7), { fua: true })));
  await write(one, volume, 2, blockOf(2));

  let ended = false;
  const uploading = upload(one, volume).then(() => {
    ended = true;
  });
  await clock.advance(120_000);
  assert.equal(ended, false);
  assert.equal(volume.cached?.status().upload.error?.code, 'CORRUPT');

  await write(one, volume, 1, blockOf(3));
  await uploading;
  assert.deepEqual(await stored(one, 1), blockOf(3));
  assert.deepEqual(await stored(one, 2), blockOf(2));
  assert.equal(volume.cached?.status().upload.error, null);
  await clock.run(volume.close(AbortSignal.abort()));
});
