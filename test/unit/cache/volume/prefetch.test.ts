/** Bringing a large range into the cache: a part at a time, no more than there is room for, and no longer than somebody wants it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Volume } from '../../../../src/volume/volume.ts';
import { never } from '../../volume/fixtures.ts';
import { type Machine, machine } from './fixtures.ts';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const LARGE = { sizeBytes: 1024 * GIB, blockSizeBytes: MIB };

/** A volume of which nobody knows which blocks there are, and what has been asked of its bucket since. */
async function unknown(m: Machine, cacheSizeBytes: number): Promise<{ volume: Volume; gets: () => number }> {
  const made = await m.open(LARGE);
  assert.equal(await m.bench.clock.run(made.close(never)), 'clean');
  const volume = await m.open({ ...LARGE, survey: false }, { cache: { cacheSizeBytes } });
  const before = m.bench.store.operations.length;
  return {
    volume,
    gets: () => m.bench.store.operations.slice(before).filter(({ kind }) => kind === 'get').length,
  };
}

test('a range of any size is looked at a part at a time, and left alone once nobody wants it', async () => {
  const m = machine();
  const { volume, gets } = await unknown(m, 256 * MIB);
  const gone = new AbortController();
  const prefetching = volume.device.prefetch(0, LARGE.sizeBytes, gone.signal);
  await turn();
  gone.abort();
  await m.bench.clock.run(Promise.resolve(prefetching));
  assert.ok(gets() > 0 && gets() <= 64, `${gets()} blocks were fetched`);
  await m.bench.clock.run(volume.close(never));
});

test('no more is fetched than the cache holds', async () => {
  const m = machine();
  const { volume, gets } = await unknown(m, 128 * MIB);
  await m.bench.clock.run(Promise.resolve(volume.device.prefetch(GIB - 512, 8 * GIB)));
  assert.ok(gets() > 64 && gets() <= 129, `${gets()} blocks were fetched`);
  await m.bench.clock.run(volume.close(never));
});
