/** Schedules on a simulated clock: node-cron asks the system for the time, so that this is set to the clock's whenever it does. */
import { mock, type TestContext } from 'node:test';
import type { JobDefinition, JobRun, JobSchedule } from '../../../src/schedule/job.ts';
import { JobHistory } from '../../../src/schedule/job-history.ts';
import { Schedule } from '../../../src/schedule/schedule.ts';
import { cronTimetable, type MakeTimetable } from '../../../src/schedule/timetable.ts';
import { Random } from '../../support/random.ts';
import { SimDisk } from '../../support/sim-disk.ts';
import { VirtualClock, VirtualTime } from '../../support/virtual-clock.ts';
import { LogBook } from '../volume/fixtures.ts';

export const DIRECTORY = '/state';

/** The real node-cron at the time of `clock`. */
export function timetableAt(t: TestContext, clock: VirtualClock): MakeTimetable {
  mock.timers.reset();
  mock.timers.enable({ apis: ['Date'], now: clock.date().getTime() });
  t.after(() => mock.timers.reset());
  return (expression, timezone) => {
    const timetable = cronTimetable(expression, timezone);
    return {
      next: () => {
        mock.timers.setTime(clock.date().getTime());
        return timetable.next();
      },
    };
  };
}

export interface Day {
  readonly clock: VirtualClock;
  readonly schedule: Schedule;
  readonly log: LogBook;
  disk: SimDisk;
  /** When each job was run, as ISO 8601 to the second. */
  readonly begun: string[];
}

export interface DayOptions {
  /** ISO 8601. */
  readonly from: string;
  readonly jobs: readonly (Pick<JobDefinition, 'name' | 'schedule'> & Partial<JobDefinition>)[];
  readonly random?: () => number;
  readonly disk?: SimDisk;
}

export function times(cron: string, others: Partial<JobSchedule> = {}): JobSchedule {
  return { cron, timezone: 'UTC', overlap: 'skip', jitterMs: 0, ...others };
}

export function startDay(t: TestContext, { from, jobs, random, disk }: DayOptions): Day {
  const clock = new VirtualClock(new VirtualTime(), Date.parse(from));
  const log = new LogBook();
  const used = disk ?? SimDisk.withDirectory(DIRECTORY, { clock, random: new Random(1) });
  const history = JobHistory.open({ disk: used, path: `${DIRECTORY}/jobs.json`, log });
  let ids = 0;
  const schedule = new Schedule({
    history,
    clock,
    log,
    timetable: timetableAt(t, clock),
    newId: () => `run-${++ids}`,
    ...(random === undefined ? {} : { random }),
  });
  const begun: string[] = [];
  for (const { name, schedule: when, run } of jobs) {
    schedule.add({
      name,
      schedule: when,
      run: async (signal) => {
        begun.push(`${name} ${clock.date().toISOString().slice(0, 19)}`);
        return run?.(signal);
      },
    });
  }
  schedule.start();
  return { clock, schedule, log, disk: used, begun };
}

export function lastRun(day: Day, name: string): JobRun | null {
  return day.schedule.status().find((job) => job.name === name)?.lastRun ?? null;
}
