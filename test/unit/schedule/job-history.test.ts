/** What is known of earlier runs after restarts, crashes and bad disks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DIRECTORY, lastRun, startDay, times } from './fixtures.ts';

const FROM = '2026-03-02T00:00:30Z';
const EVERY_MINUTE = [{ name: 'flush' as const, schedule: times('0 * * * * *') }];

test('runs are remembered over restarts, of each job no more than fifty', async (t) => {
  const first = startDay(t, { from: FROM, jobs: EVERY_MINUTE });
  await first.clock.advance(80 * 60_000);
  await first.clock.run(first.schedule.stop());
  const second = startDay(t, { from: '2026-03-03T00:00:30Z', jobs: EVERY_MINUTE, disk: first.disk });
  assert.deepEqual(lastRun(second, 'flush'), lastRun(first, 'flush'));
  assert.equal(lastRun(second, 'flush')?.startedAt, '2026-03-02T01:20:00.000Z');
  const [job] = second.schedule.counters();
  assert.equal(job?.succeeded, 0);
  assert.equal(job?.succeededAt?.toISOString(), '2026-03-02T01:20:00.000Z');
  assert.equal(second.schedule.find('run-30'), null);
  assert.notEqual(second.schedule.find('run-31'), null);
  await second.clock.run(second.schedule.stop());
});

test('a file that is damaged, or something else, costs the history and nothing else', async (t) => {
  for (const text of ['{"format":', '[]', '{"format":"bucketdisk-jobs","version":9,"runs":[]}', 'null', '17']) {
    const before = startDay(t, { from: FROM, jobs: [] });
    const file = before.disk.open(`${DIRECTORY}/jobs.json`);
    file.writeSync(Buffer.from(text), 0);
    file.close();
    const day = startDay(t, { from: FROM, jobs: EVERY_MINUTE, disk: before.disk });
    assert.equal(lastRun(day, 'flush'), null);
    await day.clock.advance(60_000);
    assert.equal(lastRun(day, 'flush')?.result, 'ok');
    await day.clock.run(day.schedule.stop());
  }
});

test('runs that make no sense are passed over', async (t) => {
  const before = startDay(t, { from: FROM, jobs: [] });
  const sound = { id: 'x', job: 'flush', trigger: 'schedule', startedAt: '2026-01-01T00:00:00.000Z', durationMs: 1 };
  const runs = [
    { ...sound, result: 'ok', code: null, detail: null },
    { ...sound, result: 'fine', code: null, detail: null },
    { ...sound, job: '__proto__', result: 'ok', code: null, detail: null },
    { ...sound, startedAt: 'yesterday', result: 'ok', code: null, detail: null },
    null,
    7,
  ];
  const file = before.disk.open(`${DIRECTORY}/jobs.json`);
  file.writeSync(Buffer.from(JSON.stringify({ format: 'bucketdisk-jobs', version: 1, runs })), 0);
  file.close();
  const day = startDay(t, { from: FROM, jobs: EVERY_MINUTE, disk: before.disk });
  assert.equal(lastRun(day, 'flush')?.id, 'x');
  await day.clock.run(day.schedule.stop());
});
