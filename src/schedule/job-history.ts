/** What has become of earlier runs of the jobs, also before the last start: a file, replaced whole. */

import { readJsonFile, writeJsonFile } from '../lib/disk/json-file.ts';
import type { Disk } from '../lib/disk.ts';
import { describeError } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { JOB_NAMES, type JobName, type JobRun } from './job.ts';

const FORMAT = 'bucketdisk-jobs';
const VERSION = 1;
/** Of each job; older ones are forgotten. */
const RUNS_MAX = 50;

export interface JobHistoryOptions {
  readonly disk: Disk;
  readonly path: string;
  readonly log: Log;
}

export class JobHistory {
  readonly #options: JobHistoryOptions;
  /** Oldest first. */
  readonly #runs: Map<JobName, JobRun[]>;
  #writing: Promise<void> | null = null;
  #changed = false;

  private constructor(options: JobHistoryOptions, runs: Map<JobName, JobRun[]>) {
    this.#options = options;
    this.#runs = runs;
  }

  /** A file that cannot be read is told of, and begun anew: nothing depends on it. */
  static open(options: JobHistoryOptions): JobHistory {
    const runs = new Map<JobName, JobRun[]>(JOB_NAMES.map((name) => [name, []]));
    try {
      for (const run of parse(readJsonFile(options.disk, options.path))) runs.get(run.job)?.push(run);
    } catch (error) {
      options.log.warn('the history of the jobs cannot be read, and begins anew', { error: describeError(error) });
    }
    return new JobHistory(options, runs);
  }

  add(run: JobRun): void {
    const runs = this.#runs.get(run.job) ?? [];
    runs.push(run);
    if (runs.length > RUNS_MAX) runs.shift();
    this.#changed = true;
    this.#writing ??= this.#write().finally(() => {
      this.#writing = null;
    });
  }

  last(job: JobName): JobRun | null {
    return this.#runs.get(job)?.at(-1) ?? null;
  }

  lastSuccess(job: JobName): JobRun | null {
    return this.#runs.get(job)?.findLast(({ result }) => result === 'ok') ?? null;
  }

  /** Oldest first; of all jobs where none is named. */
  runs(job: JobName | null): readonly JobRun[] {
    if (job !== null) return [...(this.#runs.get(job) ?? [])];
    return [...this.#runs.values()].flat().sort((a, b) => Date.parse(a.startedAt) - Date.parse(b.startedAt));
  }

  /** Resolves once everything is on the disk, or could not be put there. */
  async settled(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    // One at a time; runs that end meanwhile are in the next one.
    while (this.#changed) {
      this.#changed = false;
      const { disk, path, log } = this.#options;
      try {
        await writeJsonFile(disk, path, { format: FORMAT, version: VERSION, runs: this.runs(null) });
      } catch (error) {
        log.warn('the history of the jobs cannot be written', { error: describeError(error) });
      }
    }
  }
}

function parse(value: unknown): JobRun[] {
  if (value === null) return [];
  const { format, version, runs } = value as { format?: unknown; version?: unknown; runs?: unknown };
  if (format !== FORMAT || version !== VERSION || !Array.isArray(runs)) throw new Error('it is something else');
  return runs.filter(isRun).slice(-RUNS_MAX * JOB_NAMES.length);
}

function isRun(value: unknown): value is JobRun {
  const { id, job, trigger, startedAt, durationMs, result, code, detail } = (value ?? {}) as Partial<JobRun>;
  return (
    typeof id === 'string' &&
    (JOB_NAMES as readonly unknown[]).includes(job) &&
    (trigger === 'schedule' || trigger === 'request') &&
    typeof startedAt === 'string' &&
    !Number.isNaN(Date.parse(startedAt)) &&
    typeof durationMs === 'number' &&
    (result === 'ok' || result === 'failed' || result === 'cancelled') &&
    (code === null || typeof code === 'string') &&
    (detail === null || typeof detail === 'string')
  );
}
