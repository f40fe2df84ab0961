/** Fetching what is not here: once for all, and never kept nor joined once it is older than the bucket. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { Fetcher } from '../../../../src/cache/read/fetcher.ts';
import { StorageError } from '../../../../src/lib/errors.ts';
import { settle } from '../../../support/virtual-clock.ts';
import { filled, gate, KIB, MemoryLayout, MIB, never } from '../fixtures.ts';

const CHUNK = 16;

function bench(layout = new MemoryLayout(16 * MIB, MIB, 64 * KIB)) {
  const kept = new Map<number, Buffer>();
  const inserts: number[] = [];
  const state = { ours: async (): Promise<void> => {}, keep: async (): Promise<void> => {} };
  const fetcher = new Fetcher({
    layout,
    whenOurs: (work) => work.finally(() => state.ours()),
    sink: {
      insert: async (first, data) => {
        inserts.push(first);
        await state.keep();
        for (let at = 0; at < data.length; at += PAGE_BYTES) {
          kept.set(first + at / PAGE_BYTES, Buffer.from(data.subarray(at, at + PAGE_BYTES)));
        }
      },
    },
  });
  const fetch = async (first: number, end: number): Promise<Buffer> => {
    const target = Buffer.alloc((end - first) * PAGE_BYTES, 0xee);
    await fetcher.fetch(first, end, target, 0);
    return target;
  };
  return { layout, fetcher, kept, inserts, fetch, state };
}

test('those who want the same share one request, with its neighbours', async () => {
  const { layout, fetcher, kept, fetch } = bench();
  layout.poke(5 * PAGE_BYTES, filled(5));
  layout.poke(6 * PAGE_BYTES, filled(6));
  const gated = gate();
  layout.beforeRead = () => gated.closed;
  const all = Promise.all([fetch(5, 6), fetch(5, 7), fetch(0, 16), fetch(6, 6 + CHUNK)]);
  await settle();
  assert.deepEqual(layout.reads, [
    { offset: 0, length: 64 * KIB },
    { offset: 64 * KIB, length: 64 * KIB },
  ]);
  gated.open();
  const [one, two, three, four] = await all;
  assert.deepEqual(one, filled(5));
  assert.deepEqual(two, Buffer.concat([filled(5), filled(6)]));
  assert.deepEqual(three.subarray(6 * PAGE_BYTES, 7 * PAGE_BYTES), filled(6));
  assert.deepEqual(four.subarray(0, PAGE_BYTES), filled(6));
  await fetcher.idle();
  assert.equal(kept.size, 2 * CHUNK);
  assert.equal(fetcher.underWay, 0);
});

test('a long run goes in pieces at once, and ends where the volume ends', async () => {
  const { layout, fetch, fetcher } = bench(new MemoryLayout(MIB + 128 * KIB, 128 * KIB, 64 * KIB));
  const gated = gate();
  layout.beforeRead = () => gated.closed;
  const all = fetch(0, layout.sizeBytes / PAGE_BYTES);
  await settle();
  assert.equal(layout.reads.length, 9);
  gated.open();
  assert.equal((await all).length, layout.sizeBytes);
  await fetcher.idle();
});

test('what was written to the bucket meanwhile is answered to those who had asked, but neither kept nor joined', async () => {
  const { layout, fetcher, kept, fetch } = bench();
  layout.poke(0, filled(1, 32 * PAGE_BYTES));
  const gated = gate();
  layout.beforeRead = () => gated.closed;
  const before = fetch(0, 4);
  await settle();
  layout.poke(PAGE_BYTES, filled(2));
  fetcher.supersede(1, 2);
  const after = fetch(0, 4);
  await settle();
  assert.equal(layout.reads.length, 2, 'a request of its own');
  gated.open();
  assert.deepEqual(await before, filled(1, 4 * PAGE_BYTES));
  assert.deepEqual((await after).subarray(PAGE_BYTES, 2 * PAGE_BYTES), filled(2));
  await fetcher.idle();
  assert.deepEqual(kept.get(1), filled(2));
  assert.deepEqual(kept.get(0), filled(1));
});

test('superseded while nobody else fetches: the pages that changed are left out, and only they', async () => {
  const { layout, fetcher, kept, fetch } = bench();
  const gated = gate();
  layout.beforeRead = () => gated.closed;
  const reading = fetch(0, CHUNK);
  fetcher.supersede(3, 5);
  fetcher.supersede(10, 2 ** 41);
  gated.open();
  await reading;
  await fetcher.idle();
  assert.deepEqual(
    [...kept.keys()].sort((a, b) => a - b),
    [0, 1, 2, 5, 6, 7, 8, 9],
  );
});

test('until what it brought is in the cache, those who come are given it, and no second request is made', async () => {
  const { layout, fetcher, fetch, state } = bench();
  const gated = gate();
  state.keep = () => gated.closed;
  await fetch(0, 1);
  await fetch(2, 3);
  assert.equal(layout.reads.length, 1);
  gated.open();
  await fetcher.idle();
  await fetch(0, 1);
  assert.equal(layout.reads.length, 2);
});

test('a failure is told to all who wait, and is not remembered', async () => {
  const { layout, fetcher, fetch, kept } = bench();
  layout.beforeRead = () => Promise.reject(new StorageError('UNAVAILABLE', 'away'));
  const failures = await Promise.allSettled([fetch(0, 1), fetch(3, 40)]);
  assert.deepEqual(
    failures.map(({ status }) => status),
    ['rejected', 'rejected'],
  );
  await fetcher.idle();
  assert.equal(kept.size, 0);
  layout.beforeRead = () => {};
  await fetch(0, 1);
});

test('while it is not sure that the volume is ours nothing is answered or kept; where it is not, never', async () => {
  const { fetcher, fetch, kept, state } = bench();
  const gated = gate();
  state.ours = () => gated.closed;
  let answered = false;
  const reading = fetch(0, 1).then(() => {
    answered = true;
  });
  await settle(10);
  assert.ok(!answered);
  assert.equal(kept.size, 0);
  gated.open();
  await reading;
  state.ours = () => Promise.reject(new StorageError('FENCED', 'taken'));
  await assert.rejects(fetch(100, 101), { code: 'FENCED' });
  await fetcher.idle();
  assert.ok(!kept.has(100));
});

test('a failure waits for that too: what is gone may be the doing of who has taken the volume', async () => {
  const { layout, fetcher, fetch, state } = bench();
  layout.beforeRead = () => Promise.reject(new StorageError('CORRUPT', 'gone'));
  const { promise, reject } = Promise.withResolvers<void>();
  state.ours = () => promise;
  let failed = false;
  const reading = fetch(0, 1).finally(() => {
    failed = true;
  });
  const refused = assert.rejects(reading, { code: 'FENCED' });
  await settle(10);
  assert.ok(!failed);
  reject(new StorageError('FENCED', 'taken'));
  await refused;
  state.ours = async () => {};
  await assert.rejects(fetch(0, 1), { code: 'CORRUPT' });
  await fetcher.idle();
});

test('reading ahead: no more than 16 pieces at once, ended by the signal, and never rejecting', async () => {
  const { layout, fetcher } = bench(new MemoryLayout(64 * MIB, MIB, 64 * KIB));
  const gated = gate();
  layout.beforeRead = () => gated.closed;
  const stop = new AbortController();
  const ahead = fetcher.ahead(0, (40 * MIB) / PAGE_BYTES, stop.signal);
  await settle();
  assert.equal(layout.reads.length, 16);
  stop.abort();
  gated.open();
  await ahead;
  assert.equal(layout.reads.length, 16);
  layout.beforeRead = () => Promise.reject(new StorageError('UNAVAILABLE', 'away'));
  await fetcher.ahead((50 * MIB) / PAGE_BYTES, (52 * MIB) / PAGE_BYTES, never);
  await fetcher.idle();
});
