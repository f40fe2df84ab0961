/** What the appliance has done lately: rates and latencies out of counters, for as long as a quarter of an hour. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LATENCY_BOUNDS_SECONDS } from '../../../../src/lib/latency-table.ts';
import { Activity } from '../../../../src/metrics/activity/activity.ts';
import { LatencyWindow } from '../../../../src/metrics/activity/latency-window.ts';
import { SampleRing } from '../../../../src/metrics/activity/sample-ring.ts';
import type { Reading } from '../../../../src/metrics/sources.ts';
import { reading } from '../readings.ts';

const zeros = (): number[] => new Array<number>(LATENCY_BOUNDS_SECONDS.length + 1).fill(0);

/** A reading after so many reads of 4 KiB over NBD, writes of 8 KiB over FUSE, hits, misses and uploaded bytes. */
function after(counts: { reads: number; writes: number; hits: number; misses: number; uploaded: number }): Reading {
  const base = reading();
  const [media, ...others] = base.volumes;
  assert.ok(media?.cache != null && base.fuse !== null);
  const cache = {
    ...media.cache,
    dirtyBytes: 8192,
    missedPages: counts.misses,
    cache: { ...media.cache.cache, hits: counts.hits },
    upload: { ...media.cache.upload, uploadedBytes: counts.uploaded },
  };
  const command = (command: 'read' | 'write', count: number, bytes: number) => ({
    ...{ command, results: [{ result: 'ok' as const, count }], bytes: count * bytes },
    ...{ latencyCounts: zeros().with(3, count), latencySumSeconds: 0 },
  });
  return {
    ...base,
    volumes: [{ ...media, cache }, ...others],
    nbd: {
      ...base.nbd,
      counters: {
        ...base.nbd.counters,
        exports: [{ export: 'media', commands: [command('read', counts.reads, 4096)] }],
      },
    },
    fuse: { ...base.fuse, files: [{ file: 'media', commands: [command('write', counts.writes, 8192)] }] },
  };
}

describe('activity', () => {
  test('is what has been added to the counters, a second, over both fronts', () => {
    const activity = new Activity();
    activity.record(after({ reads: 0, writes: 0, hits: 0, misses: 0, uploaded: 0 }), 2000);
    const { volumes } = activity.record(after({ reads: 20, writes: 10, hits: 30, misses: 10, uploaded: 4096 }), 2000);
    const media = volumes.media;
    assert.ok(media !== undefined);
    assert.deepEqual([media.reads, media.readBytes, media.writes, media.writtenBytes], [10, 40_960, 5, 40_960]);
    assert.deepEqual([media.hitShare, media.uploadedBytes, media.dirtyBytes], [0.75, 2048, 8192]);
    assert.equal(media.drainMs, 4000);
    // The bucket's bounds double from 16 us: the fourth one is 128 us.
    assert.ok((media.readMs ?? 0) > 0.064 && (media.readMs ?? 0) <= 0.128);
    assert.equal(media.flushMs, null);
    assert.equal(volumes.opening?.dirtyBytes, null);
  });

  test('that is none is 0, and what was not measured is not known', () => {
    const activity = new Activity();
    const still = after({ reads: 5, writes: 5, hits: 5, misses: 5, uploaded: 5 });
    const first = activity.record(still, 0).volumes.media;
    assert.deepEqual([first?.reads, first?.hitShare], [null, null]);
    const { volumes } = activity.record(still, 2000);
    assert.deepEqual([volumes.media?.reads, volumes.media?.readMs, volumes.media?.hitShare], [0, null, null]);
    assert.equal(volumes.media?.drainMs, null);
  });

  test('is remembered for a quarter of an hour, and told with what is not known as null', () => {
    const activity = new Activity();
    for (let at = 0; at < 500; at++) {
      activity.record(after({ reads: at, writes: 0, hits: 0, misses: 0, uploaded: 0 }), 2000);
    }
    const history = activity.history('media');
    assert.equal(history?.volume.reads.length, 450);
    assert.equal(history?.volume.reads.at(-1), 0.5);
    assert.equal(history?.volume.hitShare.at(-1), null);
    assert.equal(history?.store.requests.length, 450);
    assert.equal(activity.history('nope'), null);
  });
});

describe('a ring', () => {
  test('forgets the oldest, and means are of what is known', () => {
    const ring = new SampleRing(['a', 'b'], 3);
    for (const a of [1, 2, null, 4]) ring.push({ a, b: 0 });
    assert.deepEqual(ring.toArrays(), { a: [2, null, 4], b: [0, 0, 0] });
    assert.equal(ring.meanOfLast('a', 2), 4);
    assert.equal(ring.meanOfLast('a', 100), 3);
    assert.equal(new SampleRing(['a'], 3).meanOfLast('a', 3), null);
  });
});

describe('latencies', () => {
  test('are of the time since the last look', () => {
    const window = new LatencyWindow([1, 2, 4]);
    window.look([[100, 0, 0, 0]]);
    window.look([[100, 0, 0, 0]]);
    assert.equal(window.quantile(0.5), null);
    window.look([
      [100, 0, 3, 0],
      [0, 1, 0, 0],
    ]);
    assert.equal(window.quantile(0.25), 2);
    assert.equal(window.quantile(1), 4);
    window.look([
      [100, 0, 3, 5],
      [0, 1, 0, 0],
    ]);
    assert.ok((window.quantile(0.99) ?? 0) <= 4);
  });
});
