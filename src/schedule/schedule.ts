/** The jobs of an appliance: waits for their times, and tells what becomes of them. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../lib/clock.ts';
import { StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { Job, type JobCounters, type JobDefinition, type JobName, type JobProgress, type JobRun } from './job.ts';
import type { JobHistory } from './job-history.ts';
import { cronTimetable, type MakeTimetable, type Timetable } from './timetable.ts';

/** It is looked at the clock at least so often: somebody may set it, and machines sleep. */
const LOOK_EVERY_MS = 60_000;

export interface ScheduleOptions {
  readonly history: JobHistory;
  readonly clock: Clock;
  readonly log: Log;
  readonly timetable?: MakeTimetable;
  readonly random?: () => number;
  readonly newId?: () => string;
}

export interface JobStatus {
  readonly name: JobName;
  /** The cron expression, or null where it only runs on demand. */
  readonly cron: string | null;
  /** Null: the system's. */
  readonly timezone: string | null;
  readonly overlap: 'skip' | 'queue';
  readonly jitterMs: number;
  readonly running: boolean;
  /** Of the run under way, ISO 8601. */
  readonly runningSince: string | null;
  /** It runs once more afterwards. */
  readonly queued: boolean;
  /** ISO 8601, without its jitter; null where there is none. */
  readonly nextRunAt: string | null;
  /** Also from before the last start; null where there was none. */
  readonly lastRun: JobRun | null;
  readonly succeeded: number;
  readonly failed: number;
  readonly skipped: number;
}

interface Entry {
  readonly job: Job;
  readonly timetable: Timetable | null;
  nextAt: Date | null;
}

export class Schedule {
  readonly #options: ScheduleOptions;
  readonly #entries = new Map<JobName, Entry>();
  readonly #stop = new AbortController();

  constructor(options: ScheduleOptions) {
    this.#options = options;
  }

  /** INVALID where its expression or time zone is none. */
  add(definition: JobDefinition): void {
    const { clock, log, history, timetable = cronTimetable, newId = randomUUID } = this.#options;
    const { name, schedule } = definition;
    const job = new Job({ definition, clock, log, newId, onEnd: (run) => history.add(run) });
    const times = schedule === null ? null : timetable(schedule.cron, schedule.timezone);
    this.#entries.set(name, { job, timetable: times, nextAt: null });
  }

  start(): void {
    for (const entry of this.#entries.values()) {
      if (entry.timetable !== null) void this.#wait(entry, entry.timetable);
    }
  }

  /** Ends what is running; resolves when it has ended, and everything that is known of it is on the disk. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all([...this.#entries.values()].map(({ job }) => job.stop()));
    await this.#options.history.settled();
  }

  /** Runs the job now, or joins the run under way. NOT_FOUND, CANCELLED. */
  run(name: string): JobProgress {
    const entry = this.#entries.get(name as JobName);
    if (entry !== undefined) return entry.job.request();
    const names = [...this.#entries.keys()].join(', ');
    throw new StorageError('NOT_FOUND', `there is no job "${name}": there are ${names}`);
  }

  /** The run under way with that id, or the one that has ended; null where none is known. */
  find(id: string): Promise<JobRun> | JobRun | null {
    for (const { job } of this.#entries.values()) if (job.current?.id === id) return job.current.ended;
    return this.#options.history.runs(null).find((run) => run.id === id) ?? null;
  }

  status(): JobStatus[] {
    return [...this.#entries.values()].map(({ job, nextAt }) => {
      const { name, schedule } = job.definition;
      const { durationSumMs: _durationSumMs, ...counts } = job.counts;
      return {
        name,
        cron: schedule?.cron ?? null,
        timezone: schedule?.timezone ?? null,
        overlap: schedule?.overlap ?? 'skip',
        jitterMs: schedule?.jitterMs ?? 0,
        running: job.current !== null,
        runningSince: job.current?.startedAt.toISOString() ?? null,
        queued: job.queued,
        nextRunAt: nextAt?.toISOString() ?? null,
        lastRun: this.#options.history.last(name),
        ...counts,
      };
    });
  }

  counters(): readonly JobCounters[] {
    return [...this.#entries.values()].map(({ job, nextAt }) => {
      const { name } = job.definition;
      const success = this.#options.history.lastSuccess(name);
      const succeededAt = success === null ? null : new Date(Date.parse(success.startedAt) + success.durationMs);
      return { name, running: job.current !== null, ...job.counts, succeededAt, nextAt };
    });
  }

  /**
   * One time after another, by the wall clock. Where that was set forward, or the machine has slept, a time that has passed is
   * made up for once, however many there were; where it was set back, the next time is asked for anew.
   */
  async #wait(entry: Entry, timetable: Timetable): Promise<void> {
    const { clock, random = Math.random } = this.#options;
    const { signal } = this.#stop;
    const { name, schedule } = entry.job.definition;
    let last: Date | null = null;
    while (!signal.aborted) {
      // A clock that is put right by a little must not bring the same time twice.
      const ahead = last === null ? 0 : last.getTime() - clock.date().getTime();
      if (last !== null && ahead > 0 && ahead < LOOK_EVERY_MS) await this.#until(last);
      entry.nextAt = timetable.next();
      if (entry.nextAt === null) {
        this.#options.log.warn('the time of a job never comes', { job: name, cron: schedule?.cron });
        return;
      }
      if (!(await this.#until(entry.nextAt))) continue;
      last = entry.nextAt;
      const jitterMs = Math.floor((schedule?.jitterMs ?? 0) * random());
      if (jitterMs > 0) await clock.sleep(jitterMs, signal).catch(() => {});
      if (!signal.aborted) entry.job.due();
    }
  }

  /** False where the clock was set back meanwhile, or there is nothing to wait for any more. */
  async #until(at: Date): Promise<boolean> {
    const { clock } = this.#options;
    const { signal } = this.#stop;
    for (let now = clock.date().getTime(); now < at.getTime(); ) {
      await clock.sleep(Math.min(LOOK_EVERY_MS, at.getTime() - now), signal).catch(() => {});
      const then = clock.date().getTime();
      if (signal.aborted || then < now) return false;
      now = then;
    }
    return true;
  }
}
