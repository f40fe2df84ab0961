/** Whether anything is on a volume: of those larger than what is told of in one answer, too. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isEmpty } from '../../../src/volume/is-empty.ts';
import { machine, upload, write } from '../cache/volume/fixtures.ts';
import { BLOCK, never } from './fixtures.ts';

const SIZE = 3 * 2 ** 30;
const LAST = SIZE / BLOCK - 1;

describe('a volume of 3 GiB', () => {
  test('is empty when it is new, and no longer when its last block has been written', async () => {
    const appliance = machine();
    const volume = await appliance.open({ sizeBytes: SIZE });
    assert.equal(await isEmpty(volume.device, never), true);
    await write(appliance, volume, LAST, Buffer.alloc(BLOCK, 'x'));
    assert.equal(await isEmpty(volume.device, never), false);
    await upload(appliance, volume);
    assert.equal(await isEmpty(volume.device, never), false);
    await volume.close(never);
  });

  test('is empty without a cache, too', async () => {
    const appliance = machine();
    const volume = await appliance.open({ sizeBytes: SIZE }, { uncached: true });
    assert.equal(await isEmpty(volume.device, never), true);
    await volume.device.write(LAST * BLOCK, Buffer.alloc(BLOCK, 'x'), { fua: false });
    assert.equal(await isEmpty(volume.device, never), false);
    await volume.close(never);
  });

  test('is looked at no further once somebody has given up', async () => {
    const appliance = machine();
    const volume = await appliance.open({ sizeBytes: SIZE });
    await assert.rejects(isEmpty(volume.device, AbortSignal.abort()), { code: 'CANCELLED' });
    await volume.close(never);
  });
});
