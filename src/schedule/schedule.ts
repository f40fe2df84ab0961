/** Named jobs at times that cron expressions tell. */
import { createTask, type ScheduledTask } from 'node-cron';
import type { Clock } from '../lib/clock.ts';
import { describeError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

export interface Job {
  readonly name: string;
  /** With seconds, or without: see node-cron. */
  readonly expression: string;
  readonly run: () => Promise<void>;
}

/** What has become of a job since the start. */
export interface JobCounters {
  readonly name: string;
  readonly running: boolean;
  /** Runs that have ended. */
  readonly succeeded: number;
  readonly failed: number;
  readonly durationSumMs: number;
  /** Of the last run that succeeded; null where none has. */
  readonly succeededAt: Date | null;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

export class Schedule {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #tasks: ScheduledTask[] = [];
  readonly #counters: Mutable<JobCounters>[] = [];

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  counters(): readonly JobCounters[] {
    return this.#counters.map((counters) => ({ ...counters }));
  }

  /** A job that is still running when its time comes again is left alone that time. */
  add({ name, expression, run }: Job): void {
    const counters: Mutable<JobCounters> = {
      ...{ name, running: false, succeeded: 0, failed: 0, durationSumMs: 0, succeededAt: null },
    };
    this.#counters.push(counters);
    const task = createTask(
      expression,
      async () => {
        const startedAtMs = this.#clock.now();
        counters.running = true;
        try {
          await run();
          counters.succeeded++;
          counters.succeededAt = this.#clock.date();
        } catch (error) {
          counters.failed++;
          this.#log.error('a scheduled job failed', { job: name, error: describeError(error) });
        } finally {
          counters.running = false;
          counters.durationSumMs += this.#clock.now() - startedAtMs;
        }
      },
      { name, noOverlap: true },
    );
    this.#tasks.push(task);
  }

  start(): void {
    for (const task of this.#tasks) void task.start();
  }

  stop(): void {
    for (const task of this.#tasks) void task.stop();
  }
}
