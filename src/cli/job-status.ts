/** Jobs as `job` and `status` show them. Part of actions.ts's contract. */

/** A run of a job that has ended. */
export interface JobRunOutcome {
  readonly id: string;
  readonly job: 'flush' | 'scan' | 'report' | 'cache-trim';
  readonly trigger: 'schedule' | 'request';
  /** ISO 8601. */
  readonly startedAt: string;
  readonly durationMs: number;
  /** `cancelled`: the appliance was stopped. */
  readonly result: 'ok' | 'failed' | 'cancelled';
  /** Of the error, where it failed. */
  readonly code: string | null;
  /** What it did, or why it failed; null where there is nothing to say. */
  readonly detail: string | null;
}

export interface JobStatus {
  readonly name: JobRunOutcome['job'];
  /** The cron expression, or null where it only runs on demand. */
  readonly cron: string | null;
  /** Null: the system's. */
  readonly timezone: string | null;
  /** Where its time comes while it is running: that time is left out, or it runs once more afterwards. */
  readonly overlap: 'skip' | 'queue';
  /** It begins up to so much later, at random. */
  readonly jitterMs: number;
  readonly running: boolean;
  /** Of the run under way, ISO 8601; null where there is none. */
  readonly runningSince: string | null;
  /** It runs once more after the run under way. */
  readonly queued: boolean;
  /** ISO 8601, without its jitter; null where there is none. */
  readonly nextRunAt: string | null;
  /** Also from before the last start; null where there was none. */
  readonly lastRun: JobRunOutcome | null;
  /** Runs since the start, and times that were left out. */
  readonly succeeded: number;
  readonly failed: number;
  readonly skipped: number;
}
