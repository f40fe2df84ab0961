/** What the read cache promises to its owner, case by case. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import type { DiskFaults } from '../../../support/sim-disk.ts';
import { VirtualClock } from '../../../support/virtual-clock.ts';
import {
  DIRECTORY,
  insert,
  LINE_BYTES,
  newDisk,
  newUnevenDisk,
  openCache,
  pages,
  quiet,
  versionOf,
} from './fixtures.ts';

const LINES = `${DIRECTORY}/lines`;
const SOUND: DiskFaults = { read: 0, write: 0, sync: 0, names: 0 };
const FAR = 2 ** 41 - 64;

describe('pages come and go', () => {
  it('are found and read once they are written', async () => {
    const cache = await openCache(await newDisk());
    const done = cache.insert(5, pages(5, 40), 'demand');
    assert.equal(cache.lookup(5, 45), 0);
    await done;
    assert.equal(cache.lookup(5, 45), 40);
    assert.equal(cache.lookup(0, 45), 0);
    assert.equal(cache.lookup(30, 1000), 15);
    const target = Buffer.alloc(42 * PAGE_BYTES);
    assert.equal(cache.read(5, 40, target, PAGE_BYTES, true), 40);
    assert.ok(target.subarray(PAGE_BYTES, 41 * PAGE_BYTES).equals(pages(5, 40)));
    assert.equal(cache.status().hits, 40);
  });

  it('at the far end of the largest volume', async () => {
    const cache = await openCache(await newDisk());
    await insert(cache, FAR, 40);
    assert.equal(cache.lookup(FAR, FAR + 64), 40);
    assert.equal(versionOf(cache, FAR + 39), 0);
    // A number that is the same in its lower 32 bits.
    assert.equal(cache.lookup(FAR - 2 ** 32, FAR - 2 ** 32 + 1), 0);
    cache.invalidate(FAR + 3, FAR + 4);
    assert.equal(cache.lookup(FAR, FAR + 64), 3);
  });

  it('an older copy is not returned from the moment a newer one comes', async () => {
    const cache = await openCache(await newDisk());
    await insert(cache, 0, 16);
    const done = insert(cache, 4, 2, { version: 1, kind: 'written' });
    assert.equal(versionOf(cache, 4), null);
    assert.equal(versionOf(cache, 3), 0);
    await done;
    assert.equal(versionOf(cache, 4), 1);
    assert.equal(versionOf(cache, 6), 0);
  });

  it('what is invalidated while it is being written does not come up', async () => {
    const cache = await openCache(await newDisk());
    const done = insert(cache, 0, 64);
    cache.invalidate(10, 20);
    cache.invalidate(32, 48);
    await done;
    assert.equal(cache.lookup(0, 64), 10);
    assert.equal(cache.lookup(20, 64), 12);
    assert.equal(cache.lookup(48, 64), 16);
    assert.equal(cache.status().usedBytes, 3 * LINE_BYTES);
  });

  it('of several copies of a page on their way, the last stays', async () => {
    const cache = await openCache(await newDisk());
    await Promise.all([1, 2, 3, 4, 5].map((version) => insert(cache, version % 2, 8, { version })));
    assert.equal(versionOf(cache, 0), 4);
    for (let page = 1; page < 9; page++) assert.equal(versionOf(cache, page), 5);
    assert.equal(cache.status().rotten, 0);
  });

  it('nor does an older one end up on the disk where writes overtake each other', async () => {
    const cache = await openCache(await newUnevenDisk(7, 20));
    await Promise.all(Array.from({ length: 40 }, (_, version) => insert(cache, 2, 6, { version })));
    for (let page = 2; page < 8; page++) assert.equal(versionOf(cache, page), 39);
    assert.equal(cache.status().rotten, 0);
  });

  it('a range of 10 TiB is invalidated at once, and clearing leaves nothing', async () => {
    const cache = await openCache(await newDisk());
    await insert(cache, 100, 100);
    cache.invalidate(150, 2 ** 32);
    assert.equal(cache.lookup(100, 200), 50);
    cache.clear();
    assert.equal(cache.status().pages, 0);
    assert.equal(cache.status().usedBytes, 0);
  });

  it('consecutive lines lie one after another, and are written and read in one go', async () => {
    const lines: string[] = [];
    const disk = await newDisk(1, { trace: (line) => lines.push(line) });
    const cache = await openCache(disk);
    await insert(cache, 0, 128);
    const before = lines.length;
    const target = Buffer.alloc(100 * PAGE_BYTES);
    assert.equal(cache.read(3, 100, target, 0, true), 100);
    assert.equal(lines.slice(before).filter((line) => line.includes('read')).length, 1);
    assert.deepEqual(
      lines.filter((l) => l.includes(`write ${LINES}`)).map((l) => Number(l.split('+').at(-1))),
      [8 * LINE_BYTES],
    );
  });

  it('more than fits takes the place of what is there', async () => {
    const cache = await openCache(await newDisk(), { lines: 4 });
    await insert(cache, 0, 160);
    assert.equal(cache.status().usedBytes, 4 * LINE_BYTES);
    assert.ok(cache.status().pages <= 64);
  });

  it('takes no more than can be written before long', async () => {
    const cache = await openCache(await newDisk(), { lines: 2048 });
    const mib = 256;
    const inserts = Array.from({ length: 70 }, (_, at) => insert(cache, at * mib, mib));
    await Promise.all(inserts);
    assert.equal(cache.lookup(0, 64 * mib), 64 * mib);
    assert.equal(cache.lookup(64 * mib, 65 * mib), 0);
    assert.equal(cache.status().declined, 6 * mib);
  });
});

describe('a disk that fails', () => {
  it('bytes that have rotted are dropped, with the pages before them returned', async () => {
    const disk = await newDisk();
    const cache = await openCache(disk);
    await insert(cache, 0, 48);
    disk.flipBit(LINES, 20 * PAGE_BYTES + 77);
    const target = Buffer.alloc(48 * PAGE_BYTES);
    assert.equal(cache.read(0, 48, target, 0, true), 20);
    assert.equal(cache.lookup(20, 21), 0);
    assert.equal(cache.lookup(21, 48), 27);
    assert.equal(cache.status().rotten, 1);
    await insert(cache, 20, 1);
    assert.equal(versionOf(cache, 20), 0);
  });

  it('a sector that cannot be read costs its page', async () => {
    const disk = await newDisk();
    const cache = await openCache(disk);
    await insert(cache, 0, 48);
    disk.breakSector(LINES, 20 * PAGE_BYTES + 600);
    const target = Buffer.alloc(48 * PAGE_BYTES);
    assert.equal(cache.read(0, 48, target, 0, true), 20);
    assert.ok(target.subarray(0, 20 * PAGE_BYTES).equals(pages(0, 20)));
    assert.equal(cache.read(21, 27, target, 0, true), 27);
    assert.equal(cache.status().readErrors, 1);
  });

  it('a full disk caches nothing for a while, and says so once', async () => {
    const clock = new VirtualClock();
    const told: string[] = [];
    const log = {
      debug() {},
      info: (m: string) => told.push(m),
      warn: (m: string) => told.push(m),
      error() {},
      child: () => log,
    };
    const disk = await newDisk(1);
    const cache = await openCache(disk, { clock, log });
    await quiet();
    told.length = 0;
    disk.capacityBytes = disk.usedBytes + LINE_BYTES;
    await insert(cache, 0, 64);
    await insert(cache, 0, 64);
    assert.ok(cache.status().writeErrors <= 2);
    assert.equal(told.length, 1);
    disk.capacityBytes = Infinity;
    await insert(cache, 0, 64);
    assert.equal(cache.lookup(0, 64), 0);
    await clock.advance(5_000);
    await insert(cache, 0, 64);
    assert.equal(cache.lookup(0, 64), 64);
    assert.equal(told.length, 2);
  });
});

describe('over restarts', () => {
  it('everything is there after it was closed', async () => {
    const disk = await newDisk();
    const cache = await openCache(disk);
    await insert(cache, 0, 100);
    await insert(cache, FAR, 5);
    cache.invalidate(7, 9);
    await cache.close();
    const next = await openCache(disk);
    assert.equal(next.status().pages, 103);
    assert.equal(next.lookup(0, 100), 7);
    assert.equal(next.lookup(9, 100), 91);
    for (let page = 9; page < 100; page++) assert.equal(versionOf(next, page), 0);
    assert.equal(next.lookup(FAR, FAR + 9), 5);
  });

  it('what a checkpoint covered is there after the process was killed', async () => {
    const disk = await newDisk();
    const cache = await openCache(disk);
    await insert(cache, 0, 100);
    await cache.checkpoint();
    await insert(cache, 3, 1, { version: 1 });
    await cache.checkpoint();
    const next = await openCache(disk.kill());
    assert.equal(next.status().pages, 100);
    assert.equal(versionOf(next, 3), 1);
    assert.equal(versionOf(next, 4), 0);
  });

  it('nothing of another identity is used, nor comes back', async () => {
    const disk = await newDisk();
    const first = await openCache(disk);
    await insert(first, 0, 100);
    await first.close();
    const second = await openCache(disk, { identity: 'volume-2' });
    assert.equal(second.status().pages, 0);
    await second.close();
    const third = await openCache(disk);
    assert.equal(third.status().pages, 0);
  });

  it('a damaged index is an empty cache', async () => {
    const disk = await newDisk();
    const first = await openCache(disk);
    await insert(first, 0, 100);
    await first.close();
    disk.flipBit(`${DIRECTORY}/index`, 300);
    const second = await openCache(disk);
    assert.equal(second.status().pages, 0);
    await insert(second, 0, 10);
    await second.close();
    assert.equal((await openCache(disk)).status().pages, 10);
  });

  it('a journal that was damaged after it was synced is told from one that was torn', async () => {
    const disk = await newDisk();
    const first = await openCache(disk);
    await insert(first, 0, 100);
    await first.checkpoint();
    first.invalidate(5, 6);
    await first.checkpoint();
    const { sizeBytes } = disk.files.find(({ path }) => path.endsWith('journal')) ?? { sizeBytes: 0 };
    // The last of its entries: without it, the page would be there again.
    disk.flipBit(`${DIRECTORY}/index.journal`, sizeBytes - 40);
    const second = await openCache(disk.kill());
    assert.equal(second.status().pages, 0);
  });

  it('another size keeps what fits', async () => {
    const disk = await newDisk();
    const first = await openCache(disk);
    await insert(first, 0, 160);
    await first.close();
    const smaller = await openCache(disk, { lines: 4 });
    assert.equal(smaller.status().pages, 64);
    assert.equal(disk.files.find(({ path }) => path === LINES)?.sizeBytes, 4 * LINE_BYTES);
    await smaller.checkpoint();
    await smaller.close();
    const larger = await openCache(disk, { lines: 32 });
    assert.equal(larger.status().pages, 64);
    for (let page = 0; page < 64; page++) assert.equal(versionOf(larger, page), 0);
  });

  it('a line dropped by shrinking does not come back by growing', async () => {
    const disk = await newDisk();
    const first = await openCache(disk);
    await insert(first, 0, 160);
    await first.close();
    const smaller = await openCache(disk, { lines: 4 });
    smaller.invalidate(0, 1000);
    await smaller.checkpoint();
    const larger = await openCache(disk.kill(), { lines: 32 });
    assert.equal(larger.status().pages, 0);
  });
});

describe('checkpoints', () => {
  it('cost nothing where nothing has changed, and are shared', async () => {
    const lines: string[] = [];
    const disk = await newDisk(1, { trace: (line) => lines.push(line) });
    const cache = await openCache(disk);
    await quiet();
    await insert(cache, 0, 100);
    await cache.checkpoint();
    const before = lines.length;
    await cache.checkpoint();
    assert.equal(lines.length, before);
    cache.invalidate(0, 1);
    await Promise.all(Array.from({ length: 10 }, () => cache.checkpoint()));
    const syncs = lines.slice(before).filter((line) => line.includes('sync ')).length;
    assert.equal(syncs, 2, 'of what has changed, and of the seal');
  });

  it('where the journal cannot be synced, a snapshot takes its place', async () => {
    const disk = await newDisk();
    const cache = await openCache(disk);
    await quiet();
    await insert(cache, 0, 100);
    disk.faults = { read: 0, write: 0, sync: 1, names: 0 };
    const failing = assert.rejects(cache.checkpoint(), { code: 'UNAVAILABLE' });
    await failing;
    disk.faults = { read: 0, write: 0, sync: 0, names: 0 };
    cache.invalidate(0, 50);
    await cache.checkpoint();
    const next = await openCache(disk.kill());
    assert.equal(next.lookup(50, 100), 50);
    assert.equal(next.lookup(0, 50), 0);
  });

  it('what was to be in a snapshot that fails at its end is in the next', async () => {
    let [isArmed, syncs] = [false, 0];
    const trace = (line: string): void => {
      if (!isArmed || !line.startsWith('disk: sync') || !line.includes('index.new')) return;
      syncs++;
      // After its bulk has been synced, this is for its end alone, and that fails.
      if (syncs === 1) cache.invalidate(0, 50);
      disk.faults = { read: 0, write: 0, sync: syncs === 1 ? 1 : 0, names: 0 };
      isArmed = syncs < 2;
    };
    const disk = await newDisk(1, { trace });
    const cache = await openCache(disk);
    await quiet();
    isArmed = true;
    for (let version = 0; isArmed && version < 10; version++) {
      await insert(cache, 0, 160, { version });
      if (isArmed) await cache.checkpoint();
      await quiet();
    }
    assert.equal(syncs, 2);
    await cache.checkpoint();
    assert.equal(cache.lookup(0, 50), 0);
    const next = await openCache(disk.kill());
    for (let page = 0; page < 50; page++) assert.equal(versionOf(next, page), null);
    assert.equal(next.lookup(50, 160), 110);
  });

  it('where nothing can be written any more, the index goes, and comes again with the space', async () => {
    const clock = new VirtualClock();
    const disk = await newDisk();
    const cache = await openCache(disk, { clock });
    await quiet();
    await insert(cache, 0, 100);
    await cache.checkpoint();
    disk.capacityBytes = disk.usedBytes;
    disk.faults = { read: 0, write: 1, sync: 0, names: 0 };
    cache.invalidate(0, 10);
    await cache.checkpoint();
    assert.ok(!disk.exists(`${DIRECTORY}/index`));
    assert.notEqual(cache.status().indexError, null);
    disk.faults = { read: 0, write: 0, sync: 0, names: 0 };
    disk.capacityBytes = Infinity;
    await clock.advance(30_000);
    await cache.checkpoint();
    await quiet();
    assert.equal(cache.status().indexError, null);
    const next = await openCache(disk.kill());
    assert.equal(next.lookup(10, 100), 90);
  });

  it('an index whose name may or may not be there is not taken for none', async () => {
    const clock = new VirtualClock();
    const trace = (line: string): void => {
      if (line.startsWith('disk: rename')) disk.faults = { ...SOUND, sync: 1 };
      else if (line.endsWith('FAILS') && line.includes('directory')) disk.faults = SOUND;
    };
    let isTold = false;
    const disk = await newDisk(1, { trace: (line) => isTold && trace(line) });
    const cache = await openCache(disk, { clock });
    await quiet();
    await insert(cache, 0, 100);
    disk.faults = { ...SOUND, write: 1 };
    cache.invalidate(99, 100);
    await cache.checkpoint();
    assert.ok(!disk.exists(`${DIRECTORY}/index`));
    // It can be written again, and its directory cannot be synced.
    disk.faults = SOUND;
    isTold = true;
    await clock.advance(30_000);
    await cache.checkpoint();
    await quiet();
    assert.ok(disk.exists(`${DIRECTORY}/index`));
    assert.notEqual(cache.status().indexError, null);
    isTold = false;
    cache.invalidate(0, 50);
    await cache.checkpoint();
    const next = await openCache(disk.kill());
    for (let page = 0; page < 50; page++) assert.equal(versionOf(next, page), null);
  });

  it('the journal does not grow beyond its bound', async () => {
    const disk = await newDisk();
    const cache = await openCache(disk);
    for (let version = 0; version < 100; version++) {
      await insert(cache, 0, 160, { version });
      await cache.checkpoint();
      await quiet();
      const journal = disk.files.find(({ path }) => path.endsWith('journal'));
      assert.ok((journal?.sizeBytes ?? 0) < 4_000);
    }
  });
});
