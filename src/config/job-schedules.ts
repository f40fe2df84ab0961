/** When a job runs, as it is written in a configuration: a cron expression, or an object with more. */
import JSON5 from 'json5';
import { validate } from 'node-cron';
import { parseDuration } from '../lib/units.ts';
import type { Format } from './formats.ts';
import { show } from './problems.ts';
import type { JobScheduleSettings } from './settings.ts';

export type SpelledJobSchedule =
  | string
  | {
      readonly cron: string;
      readonly timezone?: string | null;
      readonly overlap?: 'skip' | 'queue';
      readonly jitter?: string;
    };

const JITTER_MAX_MS = 24 * 3_600_000;
const EXPECTED =
  'expected a cron expression such as "0 0 3 * * *" (3:00 every day), or { cron, timezone, overlap, jitter }';

/** In a text: the expression, or an object in JSON5. */
export const jobSchedule: Format<SpelledJobSchedule> = {
  name: 'cron expression, such as `0 0 3 * * *`, or `{ cron, timezone, overlap, jitter }`',
  read(text) {
    if (!text.trimStart().startsWith('{')) return text;
    try {
      return JSON5.parse(text);
    } catch {
      return text;
    }
  },
  check: (value) => void parseJobSchedule(value, null),
};

/** An IANA name of a time zone. */
export const timezone: Format<string> = {
  name: 'time zone, such as `Europe/Paris`',
  read: (text) => text,
  check(value) {
    if (typeof value !== 'string' || !isTimezone(value)) {
      throw new Error(`expected a time zone such as "Europe/Paris" or "UTC", not ${show(value)}`);
    }
  },
};

/** `defaultTimezone` where it names none. Throws an Error that says what is expected. */
export function parseJobSchedule(spelled: unknown, defaultTimezone: string | null): JobScheduleSettings {
  const given = typeof spelled === 'string' ? { cron: spelled } : spelled;
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new Error(`${EXPECTED}, not ${show(spelled)}`);
  }
  const { cron, timezone: zone = null, overlap = 'skip', jitter = '0', ...others } = given as Record<string, unknown>;
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw new Error(`${EXPECTED}, not "${unknown}"`);
  if (typeof cron !== 'string' || !validate(cron)) throw new Error(`${EXPECTED}, not ${show(cron)}`);
  if (zone !== null) timezone.check(zone);
  if (overlap !== 'skip' && overlap !== 'queue') {
    throw new Error(`expected "skip" or "queue" for overlap, not ${show(overlap)}`);
  }
  if (typeof jitter !== 'string') throw new Error(`expected a duration such as "5m" for jitter, not ${show(jitter)}`);
  const jitterMs = parseDuration(jitter);
  if (jitterMs > JITTER_MAX_MS) throw new Error(`expected a jitter of at most 1d, not ${show(jitter)}`);
  return { cron, timezone: (zone as string | null) ?? defaultTimezone, overlap, jitterMs };
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch {
    return false;
  }
}
