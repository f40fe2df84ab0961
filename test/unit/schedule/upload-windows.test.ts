/** What may be uploaded when: by day and night, over midnight and the end of the week, and where clocks change. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type UploadWindow, UploadWindows } from '../../../src/schedule/upload-windows.ts';
import { VirtualClock, VirtualTime } from '../../support/virtual-clock.ts';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const EVERY_DAY = [0, 1, 2, 3, 4, 5, 6];
const SLOW = 200 * 1024;

function windowsAt(from: string, windows: readonly UploadWindow[], timezone = 'UTC') {
  const clock = new VirtualClock(new VirtualTime(), Date.parse(from));
  return { clock, windows: new UploadWindows(windows, timezone, clock) };
}

/** Each change of the bound within `hours`, to the minute. */
async function changes(from: string, list: readonly UploadWindow[], hours: number, timezone?: string) {
  const { clock, windows } = windowsAt(from, list, timezone);
  const found: (string | number | null)[][] = [];
  let last: number | null | undefined;
  for (let minute = 0; minute <= hours * 60; minute++) {
    const rate = windows.rateBytes;
    if (rate !== last) found.push([clock.date().toISOString().slice(0, 16), rate]);
    last = rate;
    await clock.advance(MINUTE);
  }
  return found;
}

const BY_DAY: UploadWindow = { days: EVERY_DAY, fromMinute: 7 * 60, toMinute: 23 * 60, rateBytes: SLOW };

describe('UploadWindows', () => {
  test('without windows nothing is bound', () => {
    const { windows } = windowsAt('2026-03-02T12:00:00Z', []);
    assert.equal(windows.rateBytes, null);
    assert.deepEqual(windows.status(), { open: true, rateBytes: null, until: null });
  });

  test('a home line by day and by night', async () => {
    assert.deepEqual(await changes('2026-03-02T00:00:00Z', [BY_DAY], 24), [
      ['2026-03-02T00:00', null],
      ['2026-03-02T07:00', SLOW],
      ['2026-03-02T23:00', null],
    ]);
  });

  test('over midnight and the end of the week, on the day it begins on', async () => {
    const saturdayNight: UploadWindow = { days: [6], fromMinute: 22 * 60, toMinute: 6 * 60, rateBytes: 0 };
    assert.deepEqual(await changes('2026-03-06T00:00:00Z', [saturdayNight], 72), [
      ['2026-03-06T00:00', null],
      ['2026-03-07T22:00', 0],
      ['2026-03-08T06:00', null],
    ]);
  });

  test('of windows that overlap the first counts', async () => {
    const noon: UploadWindow = { days: [1], fromMinute: 12 * 60, toMinute: 13 * 60, rateBytes: 0 };
    assert.deepEqual(await changes('2026-03-02T06:00:00Z', [noon, BY_DAY], 12), [
      ['2026-03-02T06:00', null],
      ['2026-03-02T07:00', SLOW],
      ['2026-03-02T12:00', 0],
      ['2026-03-02T13:00', SLOW],
    ]);
  });

  test('keeps to the clock on the wall where that changes', async () => {
    // 1:00 UTC is 2:00, and at once 3:00 in Paris.
    const early: UploadWindow = { days: EVERY_DAY, fromMinute: 0, toMinute: 4 * 60, rateBytes: 0 };
    assert.deepEqual(await changes('2026-03-28T22:00:00Z', [early], 6, 'Europe/Paris'), [
      ['2026-03-28T22:00', null],
      ['2026-03-28T23:00', 0],
      ['2026-03-29T02:00', null],
    ]);
  });

  test('tells what is to come', async () => {
    const { clock, windows } = windowsAt('2026-03-02T06:30:20Z', [{ ...BY_DAY, rateBytes: 0 }]);
    assert.deepEqual(windows.status(), { open: true, rateBytes: null, until: '2026-03-02T07:00:00.000Z' });
    await clock.advance(HOUR);
    assert.deepEqual(windows.status(), { open: false, rateBytes: null, until: '2026-03-02T23:00:00.000Z' });
    const always = windowsAt('2026-03-02T06:30:20Z', [{ ...BY_DAY, fromMinute: 0, toMinute: 1440 }]);
    assert.deepEqual(always.windows.status(), { open: true, rateBytes: SLOW, until: null });
  });

  test('is out of the way once it is lifted', () => {
    const { windows } = windowsAt('2026-03-02T12:00:00Z', [{ ...BY_DAY, rateBytes: 0 }]);
    assert.equal(windows.isOpen, false);
    windows.lift();
    assert.equal(windows.isOpen, true);
    assert.deepEqual(windows.status(), { open: true, rateBytes: null, until: null });
  });
});
