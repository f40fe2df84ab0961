/** When something is due, as a cron expression tells it. The only place that knows node-cron. */
import { createTask } from 'node-cron';
import { StorageError } from '../lib/errors.ts';

export interface Timetable {
  /** The next time after now, or null where there is none any more. */
  next(): Date | null;
}

/** `timezone`: an IANA name; null: the system's. INVALID where there is no such expression or zone. */
export type MakeTimetable = (expression: string, timezone: string | null) => Timetable;

/**
 * Only asked for times: the waiting is ours. node-cron's own timers look at each time that was missed while a machine slept,
 * or while its clock was wrong, one by one, which may keep everything else from running for long.
 */
export const cronTimetable: MakeTimetable = (expression, timezone) => {
  try {
    if (timezone !== null) new Intl.DateTimeFormat('en', { timeZone: timezone });
    const task = createTask(expression, () => {}, timezone === null ? {} : { timezone });
    // Out of the library's list of all tasks; it still tells times.
    void task.destroy();
    return { next: () => nextOf(() => task.getNextRuns(1)[0]) };
  } catch (cause) {
    throw new StorageError('INVALID', `"${expression}" is no cron expression, or ${timezone} no time zone`, { cause });
  }
};

/** The library gives up looking for a day that never comes, such as 30 February. */
function nextOf(find: () => Date | undefined): Date | null {
  try {
    return find() ?? null;
  } catch {
    return null;
  }
}
