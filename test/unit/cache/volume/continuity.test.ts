/** Whose cache it is: what becomes of it when somebody else has had the volume, and when nobody has. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import { readUnsaved } from '../../../../src/cache/cache-directory.ts';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { CacheHome } from '../../../../src/volume/cache-home.ts';
import { BLOCK, blockOf, LEASE, putS3backerBlock, RECORD, TOKEN } from '../../volume/fixtures.ts';
import { unreachable } from '../../volume/hooked-store.ts';
import { isStale } from './errors.ts';
import {
  blockKey,
  CACHE_DIRECTORY,
  contentOf,
  DatedStore,
  finish,
  kill,
  leave,
  type Machine,
  machine,
  read,
  stored,
  upload,
  write,
} from './fixtures.ts';

const TEN_MINUTES_MS = 600_000;
/** A volume is looked at before it is claimed and after. */
const LISTINGS_A_LOOK = 1;

test('writes left in the cache go on at the next start, with the newest of each block', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await write(one, first, 1, blockOf(2));
  await leave(one, first);
  assert.equal(await stored(one, 1), null);

  const second = await one.open();
  assert.deepEqual(await read(one, second, 1), blockOf(2));
  await finish(one, second);
  assert.deepEqual(await stored(one, 1), blockOf(2));
});

test('a killed process finds its writes and its cached pages again', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await upload(one, first);
  await write(one, first, 2, blockOf(2));
  kill(one);

  const second = await one.open();
  assert.deepEqual(await read(one, second, 2), blockOf(2));
  const gets = one.bench.store.operations.length;
  assert.deepEqual(await read(one, second, 1), blockOf(1));
  assert.equal(one.bench.store.operations.length, gets, 'the page came from the cache');
});

test('after a clean stop the cached pages are used where the block has not changed since, and not where it has', async () => {
  const one = machine();
  const first = await one.open();
  // Whole lines of the cache, which is what is kept or forgotten.
  for (let block = 16; block < 64; block++) await write(one, first, block, blockOf(block));
  await upload(one, first);
  await one.bench.clock.advance(TEN_MINUTES_MS);
  await finish(one, first);
  await one.bench.clock.advance(TEN_MINUTES_MS);
  // As s3backer might have meanwhile, leaving no trace: one is changed, one is deleted.
  await putS3backerBlock(one.bench.store.inner, blockKey(32), blockOf(99));
  await one.bench.store.inner.delete([blockKey(48)]);

  const second = await one.open();
  await one.bench.clock.advance(1000);
  const before = one.bench.store.operations.length;
  assert.deepEqual(await read(one, second, 16), blockOf(16));
  assert.equal(one.bench.store.operations.length, before, 'what has not changed came from the cache');
  assert.deepEqual(await read(one, second, 32), blockOf(99));
  assert.deepEqual(await read(one, second, 48), Buffer.alloc(BLOCK));
});

test('cached pages that have not been looked at yet are suspect also after a crash', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 16, blockOf(16));
  await one.bench.clock.advance(TEN_MINUTES_MS);
  await finish(one, first);
  await one.bench.clock.advance(TEN_MINUTES_MS);
  await putS3backerBlock(one.bench.store.inner, blockKey(16), blockOf(99));

  // The listing of the blocks never answers; by the third start the token is ours again.
  let listings = 0;
  one.bench.store.before = ({ kind }) =>
    kind === 'list' && ++listings > 2 * LISTINGS_A_LOOK ? new Promise<void>(() => {}) : undefined;
  await one.open();
  assert.ok(listings > 2 * LISTINGS_A_LOOK);
  kill(one);
  one.bench.store.before = () => {};
  const third = await one.open();
  await one.bench.clock.advance(1000);
  assert.deepEqual(await read(one, third, 16), blockOf(99));
});

for (const [name, ends] of [
  ['fails', () => Promise.reject(unreachable())],
  ['is killed', () => new Promise<void>(() => {})],
] as const) {
  test(`an opening that ${name} right after its claims does not make cached pages ours again`, async () => {
    const one = machine();
    const first = await one.open();
    await write(one, first, 16, blockOf(16));
    await one.bench.clock.advance(TEN_MINUTES_MS);
    await finish(one, first);
    await one.bench.clock.advance(TEN_MINUTES_MS);
    await putS3backerBlock(one.bench.store.inner, blockKey(16), blockOf(99));
    await one.bench.clock.advance(TEN_MINUTES_MS);

    // The record is read before the claims and after them.
    const stops = Promise.withResolvers<void>();
    let looks = 0;
    one.bench.store.before = ({ kind, keys }) => {
      if (kind !== 'get' || keys[0] !== RECORD || ++looks < 2) return;
      stops.resolve();
      return ends();
    };
    const opening = one.open().catch(() => {});
    await one.bench.clock.run(stops.promise);
    await one.bench.clock.run(Promise.race([opening, one.bench.clock.sleep(1000)]));
    kill(one);
    one.bench.store.before = () => {};
    await one.bench.clock.advance(TEN_MINUTES_MS);

    const third = await one.open();
    await one.bench.clock.advance(1000);
    assert.deepEqual(await read(one, third, 16), blockOf(99));
  });
}

test('a start that s3backer kept out does not count as the last stop: what it had written by then is seen', async () => {
  const one = machine();
  const first = await one.open();
  // A whole line of the cache, which is what is kept or forgotten.
  for (let block = 16; block < 32; block++) await write(one, first, block, blockOf(block));
  await upload(one, first);
  await one.bench.clock.advance(TEN_MINUTES_MS);
  await finish(one, first);
  await one.bench.clock.advance(TEN_MINUTES_MS);
  const { inner } = one.bench.store;
  await inner.put(TOKEN, Buffer.alloc(0), { headers: { metadata: { 's3backer-mount-token': '12345678' } } });
  await putS3backerBlock(inner, blockKey(16), blockOf(99));
  await one.bench.clock.advance(TEN_MINUTES_MS);
  await assert.rejects(one.open(), { code: 'HELD' });
  await one.bench.clock.advance(TEN_MINUTES_MS);
  await inner.delete([TOKEN]);

  const third = await one.open();
  await one.bench.clock.advance(1000);
  assert.deepEqual(await read(one, third, 16), blockOf(99));
});

test('another appliance in between, and nothing unsaved: the cache is made anew', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await finish(one, first);

  const other = machine({ bucket: one.bench.store.inner, clock: one.bench.clock, instance: 'other' });
  const between = await other.open();
  await write(other, between, 1, blockOf(7));
  await finish(other, between);

  const second = await one.open();
  assert.deepEqual(await read(one, second, 1), blockOf(7));
  assert.match(one.bench.log.messages('info').join('\n'), /made anew/);
});

test('another appliance in between, and writes unsaved: refused, again and again, and nothing is uploaded', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);

  const other = machine({ bucket: one.bench.store.inner, clock: one.bench.clock, instance: 'other' });
  const between = await other.open({}, { takeOver: true });
  await write(other, between, 1, blockOf(7));
  await finish(other, between);

  for (let start = 0; start < 3; start++) await assert.rejects(one.open(), isStale);
  await assert.rejects(one.open({}, { takeOver: true }), isStale);
  assert.deepEqual(await stored(one, 1), blockOf(7));
});

for (const conditionalPuts of [true, false]) {
  const store = conditionalPuts ? 'a lease' : 'the token alone';
  for (const dirty of [true, false]) {
    test(`another appliance between the look and the claim, ${store}, ${dirty ? 'writes unsaved' : 'none'}`, async () => {
      const one = machine({ conditionalPuts });
      const first = await one.open();
      await write(one, first, 1, blockOf(1));
      if (!dirty) await upload(one, first);
      // Its token stays in the bucket.
      kill(one);
      await one.bench.clock.advance(TEN_MINUTES_MS);

      const other = machine({
        bucket: one.bench.store.inner,
        clock: one.bench.clock,
        instance: 'other',
        conditionalPuts,
      });
      // The name of the directory's owner is written between the look and the claim.
      const claimKey = conditionalPuts ? LEASE : TOKEN;
      let looks = 0;
      let meet: Promise<void> | null = null;
      one.bench.store.before = ({ kind, keys }) => {
        if (kind !== 'get' || keys[0] !== claimKey || ++looks !== 2) return;
        meet ??= (async () => {
          const between = await other.open({}, { takeOver: true });
          await write(other, between, 1, blockOf(7));
          await finish(other, between);
        })();
        return meet;
      };
      if (dirty) {
        await assert.rejects(one.open(), isStale);
        one.bench.store.before = () => {};
        await assert.rejects(one.open(), isStale, 'nor at the next start');
        assert.deepEqual(await stored(one, 1), blockOf(7));
        return;
      }
      const second = await one.open();
      one.bench.store.before = () => {};
      assert.deepEqual(await read(one, second, 1), blockOf(7));
      // It goes on as its own from here.
      await write(one, second, 2, blockOf(2));
      kill(one);
      const third = await one.open();
      assert.deepEqual(await read(one, third, 2), blockOf(2));
    });
  }
}

test('the token is gone, which s3backer does when it unmounts: unsaved writes are not mixed with what it has written', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);
  await one.bench.store.inner.delete([TOKEN]);
  await putS3backerBlock(one.bench.store.inner, blockKey(1), blockOf(9));
  await assert.rejects(one.open(), isStale);
  await assert.rejects(one.open(), isStale, 'nor at the next start');
  assert.deepEqual(await stored(one, 1), blockOf(9));
});

test('the token goes between the look and the claim: unsaved writes are not mixed either', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);
  let looks = 0;
  one.bench.store.before = async ({ kind, keys }) => {
    if (kind !== 'get' || keys[0] !== TOKEN || ++looks !== 2) return;
    await one.bench.store.inner.delete([TOKEN]);
    await putS3backerBlock(one.bench.store.inner, blockKey(1), blockOf(9));
  };
  await assert.rejects(one.open(), isStale);
  one.bench.store.before = () => {};
  await assert.rejects(one.open(), isStale, 'nor at the next start');
  assert.deepEqual(await stored(one, 1), blockOf(9));
});

test('a crash at any step of the claims does not make the appliance a stranger to its own cache', async () => {
  for (let step = 0; step < 12; step++) {
    const one = machine({ seed: step });
    const first = await one.open();
    await write(one, first, 1, blockOf(1));
    kill(one);
    // Dies after so many requests to the bucket; the directory is as it was at that moment.
    let left = step;
    one.bench.store.after = () => {
      if (left-- > 0) return;
      one.disk.halt();
      return new Promise<void>(() => {});
    };
    const dying = one.open();
    dying.catch(() => {});
    await one.bench.clock.advance(100);
    one.bench.store.after = () => {};
    kill(one);
    const second = await one.open();
    assert.deepEqual(await read(one, second, 1), blockOf(1), `after request ${step}`);
    await finish(one, second);
    assert.deepEqual(await stored(one, 1), blockOf(1), `after request ${step}`);
  }
});

test('a directory with the cache of another volume: removed where nothing is unsaved, else refused', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);
  // Another bucket behind the same directory.
  const other = machine({ clock: one.bench.clock });
  other.disk = one.disk;
  await assert.rejects(other.open(), { code: 'CONFLICT', message: /another volume/ });

  const again = await one.open();
  await finish(one, again);
  const theirs = await other.open();
  assert.deepEqual(await read(other, theirs, 1), Buffer.alloc(BLOCK));
});

/** Cut off in the middle. */
function spoil({ disk }: Machine, name: string): void {
  const file = disk.open(`${CACHE_DIRECTORY}/${name}`);
  file.writeSync(Buffer.from('{"format":"bucketdisk-cache","version":2,"volumeId":7'), 0);
  file.truncate(40);
  file.close();
}

test('a copy of the bucket, made while the volume was open, is not mixed with what the cache has had since', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 16, blockOf(1));
  await upload(one, first);
  // With its record, its lease and its token.
  const copy = new DatedStore(one.bench.clock);
  for (const key of await one.bench.store.keys()) {
    const object = await one.bench.store.inner.get(key);
    assert.ok(object);
    await copy.put(key, object.body, { headers: { metadata: object.metadata } });
  }
  await write(one, first, 16, blockOf(2));
  kill(one);

  const two = machine({ bucket: copy, clock: one.bench.clock });
  two.disk = one.disk;
  await assert.rejects(two.open({ url: 'memory:/copy/vol/' }), {
    code: 'CONFLICT',
    message: /is of the volume at memory:/,
  });
  // In its own place it goes on.
  one.disk = two.disk;
  const second = await one.open();
  assert.deepEqual(await read(one, second, 16), blockOf(2));
  await upload(one, second);
  kill(one);

  two.disk = one.disk;
  const third = await two.open({ url: 'memory:/copy/vol/' });
  assert.deepEqual(await read(two, third, 16), blockOf(1));
});

test('whose cache it is cannot be told: refused, and nothing is touched', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);
  for (const name of ['volume.json', 'volume.json.copy']) spoil(one, name);
  await assert.rejects(one.open(), { code: 'CORRUPT', message: /whose cache.*cache drop VOLUME --force/ });
  assert.ok(one.disk.exists(`${CACHE_DIRECTORY}/log/head`));
});

test('a cache of another version is refused with the ways out, and not touched', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  await leave(one, first);
  const before = contentOf(one, `${CACHE_DIRECTORY}/log/00`);
  for (const name of ['volume.json', 'volume.json.copy']) {
    const { checksum: _, ...owner } = JSON.parse(contentOf(one, `${CACHE_DIRECTORY}/${name}`).toString()) as Record<
      string,
      unknown
    >;
    const earlier = { ...owner, version: 1 };
    const text = JSON.stringify({ ...earlier, checksum: crc32(JSON.stringify(earlier)) });
    const file = one.disk.open(`${CACHE_DIRECTORY}/${name}`);
    file.writeSync(Buffer.from(text.padEnd(file.sizeBytes())), 0);
    file.close();
  }
  const ways = /another version.*until everything is uploaded.*cache drop VOLUME --force/;
  await assert.rejects(one.open(), { code: 'UNSUPPORTED', message: ways });
  assert.ok(contentOf(one, `${CACHE_DIRECTORY}/log/00`).equals(before));
});

test('one of the two files that tell whose cache it is has rotted, anywhere in it: the other one tells', async () => {
  for (const name of ['volume.json', 'volume.json.copy']) {
    for (let position = 0; position < 200; position += 7) {
      const one = machine();
      const first = await one.open();
      await write(one, first, 1, blockOf(1));
      await leave(one, first);
      one.disk.flipBit(`${CACHE_DIRECTORY}/${name}`, position);
      const second = await one.open();
      assert.deepEqual(await read(one, second, 1), blockOf(1));
      await finish(one, second);
      assert.deepEqual(await stored(one, 1), blockOf(1));
    }
  }
});

test('a log that is damaged is not opened; what can be read of it is saved, and nothing of it is changed by that', async () => {
  const one = machine();
  const first = await one.open();
  const blocks = [2, 4, 6, 8, 10, 12];
  for (const block of blocks) await write(one, first, block, blockOf(block));
  kill(one);
  const path = `${CACHE_DIRECTORY}/log/00`;
  // The header of the fourth record: each begins a group, and is as long as its block and the rest of that group.
  const at = headerOf(one, 8);
  const byte = exchange(one, path, at + 17, Buffer.of(0xff));
  const ways = /flushed writes cannot be read.*cache export.*cache drop VOLUME --force/;
  for (let attempt = 0; attempt < 2; attempt++) {
    await assert.rejects(one.open(), { code: 'CORRUPT', message: ways });
    const home = CacheHome.open(one.disk, CACHE_DIRECTORY);
    await assert.rejects(home.hasUnsaved(), { code: 'CORRUPT', message: ways });
    const unsaved = await readUnsaved(one.disk, CACHE_DIRECTORY, home.volumeId ?? '');
    const saved: number[] = [];
    for await (const { offset, data } of unsaved.extents) {
      assert.deepEqual(data, blockOf(offset / BLOCK));
      saved.push(offset / BLOCK);
    }
    assert.deepEqual(saved, [2, 4, 6]);
    assert.match(unsaved.loss?.message ?? '', ways);
    unsaved.close();
  }
  // Once the disk has it right again, nothing is missing.
  exchange(one, path, at + 17, byte);
  const second = await one.open();
  for (const block of blocks) assert.deepEqual(await read(one, second, block), blockOf(block));
  await finish(one, second);
});

test('a sector of the log that the disk cannot read: refused with the way out, and export saves everything else and says so', async () => {
  const blocks = [2, 4, 6, 8, 10, 12];
  for (const [what, at, lost] of [
    ['a header', (one: Machine) => headerOf(one, 8) + 17, [8, 10, 12]],
    ['data', (one: Machine) => headerOf(one, 8) + 4096, [8]],
    ['the last header', (one: Machine) => headerOf(one, 12) + 17, [12]],
    ['what may have been the next', (one: Machine) => headerOf(one, 12) + BLOCK + 8192, []],
  ] as const) {
    const one = machine();
    const first = await one.open();
    for (const block of blocks) await write(one, first, block, blockOf(block));
    kill(one);
    one.disk.breakSector(`${CACHE_DIRECTORY}/log/00`, at(one));
    const ways = /cannot be read: .*Try again.*cache export.*cache drop VOLUME --force/;
    await assert.rejects(one.open(), { code: 'UNAVAILABLE', message: ways }, what);
    const home = CacheHome.open(one.disk, CACHE_DIRECTORY);
    await assert.rejects(home.hasUnsaved(), { code: 'UNAVAILABLE', message: ways }, what);
    const unsaved = await readUnsaved(one.disk, CACHE_DIRECTORY, home.volumeId ?? '');
    const whole = new Set<number>();
    for await (const { offset, data } of unsaved.extents) {
      if (data?.length === BLOCK) whole.add(offset / BLOCK);
      const from = offset % BLOCK;
      assert.deepEqual(data, blockOf(Math.floor(offset / BLOCK)).subarray(from, from + (data?.length ?? 0)), what);
    }
    assert.deepEqual(
      [...whole],
      blocks.filter((block) => !(lost as readonly number[]).includes(block)),
      what,
    );
    assert.ok(unsaved.loss !== null || unsaved.damagedPages().length > 0, what);
    unsaved.close();
  }
});

test('the power goes right after the first flush there ever was: the directories it is in are there too', async () => {
  for (let seed = 0; seed < 12; seed++) {
    const one = machine({ seed });
    await write(one, await one.open(), 1, blockOf(1));
    one.disk = one.disk.crash();
    const second = await one.open();
    assert.deepEqual(await read(one, second, 1), blockOf(1), `seed ${seed}`);
    await finish(one, second);
  }
});

test('killed with unsaved writes, and the disk full at the next start: it needs no new space to go on', async () => {
  const one = machine();
  const first = await one.open();
  await write(one, first, 1, blockOf(1));
  kill(one);
  one.disk.capacityBytes = one.disk.usedBytes;
  const second = await one.open();
  assert.deepEqual(await read(one, second, 1), blockOf(1));
  await write(one, second, 2, blockOf(2));
  await finish(one, second);
  assert.deepEqual(await stored(one, 2), blockOf(2));
});

/** Where in the first file of the log the record of a block begins. */
function headerOf(one: Machine, block: number): number {
  const data = contentOf(one, `${CACHE_DIRECTORY}/log/00`).indexOf(blockOf(block));
  assert.ok(data > 0);
  return data - (data % PAGE_BYTES);
}

/** Puts bytes in a file, and returns those that were there. */
function exchange({ disk }: Machine, path: string, position: number, bytes: Buffer): Buffer {
  const file = disk.open(path);
  const before = Buffer.alloc(bytes.length);
  file.readSync(before, position);
  file.writeSync(bytes, position);
  file.close();
  return before;
}

test('where the cache cannot be opened the blocks are not listed any further', async () => {
  const one = machine();
  const { inner } = one.bench.store;
  const signals: (AbortSignal | undefined)[] = [];
  const list = inner.list.bind(inner);
  inner.list = (prefix, options) => {
    signals.push(options?.signal);
    return list(prefix, options);
  };
  // Room to note whose cache it is, and none for the log.
  one.disk.capacityBytes = one.disk.usedBytes + 64 * 1024;
  await assert.rejects(one.open(), { code: 'NO_SPACE' });
  assert.ok(signals.length > 0);
  assert.equal(signals.at(-1)?.aborted, true);
});
