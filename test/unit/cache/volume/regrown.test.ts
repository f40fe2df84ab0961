/** A volume that shrinks while a client goes on writing what is cut off, and grows again before any of that is uploaded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK, blockOf } from '../../volume/fixtures.ts';
import { finish, machine, read, stored, upload, write } from './fixtures.ts';

test('what was written beyond the new end while a volume shrank does not come back when it grows', async () => {
  const one = machine();
  const { clock, store } = one.bench;
  const volume = await one.open();
  const oldBytes = volume.device.geometry.sizeBytes;
  await write(one, volume, 1, blockOf(1));
  const { before } = store;
  let written = 0;
  store.before = async ({ kind, keys }) => {
    if (kind !== 'put' || keys[0] !== 'vol/00000000' || written > 0) return;
    written++;
    await volume.device.write(40 * BLOCK, blockOf(40), { fua: true });
  };
  await write(one, volume, 0, blockOf(10));
  await upload(one, volume);
  written = 0;
  await clock.run(volume.resize(oldBytes / 2, { force: true }));
  store.before = before;
  assert.equal(written, 1);
  await clock.run(volume.resize(oldBytes, { force: false }));
  assert.deepEqual(await read(one, volume, 40), Buffer.alloc(BLOCK));
  await write(one, volume, 2, blockOf(2));
  await upload(one, volume);
  assert.equal(await stored(one, 40), null);
  assert.deepEqual(await read(one, volume, 40), Buffer.alloc(BLOCK));
  assert.deepEqual(await read(one, volume, 1), blockOf(1));
  await finish(one, volume);
});
