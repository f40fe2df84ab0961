/** Filling a new log ahead of what is appended: all of it, never over a record, and nobody waits for it for long. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { WriteLog } from '../../../../src/cache/log/write-log.ts';
import { StorageError } from '../../../../src/lib/errors.ts';
import type { SimDisk } from '../../../support/sim-disk.ts';
import { settle, VirtualClock } from '../../../support/virtual-clock.ts';
import { append, bytesOf, dataOf, HookedDisk, newDisk, numbers, openLog } from './fixtures.ts';

const KIB = 1024;
const PIECE_BYTES = 64 * KIB;
const FILE_BYTES = 256 * KIB;
const FILES = 4;

interface Setting {
  readonly clock: VirtualClock;
  readonly inner: SimDisk;
  readonly disk: HookedDisk;
  readonly log: WriteLog;
}

async function newLog(): Promise<Setting> {
  const clock = new VirtualClock();
  const inner = newDisk(1, { clock });
  const disk = new HookedDisk(inner);
  const { log } = await openLog(disk, { sizeBytes: FILES * FILE_BYTES });
  disk.calls.length = 0;
  return { clock, inner, disk, log };
}

/** The pieces that were written, as `file:position`. */
function pieces({ disk }: Setting): string[] {
  const written = disk.calls.filter(({ call, path }) => call === 'write' && !/\/head(\.new)?$/.test(path));
  return written.map(({ path, position }) => `${path.slice(-2)}:${position / PIECE_BYTES}`);
}

/** Long enough for all of it. */
async function pass(clock: VirtualClock): Promise<void> {
  for (let second = 0; second < 100; second++) await clock.advance(1000);
}

function appendPages(log: WriteLog, count: number, from = 0): void {
  for (let page = from; page < from + count; page++) append(log, page * 4096, bytesOf(page, 4096));
}

test('a new log is written once, but for the file that is in use, and each part synced', async () => {
  const setting = await newLog();
  const { clock, disk, log, inner } = setting;
  log.fill(clock, () => 0);
  await pass(clock);
  const expected = ['01', '02', '03'].flatMap((file) => [0, 1, 2, 3].map((piece) => `${file}:${piece}`));
  assert.deepEqual(pieces(setting), expected);
  assert.equal(disk.calls.findLast(({ path }) => path.endsWith('/03'))?.call, 'datasync');
  appendPages(log, 100);
  await log.close();
  const again = await openLog(inner, { sizeBytes: FILES * FILE_BYTES });
  assert.deepEqual(
    numbers(again.log).map((number) => dataOf(again.log, number).readDoubleLE(0)),
    Array.from({ length: 100 }, (_, page) => page),
  );
  again.log.abandon();
});

test('while the volume is in use it takes a small part of the time of the disk', async () => {
  const filledAfterMs = async (requestsPerSecond: number): Promise<number> => {
    const setting = await newLog();
    const { clock, disk, log } = setting;
    disk.before = (call) => (call === 'datasync' ? clock.sleep(10) : undefined);
    const beganMs = clock.now();
    log.fill(clock, () => Math.floor(((clock.now() - beganMs) * requestsPerSecond) / 1000));
    while (pieces(setting).length < 12) await clock.advance(1);
    const tookMs = clock.now() - beganMs;
    await clock.run(log.close());
    return tookMs;
  };
  const idleMs = await filledAfterMs(0);
  assert.ok((await filledAfterMs(1000)) > 8 * idleMs);
});

test('a log that has been written to is left as it is', async () => {
  const setting = await newLog();
  const { clock, log } = setting;
  append(log, 0, bytesOf(1, 4096));
  log.fill(clock, () => 0);
  await pass(clock);
  assert.deepEqual(pieces(setting), []);
  await log.close();
});

test('nothing is appended into a file while a piece of it is being written, and then goes on', async () => {
  const setting = await newLog();
  const { clock, disk, log } = setting;
  const gate = Promise.withResolvers<void>();
  disk.before = (call, path) => (call === 'write' && path.endsWith('/01') ? gate.promise : undefined);
  log.fill(clock, () => 0);
  await settle();
  let pages = 0;
  for (; log.hasRoom(pages * 4096, 4096); pages++) appendPages(log, 1, pages);
  assert.ok(pages * 4096 < FILE_BYTES && pages * 4096 > FILE_BYTES * 0.9, `${pages} pages`);
  assert.equal(log.isFull, false, 'it is not full: nothing has to be uploaded for it');
  let unblocked = false;
  const waiting = log.unblocked().then(() => {
    unblocked = true;
  });
  await settle(10);
  assert.equal(unblocked, false);
  gate.resolve();
  await clock.run(waiting);
  await pass(clock);
  assert.equal(log.hasRoom(pages * 4096, 4096), true);
  // It gave way after the pieces that were under way, and has filled the files behind.
  assert.ok(pieces(setting).includes('03:3'));
  for (; pages < 150; pages++) appendPages(log, 1, pages);
  await log.sync();
  assert.deepEqual(
    numbers(log).map((number) => dataOf(log, number).readDoubleLE(0)),
    Array.from({ length: 150 }, (_, page) => page),
  );
  await log.close();
});

test('closing waits for what is under way', async () => {
  const { clock, disk, log } = await newLog();
  const gate = Promise.withResolvers<void>();
  disk.before = (call, path) => (call === 'write' && path.endsWith('/01') ? gate.promise : undefined);
  log.fill(clock, () => 0);
  await settle();
  let closed = false;
  const closing = log.close().then(() => {
    closed = true;
  });
  await settle(10);
  assert.equal(closed, false);
  gate.resolve();
  await closing;
  assert.equal(clock.sleeping, 0);
});

test('where it fails, the log is as good as ever', async () => {
  const { clock, disk, log } = await newLog();
  disk.before = (call, path) => {
    if (call === 'write' && path.endsWith('/02')) throw new StorageError('UNAVAILABLE', 'EIO', { retryable: false });
  };
  log.fill(clock, () => 0);
  await pass(clock);
  disk.before = () => {};
  appendPages(log, 150);
  await log.sync();
  assert.equal(log.failure, null);
  await log.close();
});
