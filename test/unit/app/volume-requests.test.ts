/** What commands are told of volumes by an appliance that is stopping. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { VolumeRequests } from '../../../src/volume-requests.ts';
import { kill, machine, write } from '../cache/volume/fixtures.ts';
import { BLOCK, blockOf } from '../volume/fixtures.ts';

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
    return one.bench.clock.run(handler({ name: 'vol', ...body }));
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
