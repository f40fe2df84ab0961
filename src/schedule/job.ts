/** One named job: when it runs, what happens where it is still running by then, and what has become of it. */
import type { Clock } from '../lib/clock.ts';
import { describeError, type ErrorCode, isStorageError, StorageError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

export const JOB_NAMES = ['flush', 'scan', 'report', 'cache-trim'] as const;
export type JobName = (typeof JOB_NAMES)[number];

export interface JobSchedule {
  /** With seconds, or without: see node-cron. */
  readonly cron: string;
  /** An IANA name; null: the system's. */
  readonly timezone: string | null;
  /** Where it is still running when its time comes: that time is left out, or it runs once more afterwards. */
  readonly overlap: 'skip' | 'queue';
  /** It begins up to so much later, at random. */
  readonly jitterMs: number;
}

export type JobTrigger = 'schedule' | 'request';

/** A run that has ended. */
export interface JobRun {
  readonly id: string;
  readonly job: JobName;
  readonly trigger: JobTrigger;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly durationMs: number;
  /** `cancelled`: the appliance was stopped. */
  readonly result: 'ok' | 'failed' | 'cancelled';
  /** Of the error, where it failed. */
  readonly code: ErrorCode | null;
  /** What it did, or why it failed; null where there is nothing to say. */
  readonly detail: string | null;
}

export interface JobDefinition {
  readonly name: JobName;
  /** Null: only on demand. */
  readonly schedule: JobSchedule | null;
  /** Resolves with what it did, in a few words, or nothing. */
  readonly run: (signal: AbortSignal) => Promise<string | undefined>;
}

/** What has become of a job since the start. */
export interface JobCounters {
  readonly name: string;
  readonly running: boolean;
  /** Runs that have ended. */
  readonly succeeded: number;
  readonly failed: number;
  /** Times that came while it was running. */
  readonly skipped: number;
  readonly durationSumMs: number;
  /** Of the last run that succeeded, also before the start; null where none has. */
  readonly succeededAt: Date | null;
  /** Null where it has no schedule. */
  readonly nextAt: Date | null;
}

export interface JobOptions {
  readonly definition: JobDefinition;
  readonly clock: Clock;
  readonly log: Log;
  readonly newId: () => string;
  readonly onEnd: (run: JobRun) => void;
}

export interface JobProgress {
  readonly id: string;
  readonly trigger: JobTrigger;
  readonly startedAt: Date;
  readonly ended: Promise<JobRun>;
}

export class Job {
  readonly definition: JobDefinition;
  readonly #options: JobOptions;
  readonly #stop = new AbortController();
  #current: JobProgress | null = null;
  #queued = false;
  #succeeded = 0;
  #failed = 0;
  #skipped = 0;
  #durationSumMs = 0;

  constructor(options: JobOptions) {
    this.definition = options.definition;
    this.#options = options;
  }

  /** The run under way, or null. */
  get current(): JobProgress | null {
    return this.#current;
  }

  /** Its time came while it was running, and it runs once more afterwards. */
  get queued(): boolean {
    return this.#queued;
  }

  get counts(): Pick<JobCounters, 'succeeded' | 'failed' | 'skipped' | 'durationSumMs'> {
    return {
      succeeded: this.#succeeded,
      failed: this.#failed,
      skipped: this.#skipped,
      durationSumMs: this.#durationSumMs,
    };
  }

  /** Its time has come. */
  due(): void {
    if (this.#stop.signal.aborted) return;
    if (this.#current === null) {
      this.#begin('schedule');
    } else if (this.definition.schedule?.overlap === 'queue' && !this.#queued) {
      this.#queued = true;
    } else {
      this.#skipped++;
      this.#options.log.info('a job is still running: this time it is left out', { job: this.definition.name });
    }
  }

  /** Runs it now, or joins the run under way. CANCELLED where it has been stopped. */
  request(): JobProgress {
    if (this.#stop.signal.aborted) throw new StorageError('CANCELLED', 'the appliance is stopping');
    return this.#current ?? this.#begin('request');
  }

  /** Ends the run under way, and begins no other; resolves when it has ended. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#current?.ended;
  }

  #begin(trigger: JobTrigger): JobProgress {
    const { clock, newId } = this.#options;
    const id = newId();
    const startedAt = clock.date();
    const ended = this.#run(id, trigger, startedAt);
    this.#current = { id, trigger, startedAt, ended };
    return this.#current;
  }

  /** Never rejects. */
  async #run(id: string, trigger: JobTrigger, startedAt: Date): Promise<JobRun> {
    const { definition, clock, log, onEnd } = this.#options;
    const { name: job } = definition;
    const startedAtMs = clock.now();
    // In a turn of its own: what runs is to be found where it is looked for.
    await Promise.resolve();
    let outcome: Pick<JobRun, 'result' | 'code' | 'detail'>;
    try {
      const detail = await definition.run(this.#stop.signal);
      outcome = { result: 'ok', code: null, detail: detail ?? null };
      this.#succeeded++;
    } catch (error) {
      const isCancelled = this.#stop.signal.aborted && isStorageError(error, 'CANCELLED');
      const detail = describeError(error);
      outcome = {
        result: isCancelled ? 'cancelled' : 'failed',
        code: isStorageError(error) ? error.code : null,
        detail,
      };
      if (!isCancelled) {
        this.#failed++;
        log.error('a job failed', { job, error: detail, event: 'job-failed' });
      }
    }
    const durationMs = Math.round(clock.now() - startedAtMs);
    this.#durationSumMs += durationMs;
    const run: JobRun = { id, job, trigger, startedAt: startedAt.toISOString(), durationMs, ...outcome };
    this.#current = null;
    onEnd(run);
    const again = this.#queued;
    this.#queued = false;
    if (again) this.due();
    return run;
  }
}
