/** Uploads that are put off: what waits, what does not, and that nothing waits longer than it has to. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Volume } from '../../../../src/volume/volume.ts';
import { BLOCK, blockOf } from '../../volume/fixtures.ts';
import { finish, kill, type Machine, machine, read, stored, write } from './fixtures.ts';

const MINUTE = 60_000;

async function heldBack(
  durability: 'local' | 's3' = 'local',
  ageMs = 1_000,
): Promise<{
  one: Machine;
  volume: Volume;
  window: { closed: boolean };
}> {
  const window = { closed: true };
  const one = machine();
  const triggers = { ageMs, dirtyBytesMax: 4 * BLOCK, holdsBack: () => window.closed };
  const volume = await one.open({ durability }, { cache: { triggers, logSizeBytes: 256 * 1024 } });
  return { one, volume, window };
}

describe('while uploads are put off', () => {
  test('neither age nor amount counts, until they are not', async () => {
    const { one, volume, window } = await heldBack();
    for (let block = 0; block < 8; block++) await write(one, volume, block, blockOf(block));
    await one.bench.clock.advance(60 * MINUTE);
    assert.equal(await stored(one, 0), null);
    assert.equal(volume.cached?.status().dirtyBytes, 8 * BLOCK);
    window.closed = false;
    await one.bench.clock.advance(MINUTE);
    assert.deepEqual(await stored(one, 7), blockOf(7));
    assert.equal(volume.cached?.status().dirtyBytes, 0);
    await finish(one, volume);
  });

  test('what is too much goes when it may, also where it is not old and nobody writes any more', async () => {
    for (const closedBefore of [true, false]) {
      const { one, volume, window } = await heldBack('local', 600 * MINUTE);
      window.closed = closedBefore;
      await write(one, volume, 0, blockOf(0));
      await one.bench.clock.advance(MINUTE);
      window.closed = true;
      for (let block = 1; block < 8; block++) await write(one, volume, block, blockOf(block));
      await one.bench.clock.advance(MINUTE);
      assert.equal(await stored(one, 0), null);
      window.closed = false;
      await one.bench.clock.advance(MINUTE);
      assert.deepEqual(await stored(one, 7), blockOf(7));
      await finish(one, volume);
    }
  });

  test('a volume whose flushes are in the bucket has them there all the same', async () => {
    const { one, volume } = await heldBack('s3');
    await write(one, volume, 3, blockOf(3));
    assert.deepEqual(await stored(one, 3), blockOf(3));
    await finish(one, volume);
  });

  test('whoever asks for everything to be uploaded gets it', async () => {
    const { one, volume } = await heldBack();
    await write(one, volume, 3, blockOf(3));
    await one.bench.clock.run(Promise.resolve(volume.cached?.uploadAll(new AbortController().signal)));
    assert.deepEqual(await stored(one, 3), blockOf(3));
    await finish(one, volume);
  });

  test('a log that is half full is uploaded, so that no write waits for the window', async () => {
    const { one, volume } = await heldBack();
    const { clock } = one.bench;
    for (let round = 0; round < 4; round++) {
      for (let block = 0; block < 64; block++) await write(one, volume, block, blockOf(block + round));
    }
    await clock.advance(1_000);
    const { logUsedBytes = 0, logSizeBytes = 1 } = volume.cached?.status() ?? {};
    assert.ok(logUsedBytes / logSizeBytes < 0.7, `${logUsedBytes} of ${logSizeBytes}`);
    await finish(one, volume);
    assert.deepEqual(await stored(one, 63), blockOf(66));
  });

  test('what was flushed survives a crash, and stopping uploads it', async () => {
    const { one, volume } = await heldBack();
    await write(one, volume, 5, blockOf(5));
    kill(one);
    void volume;
    const again = await one.open();
    assert.deepEqual(await read(one, again, 5), blockOf(5));
    await finish(one, again);
    assert.deepEqual(await stored(one, 5), blockOf(5));
  });
});
