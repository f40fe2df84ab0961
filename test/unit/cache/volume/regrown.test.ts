/** A volume that shrinks while a client goes on writing what is cut off, and grows again before any of that is uploaded. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BLOCK, blockOf, RECORD } from '../../volume/fixtures.ts';
import { finish, machine, read, stored, upload, write } from './fixtures.ts';

for (const how of ['at once', 'in turn'] as const) {
  test(`what was written ${how} beyond the new end while a volume shrank is not told as dirty for ever`, async () => {
    const one = machine();
    const { clock, store } = one.bench;
    const volume = await one.open();
    const { before } = store;
    await write(one, volume, 0, blockOf(10));
    await upload(one, volume);
    const late: (void | Promise<void>)[] = [];
    store.before = ({ kind, keys }) => {
      if (kind !== 'put' || keys[0] !== RECORD || late.length > 0) return;
      // The log is soon so full that the others have to wait: until after the volume has shrunk.
      const blocks = how === 'at once' ? 1 : 16;
      for (let i = 0; i < blocks; i++) {
        const length = how === 'at once' ? BLOCK : 24 * BLOCK;
        late.push(volume.device.write(40 * BLOCK, Buffer.alloc(length, 3), { fua: false }));
      }
    };
    await clock.run(volume.resize(32 * BLOCK, { force: true }));
    store.before = before;
    if (how === 'in turn') assert.ok((volume.cached?.status().waitingWrites ?? 0) > 0);
    await clock.run(Promise.all(late));
    await upload(one, volume);
    assert.equal(volume.cached?.status().dirtyBytes, 0);
    assert.equal(await stored(one, 40), null);
    await finish(one, volume);
  });
}

test('what was written beyond the new end while a volume shrank does not come back when it grows', async () => {
  const one = machine();
  const { clock, store } = one.bench;
  const volume = await one.open();
  const oldBytes = volume.device.geometry.sizeBytes;
  await write(one, volume, 1, blockOf(1));
  const { before } = store;
  let written = 0;
  store.before = async ({ kind, keys }) => {
    if (kind !== 'put' || keys[0] !== RECORD || written > 0) return;
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

test('what was being read beyond the new end while a volume shrank does not come back when it grows', async () => {
  const one = machine();
  const { clock, store } = one.bench;
  const first = await one.open();
  const oldBytes = first.device.geometry.sizeBytes;
  await write(one, first, 40, blockOf(40));
  await finish(one, first);
  const volume = await one.open({}, { cache: { directory: '/cache/volumes/another' } });
  const answer = Promise.withResolvers<void>();
  store.after = ({ kind, keys }) => (kind === 'get' && keys[0] === 'vol/00000028' ? answer.promise : undefined);
  const late = Promise.resolve(volume.device.read(40 * BLOCK, BLOCK));
  await clock.advance(100);
  await clock.run(volume.resize(oldBytes / 2, { force: true }));
  const again = volume
    .resize(oldBytes, { force: false })
    .then(() => Promise.resolve(volume.device.read(40 * BLOCK, BLOCK)));
  await clock.advance(100);
  answer.resolve();
  await clock.run(late);
  assert.deepEqual(await clock.run(again), Buffer.alloc(BLOCK));
  assert.deepEqual(await read(one, volume, 40), Buffer.alloc(BLOCK));
  await finish(one, volume);
});
