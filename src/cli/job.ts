/** `bucketdisk job`: the jobs of the running appliance, what became of them, and running one now. */
import type { Command } from 'commander';
import { approximateDuration } from '../lib/units.ts';
import { escapeControls } from '../telemetry/log-format.ts';
import type { JobRunOutcome, JobStatus } from './actions.ts';
import { answer, type Frame, withContext } from './command-frame.ts';
import { EXIT_CODES_HELP, EXIT_DAMAGE, EXIT_FAILURE, EXIT_OK } from './exit-code.ts';
import { formatTable } from './table.ts';

/** Of a result in a table that a terminal should have room for. */
const RESULT_LENGTH_MAX = 60;

export function addJob(program: Command, frame: Frame): void {
  const job = program
    .command('job')
    .summary('list jobs, tell what became of them, run one now')
    .description('Jobs are flush, scan, report and cache-trim. They run at the times of `schedule`, or on demand.');
  addList(job, frame);
  addHistory(job, frame);
  addRun(job, frame);
}

function addList(job: Command, frame: Frame): void {
  job
    .command('list')
    .summary('list the jobs, their times and their last runs')
    .description('Lists the jobs of the running appliance.')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk job list
  bucketdisk job list --json | jq '.[] | {name, nextRunAt}'
${EXIT_CODES_HELP}`,
    )
    .action((_options: unknown, command: Command) =>
      answer(frame, command, async (context) => (await frame.host.loadActions()).listJobs(context), jobsText),
    );
}

function addHistory(job: Command, frame: Frame): void {
  job
    .command('history')
    .summary('tell what became of earlier runs')
    .description('Tells the last runs, oldest first, also those from before the appliance was started.')
    .argument('[name]', 'of this job only')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk job history
  bucketdisk job history flush
${EXIT_CODES_HELP}`,
    )
    .action((name: string | undefined, _options: unknown, command: Command) =>
      answer(
        frame,
        command,
        async (context) => (await frame.host.loadActions()).jobHistory(context, name ?? null),
        (runs) => (runs.length === 0 ? 'no run yet\n' : historyText(runs)),
      ),
    );
}

function addRun(job: Command, frame: Frame): void {
  job
    .command('run')
    .summary('run a job now, and wait until it has ended')
    .description('Runs a job of the running appliance now, or waits for the run that is under way.')
    .argument('<name>', 'flush, scan, report or cache-trim')
    .addHelpText(
      'after',
      `
Examples:
  bucketdisk job run scan
${EXIT_CODES_HELP}`,
    )
    .action((name: string, _options: unknown, command: Command) =>
      withContext(frame, command, { quiet: true }, async (context) => {
        const run = await (await frame.host.loadActions()).runJob(context, name);
        context.stdout.write(context.json ? `${JSON.stringify(run)}\n` : `${runText(run)}\n`);
        return exitCodeOfRun(run);
      }),
    );
}

/** A scan that has found damage has done what it was asked for; its exit code tells. */
function exitCodeOfRun({ job, result, code }: JobRunOutcome): number {
  if (result === 'ok') return EXIT_OK;
  return job === 'scan' && code === 'CORRUPT' ? EXIT_DAMAGE : EXIT_FAILURE;
}

/** Also part of `status`. */
export function jobsText(jobs: readonly JobStatus[]): string {
  const header = ['JOB', 'AT', 'NEXT', 'LAST', 'TOOK', 'RESULT'];
  return formatTable([header, ...jobs.map(jobRow)]);
}

function jobRow(job: JobStatus): string[] {
  const { name, running, runningSince, nextRunAt, lastRun } = job;
  const took = lastRun === null ? '-' : approximateDuration(lastRun.durationMs);
  return [
    name,
    timesText(job),
    nextRunAt === null ? '-' : second(nextRunAt),
    running && runningSince !== null ? `running since ${second(runningSince)}` : second(lastRun?.startedAt ?? '-'),
    took,
    lastRun === null ? '-' : shortened(resultText(lastRun)),
  ];
}

/** What is not as it is by default is told. */
function timesText({ cron, timezone, overlap, jitterMs }: JobStatus): string {
  if (cron === null) return 'on demand';
  const rules = [
    ...(timezone === null ? [] : [timezone]),
    ...(jitterMs === 0 ? [] : [`up to ${approximateDuration(jitterMs)} later`]),
    ...(overlap === 'skip' ? [] : ['once more where it overlaps']),
  ];
  return rules.length === 0 ? cron : `${cron} (${rules.join(', ')})`;
}

function historyText(runs: readonly JobRunOutcome[]): string {
  const rows = runs.map((run) => [
    second(run.startedAt),
    run.job,
    run.trigger === 'schedule' ? 'by schedule' : 'on demand',
    approximateDuration(run.durationMs),
    resultText(run),
  ]);
  return formatTable([['STARTED', 'JOB', 'WHY', 'TOOK', 'RESULT'], ...rows]);
}

function runText(run: JobRunOutcome): string {
  return `${run.job}: ${resultText(run)}, after ${approximateDuration(run.durationMs)}`;
}

function resultText({ result, detail }: JobRunOutcome): string {
  const shown = result === 'ok' ? 'ok' : result.toUpperCase();
  return detail === null ? shown : `${shown}: ${escapeControls(detail)}`;
}

/** The history has all of it. */
function shortened(text: string): string {
  return text.length > RESULT_LENGTH_MAX ? `${text.slice(0, RESULT_LENGTH_MAX)}...` : text;
}

/** To the second. */
function second(iso: string): string {
  return iso.replace(/\.\d+Z$/, 'Z');
}
