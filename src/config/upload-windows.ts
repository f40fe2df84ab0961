/** When uploads are slowed down or put off, as it is written in a configuration. */
import JSON5 from 'json5';
import { parseRate } from '../lib/units.ts';
import type { Format } from './formats.ts';
import { show } from './problems.ts';
import type { UploadWindowSettings } from './settings.ts';

export interface SpelledUploadWindow {
  readonly days?: readonly string[];
  readonly from: string;
  readonly to: string;
  readonly rate?: string | null;
}

const DAYS = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat'];
const RATE_MIN_BYTES = 1024;
const WINDOWS_MAX = 64;
const EXPECTED =
  'expected { days, from, to, rate } such as { days: ["mon", "fri"], from: "07:00", to: "23:00", rate: "200KiB/s" }';

/** In a text: a list in JSON5. */
export const uploadWindowList: Format<readonly SpelledUploadWindow[]> = {
  name: 'list of `{ days, from, to, rate }`',
  read(text) {
    try {
      return JSON5.parse(text);
    } catch {
      return text;
    }
  },
  check(value) {
    if (!Array.isArray(value)) throw new Error(`expected a list of windows, not ${show(value)}`);
    if (value.length > WINDOWS_MAX) throw new Error(`expected at most ${WINDOWS_MAX} windows, not ${value.length}`);
    value.forEach(parseUploadWindow);
  },
};

/** Throws an Error that says what is expected. */
export function parseUploadWindow(spelled: unknown): UploadWindowSettings {
  if (typeof spelled !== 'object' || spelled === null || Array.isArray(spelled)) {
    throw new Error(`${EXPECTED}, not ${show(spelled)}`);
  }
  const { days = DAYS, from, to, rate = null, ...others } = spelled as Record<string, unknown>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new Error(`${EXPECTED}, not "${unknown}"`);
  if (!Array.isArray(days) || days.length === 0) throw new Error(`expected a list of days, not ${show(days)}`);
  const numbers = days.map((day) => {
    const number = DAYS.indexOf(day);
    if (number < 0) throw new Error(`expected one of ${DAYS.join(', ')}, not ${show(day)}`);
    return number;
  });
  return { days: [...new Set(numbers)], fromMinute: minuteOf(from), toMinute: minuteOf(to), rateBytes: rateOf(rate) };
}

function minuteOf(time: unknown): number {
  const match = typeof time === 'string' ? /^([01]\d|2[0-4]):([0-5]\d)$/.exec(time) : null;
  const minute = match === null ? Number.NaN : Number(match[1]) * 60 + Number(match[2]);
  if (!(minute <= 24 * 60)) throw new Error(`expected a time from "00:00" to "24:00", not ${show(time)}`);
  return minute;
}

/** 0: closed. */
function rateOf(rate: unknown): number {
  if (rate === null) return 0;
  if (typeof rate !== 'string') throw new Error(`expected a rate such as "200KiB/s", or null, not ${show(rate)}`);
  const bytes = parseRate(rate);
  // Slower than this, a request would not get through a block within any deadline.
  if (bytes > 0 && bytes < RATE_MIN_BYTES) throw new Error(`expected at least 1KiB/s, not ${show(rate)}`);
  return bytes;
}
