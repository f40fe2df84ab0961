/** The appliance itself, and its scheduled jobs. */
import type { Family } from './family.ts';
import type { Reading } from './sources.ts';

export const APPLIANCE_FAMILIES: readonly Family<Reading>[] = [
  {
    name: 'bucketdisk_build_info',
    type: 'gauge',
    help: '1, with the versions of bucketdisk and of Node.',
    labels: ['version', 'node'],
    read: ({ version }) => [{ labels: { version, node: process.version }, value: 1 }],
  },
  {
    name: 'bucketdisk_ready',
    type: 'gauge',
    help: '1 while every configured volume is served, as /readyz tells it; else 0.',
    labels: [],
    read: ({ ready }) => [{ value: Number(ready) }],
  },
];

export const JOB_FAMILIES: readonly Family<Reading>[] = [
  {
    name: 'bucketdisk_job_runs_total',
    type: 'counter',
    help: 'Runs of a job that have ended, scheduled or on demand. result: ok or failed.',
    labels: ['job', 'result'],
    read: ({ jobs }) =>
      jobs.flatMap(({ name, succeeded, failed }) => [
        { labels: { job: name, result: 'ok' }, value: succeeded },
        { labels: { job: name, result: 'failed' }, value: failed },
      ]),
  },
  {
    name: 'bucketdisk_job_skipped_total',
    type: 'counter',
    help: 'Times of a scheduled job that came while it was still running, and were left out.',
    labels: ['job'],
    read: ({ jobs }) => jobs.map(({ name, skipped }) => ({ labels: { job: name }, value: skipped })),
  },
  {
    name: 'bucketdisk_job_duration_seconds_total',
    type: 'counter',
    help: 'Time that the runs of a job took.',
    labels: ['job'],
    read: ({ jobs }) => jobs.map(({ name, durationSumMs }) => ({ labels: { job: name }, value: durationSumMs / 1000 })),
  },
  {
    name: 'bucketdisk_job_running',
    type: 'gauge',
    help: '1 while the job runs, else 0.',
    labels: ['job'],
    read: ({ jobs }) => jobs.map(({ name, running }) => ({ labels: { job: name }, value: Number(running) })),
  },
  {
    name: 'bucketdisk_job_last_success_timestamp_seconds',
    type: 'gauge',
    help: 'When the last run that succeeded has ended, in seconds since 1970. Absent where none has.',
    labels: ['job'],
    read: ({ jobs }) =>
      jobs.flatMap(({ name, succeededAt }) =>
        succeededAt === null ? [] : [{ labels: { job: name }, value: succeededAt.getTime() / 1000 }],
      ),
  },
  {
    name: 'bucketdisk_job_next_run_timestamp_seconds',
    type: 'gauge',
    help: 'When the job runs next, in seconds since 1970. Absent where it has no schedule.',
    labels: ['job'],
    read: ({ jobs }) =>
      jobs.flatMap(({ name, nextAt }) =>
        nextAt === null ? [] : [{ labels: { job: name }, value: nextAt.getTime() / 1000 }],
      ),
  },
];
