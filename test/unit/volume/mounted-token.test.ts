/** s3backer's token: set and cleared as its format has it, respected, and understood when it is left over. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import type { ObjectStore } from '../../../src/object/object-store.ts';
import { SHARED_DISK_TOKEN, tokenOf } from '../../../src/volume/mounted-token.ts';
import { VirtualClock } from '../../support/virtual-clock.ts';
import { BLOCK, bench, blockOf, LEASE, LIFE_MS, never, readBlock, TOKEN, writeBlock } from './fixtures.ts';
import { unreachable } from './hooked-store.ts';

const HEADER = 's3backer-mount-token';

async function tokenIn(store: ObjectStore): Promise<string | null> {
  const object = await store.get(TOKEN);
  return object === null ? null : (object.metadata[HEADER] ?? 'no header');
}

/** As s3backer leaves it. */
async function putToken(store: ObjectStore, value: string | null, text = 'backer.example\n20260101T000000Z\n') {
  const metadata = value === null ? {} : { [HEADER]: value };
  await store.put(TOKEN, Buffer.from(text), { headers: { contentType: 'text/plain', metadata } });
}

describe('the token', () => {
  test('is set with the text, type and header of the format, and deleted at the end', async () => {
    const { store, open } = bench();
    const volume = await open();
    const object = await store.get(TOKEN);
    assert.equal(object?.body.toString(), 'first.example\n20260101T000000Z\n');
    assert.equal(object?.contentType, 'text/plain');
    assert.deepEqual(object?.metadata, { [HEADER]: tokenOf('first', 'vol/') });
    await volume.close(never);
    assert.equal(await store.head(TOKEN), null);
  });

  test('is a positive number of 31 bits in 8 hex digits, the same for an appliance and volume, and never a reserved one', () => {
    const seen = new Set<string>();
    for (let instance = 0; instance < 2000; instance++) {
      const token = tokenOf(`instance ${instance}`, 'vol/');
      assert.match(token, /^[0-7][0-9a-f]{7}$/);
      assert.ok(Number.parseInt(token, 16) > 1);
      assert.notEqual(token, SHARED_DISK_TOKEN);
      assert.equal(token, tokenOf(`instance ${instance}`, 'vol/'));
      seen.add(token);
    }
    assert.ok(seen.size > 1990);
    assert.notEqual(tokenOf('one', 'a/'), tokenOf('one', 'b/'));
  });

  for (const [name, value] of [
    ['a token of s3backer', '12345678'],
    ['a token without the header', null],
    ['the shared disk token', SHARED_DISK_TOKEN],
    ['the shared disk token in capitals', '7FFFFFFF'],
  ] as const) {
    test(`${name} refuses us, and leaves a released lease and the token as it was`, async () => {
      const { store, clock, open } = bench();
      await (await open()).close(never);
      await putToken(store, value);
      await assert.rejects(open(), {
        code: 'HELD',
        message: /marked as mounted.*backer\.example 20260101T000000Z.*--take-over/,
      });
      assert.equal(await tokenIn(store), value ?? 'no header');
      assert.equal(JSON.parse(String((await store.get(LEASE))?.body)).released, true);
      assert.equal(clock.sleeping, 0);
    });
  }

  test('of s3backer is taken with --take-over at once: it would not notice anyway', async () => {
    const { store, clock, open } = bench();
    await putToken(store, '12345678');
    const volume = await open({}, { takeOver: true });
    assert.equal(clock.time.nowMs, 0);
    assert.equal(await tokenIn(store), tokenOf('first', 'vol/'));
    await volume.close(never);
    assert.equal(await store.head(TOKEN), null);
  });

  test('of a shared disk is taken with --take-over only once those who share it have stopped', async () => {
    const bucket = new MemoryObjectStore();
    const sharing = bench({ bucket });
    const shared = await sharing.open({ sharedDisk: true });
    assert.equal(await tokenIn(bucket), SHARED_DISK_TOKEN);
    const taker = bench({ bucket, clock: sharing.clock, instance: 'second' });
    const opening = taker.open({}, { takeOver: true });
    await sharing.clock.advance(LIFE_MS * 0.85);
    assert.equal(shared.lost?.code, 'FENCED');
    await assert.rejects(writeBlock(shared, 1), { code: 'FENCED' });
    const volume = await sharing.clock.run(opening);
    assert.ok(sharing.clock.time.nowMs >= LIFE_MS * 0.9);
    await volume.close(never);
    await shared.close(never);
  });

  test('of a shared disk stays when one of those who share it stops, and keeps others out', async () => {
    const bucket = new MemoryObjectStore();
    const one = bench({ bucket });
    await (await one.open({ sharedDisk: true })).close(never);
    assert.equal(await tokenIn(bucket), SHARED_DISK_TOKEN);
    await assert.rejects(bench({ bucket, instance: 'second' }).open(), { code: 'HELD', message: /as a shared disk/ });
    await (await bench({ bucket, instance: 'third' }).open({ sharedDisk: true })).close(never);
  });

  test('of an exclusive writer keeps those out who would share', async () => {
    const bucket = new MemoryObjectStore();
    const one = bench({ bucket });
    const volume = await one.open();
    await assert.rejects(bench({ bucket, instance: 'second' }).open({ sharedDisk: true }), { code: 'HELD' });
    await volume.close(never);
  });

  test('that is ours, or of the holder before us, is stale, also where that one died before it could set its own', async () => {
    const bucket = new MemoryObjectStore();
    const one = bench({ bucket });
    // Dies with lease and token.
    await one.open();
    // Takes the lease after a life, and dies before it sets its token.
    const two = bench({ bucket, clock: one.clock, instance: 'second' });
    one.store.before = () => {
      throw unreachable();
    };
    two.store.before = ({ kind, keys }) => {
      if (kind === 'put' && keys[0] === TOKEN) throw unreachable();
    };
    await assert.rejects(one.clock.run(two.open()), { code: 'UNAVAILABLE' });
    assert.equal(await tokenIn(bucket), tokenOf('first', 'vol/'));
    // Restarted it opens, with nobody asked to do anything.
    two.store.before = () => {};
    const volume = await one.clock.run(two.open());
    assert.equal(await tokenIn(bucket), tokenOf('second', 'vol/'));
    await volume.close(never);
    assert.equal(await bucket.head(TOKEN), null);
  });

  test('that somebody deletes is set again, with a warning', async () => {
    const { store, clock, log, open } = bench();
    const volume = await open();
    await store.inner.delete([TOKEN]);
    await clock.advance(LIFE_MS / 3);
    assert.equal(await tokenIn(store), tokenOf('first', 'vol/'));
    assert.ok(log.messages('warn').some((line) => line.includes('token was deleted')));
    assert.equal(volume.lost, null);
    await volume.close(never);
  });

  test('that somebody deletes and another sets before we do is not ours any more', async () => {
    const { store, clock, open } = bench();
    const volume = await open();
    await store.inner.delete([TOKEN]);
    store.before = async ({ kind, keys }) => {
      if (kind === 'put' && keys[0] === TOKEN) await putToken(store.inner, '12345678');
    };
    await clock.advance(LIFE_MS / 3);
    assert.equal(volume.lost?.code, 'FENCED');
    await volume.close(never);
    assert.equal(await tokenIn(store), '12345678');
  });

  test('that s3backer overwrites, as its --force does, ends our writing', async () => {
    const { store, clock, lost, open } = bench();
    const volume = await open();
    await putToken(store.inner, '12345678');
    await clock.advance(LIFE_MS / 3);
    assert.equal(volume.lost?.code, 'FENCED');
    assert.equal(lost.length, 1);
    await assert.rejects(writeBlock(volume, 1), { code: 'FENCED' });
    await volume.close(never);
    assert.equal(await tokenIn(store), '12345678', 'it is not ours to delete');
  });
});

describe('a store without conditional PUTs', () => {
  const unconditional = { conditionalPuts: false } as const;

  test('is warned of, and held by the token alone', async () => {
    const { store, log, open } = bench(unconditional);
    const volume = await open();
    assert.ok(log.messages('warn').some((line) => line.includes('does not honour conditional PUTs')));
    assert.equal(await store.head(LEASE), null);
    assert.equal(await tokenIn(store), tokenOf('first', 'vol/'));
    await writeBlock(volume, 1);
    await volume.close(never);
    assert.equal(await store.head(TOKEN), null);
  });

  test('refuses a second appliance, and lets the same one in after a crash', async () => {
    const bucket = new MemoryObjectStore();
    await bench({ bucket, ...unconditional }).open();
    await assert.rejects(bench({ bucket, ...unconditional, instance: 'second' }).open(), { code: 'HELD' });
    await bench({ bucket, ...unconditional }).open();
  });

  test('a take-over waits until the one before has stopped writing', async () => {
    const bucket = new MemoryObjectStore();
    const one = bench({ bucket, ...unconditional });
    const first = await one.open({ sizeBytes: 64 * BLOCK });
    const two = bench({ bucket, ...unconditional, instance: 'second', clock: one.clock });
    const opening = two.open({}, { takeOver: true });
    await one.clock.advance(LIFE_MS * 0.85);
    assert.equal(first.lost?.code, 'FENCED');
    const second = await one.clock.run(opening);
    assert.ok(one.clock.time.nowMs >= LIFE_MS * 0.9);
    one.store.operations.length = 0;
    await writeBlock(second, 1);
    await assert.rejects(writeBlock(first, 1), { code: 'FENCED' });
    await second.close(never);
    await first.close(never);
    assert.deepEqual(one.store.writes, []);
  });

  test('a machine that slept while somebody else had the volume and gave it up again does not go on', async () => {
    const bucket = new MemoryObjectStore();
    const one = bench({ bucket, ...unconditional });
    const first = await one.open();
    await writeBlock(first, 1);
    one.clock.suspend();
    const two = bench({ bucket, ...unconditional, instance: 'second', clock: new VirtualClock(one.clock.time) });
    const second = await one.clock.run(two.open({}, { takeOver: true }));
    await writeBlock(second, 1, blockOf(2));
    await second.close(never);
    assert.equal(await tokenIn(bucket), null);
    await one.clock.resume();
    await one.clock.advance(LIFE_MS);
    assert.equal(first.lost?.code, 'FENCED');
    await assert.rejects(readBlock(first, 1), { code: 'FENCED' });
    await assert.rejects(writeBlock(first, 1), { code: 'FENCED' });
    assert.equal(await tokenIn(bucket), null, 'it is not set again');
    await first.close(never);
  });

  test('a token that is deleted while we look at it all the time is set again', async () => {
    const { store, clock, open } = bench(unconditional);
    const volume = await open();
    await clock.advance(10 * LIFE_MS);
    await store.inner.delete([TOKEN]);
    await clock.advance(LIFE_MS / 3);
    assert.equal(await tokenIn(store), tokenOf('first', 'vol/'));
    await writeBlock(volume, 1);
    await volume.close(never);
  });
});
