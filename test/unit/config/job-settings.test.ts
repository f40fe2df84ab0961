/** The settings of jobs, upload windows and events: how they are written, and what is refused. */
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type LoadedSettings, loadSettings } from '../../../src/config/load-settings.ts';
import { ConfigError } from '../../../src/config/problems.ts';
import { tempDir } from '../../support/temp.ts';

function load(set: readonly string[], env: Record<string, string> = {}, files: readonly string[] = []): LoadedSettings {
  return loadSettings({ defaultsFile: null, files, env, set: ['volumes.media.size=1GiB', ...set], cwd: '/etc/disks' });
}

function problem(...set: string[]): string {
  try {
    load(set);
  } catch (error) {
    if (error instanceof ConfigError)
      return error.problems.map(({ path, message }) => `${path}: ${message}`).join('\n');
    throw error;
  }
  return 'accepted';
}

describe('schedule', () => {
  it('is an expression, or an object with more', async (t) => {
    const file = join(await tempDir(t, 'config'), 'jobs.json5');
    writeFileSync(
      file,
      `{ schedule: {
        timezone: 'Europe/Paris',
        report: { cron: '0 0 3 * * 0', timezone: 'UTC', overlap: 'queue', jitter: '30m' },
        cacheTrim: { cron: '0 0 8 * * *' },
      } }`,
    );
    const { schedule } = load(['schedule.flush=0 */5 * * * *'], {}, [file]).settings;
    const plain = { timezone: 'Europe/Paris', overlap: 'skip', jitterMs: 0 };
    assert.deepEqual(schedule, {
      timezone: 'Europe/Paris',
      flush: { ...plain, cron: '0 */5 * * * *' },
      scan: null,
      report: { cron: '0 0 3 * * 0', timezone: 'UTC', overlap: 'queue', jitterMs: 1_800_000 },
      cacheTrim: { ...plain, cron: '0 0 8 * * *' },
    });
  });

  it('is an object in a variable, too, and null for none', () => {
    const env = {
      BUCKETDISK_SCHEDULE_CACHE_TRIM: '{ cron: "0 0 4 * * *", jitter: "1h" }',
      BUCKETDISK_SCHEDULE_FLUSH: 'null',
    };
    const { schedule } = load([], env).settings;
    assert.deepEqual(schedule.cacheTrim, {
      ...{ cron: '0 0 4 * * *', timezone: null, overlap: 'skip', jitterMs: 3_600_000 },
    });
    assert.equal(schedule.flush, null);
  });

  it('says what is wrong', () => {
    assert.match(problem('schedule.report=often'), /^schedule\.report: expected a cron expression .*, not "often"$/);
    assert.match(problem('schedule.report={ cron: "0 0 3 * * *", when: 1 }'), /not "when"/);
    assert.match(problem('schedule.report={ cron: "0 0 3 * * *", timezone: "Mars" }'), /time zone .* not "Mars"/);
    assert.match(problem('schedule.report={ cron: "0 0 3 * * *", overlap: "kill" }'), /"skip" or "queue"/);
    assert.match(problem('schedule.report={ cron: "0 0 3 * * *", jitter: 5 }'), /duration/);
    assert.match(problem('schedule.report={ cron: "0 0 3 * * *", jitter: "2d" }'), /at most 1d/);
    assert.match(problem('schedule.report={ cron: '), /cron expression/);
    assert.match(problem('schedule.timezone=Europe'), /time zone/);
  });
});

describe('upload.windows', () => {
  it('have days, times and a rate', () => {
    const { windows } = load([
      'upload.windows=[{ days: ["mon", "fri", "mon"], from: "07:00", to: "23:30", rate: "200KiB/s" }, { from: "23:30", to: "24:00", rate: null }]',
    ]).settings.upload;
    assert.deepEqual(windows, [
      { days: [1, 5], fromMinute: 420, toMinute: 1410, rateBytes: 204_800 },
      { days: [0, 1, 2, 3, 4, 5, 6], fromMinute: 1410, toMinute: 1440, rateBytes: 0 },
    ]);
    assert.deepEqual(load([]).settings.upload.windows, []);
  });

  it('say what is wrong', () => {
    const of = (window: string) => problem(`upload.windows=[${window}]`);
    assert.match(of('{ from: "7:00", to: "23:00" }'), /time from "00:00" to "24:00", not "7:00"/);
    assert.match(of('{ from: "07:00", to: "24:01" }'), /not "24:01"/);
    assert.match(of('{ from: "07:00" }'), /time from/);
    assert.match(of('{ from: "07:00", to: "08:00", days: "mon" }'), /list of days/);
    assert.match(of('{ from: "07:00", to: "08:00", days: ["monday"] }'), /one of sun, mon/);
    assert.match(of('{ from: "07:00", to: "08:00", rate: "10B/s" }'), /at least 1KiB\/s/);
    assert.match(of('{ from: "07:00", to: "08:00", rate: 5 }'), /rate such as/);
    assert.match(of('{ from: "07:00", to: "08:00", speed: 5 }'), /not "speed"/);
    assert.match(of('7'), /expected \{ days/);
    assert.match(problem('upload.windows=always'), /list of windows/);
  });
});

describe('events.webhook', () => {
  it('is a url, kept secret, and may be in a file', async (t) => {
    const file = join(await tempDir(t, 'config'), 'hook');
    writeFileSync(file, 'https://hooks.example.com/s3cr3t\n');
    const { settings, secrets, entries } = load([], { BUCKETDISK_EVENTS_WEBHOOK_FILE: file });
    assert.equal(settings.events.webhook, 'https://hooks.example.com/s3cr3t');
    assert.ok(secrets.includes('https://hooks.example.com/s3cr3t'));
    assert.equal(entries.find(({ path }) => path === 'events.webhook')?.value, '***');
    assert.equal(load([]).settings.events.webhook, null);
  });

  it('is not quoted where it is wrong', () => {
    for (const bad of ['ftp://hooks/s3cr3t', 's3cr3t', 'https://me:s3cr3t@hooks/']) {
      const told = problem(`events.webhook=${bad}`);
      assert.match(told, /^events\.webhook: expected a url/);
      assert.ok(!told.includes('s3cr3t'));
    }
  });
});
