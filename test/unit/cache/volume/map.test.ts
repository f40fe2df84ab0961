/** The map of a volume: what is dirty, cached, in the bucket and nowhere is where it is said to be. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Volume } from '../../../../src/volume/volume.ts';
import type { VolumeMap } from '../../../../src/volume/volume-map.ts';
import { BLOCK, never } from '../../volume/fixtures.ts';
import { machine, read, upload, write } from './fixtures.ts';

const DATA = Buffer.alloc(BLOCK, 'x');

/** Of the cells that have any of it, their numbers. */
const cellsOf = (shares: Uint8Array): number[] => Array.from(shares.keys()).filter((cell) => shares[cell] !== 0);

async function map(volume: Volume, range: Partial<Parameters<Volume['map']>[0]> = {}): Promise<VolumeMap> {
  return volume.map({ offset: 0, length: null, cells: 64, ...range });
}

describe('a map', () => {
  test('follows a block from the log into the bucket and the cache', async () => {
    const appliance = machine();
    const volume = await appliance.open();
    const { sizeBytes } = volume.record;
    await write(appliance, volume, 3, DATA);
    const before = await map(volume, { cells: sizeBytes / BLOCK });
    assert.equal(before.cellBytes, BLOCK);
    assert.deepEqual([cellsOf(before.dirty), cellsOf(before.clean), cellsOf(before.stored)], [[3], [], []]);
    assert.deepEqual([before.dirty[3], before.dirtyBytes, before.storedBytes], [255, BLOCK, 0]);
    await upload(appliance, volume);
    const after = await map(volume, { cells: sizeBytes / BLOCK });
    assert.deepEqual([cellsOf(after.dirty), cellsOf(after.clean), cellsOf(after.stored)], [[], [3], [3]]);
    assert.deepEqual([after.dirtyBytes, after.cleanBytes, after.storedBytes, after.unknownBytes], [0, BLOCK, BLOCK, 0]);
    await volume.close(never);
  });

  test('shows a little of something in a large cell, and a part of the disk as a part', async () => {
    const appliance = machine();
    const volume = await appliance.open();
    const blocks = volume.record.sizeBytes / BLOCK;
    await write(appliance, volume, blocks - 1, DATA);
    const whole = await map(volume, { cells: 2 });
    assert.deepEqual([cellsOf(whole.dirty), whole.dirty[1]], [[1], Math.ceil(255 / (blocks / 2))]);
    const end = await map(volume, { offset: (blocks - 4) * BLOCK, length: 4 * BLOCK, cells: 4 });
    assert.deepEqual([...end.dirty], [0, 0, 0, 255]);
    const beginning = await map(volume, { length: 4 * BLOCK });
    assert.deepEqual([beginning.dirty.length, beginning.dirtyBytes], [4, 0]);
    await volume.close(never);
  });

  test('counts what is zeroed as not in the bucket yet, once', async () => {
    const appliance = machine();
    const volume = await appliance.open();
    const { sizeBytes } = volume.record;
    await volume.device.zero(0, sizeBytes, { fua: false, mayTrim: true, fastOnly: false });
    await write(appliance, volume, 1, DATA);
    const drawn = await map(volume, { cells: 8 });
    assert.equal(drawn.dirtyBytes, sizeBytes);
    assert.deepEqual([...drawn.dirty], new Array(8).fill(255));
    await volume.close(never);
  });

  test('shows what was fetched as cached', async () => {
    const appliance = machine();
    const first = await appliance.open();
    await write(appliance, first, 5, DATA);
    await upload(appliance, first);
    await appliance.bench.clock.run(first.close(never));
    const second = await appliance.open({}, { cache: { directory: '/cache/volumes/other' } });
    await read(appliance, second, 5);
    await appliance.bench.clock.advance(100);
    const drawn = await map(second, { cells: second.record.sizeBytes / BLOCK });
    assert.ok(cellsOf(drawn.clean).includes(5));
    assert.deepEqual(cellsOf(drawn.stored), [5]);
    await second.close(never);
  });

  for (const [range, why] of [
    [{ offset: 1e15 }, 'beyond the end'],
    [{ offset: 4096, length: 1e15 }, 'over the end'],
    [{ length: 0 }, 'of nothing'],
    [{ cells: 0 }, 'without cells'],
    [{ cells: 1e9 }, 'with too many cells'],
  ] as const) {
    test(`${why} is refused`, async () => {
      const volume = await machine().open();
      await assert.rejects(map(volume, range), { code: 'INVALID' });
      await volume.close(never);
    });
  }
});
