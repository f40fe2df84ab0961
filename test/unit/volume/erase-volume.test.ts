/** Erasing: every object of the volume and no other, however often it is interrupted. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { MemoryObjectStore } from '../../../src/object/memory.ts';
import { CacheHome } from '../../../src/volume/cache-home.ts';
import { eraseVolume } from '../../../src/volume/erase-volume.ts';
import type { VolumeOptions } from '../../../src/volume/volume-options.ts';
import { Random } from '../../support/random.ts';
import { SimDisk } from '../../support/sim-disk.ts';
import {
  type Bench,
  BLOCK,
  bench,
  LEASE,
  LIFE_MS,
  never,
  putS3backerBlock,
  RECORD,
  volumeOptions,
  writeBlock,
} from './fixtures.ts';

const FOREIGN = ['vol/0000000g', 'vol/notes.txt', 'vol/sub/00000000', 'vol2/00000000'];

function erase(
  { environment }: Bench,
  overrides: Partial<VolumeOptions> = {},
  onProgress: (deleted: number, blocks: number | null) => void = () => {},
  signal = never,
  takeOver = false,
  cache: CacheHome | null = null,
): Promise<number> {
  const options = { takeOver, signal, onLost: () => {} };
  return eraseVolume(volumeOptions(overrides), environment, options, cache, onProgress);
}

async function volumeWithData(bucket = new MemoryObjectStore(), overrides: Partial<VolumeOptions> = {}) {
  const made = bench({ bucket });
  const volume = await made.open(overrides);
  for (let block = 0; block < 10; block++) await writeBlock(volume, block);
  await volume.close(never);
  for (const key of FOREIGN) await bucket.put(key, Buffer.from('x'));
  return made;
}

async function leaveLog(disk: SimDisk): Promise<void> {
  disk.makeDirectory('/cache/volumes/vol/log');
  const file = disk.open('/cache/volumes/vol/log/head');
  await file.reserve(4096);
  await file.write(Buffer.alloc(4096, 7), 0);
  file.close();
}

describe('erasing', () => {
  for (const blockHashPrefix of [false, true]) {
    test(`deletes the volume and nothing else, ${blockHashPrefix ? 'hashed' : 'plain'} keys`, async () => {
      const made = await volumeWithData(undefined, { blockHashPrefix });
      assert.equal(await erase(made), 11);
      assert.deepEqual(await made.store.keys(), FOREIGN);
      assert.equal(made.clock.sleeping, 0);
    });
  }

  test('needs neither password nor the right sizes, and finds blocks beyond the end', async () => {
    const bucket = new MemoryObjectStore();
    const made = bench({ bucket });
    const encryption = { cipher: 'AES-128-CBC', password: 'secret', keyLengthBytes: null };
    await (await made.open({ encryption })).close(never);
    await bucket.put('vol/ffffffff', Buffer.from('left over'));
    assert.equal(await erase(made, { sizeBytes: 4096, blockSizeBytes: 512 }), 2);
    assert.deepEqual(await made.store.keys(), []);
  });

  test('a volume of s3backer takes its blocks and its token', async () => {
    const made = bench();
    await putS3backerBlock(made.store, 'vol/00000005', Buffer.alloc(BLOCK, 1));
    await made.store.put('vol/s3backer-mounted', Buffer.from('x'));
    await assert.rejects(erase(made), { code: 'HELD' });
    assert.ok(await made.store.head('vol/00000005'));
    await made.store.delete(['vol/s3backer-mounted']);
    assert.equal(await erase(made), 1);
    assert.deepEqual(await made.store.keys(), []);
  });

  test('the cache goes with its volume, and not that of another one which had the name before', async () => {
    const made = await volumeWithData();
    const disk = SimDisk.withDirectory('/cache', { clock: made.clock, random: new Random(1) });
    const claimed = async (volumeId: string): Promise<CacheHome> => {
      const home = CacheHome.open(disk, '/cache/volumes/vol');
      await made.clock.run(home.settleClaim({ volumeId, url: 'memory:/vol/' }, null, '00000002', null));
      return home;
    };
    const other = await claimed('another');
    // Its log: one that cannot be read is one that may hold writes.
    await made.clock.run(leaveLog(disk));
    const refused = erase(made, {}, undefined, never, false, other);
    await assert.rejects(made.clock.run(refused), { code: 'CORRUPT' });
    assert.ok(disk.exists('/cache/volumes/vol/log/head'));
    assert.ok(await made.store.head(RECORD));

    const { volumeId } = JSON.parse(String((await made.store.get(RECORD))?.body)) as { volumeId: string };
    await made.clock.run(erase(made, {}, undefined, never, false, await claimed(volumeId)));
    assert.equal(CacheHome.exists(disk, '/cache/volumes/vol'), false);
    assert.deepEqual(await made.store.keys(), FOREIGN);
  });

  test('a shared disk takes the token that says so', async () => {
    const made = bench();
    await (await made.open({ sharedDisk: true })).close(never);
    await erase(made, { sharedDisk: true });
    assert.deepEqual(await made.store.keys(), []);
  });

  test('where there is nothing is NOT_FOUND, and writes nothing', async () => {
    const made = bench();
    await made.store.put('vol/notes.txt', Buffer.from('x'));
    made.store.operations.length = 0;
    await assert.rejects(erase(made), { code: 'NOT_FOUND' });
    assert.deepEqual(made.store.writes, []);
  });

  test('is refused while somebody serves it', async () => {
    const made = await volumeWithData();
    const volume = await made.open();
    const other = bench({ bucket: made.store.inner, clock: made.clock, instance: 'other' });
    await assert.rejects(made.clock.run(erase(other)), { code: 'HELD' });
    assert.equal(other.store.writes.length, 0);
    await volume.close(never);
  });

  test('tells how far it has come, in order and to the end', async () => {
    const bucket = new MemoryObjectStore();
    const made = await volumeWithData(bucket);
    for (let block = 10; block < 2500; block++) {
      await bucket.put(`vol/${block.toString(16).padStart(8, '0')}`, Buffer.from('x'));
    }
    const told: number[] = [];
    const totals = new Set<number | null>();
    const tell = (deleted: number, blocks: number | null): void => {
      told.push(deleted);
      totals.add(blocks);
      assert.ok(blocks === null || blocks >= deleted);
    };
    assert.equal(await erase(made, {}, tell), 2501);
    assert.ok(totals.has(2500), 'counted beside');
    assert.deepEqual(
      told,
      [...told].sort((a, b) => a - b),
    );
    assert.equal(told.at(-1), 2500);
    assert.ok(told.length >= 3);
    assert.deepEqual(await made.store.keys(), FOREIGN);
  });
});

describe('an erase that others come before', () => {
  test('deletes the volume that is there once it holds it, and not the one that it looked at', async () => {
    const made = await volumeWithData();
    const other = bench({ bucket: made.store.inner, clock: made.clock, instance: 'other' });
    let isMadeAnew = false;
    made.store.before = async ({ kind, keys }) => {
      if (kind !== 'put' || keys[0] !== LEASE || isMadeAnew) return;
      isMadeAnew = true;
      await erase(other);
      const volume = await other.open({ blockHashPrefix: true }, { create: { force: true } });
      for (let block = 0; block < 3; block++) await writeBlock(volume, block);
      await volume.close(never);
    };
    assert.equal(await made.clock.run(erase(made)), 4);
    assert.ok(isMadeAnew);
    assert.deepEqual(await made.store.keys(), FOREIGN);
  });

  test('and whose record arrives late, does not overwrite what the next holder has made of it', async () => {
    const made = await volumeWithData();
    const taker = bench({ bucket: made.store.inner, clock: made.clock, instance: 'taker' });
    made.store.before = async ({ kind, keys }) => {
      if (kind === 'put' && keys[0] === RECORD) await made.clock.sleep(LIFE_MS * 10);
    };
    const erasing = assert.rejects(erase(made), { code: 'FENCED' });
    const volume = await made.clock.run(taker.open({}, { takeOver: true }));
    await volume.resize(128 * BLOCK, { force: false });
    await made.clock.run(erasing);
    const late = made.store.writes.findLast(({ kind, keys }) => kind === 'put' && keys[0] === RECORD);
    assert.ok(late?.body);
    const { headers = {}, ifMatch = '' } = late.options;
    await assert.rejects(made.store.inner.put(RECORD, late.body, { headers, ifMatch }), { code: 'CONFLICT' });
    await volume.close(never);
  });
});

describe('an interrupted erase', () => {
  test('at any request leaves a volume that opens in full or says what to do, and can be run again', async () => {
    let interrupted = 0;
    for (let nth = 1; ; nth++) {
      const made = await volumeWithData();
      let count = 0;
      let dead = false;
      made.store.before = () => {
        dead ||= ++count === nth;
        if (dead) throw new StorageError('ACCESS_DENIED', 'the process is dead');
      };
      const done = await erase(made).then(
        () => true,
        () => false,
      );
      made.store.before = () => {};
      if (!dead) {
        assert.equal(done, true);
        break;
      }
      interrupted += 1;
      const next = bench({ bucket: made.store.inner, clock: made.clock, instance: 'next' });
      const keys = await next.store.keys('vol/0000000');
      const opened = await next.clock.run(
        next.open({}, { create: null }).then(
          (volume) => volume.close(never).then(() => 'opened'),
          (error) => error.code,
        ),
      );
      if (opened === 'opened') assert.equal(keys.length, 11, 'what opens must be whole');
      else assert.ok(['INVALID', 'NOT_FOUND'].includes(opened), opened);
      const again = await next.clock.run(
        erase(next).then(
          () => 'erased',
          (error) => error.code,
        ),
      );
      assert.ok(again === 'erased' || (again === 'NOT_FOUND' && opened === 'NOT_FOUND'), `${nth}: ${again}`);
      assert.deepEqual(
        (await next.store.keys()).filter((key) => !key.includes('mounted')),
        FOREIGN,
        `${nth}`,
      );
      // Somebody makes a new one in its place, and nothing of the old one shows.
      const fresh = await next.clock.run(next.open({}, { create: { force: true } }));
      assert.equal((await fresh.device.read(0, BLOCK)).equals(Buffer.alloc(BLOCK)), true);
      await fresh.close(never);
    }
    assert.ok(interrupted >= 8, `only ${interrupted} requests were tried`);
  });

  test('by the user ends soon, and keeps others out while its last delete may still arrive', async () => {
    const made = await volumeWithData();
    const stop = new AbortController();
    made.store.before = ({ kind, keys }) => {
      if (kind !== 'delete' || !keys.includes('vol/00000000')) return;
      stop.abort();
      return new Promise(() => {});
    };
    await assert.rejects(
      erase(made, {}, () => {}, stop.signal),
      { code: 'CANCELLED' },
    );
    made.store.before = () => {};
    assert.equal(JSON.parse(String((await made.store.get(LEASE))?.body)).released, false);
    assert.equal(JSON.parse(String((await made.store.get(RECORD))?.body)).erasing, true);
    const other = bench({ bucket: made.store.inner, clock: made.clock, instance: 'other' });
    const erasing = erase(other);
    await made.clock.advance(LIFE_MS - 1);
    assert.equal(other.store.writes.length, 0);
    await made.clock.run(erasing);
    assert.deepEqual(await made.store.keys(), FOREIGN);
  });

  test('because another erase takes the volume over stops deleting', async () => {
    const made = await volumeWithData();
    const taker = bench({ bucket: made.store.inner, clock: made.clock, instance: 'taker' });
    const taking = Promise.withResolvers<number>();
    let begun = false;
    made.store.before = async ({ kind, keys }) => {
      if (kind !== 'delete' || !keys.includes('vol/00000000') || begun) return;
      begun = true;
      erase(taker, {}, () => {}, never, true).then(taking.resolve, taking.reject);
      await made.clock.sleep(LIFE_MS * 10);
    };
    await assert.rejects(made.clock.run(erase(made)), { code: 'FENCED' });
    assert.equal((await made.store.keys('vol/0000000')).length, 11, 'nothing may be gone yet');
    assert.equal(await made.clock.run(taking.promise), 11);
    assert.deepEqual(await made.store.keys(), FOREIGN);
  });
});
