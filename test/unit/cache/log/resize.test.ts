/** A log of another size: only once it is empty, and whatever happens on the way. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOG_BYTES_MIN } from '../../../../src/cache/log/write-log.ts';
import { append, bytesOf, HookedDisk, newDisk, openLog } from './fixtures.ts';

const LARGER_BYTES = 2 * LOG_BYTES_MIN;
const SEEDS = 60;

test('a log that holds something keeps its size', async () => {
  const disk = newDisk();
  const { log } = await openLog(disk);
  append(log, 0, bytesOf(1, 4096));
  await log.close();
  const again = await openLog(disk, { sizeBytes: LARGER_BYTES });
  assert.equal(again.log.sizeBytes, LOG_BYTES_MIN);
  again.log.dropBefore(again.log.records.end);
  await again.log.commitHead(again.log.markHead());
  await again.log.close();
  assert.equal((await openLog(disk, { sizeBytes: LARGER_BYTES })).log.sizeBytes, LARGER_BYTES);
});

test('a crash while the size is being changed, right after one that may have taken back the head', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const disk = newDisk(seed);
    const hooked = new HookedDisk(disk);
    const { log } = await openLog(hooked);
    for (let page = 0; page < 20; page++) append(log, page * 4096, bytesOf(page, 4096));
    await log.sync();
    log.dropBefore(log.records.end);
    // The head has been written and is not durable when the process is killed.
    hooked.before = (call, path) =>
      call === 'datasync' && path.endsWith('/head') ? new Promise<void>(() => {}) : undefined;
    void log.commitHead(log.markHead());
    await new Promise((resolve) => setImmediate(resolve));
    const killed = disk.kill();
    const failing = new HookedDisk(killed);
    // The old files have been removed by then.
    failing.before = (call, path) => {
      if (call === 'reserve' && path.endsWith(`/0${seed % 4}`)) throw new Error('the power fails');
    };
    await openLog(failing, { sizeBytes: LARGER_BYTES }).then(
      ({ log: opened }) => opened.abandon(),
      () => {},
    );
    const crashed = killed.crash();
    const last = await openLog(crashed, { sizeBytes: LARGER_BYTES });
    const { first, end } = last.log.records;
    assert.ok(end === first || end - first === 20, `seed ${seed}: ${end - first} records`);
    last.log.abandon();
  }
});
