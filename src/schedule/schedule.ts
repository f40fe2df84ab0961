/** Named jobs at times that cron expressions tell. */
import { createTask, type ScheduledTask } from 'node-cron';
import { describeError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

export interface Job {
  readonly name: string;
  /** With seconds, or without: see node-cron. */
  readonly expression: string;
  readonly run: () => Promise<void>;
}

export class Schedule {
  readonly #log: Log;
  readonly #tasks: ScheduledTask[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  /** A job that is still running when its time comes again is left alone that time. */
  add({ name, expression, run }: Job): void {
    const task = createTask(
      expression,
      async () => {
        try {
          await run();
        } catch (error) {
          this.#log.error('a scheduled job failed', { job: name, error: describeError(error) });
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
