/** Pages of the log whose newest bytes are lost, while older ones of them are still in it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DamagedPages } from '../../../../src/cache/dirty/damaged-pages.ts';
import { DirtyStore } from '../../../../src/cache/dirty/dirty-store.ts';
import { LOG_BYTES_MIN } from '../../../../src/cache/log/write-log.ts';
import { PAGE_BYTES } from '../../../../src/cache/page.ts';
import { append, bytesOf, DIRECTORY, newDisk, openLog } from '../log/fixtures.ts';

test('a run of pages ends before one of which a later part is lost', async () => {
  const disk = newDisk();
  const { log } = await openLog(disk);
  const whole = bytesOf(1, 3 * PAGE_BYTES);
  append(log, 0, whole);
  await log.sync();
  // The pages were in the bucket, and a crash came before the log had forgotten them.
  const part = append(log, PAGE_BYTES + 512, bytesOf(2, 512));
  const at = log.records.dataPosition(part);
  await log.sync();
  append(log, 16 * PAGE_BYTES, bytesOf(3, PAGE_BYTES));
  await log.sync();
  assert.ok(at < LOG_BYTES_MIN / 4);
  disk.flipBit(`${DIRECTORY}/00`, at + 100);
  const crashed = disk.crash();
  const { log: next, damaged } = await openLog(crashed);
  const store = new DirtyStore(next, DamagedPages.open(crashed, '/cache'), () => false);
  store.replay(64, damaged);
  assert.deepEqual(store.damaged.pages, [1]);
  const target = Buffer.alloc(3 * PAGE_BYTES);
  assert.equal(store.readRun(0, 3, target, 0), 1);
  assert.deepEqual(target.subarray(0, PAGE_BYTES), whole.subarray(0, PAGE_BYTES));
  assert.deepEqual(target.subarray(PAGE_BYTES), Buffer.alloc(2 * PAGE_BYTES));
  assert.throws(() => store.checkSound(1), { code: 'CORRUPT' });
  next.abandon();
});
