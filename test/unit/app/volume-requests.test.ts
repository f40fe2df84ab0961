/** What commands are told of volumes by an appliance that is stopping, and what becomes of it where they hang up. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VolumeRequests } from '../../../src/volume-requests.ts';
import { finish, kill, machine, stored, upload, write } from '../cache/volume/fixtures.ts';
import { BLOCK, blockOf, never, RECORD } from '../volume/fixtures.ts';
import { failPut } from '../volume/hooked-store.ts';

test('a warm and a flush that the stop has cut off are not told as done', async () => {
  const one = machine();
  const volume = await one.open();
  const stopping = new AbortController();
  const { routes } = new VolumeRequests({
    volumeOf: () => volume,
    attachedTo: () => 0,
    stopping: stopping.signal,
  });
  const ask = (route: string, body: object): Promise<object> => {
    const handler = routes[route];
    assert.ok(handler);
    return one.bench.clock.run(handler({ name: 'vol', ...body }, never));
  };
  const piece = { offset: 0, length: 4 * BLOCK };
  assert.ok(await ask('POST /v1/warm', piece));
  stopping.abort();
  await assert.rejects(ask('POST /v1/warm', piece), { code: 'CANCELLED' });
  // Nothing is left to be sent: that is true all the same.
  assert.deepEqual(await ask('POST /v1/flush', {}), { name: 'vol', dirtyBytes: 0, uploadError: null });
  await write(one, volume, 1, blockOf(1));
  await assert.rejects(ask('POST /v1/flush', {}), { code: 'CANCELLED' });
  kill(one);
});

test('a shrink that waits for the bucket to take what is written ends with who asked for it; so does the waiting of a flush', async () => {
  const one = machine();
  const { clock, store } = one.bench;
  const volume = await one.open();
  await write(one, volume, 1, blockOf(1));
  const { routes } = new VolumeRequests({
    volumeOf: () => volume,
    attachedTo: () => 0,
    stopping: never,
  });
  const away = Promise.withResolvers<void>();
  const { before } = store;
  store.before = ({ kind }) => (kind === 'put' ? away.promise : undefined);
  const hangUp = new AbortController();
  const resizing = routes['POST /v1/resize']?.({ name: 'vol', sizeBytes: 32 * BLOCK, force: true }, hangUp.signal);
  const given = assert.rejects(resizing ?? Promise.resolve(), { code: 'CANCELLED' });
  const flushing = routes['POST /v1/flush']?.({ name: 'vol' }, hangUp.signal);
  await clock.advance(60_000);
  assert.match(volume.closedToClients ?? '', /smaller/);
  hangUp.abort();
  await given;
  await flushing;
  assert.equal(volume.closedToClients, null);
  assert.equal(volume.device.geometry.sizeBytes, 64 * BLOCK);
  // The upload has not been given up.
  store.before = before;
  away.resolve();
  await upload(one, volume);
  assert.deepEqual(await stored(one, 1), blockOf(1));
  await finish(one, volume);
});

test('a volume that ends at a smaller size of which the bucket gave no answer has that size for everybody who asks', async () => {
  const one = machine();
  const volume = await one.open();
  const routes = new VolumeRequests({ volumeOf: () => volume, attachedTo: () => 1, stopping: never }).routes;
  const ask = (route: string, body: object): Promise<object> => {
    const handler = routes[route];
    assert.ok(handler);
    return one.bench.clock.run(handler({ name: 'vol', ...body }, never));
  };
  failPut(one.bench.store, RECORD, 2);
  await assert.rejects(one.bench.clock.run(volume.resize(32 * BLOCK, { force: true })), { code: 'UNAVAILABLE' });
  const warmed = (await ask('POST /v1/warm', { offset: 0, length: 64 * BLOCK })) as { readonly sizeBytes: number };
  assert.equal(warmed.sizeBytes, 32 * BLOCK);
  // Whoever is attached by now has been told the smaller size, and loses nothing by its end.
  await ask('POST /v1/resize', { sizeBytes: 32 * BLOCK, force: true });
  assert.equal(volume.record.sizeBytes, 32 * BLOCK);
  await finish(one, volume);
});
