/** Days of schedules on a simulated clock: plain ones, those on which clocks change, and those on which everything goes wrong. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { StorageError } from '../../../src/lib/errors.ts';
import { startDay, times } from './fixtures.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** How often each job has begun. */
function counts(begun: readonly string[]): Record<string, number> {
  const result: Record<string, number> = {};
  for (const line of begun) {
    const [name = ''] = line.split(' ');
    result[name] = (result[name] ?? 0) + 1;
  }
  return result;
}

describe('a day', () => {
  test('runs every job at each of its times, and at no other', async (t) => {
    const { clock, schedule, begun } = startDay(t, {
      from: '2026-03-02T00:00:00Z',
      jobs: [
        { name: 'flush', schedule: times('*/10 * * * *') },
        { name: 'scan', schedule: times('0 30 3 * * *'), run: async () => void (await clockOf().sleep(5 * MINUTE)) },
        { name: 'report', schedule: times('0 0 8 * * 1-5', { timezone: 'Europe/Paris' }) },
        { name: 'cache-trim', schedule: null },
      ],
    });
    const clockOf = () => clock;
    assert.equal(schedule.status().find(({ name }) => name === 'report')?.nextRunAt, '2026-03-02T07:00:00.000Z');
    await clock.advance(DAY - 1);
    // 0:00 itself was the moment of the start.
    assert.deepEqual(counts(begun), { flush: 143, scan: 1, report: 1 });
    assert.ok(begun.includes('scan 2026-03-02T03:30:00'));
    assert.ok(begun.includes('report 2026-03-02T07:00:00'));
    assert.equal(begun.at(-1), 'flush 2026-03-02T23:50:00');
    const scan = schedule.status().find(({ name }) => name === 'scan');
    assert.deepEqual(
      { result: scan?.lastRun?.result, took: scan?.lastRun?.durationMs, next: scan?.nextRunAt },
      { result: 'ok', took: 5 * MINUTE, next: '2026-03-03T03:30:00.000Z' },
    );
  });

  test('of the change to summer time leaves out times that there are not', async (t) => {
    const zone = { timezone: 'Europe/Paris' };
    const { clock, begun } = startDay(t, {
      from: '2026-03-28T23:00:00Z',
      jobs: [
        { name: 'scan', schedule: times('0 30 2 * * *', zone) },
        { name: 'report', schedule: times('0 0 4 * * *', zone) },
        { name: 'flush', schedule: times('0 0 * * * *', zone) },
      ],
    });
    await clock.advance(23 * HOUR - 1);
    assert.deepEqual(counts(begun), { report: 1, flush: 22 });
    // 4:00 is two hours after UTC by then.
    assert.ok(begun.includes('report 2026-03-29T02:00:00'));
  });

  test('of the change from summer time runs a job once where its time comes twice', async (t) => {
    const zone = { timezone: 'Europe/Paris' };
    const { clock, begun } = startDay(t, {
      from: '2026-10-24T22:00:00Z',
      jobs: [
        { name: 'scan', schedule: times('0 30 2 * * *', zone) },
        { name: 'report', schedule: times('0 0 4 * * *', zone) },
      ],
    });
    await clock.advance(25 * HOUR - 1);
    assert.deepEqual(begun, ['scan 2026-10-25T01:30:00', 'report 2026-10-25T03:00:00']);
  });
});

describe('a job that is running when its time comes', () => {
  test('is left alone, or runs once more afterwards, as its rule has it', async (t) => {
    const slow = async () => void (await day.clock.sleep(150 * SECOND));
    const day = startDay(t, {
      from: '2026-03-02T00:00:30Z',
      jobs: [
        { name: 'flush', schedule: times('0 * * * * *'), run: slow },
        { name: 'scan', schedule: times('0 * * * * *', { overlap: 'queue' }), run: slow },
      ],
    });
    await day.clock.advance(6 * MINUTE - 1);
    const at = (name: string) => day.begun.filter((line) => line.startsWith(name)).map((line) => line.slice(-8));
    assert.deepEqual(at('flush'), ['00:01:00', '00:04:00']);
    assert.deepEqual(at('scan'), ['00:01:00', '00:03:30', '00:06:00']);
    const [flush, scan] = day.schedule.status();
    assert.deepEqual([flush?.skipped, flush?.succeeded, flush?.running], [4, 1, true]);
    assert.equal(scan?.running, true);
  });

  test('is joined by whoever asks for it', async (t) => {
    const day = startDay(t, {
      from: '2026-03-02T00:00:00Z',
      jobs: [{ name: 'scan', schedule: null, run: () => day.clock.sleep(MINUTE).then(() => 'done') }],
    });
    const first = day.schedule.run('scan');
    assert.equal(day.schedule.run('scan').id, first.id);
    const ended = day.schedule.find(first.id);
    await day.clock.advance(MINUTE);
    const run = await ended;
    assert.deepEqual(
      { ...run },
      {
        ...{ id: 'run-1', job: 'scan', trigger: 'request', startedAt: '2026-03-02T00:00:00.000Z' },
        ...{ durationMs: MINUTE, result: 'ok', code: null, detail: 'done' },
      },
    );
    assert.deepEqual(day.schedule.find(first.id), run);
    assert.equal(day.schedule.find('run-9'), null);
    assert.throws(() => day.schedule.run('erase'), { code: 'NOT_FOUND' });
  });

  test('is told to end when the appliance stops, and is waited for', async (t) => {
    const day = startDay(t, {
      from: '2026-03-02T00:00:00Z',
      jobs: [
        { name: 'scan', schedule: null, run: (signal) => day.clock.sleep(DAY, signal).then(() => undefined) },
        { name: 'flush', schedule: times('* * * * * *') },
      ],
    });
    const { ended } = day.schedule.run('scan');
    await day.clock.run(day.schedule.stop());
    assert.equal((await ended).result, 'cancelled');
    assert.throws(() => day.schedule.run('scan'), { code: 'CANCELLED' });
    const { length } = day.begun;
    await day.clock.advance(DAY);
    assert.equal(day.begun.length, length);
    assert.equal(day.clock.time.pending, 0);
  });
});

test('a job that fails is told of as an event, counted, and runs again next time', async (t) => {
  const day = startDay(t, {
    from: '2026-03-02T00:00:30Z',
    jobs: [
      {
        name: 'flush',
        schedule: times('0 * * * * *'),
        run: () => Promise.reject(new StorageError('UNAVAILABLE', 'no bucket')),
      },
    ],
  });
  await day.clock.advance(2 * MINUTE);
  const [flush] = day.schedule.status();
  assert.deepEqual([flush?.failed, flush?.succeeded, flush?.lastRun?.code], [2, 0, 'UNAVAILABLE']);
  assert.deepEqual(
    day.log.lines.filter(({ level }) => level === 'error').map(({ fields }) => fields.event),
    ['job-failed', 'job-failed'],
  );
  assert.equal(day.schedule.counters()[0]?.succeededAt, null);
});

test('jitter puts a job off by as much as it says, each time anew', async (t) => {
  const shares = [0.5, 0, 0.999];
  const day = startDay(t, {
    from: '2026-03-02T00:00:00Z',
    jobs: [{ name: 'scan', schedule: times('0 0 * * * *', { jitterMs: 10 * MINUTE }) }],
    random: () => shares.shift() ?? 0,
  });
  await day.clock.advance(4 * HOUR - 1);
  assert.deepEqual(
    day.begun.map((line) => line.slice(-8)),
    ['01:05:00', '02:00:00', '03:09:59'],
  );
});

describe('a clock that is wrong', () => {
  test('and is set forward brings a time that was passed once, however many there were', async (t) => {
    const day = startDay(t, {
      from: '2026-03-02T00:00:30Z',
      jobs: [{ name: 'flush', schedule: times('*/30 * * * * *') }],
    });
    await day.clock.advance(10);
    day.clock.shiftWallClock(365 * DAY);
    await day.clock.advance(MINUTE);
    assert.ok(day.begun.length <= 3, `${day.begun.length} runs`);
  });

  test('and is set back brings the next time when it comes again', async (t) => {
    const day = startDay(t, {
      from: '2026-03-02T12:00:00Z',
      jobs: [{ name: 'flush', schedule: times('0 0 * * * *') }],
    });
    await day.clock.advance(10 * MINUTE);
    day.clock.shiftWallClock(-5 * HOUR);
    await day.clock.advance(HOUR);
    assert.deepEqual(day.begun, ['flush 2026-03-02T08:00:00']);
  });

  test('and is put right by a little does not bring the same time twice', async (t) => {
    const day = startDay(t, {
      from: '2026-03-02T12:00:00Z',
      jobs: [{ name: 'flush', schedule: times('0 0 * * * *') }],
    });
    await day.clock.advance(HOUR);
    day.clock.shiftWallClock(-20);
    await day.clock.advance(MINUTE);
    assert.deepEqual(day.begun, ['flush 2026-03-02T13:00:00']);
    await day.clock.advance(HOUR);
    assert.equal(day.begun.length, 2);
  });
});

test('an expression or a zone that is none is refused', (t) => {
  for (const bad of [times('often'), times('0 0 0 30 2 *'), times('0 0 0 * * *', { timezone: 'Europe/Atlantis' })]) {
    const jobs = [{ name: 'scan' as const, schedule: bad }];
    assert.throws(() => startDay(t, { from: '2026-03-02T00:00:00Z', jobs }), { code: 'INVALID' });
  }
});
