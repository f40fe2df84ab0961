/** Appending and syncing: what is called durable is, syncs are shared, and what failed is written again. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { LogAppender } from '../../../../src/cache/log/log-appender.ts';
import type { LogFiles } from '../../../../src/cache/log/log-files.ts';
import { SLAB_BYTES } from '../../../../src/cache/log/slab-pool.ts';
import { LOG_BYTES_MIN } from '../../../../src/cache/log/write-log.ts';
import { StorageError } from '../../../../src/lib/errors.ts';
import { silentLog } from '../../../../src/lib/log.ts';
import { PoisonedSlabs } from '../../../support/poisoned-slabs.ts';
import { settle } from '../../../support/virtual-clock.ts';
import { LogBook } from '../../volume/fixtures.ts';
import { append, bytesOf, type Call, DIRECTORY, dataOf, HookedDisk, newDisk, numbers, openLog } from './fixtures.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

function ioError(): StorageError {
  return new StorageError('UNAVAILABLE', 'EIO', { retryable: false });
}

/** Calls on the files of records, not on the head. */
function callsOf(disk: HookedDisk, call: Call): { position: number; length: number }[] {
  return disk.calls.filter((one) => one.call === call && !/\/head(\.new)?$/.test(one.path));
}

test('many flushes that wait share one sync, and those that come while it runs share the next', async () => {
  const disk = new HookedDisk(newDisk());
  const { log } = await openLog(disk, { sizeBytes: 4 * MIB });
  disk.calls.length = 0;
  const gate = Promise.withResolvers<void>();
  disk.before = (call) => (call === 'datasync' ? gate.promise : undefined);
  const ended: number[] = [];
  const flush = (tag: number): Promise<void> => {
    append(log, tag * 4096, bytesOf(tag, 4096));
    return (log.sync() ?? Promise.resolve()).then(() => void ended.push(tag));
  };
  const first = Array.from({ length: 20 }, (_, tag) => flush(tag));
  await settle();
  assert.equal(callsOf(disk, 'datasync').length, 1);
  const second = Array.from({ length: 20 }, (_, tag) => flush(100 + tag));
  await settle();
  assert.deepEqual(ended, [], 'nobody is answered before the sync');
  gate.resolve();
  await Promise.all([...first, ...second]);
  assert.equal(callsOf(disk, 'datasync').length, 2);
  assert.equal(log.sync(), undefined, 'there is nothing left to sync');
});

test('no write of a later group touches a block of the disk that an earlier one has written', async () => {
  const disk = new HookedDisk(newDisk());
  const { log } = await openLog(disk);
  disk.calls.length = 0;
  for (let tag = 0; tag < 30; tag++) {
    append(log, tag * 512, bytesOf(tag, 512 + (tag % 5) * 100));
    if (tag % 3 === 0) await log.sync();
  }
  await log.sync();
  let end = 0;
  for (const { position, length } of [...callsOf(disk, 'writeSync'), ...callsOf(disk, 'write')]) {
    assert.equal(position % 4096, 0);
    assert.equal(length % 4096, 0);
    assert.ok(position >= end);
    end = position + length;
  }
});

test('a write that is still under way when an earlier sync ends is waited for by the next', async () => {
  const disk = new HookedDisk(newDisk());
  const { log } = await openLog(disk, { sizeBytes: 64 * MIB });
  const [syncGate, writeGate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  append(log, 0, bytesOf(1, 4096));
  disk.before = (call) => (call === 'datasync' ? syncGate.promise : undefined);
  const first = log.sync();
  await settle();
  // The slab fills up while the sync runs, and is handed over behind it.
  disk.before = (call) => (call === 'write' ? writeGate.promise : undefined);
  for (let tag = 0; tag < 3; tag++) append(log, MIB * (tag + 1), bytesOf(tag, 400 * KIB));
  assert.equal(callsOf(disk, 'write').length, 1);
  syncGate.resolve();
  await first;
  let synced = false;
  const second = (log.sync() ?? Promise.resolve()).then(() => {
    synced = true;
  });
  await settle(20);
  assert.ok(!synced, 'it is not on the disk yet');
  writeGate.resolve();
  await second;
});

for (const failing of ['write', 'writeSync', 'datasync'] as const) {
  test(`a failed ${failing}: nothing pretends to be durable, and everything since the last good sync is written again`, async () => {
    const sim = newDisk();
    const disk = new HookedDisk(sim);
    const book = new LogBook();
    const { log } = await openLog(disk, { sizeBytes: 4 * MIB, log: book });
    append(log, 0, bytesOf(1, 4096));
    await log.sync();
    const durable = log.records.end;

    const length = failing === 'write' ? 200 * KIB : 8 * KIB;
    disk.before = (call, path) => {
      if (call === failing && !/\/head(\.new)?$/.test(path)) throw ioError();
    };
    for (let attempt = 0; attempt < 3; attempt++) {
      append(log, MIB, bytesOf(2 + attempt, length));
      await assert.rejects(log.sync() ?? Promise.resolve(), {
        code: 'UNAVAILABLE',
        message: /could not be made durable/,
      });
      assert.ok(!log.isDurable(log.records.end));
      assert.ok(log.isDurable(durable));
      assert.notEqual(log.failure, null);
    }
    assert.equal(book.messages('error').length, 1, 'told once for each episode');
    // Read from memory, whatever the disk has made of it.
    assert.deepEqual(
      numbers(log).map((number) => dataOf(log, number)[8]),
      [1, 2, 3, 4],
    );

    disk.before = () => {};
    disk.calls.length = 0;
    await log.sync();
    assert.equal(log.failure, null);
    assert.match(book.messages('info').join(), /can be synced again/);
    const again = [...callsOf(disk, 'writeSync'), ...callsOf(disk, 'write')];
    const from = Math.min(...again.map(({ position }) => position));
    assert.equal(from, 8192, 'from the end of what was durable on');
    assert.equal(again.reduce((sum, one) => sum + one.length, 0) >= 3 * length, true);

    const { log: next } = await openLog(sim.crash());
    assert.deepEqual(
      numbers(next).map((number) => dataOf(next, number)[8]),
      [1, 2, 3, 4],
    );
  });
}

test("a sync that fails is not over before a write that hangs: its slab is another record's soon after", async () => {
  const sim = newDisk();
  const disk = new HookedDisk(sim);
  const { log } = await openLog(disk, { sizeBytes: 64 * MIB });
  const [syncGate, writeGate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  append(log, 0, bytesOf(1, 4096));
  disk.before = (call) => (call === 'datasync' ? syncGate.promise : undefined);
  const first = log.sync() ?? Promise.resolve();
  await settle();
  // While it runs one slab is handed over, and then another, which hangs.
  for (let tag = 2; tag < 5; tag++) append(log, MIB * tag, bytesOf(tag, 400 * KIB));
  await settle();
  disk.before = (call) => (call === 'write' ? writeGate.promise : undefined);
  for (let tag = 5; tag < 7; tag++) append(log, MIB * tag, bytesOf(tag, 400 * KIB));
  const [, hanging] = callsOf(disk, 'write');
  assert.equal(callsOf(disk, 'write').length, 2);
  syncGate.reject(ioError());
  await assert.rejects(first);
  // The hanging one is written again, which fails at once.
  disk.before = (call) => {
    if (call === 'write' && disk.calls.at(-1)?.position === hanging?.position) throw ioError();
  };
  let ended = false;
  const second = (log.sync() ?? Promise.resolve()).finally(() => {
    ended = true;
  });
  second.catch(() => {});
  await settle(50);
  assert.ok(!ended, 'somebody still looks at the slab');
  writeGate.resolve();
  await assert.rejects(second);
  disk.before = () => {};
  await log.sync();
  const { log: next } = await openLog(sim.crash());
  assert.deepEqual(
    numbers(next).map((number) => dataOf(next, number)[8]),
    [1, 2, 3, 4, 5, 6],
  );
});

test('a disk that fails to sync and forgets what it was given: what is flushed later is there all the same', async () => {
  for (let seed = 0; seed < 30; seed++) {
    const disk = newDisk(seed);
    const { log } = await openLog(disk);
    append(log, 0, bytesOf(1, 5000));
    disk.faults = { ...disk.faults, sync: 1 };
    await assert.rejects(log.sync() ?? Promise.resolve());
    disk.faults = { ...disk.faults, sync: 0 };
    append(log, 8192, bytesOf(2, 5000));
    await log.sync();
    const { log: next } = await openLog(disk.crash());
    assert.deepEqual(
      numbers(next).map((number) => dataOf(next, number)),
      [bytesOf(1, 5000), bytesOf(2, 5000)],
    );
  }
});

test('one that waits is told of a failure, and one that comes after it tries anew', async () => {
  const disk = new HookedDisk(newDisk());
  const { log } = await openLog(disk);
  let fails = true;
  disk.before = (call, path) => {
    if (call === 'datasync' && fails && !/\/head(\.new)?$/.test(path)) {
      fails = false;
      throw ioError();
    }
  };
  append(log, 0, bytesOf(1, 100));
  const first = log.sync();
  first?.catch(() => {});
  await settle(1);
  append(log, 0, bytesOf(2, 100));
  const second = log.sync();
  await assert.rejects(first ?? Promise.resolve());
  await second;
  assert.ok(log.isDurable(log.records.end));
});

test('without any flush it is synced in the background, and bounded in memory where that fails', async () => {
  const disk = new HookedDisk(newDisk());
  const { log } = await openLog(disk, { sizeBytes: 256 * MIB });
  const data = bytesOf(1, 512 * KIB);
  for (let count = 0; count < 36; count++) append(log, count * MIB, data);
  await settle(60);
  assert.ok(callsOf(disk, 'datasync').length > 0);
  assert.ok(log.isDurable(30));

  disk.before = (call) => {
    if (call === 'datasync') throw ioError();
  };
  const before = log.records.end;
  while (log.hasRoom(0, data.length)) append(log, 0, data);
  const unsyncedBytes = (log.records.end - before) * data.length;
  assert.ok(unsyncedBytes > 40 * MIB && unsyncedBytes <= 64 * MIB, `${unsyncedBytes}`);
  assert.ok(!log.isFull, 'it is not the uploader that would have to make room');
  await settle(60);
  disk.before = () => {};
  await log.sync();
  assert.ok(log.hasRoom(0, data.length));
});

test('a full log has room again once its head has been written down, and not before', async () => {
  const disk = new HookedDisk(newDisk());
  const { log, rooms } = await openLog(disk);
  let count = 0;
  for (; log.hasRoom(0, 16 * KIB); count++) append(log, 0, bytesOf(count, 16 * KIB));
  assert.ok(count >= 12, `${count} records in ${LOG_BYTES_MIN} bytes`);
  assert.ok(log.isFull);
  await log.sync();
  log.dropBefore(log.records.end);
  assert.ok(!log.hasRoom(0, 16 * KIB), 'a crash would still need what is there');
  const before = rooms();
  await log.commitHead(log.markHead());
  assert.ok(rooms() > before);
  assert.ok(log.hasRoom(0, 16 * KIB));
  assert.ok(!log.isFull);
});

test('a log that is full is all in use, wherever in a file its head is', async () => {
  for (let moved = 0; moved < 8; moved++) {
    const { log } = await openLog(newDisk(moved));
    for (let bytes = 0; bytes < (moved * LOG_BYTES_MIN) / 32; bytes += 4 * KIB) append(log, 0, bytesOf(1, 4 * KIB));
    await log.sync();
    log.dropBefore(log.records.end);
    await log.commitHead(log.markHead());
    assert.ok(
      log.usedBytes <= log.sizeBytes / 4,
      'nothing is needed, but of the file that the head is in nothing is free',
    );
    while (log.hasRoom(0, 4 * KIB)) append(log, 0, bytesOf(1, 4 * KIB));
    assert.ok(log.usedBytes > 0.9 * log.sizeBytes, `${log.usedBytes} of ${log.sizeBytes}`);
    log.abandon();
  }
});

test('a head that cannot be written keeps the space, and can be tried again', async () => {
  const disk = new HookedDisk(newDisk());
  const { log } = await openLog(disk);
  while (log.hasRoom(0, 16 * KIB)) append(log, 0, bytesOf(1, 16 * KIB));
  await log.sync();
  log.dropBefore(log.records.end);
  disk.before = (call, path) => {
    if (call === 'datasync' && path === `${DIRECTORY}/head`) throw ioError();
  };
  await assert.rejects(log.commitHead(log.markHead()), { code: 'UNAVAILABLE' });
  assert.ok(!log.hasRoom(0, 16 * KIB));
  disk.before = () => {};
  await log.commitHead(log.markHead());
  assert.ok(log.hasRoom(0, 16 * KIB));
});

describe('the memory of slabs', () => {
  const FILE_BYTES = 4 * MIB;

  function openAppender(write: () => Promise<void>): { appender: LogAppender; slabs: PoisonedSlabs } {
    const fileStart = (position: number): number => Math.floor(position / FILE_BYTES) * FILE_BYTES;
    const files = {
      fileBytes: FILE_BYTES,
      fileStart,
      fileEnd: (position: number) => fileStart(position) + FILE_BYTES,
      write,
      writeSync: () => {},
      datasync: async () => {},
    };
    const slabs = new PoisonedSlabs();
    const options = { files: files as unknown as LogFiles, position: 0, log: silentLog, onRoom: () => {}, slabs };
    return { appender: new LogAppender(options), slabs };
  }

  test('is given back once what is in it is durable, and not before', async () => {
    const { appender, slabs } = openAppender(async () => {});
    appender.append(1000);
    const synced = appender.sync();
    await Promise.resolve();
    appender.append(SLAB_BYTES - 4096);
    appender.append(1000);
    await synced;
    assert.equal(slabs.inUse.size, 2);
    await appender.sync();
    assert.equal(slabs.inUse.size, 0);
    appender.abandon();
  });

  test('is given back by a log that is given up, where a write looks at it once that has ended', async () => {
    const hanging = Promise.withResolvers<void>();
    const { appender, slabs } = openAppender(() => hanging.promise);
    for (let count = 0; count < 5; count++) appender.append(500 * KIB);
    assert.equal(slabs.inUse.size, 3);
    appender.abandon();
    assert.equal(slabs.inUse.size, 2);
    hanging.reject(ioError());
    await settle();
    assert.equal(slabs.inUse.size, 0);
  });

  test('has nothing in it between two records of what was there before', () => {
    const { appender, slabs } = openAppender(async () => {});
    slabs.give(slabs.take(SLAB_BYTES));
    appender.append(13);
    const { slab } = appender.append(8);
    assert.deepEqual([...slab.buffer.subarray(12, 17)], [0xee, 0, 0, 0, 0xee]);
  });
});
