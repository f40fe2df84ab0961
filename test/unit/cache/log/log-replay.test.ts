/** Reading the log again: everything that was durable, in order, nothing behind a gap, nothing of an earlier life. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { DATA } from '../../../../src/cache/log/log-record.ts';
import { LOG_BYTES_MIN, type WriteLog } from '../../../../src/cache/log/write-log.ts';
import { isStorageError } from '../../../../src/lib/errors.ts';
import { Random } from '../../../support/random.ts';
import { formatSectors } from '../../../support/sectors.ts';
import type { SimDisk } from '../../../support/sim-disk.ts';
import { append, bytesOf, DIRECTORY, dataOf, HookedDisk, newDisk, numbers, openLog } from './fixtures.ts';

const KIB = 1024;
const FILE_BYTES = LOG_BYTES_MIN / 4;

/** Where a position of the log is. */
function place(position: number): { path: string; at: number } {
  const file = Math.floor(position / FILE_BYTES) % 4;
  return { path: `${DIRECTORY}/0${file}`, at: position % FILE_BYTES };
}

function tags(log: WriteLog): number[] {
  return numbers(log).map((number) => (log.records.kind(number) === DATA ? (dataOf(log, number)[8] as number) : -1));
}

async function refill(disk: SimDisk, log: WriteLog, bytes: number): Promise<void> {
  for (let done = 0; done < bytes; done += 16 * KIB) {
    append(log, 0, bytesOf(255, 16 * KIB));
    await log.sync();
    log.dropBefore(log.records.end);
    await log.commitHead(log.markHead());
  }
  assert.ok(!disk.isDead);
}

test('records of any sizes at any file boundary, over several laps, after a crash and after an orderly stop', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.nat(),
      fc.array(fc.oneof(fc.integer({ min: 1, max: 600 }), fc.integer({ min: 1, max: 32 * KIB })), {
        minLength: 20,
        maxLength: 60,
      }),
      fc.boolean(),
      async (seed, lengths, orderly) => {
        const random = new Random(seed);
        let disk = newDisk(seed);
        let { log } = await openLog(disk);
        let kept: { tag: number; offset: number; length: number }[] = [];
        for (const [tag, length] of lengths.entries()) {
          while (!log.hasRoom(0, length)) {
            await log.sync();
            const dropped = 1 + random.below(kept.length);
            log.dropBefore(log.records.first + dropped);
            kept = kept.slice(dropped);
            await log.commitHead(log.markHead());
          }
          const offset = random.below(2 ** 45);
          append(log, offset, bytesOf(tag, length));
          kept.push({ tag, offset, length });
          if (random.chance(0.2)) await log.sync();
          if (random.chance(0.1)) {
            if (orderly) await log.close();
            else await log.sync();
            disk = orderly ? disk.kill() : disk.crash();
            ({ log } = await openLog(disk));
          }
        }
        await log.sync();
        ({ log } = await openLog(disk.crash()));
        assert.deepEqual(
          numbers(log).map((number) => ({ offset: log.records.offset(number), data: dataOf(log, number) })),
          kept.map(({ tag, offset, length }) => ({ offset, data: bytesOf(tag, length) })),
        );
      },
    ),
    { numRuns: 25 },
  );
});

test('a crash keeps a beginning of what was written that has at least what was flushed', async () => {
  const ends = new Set<number>();
  for (let seed = 0; seed < 120; seed++) {
    const random = new Random(seed);
    const disk = newDisk(seed);
    const { log } = await openLog(disk);
    await refill(disk, log, random.below(2) * LOG_BYTES_MIN);
    const flushed = random.below(6);
    for (let tag = 0; tag < 10; tag++) {
      append(log, tag * 4096, bytesOf(tag, 100 + random.below(12 * KIB)));
      if (tag === flushed) await log.sync();
      // Given to the disk, but never synced.
      else if (random.chance(0.5)) log.sync()?.catch(() => {});
      if (random.chance(0.5)) await new Promise((resolve) => setImmediate(resolve));
    }
    const { log: next, damaged } = await openLog(disk.crash());
    const found = tags(next);
    assert.deepEqual(damaged, []);
    assert.ok(found.length > flushed, `seed ${seed}: ${found} after a flush of ${flushed}`);
    assert.deepEqual(
      found,
      Array.from({ length: found.length }, (_, tag) => tag),
    );
    ends.add(found.length);
  }
  assert.ok(ends.size > 4, 'crashes cut it off in many places');
});

test('a group that was lost ends the log, although a later one is whole', async () => {
  const disk = newDisk();
  const hooked = new HookedDisk(disk);
  const { log } = await openLog(hooked);
  append(log, 0, bytesOf(1, 1000));
  await log.sync();
  // Nothing of these is synced; the second one gets lost.
  let writes = 0;
  let lost = 0;
  hooked.before = (call, path) => {
    if (call === 'datasync' && !/\/head(\.new)?$/.test(path)) throw new Error('no sync');
    if (call === 'writeSync') writes++;
  };
  const lostAt = log.records.end + 1;
  for (const tag of [2, 3, 4]) {
    append(log, tag * 4096, bytesOf(tag, 1000));
    if (log.records.end - 1 === lostAt) lost = log.records.position(lostAt);
    await log.sync()?.catch(() => {});
  }
  assert.ok(writes >= 3);
  const { path, at } = place(lost);
  disk.flipBit(path, at + 30);
  const { log: next, damaged } = await openLog(disk.kill());
  assert.deepEqual(tags(next), [1, 2]);
  assert.deepEqual(damaged, []);
});

test('what an earlier life left behind the end never comes back, whatever is written over its beginning', async () => {
  for (let seed = 0; seed < 60; seed++) {
    const random = new Random(seed);
    let disk = newDisk(seed);
    const expected: number[] = [];
    for (let life = 0; life < 6; life++) {
      const { log } = await openLog(disk);
      assert.deepEqual(tags(log).slice(0, expected.length), expected, `seed ${seed}, life ${life}`);
      expected.splice(0, expected.length, ...tags(log));
      const count = 1 + random.below(5);
      const flushed = random.below(count + 1);
      for (let index = 0; index < count; index++) {
        append(log, index * 4096, bytesOf(life * 20 + index, 200 + 200 * random.below(30)));
        if (index < flushed) expected.push(life * 20 + index);
        if (index === flushed - 1) await log.sync();
        else if (index >= flushed) log.sync()?.catch(() => {});
        await Promise.resolve();
      }
      await new Promise((resolve) => setImmediate(resolve));
      disk = disk.crash();
    }
  }
});

test('a page of a durable record that has rotted is reported, and the others are there', async () => {
  const disk = newDisk();
  const { log } = await openLog(disk);
  for (const tag of [1, 2, 3]) append(log, tag * 65536 + 512, bytesOf(tag, 12 * KIB));
  await log.sync();
  append(log, 0, bytesOf(4, 100));
  await log.sync();
  const rotten = 1;
  const { path, at } = place(log.records.dataPosition(rotten) + 3584 + 5000);
  disk.flipBit(path, at);
  await log.close();
  const { log: next, damaged } = await openLog(disk.kill());
  assert.deepEqual(damaged, [{ number: rotten, index: 2 }]);
  assert.deepEqual(numbers(next), [0, 1, 2, 3]);
  assert.throws(() => dataOf(next, rotten), { code: 'CORRUPT', message: /not in the bucket yet/ });
  assert.deepEqual(dataOf(next, 2), bytesOf(3, 12 * KIB));
});

test('a page in whose place another is, of sectors that end with their own CRC-32 as its own do, is reported', async () => {
  const disk = newDisk();
  const { log } = await openLog(disk);
  const number = append(log, 0, formatSectors(0, 8, 1));
  await log.sync();
  append(log, 65536, bytesOf(4, 100));
  await log.sync();
  const { path, at } = place(log.records.dataPosition(number));
  const file = disk.open(path);
  file.writeSync(formatSectors(8, 8, 2), at);
  file.close();
  const { damaged } = await openLog(disk.kill());
  assert.deepEqual(damaged, [{ number, index: 0 }]);
});

test('a header in the middle of what was durable that has rotted: CORRUPT, and not an end', async () => {
  for (const orderly of [true, false]) {
    const disk = newDisk();
    const { log } = await openLog(disk);
    for (let tag = 0; tag < 8; tag++) {
      append(log, tag * 4096, bytesOf(tag, 3000));
      await log.sync();
    }
    const { path, at } = place(log.records.position(3));
    disk.flipBit(path, at + 17);
    if (orderly) await log.close();
    await assert.rejects(openLog(orderly ? disk.kill() : disk.crash()), (error) => {
      return isStorageError(error, 'CORRUPT') && /flushed writes cannot be read/.test(error.message);
    });
  }
});

test('the newest head and its copy have rotted: CORRUPT where the one before it finds nothing any more, and else all of it', async () => {
  const slotBytes = 4096;
  let refused = 0;
  for (let step = 0; step < 24; step++) {
    const disk = newDisk(step);
    const { log } = await openLog(disk);
    await refill(disk, log, 5 * FILE_BYTES);
    // Uploaded in one go: so far the newest head is from the one before it.
    for (let bytes = 0; bytes < (step / 24) * LOG_BYTES_MIN && log.hasRoom(0, 4 * KIB); bytes += 4 * KIB) {
      append(log, 0, bytesOf(1, 4 * KIB));
    }
    await log.sync();
    log.dropBefore(log.records.end);
    await log.commitHead(log.markHead());
    const kept: number[] = [];
    for (let tag = 2; log.hasRoom(0, 16 * KIB); tag++) {
      append(log, 0, bytesOf(tag, 16 * KIB));
      kept.push(tag);
    }
    await log.sync();
    const heads = Buffer.alloc(4 * slotBytes);
    disk.open(`${DIRECTORY}/head`).readSync(heads, 0);
    const newest = heads.readDoubleLE(8) > heads.readDoubleLE(slotBytes + 8) ? 0 : 1;
    for (const slot of [newest, newest + 2]) disk.flipBit(`${DIRECTORY}/head`, slot * slotBytes + 20);
    try {
      const { log: found } = await openLog(disk.kill());
      assert.deepEqual(tags(found).slice(-kept.length), kept, `step ${step}`);
    } catch (error) {
      assert.ok(isStorageError(error, 'CORRUPT'), String(error));
      assert.match(error.message, /head of the write log is damaged/);
      refused++;
    }
  }
  assert.ok(refused > 0 && refused < 24, `${refused} refused`);
});

test('a sector that cannot be read where nothing is that is needed is in nobody’s way', async () => {
  for (const sector of [0, 4 * KIB]) {
    const disk = newDisk();
    const { log } = await openLog(disk);
    await refill(disk, log, 4 * FILE_BYTES + FILE_BYTES / 2);
    const { position } = log.markHead();
    assert.ok(place(position).at > 8 * KIB, 'in the midst of a file');
    append(log, 0, bytesOf(7, 16 * KIB));
    await log.sync();
    disk.breakSector(place(position).path, sector);
    const { log: found } = await openLog(disk.kill());
    assert.deepEqual(tags(found), [7]);
  }
});

test('a log that was not begun to its end is none, however the writing of its first head failed', async () => {
  let failed = 0;
  for (let seed = 0; seed < 600; seed++) {
    const disk = newDisk(seed);
    const hooked = new HookedDisk(disk);
    hooked.before = (call, path) => {
      disk.faults = { ...disk.faults, write: call === 'write' && /\/head(\.new)?$/.test(path) ? 0.9 : 0 };
    };
    // What fails may have been carried out from its beginning to anywhere.
    await openLog(hooked).catch((error: unknown) => {
      assert.ok(isStorageError(error, 'UNAVAILABLE'), String(error));
      failed++;
    });
    const left = seed % 2 === 0 ? disk.kill() : disk.crash();
    left.faults = { ...left.faults, write: 0 };
    const { log } = await openLog(left);
    assert.deepEqual(numbers(log), []);
    append(log, 0, bytesOf(1, 1000));
    await log.sync();
    const { log: again } = await openLog(left.crash());
    assert.deepEqual(tags(again), [1]);
  }
  assert.ok(failed > 500, `${failed} failed`);
});

test('an opening makes durable what it has read: an earlier process may have met a failed sync there', async () => {
  for (let seed = 0; seed < 20; seed++) {
    const disk = newDisk(seed);
    const { log } = await openLog(disk);
    append(log, 0, bytesOf(1, 20 * KIB));
    disk.faults = { ...disk.faults, sync: 1 };
    await assert.rejects(log.sync() ?? Promise.resolve());
    // The process dies; the system has dropped some of it, or has it in memory only.
    const killed = disk.kill();
    killed.faults = { ...killed.faults, sync: 0 };
    const { log: second } = await openLog(killed);
    const found = tags(second);
    const { log: third } = await openLog(killed.crash());
    assert.deepEqual(tags(third), found);
  }
});

test('an opening that cannot make it durable fails, and loses nothing', async () => {
  const disk = newDisk();
  const { log } = await openLog(disk);
  append(log, 0, bytesOf(1, 1000));
  log.sync()?.catch(() => {});
  await new Promise((resolve) => setImmediate(resolve));
  let next = disk.kill();
  next.faults = { ...next.faults, sync: 1 };
  await assert.rejects(openLog(next), { code: 'UNAVAILABLE' });
  next.faults = { ...next.faults, sync: 0 };
  next = next.kill();
  assert.deepEqual(tags((await openLog(next)).log), [1]);
});

test('another size: kept while there are records, made anew when there are none, and the numbers go on', async () => {
  const disk = newDisk();
  const { log } = await openLog(disk);
  append(log, 0, bytesOf(1, 1000));
  await log.close();
  const { log: second } = await openLog(disk, { sizeBytes: 16 * LOG_BYTES_MIN });
  assert.equal(second.sizeBytes, LOG_BYTES_MIN);
  assert.deepEqual(tags(second), [1]);
  second.dropBefore(second.records.end);
  await second.commitHead(second.markHead());
  await second.close();
  const { log: third } = await openLog(disk, { sizeBytes: 16 * LOG_BYTES_MIN });
  assert.equal(third.sizeBytes, 16 * LOG_BYTES_MIN);
  assert.equal(third.records.first, 1);
  append(third, 0, bytesOf(2, 1000));
  await third.close();
  const { log: fourth } = await openLog(disk, { sizeBytes: null });
  assert.equal(fourth.sizeBytes, 16 * LOG_BYTES_MIN);
  assert.deepEqual(tags(fourth), [2]);
});

test('a log of another volume in the same directory is not read', async () => {
  const disk = newDisk();
  const { log } = await openLog(disk);
  append(log, 0, bytesOf(1, 1000));
  await log.close();
  await assert.rejects(openLog(disk, { salt: 99 }), { code: 'CORRUPT' });
});

test('the space is set aside at the beginning: a disk that fills up later is not met by the log', async () => {
  const disk = newDisk();
  const { log } = await openLog(disk);
  disk.capacityBytes = disk.usedBytes;
  await refill(disk, log, 3 * LOG_BYTES_MIN);
  append(log, 0, bytesOf(1, 1000));
  await log.sync();
  assert.deepEqual(tags((await openLog(disk.crash())).log), [1]);
  const full = newDisk(1, { capacityBytes: LOG_BYTES_MIN / 2 });
  await assert.rejects(openLog(full), { code: 'NO_SPACE' });
  full.capacityBytes = Infinity;
  await openLog(full);
});

test('a crash at any moment of making the log leaves one that can be opened', async () => {
  for (let seed = 0; seed < 120; seed++) {
    let calls = seed % 40;
    const disk = newDisk(seed, {
      onCall: () => {
        if (calls-- === 0) disk.halt();
      },
    });
    openLog(disk).catch(() => {});
    for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
    const next = disk.crash({ onCall: () => {} });
    const { log } = await openLog(next);
    append(log, 0, bytesOf(1, 1000));
    await log.sync();
    assert.deepEqual(tags((await openLog(next.crash())).log), [1], `seed ${seed}`);
  }
});

test('a crash at any moment of growing an empty log leaves one that can be opened', async () => {
  for (let seed = 0; seed < 120; seed++) {
    const disk = newDisk(seed);
    const { log } = await openLog(disk);
    append(log, 0, bytesOf(9, 40 * KIB));
    await log.sync();
    log.dropBefore(1);
    await log.commitHead(log.markHead());
    await log.close();
    let calls = seed % 60;
    const second = disk.kill({
      onCall: () => {
        if (calls-- === 0) second.halt();
      },
    });
    openLog(second, { sizeBytes: 4 * LOG_BYTES_MIN }).catch(() => {});
    for (let turn = 0; turn < 60; turn++) await new Promise((resolve) => setImmediate(resolve));
    const third = second.crash({ onCall: () => {} });
    const { log: next } = await openLog(third, { sizeBytes: 4 * LOG_BYTES_MIN });
    assert.deepEqual(tags(next), []);
    append(next, 0, bytesOf(1, 1000));
    await next.sync();
    assert.deepEqual(tags((await openLog(third.crash())).log), [1], `seed ${seed}`);
  }
});
